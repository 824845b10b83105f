"""Columns of text with a meaning: numbers as people write them, dates and durations. It needs NumPy alone.

A *format* is plain data, as ``preprocessing.json`` holds it, and says how the values of a column become numbers:

    {"type": "number", "decimal": ","}                                                     1.234,50 € → 1234.5
    {"type": "number", "decimal": "either", "unit": "kg"}                                  12,5 kg → 12.5
    {"type": "date", "format": "%d.%m.%Y", "parts": ["month", "age"], "newest": 1.7e9}     a number for each part
    {"type": "duration"}                                                                   days
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import DataError
from lmkit.specs.values import plain_value

if TYPE_CHECKING:
    import numpy as np

Format = dict[str, Any]

ISO = "iso"
"""The format of dates as ``datetime.fromisoformat`` reads them."""

PARTS = ("year", "month", "day", "weekday", "hour", "age")
"""The parts of a date; age: days before the newest date that was there in training."""

DAY = 86_400
"""Seconds of a day."""

_DAYS = (
    *("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y"),
    *("%b %d, %Y", "%B %d, %Y", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%Y-%m", "%b %Y", "%B %Y"),
)

DATE_FORMATS = (ISO, *(f"{day}{time}" for time in ("", " %H:%M", " %H:%M:%S", " %I:%M %p") for day in _DAYS))
"""The formats of dates that are recognized, in the order in which they are tried."""

EITHER = "either"
"""The decimal sign of numbers of which some have a point, and some a comma."""

_CURRENCY = r"(?:[$€£¥₹₩]|USD|EUR|CHF|GBP|JPY|CNY|INR)"

_NUMBERS = {
    decimal: re.compile(
        rf"(?P<open>\()?(?P<sign>[+\-−])?\s*{_CURRENCY}?\s*(?P<sign2>[+\-−])?"
        rf"(?P<whole>\d{{1,3}}(?:[{group}\s'’]\d{{3}})+|\d+)?(?:{re.escape(decimal)}(?P<fraction>\d*))?"
        rf"(?P<power>[eE][+\-]?\d+)?\s*(?:{_CURRENCY}|%)?(?P<close>\))?"
    )
    for decimal, group in ((".", ","), (",", "."))
}


def expand(name: str, values: np.ndarray, column_format: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the numbers (rows,) that the values (rows,) of a column stand for, by the names of the features.

    Raises:
        DataError: a value does not have the format.

    >>> import numpy as np
    >>> expand("price", np.array(["1.234,50 €", None], dtype=object), {"type": "number", "decimal": ","})
    {'price': array([1234.5,    nan])}
    """
    kind = column_format["type"]
    if kind == "number":
        decimal, unit = column_format["decimal"], column_format.get("unit", "")
        what = f"a number in {unit}" if unit else "a number"
        return {name: _convert(name, values, lambda text: parse_number(text, decimal, unit), what)}
    if kind == "duration":
        return {name: _convert(name, values, _parse_duration, "a duration") / DAY}
    layout = column_format["format"]
    seconds = to_seconds(name, values, layout)
    parts = date_parts(seconds, column_format["newest"])
    return {f"{name}.{part}": parts[part] for part in column_format["parts"]}


def parse_number(value: Any, decimal: str, unit: str = "") -> float | None:
    """Return the number of a text with thousands, a currency or a percent sign; None: it is no number.

    Args:
        value: a text, or a number.
        decimal: its decimal sign; ``either``: a point or a comma, and no number where both are possible.
        unit: what may follow the number.

    >>> parse_number("$1,234", "."), parse_number("12 %", "."), parse_number("(1.234,5)", ","), parse_number("x1", ".")
    (1234.0, 12.0, -1234.5, None)
    >>> parse_number("1,5 kg", "either", "kg"), parse_number("1,234", "either")
    (1.5, None)
    """
    if not isinstance(value, str):
        try:
            return float(value)
        except (TypeError, ValueError):
            return None
    if unit and value.strip().lower().endswith(unit.lower()):
        value = value.strip()[: -len(unit)]
    if decimal == EITHER:
        numbers = {number for sign in _NUMBERS if (number := parse_number(value, sign)) is not None}
        return numbers.pop() if len(numbers) == 1 else None
    match = _NUMBERS[decimal].fullmatch(value.strip())
    if not match or not (match["whole"] or match["fraction"]) or bool(match["open"]) != bool(match["close"]):
        return None
    digits = re.sub(r"\D", "", match["whole"] or "") or "0"
    negative = bool(match["open"]) or "-" in (sign := f"{match['sign']}{match['sign2']}") or "−" in sign
    number = float(f"{digits}.{match['fraction'] or '0'}{match['power'] or ''}")
    return -number if negative else number


def parse_date(value: Any, layout: str) -> float | None:
    """Return the seconds since 1970 of a date, in UTC where it has a time zone; None: it is no such date.

    >>> parse_date("02.01.1970", "%d.%m.%Y"), parse_date("1970-01-02T00:00:01", "iso"), parse_date("5", "iso")
    (86400.0, 86401.0, None)
    """
    if isinstance(value, str):
        text = value.strip()
        try:
            if layout == ISO:
                value = datetime.fromisoformat(text) if "-" in text[1:] else None
            else:
                value = datetime.strptime(text, layout)
        except ValueError:
            return None
    elif hasattr(value, "to_timestamp"):  # a period of pandas
        value = value.to_timestamp()
    elif hasattr(value, "astype"):  # NumPy's
        value = value.astype("datetime64[us]").item()
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=value.tzinfo or UTC).timestamp()


def to_seconds(name: str, values: np.ndarray, layout: str) -> np.ndarray:
    """Return the seconds (rows,) since 1970 of dates (rows,); NaN where one is missing.

    Raises:
        DataError: a value is no such date.
    """
    import numpy as np

    if values.dtype.kind == "M":
        seconds = values.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(np.isnat(values), np.nan, seconds)
    what = "a date such as 2024-12-31" if layout == ISO else f"a date as {layout}"
    return _convert(name, values, lambda value: parse_date(value, layout), what)


def date_parts(seconds: np.ndarray, newest: float) -> dict[str, np.ndarray]:
    """Return the parts of dates, in seconds since 1970, by name: each (rows,), NaN where a date is missing.

    >>> import numpy as np
    >>> {part: float(v[0]) for part, v in date_parts(np.array([86400.0 * 31 + 3600]), 86400.0 * 33).items()}
    {'year': 1970.0, 'month': 2.0, 'day': 1.0, 'weekday': 6.0, 'hour': 1.0, 'age': 1.9583333333333333}
    """
    import numpy as np

    gaps = np.isnan(seconds)
    whole = np.where(gaps, 0, np.floor(seconds)).astype(np.int64).astype("datetime64[s]")
    days, months, years = (whole.astype(f"datetime64[{unit}]") for unit in "DMY")
    parts = {
        "year": years.astype(np.int64) + 1970,
        "month": months.astype(np.int64) % 12 + 1,
        "day": (days - months.astype("datetime64[D]")).astype(np.int64) + 1,
        "weekday": (days.astype(np.int64) + 3) % 7,  # Monday is 0; 1970 began on a Thursday
        "hour": np.where(gaps, 0, seconds) % DAY / 3600,
        "age": (newest - seconds) / DAY,
    }
    return {name: np.where(gaps, np.nan, values.astype(np.float64)) for name, values in parts.items()}


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN or pandas' NA, whose comparisons raise a TypeError."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True


def replace_signs(values: np.ndarray, signs: Sequence[str | float]) -> np.ndarray:
    """Return values (rows,) with missing ones in place of those that stand for them.

    >>> import numpy as np
    >>> replace_signs(np.array(["?", " - ", 5, -999], dtype=object), ["?", "-", -999.0]).tolist()
    [None, None, 5, None]
    >>> replace_signs(np.array([4, -999]), ["?", -999.0]).tolist()
    [4.0, nan]
    """
    import numpy as np

    if values.dtype.kind in "iuf":
        numbers = [sign for sign in signs if not isinstance(sign, str)]
        return np.where(np.isin(values, numbers), np.nan, values) if numbers else values
    if values.dtype.kind not in "OUS":
        return values
    present = set(signs)
    plain = [value.strip() if isinstance(value, str) else value for value in values.tolist()]
    hits = [isinstance(value, str | int | float) and value in present for value in plain]
    if not any(hits):
        return values
    replaced = values.astype(object)
    replaced[np.array(hits)] = None
    return replaced


def write_texts(name: str, values: np.ndarray, column_format: Mapping[str, Any] | None, names: bool) -> np.ndarray:
    """Return values (rows,) as texts, for a file that reads them itself; a missing one is empty.

    Args:
        name: of the column.
        values: the values.
        column_format: of the column; None: it has plain numbers or names.
        names: whether they are names of categories.

    Raises:
        DataError: a value is no number where one is expected.
    """
    import numpy as np

    layout = (column_format or {}).get("format", ISO)
    texts = []
    for value in values.tolist():
        if is_missing(value):
            texts.append("")
        elif isinstance(value, datetime | date):
            texts.append(value.isoformat() if layout == ISO else value.strftime(layout))
        elif names or isinstance(value, str):
            texts.append(str(plain_value(value)))
        else:
            try:
                texts.append(repr(float(value)))
            except (TypeError, ValueError):
                raise DataError(f"column {name!r} contains {str(value)[:80]!r}, expected a number or a text") from None
    return np.array(texts, dtype=object)


def _parse_duration(value: Any) -> float | None:
    if hasattr(value, "astype"):
        value = value.astype("timedelta64[us]").item()
    return value.total_seconds() if isinstance(value, timedelta) else None


def _convert(name: str, values: np.ndarray, parse: Callable[[Any], float | None], what: str) -> np.ndarray:
    """Return the numbers (rows,) of values; each different one is parsed once."""
    import numpy as np

    numbers: dict[Any, float] = {}
    result = np.empty(len(values), dtype=np.float64)
    for i, value in enumerate(values.tolist() if values.dtype.kind != "m" else list(values)):
        if is_missing(value):
            result[i] = np.nan
            continue
        if value not in numbers:
            number = parse(value)
            if number is None:
                raise DataError(f"column {name!r} contains {str(value)[:80]!r}, expected {what} as in training")
            numbers[value] = number
        result[i] = numbers[value]
    return result
