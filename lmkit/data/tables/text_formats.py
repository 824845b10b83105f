"""The format of a column of texts: numbers as people write them, with or without a unit, or dates."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from lmkit.preprocessing.formats import DATE_FORMATS, EITHER, Format, parse_date, parse_number

TRIED_TEXTS = 200
"""Different texts that are tried with all formats before the others are with the one that fits."""

MEASURE = re.compile(r"\s*[+\-−]?\s*[\d.,'’\s]*\d[.,]?\s*(?P<unit>[^\W\d_°%µμ²³$€£¥/][^\d,;]{0,11}|[°%µμ].{0,8})\s*")
"""A number with a unit behind it."""

ORDINALS = frozenset(("st", "nd", "rd", "th", "am", "pm"))


def number_format(texts: Sequence[str], decimal: str) -> Format | None:
    """Return the format in which all of some different texts are numbers; None where there is none.

    Args:
        texts: the texts.
        decimal: the decimal sign where both fit.

    >>> number_format(["1.234,5 €", "7 €"], "."), number_format(["12 kg", "7.5kg"], ".")
    ({'type': 'number', 'decimal': ','}, {'type': 'number', 'decimal': '.', 'unit': 'kg'})
    """
    if not texts:
        return None
    for sign in (decimal, "," if decimal == "." else ".", EITHER):
        if all(parse_number(text, sign) is not None for text in texts):
            return {"type": "number", "decimal": sign}
    units = units_of(texts)
    if len(units) != 1 or len(texts) < 2:
        return None
    unit = units[0]
    for sign in (decimal, "," if decimal == "." else ".", EITHER):
        if all(parse_number(text, sign, unit) is not None for text in texts):
            return {"type": "number", "decimal": sign, "unit": unit}
    return None


def units_of(texts: Sequence[str]) -> list[str]:
    """Return the units behind numbers, the most frequent first; empty where a text is no number, or none has one.

    >>> units_of(["12 kg", "500 g", "3 kg"]), units_of(["1st", "2nd"]), units_of(["5", "x"])
    (['kg', 'g'], [], [])
    """
    counts: Counter[str] = Counter()
    for text in texts:
        if match := MEASURE.fullmatch(text):
            counts[match["unit"].strip().lower()] += 1
        elif parse_number(text, ".") is None and parse_number(text, ",") is None:
            return []
    if ORDINALS & set(counts):
        return []
    return [unit for unit, _ in counts.most_common()]


def date_format(texts: Sequence[str]) -> str | None:
    """Return the format in which all of some different texts are dates; None where there is none."""
    if not texts or not any(c.isdigit() for c in texts[0]):
        return None
    first = texts[:TRIED_TEXTS]
    for layout in DATE_FORMATS:
        if all(parse_date(v, layout) is not None for v in first) and all(
            parse_date(v, layout) is not None for v in texts[TRIED_TEXTS:]
        ):
            return layout
    return None
