"""Files of Weka's attribute-relation file format, dense and sparse.

https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.tables.sniff import iter_lines
from lmkit.exceptions import DataError, shorten

if TYPE_CHECKING:
    import pandas as pd

    from lmkit.specs.data import DataSpec

MAX_ATTRIBUTES = 100_000

MISSING = "?"

ATTRIBUTE = re.compile(r"@attribute\s+('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S+)\s+(.+)", re.IGNORECASE)

NUMERIC = ("numeric", "real", "integer")


def read_arff(path: Path, spec: DataSpec) -> pd.DataFrame:
    """Read a file in ARFF: numbers, categories, texts and dates (as text); ``?`` is a missing value.

    Raises:
        DataError: it is none; the message has the line.
    """
    import pandas as pd

    where = f"data.source: {spec.source!r}"
    lines = _meaningful(iter_lines(path, spec))
    names, types, usual = _read_header(lines, where)
    columns: list[list[Any]] = [[] for _ in names]
    for number, line in lines:
        is_sparse = line.startswith("{")
        values = _read_sparse(line, usual, f"{where}, line {number}") if is_sparse else _split(line)
        if len(values) == len(names) + 1 and re.fullmatch(r"\{.*\}", values[-1]):
            values.pop()  # the weight of the row
        if len(values) != len(names):
            raise DataError(f"{where}, line {number}: has {len(values)} values, expected {len(names)}")
        for column, value in zip(columns, values, strict=True):
            column.append(None if value == MISSING else value)
    frame = pd.DataFrame(dict(enumerate(columns)))
    for i, kind in enumerate(types):
        if kind in NUMERIC:
            try:
                frame[i] = pd.to_numeric(frame[i])
            except ValueError as error:
                raise DataError(f"{where}: the values of {names[i]!r} are declared as {kind}: {error}") from None
    return frame.set_axis(names, axis=1)


def _meaningful(lines: Iterator[str]) -> Iterator[tuple[int, str]]:
    """Iterate over lines with their numbers from 1, without comments and empty ones."""
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text and not text.startswith("%"):
            yield number, text


def _read_header(lines: Iterator[tuple[int, str]], where: str) -> tuple[list[str], list[str], list[str]]:
    """Return the names and types of the attributes, and what a sparse row leaves out; the lines continue with rows."""
    names: list[str] = []
    types: list[str] = []
    usual: list[str] = []
    for number, line in lines:
        word = line.split(None, 1)[0].lower()
        if word == "@data":
            if not names:
                break
            return names, types, usual
        if word == "@attribute":
            match = ATTRIBUTE.fullmatch(line)
            if not match or len(names) == MAX_ATTRIBUTES:
                raise DataError(f"{where}, line {number}: given {shorten(line)}, expected @attribute NAME TYPE")
            names.append(_unquoted(match[1]))
            kind = match[2].strip()
            types.append("nominal" if kind.startswith("{") else kind.split(None, 1)[0].lower())
            usual.append(_split(kind.strip("{}"))[0] if kind.startswith("{") else "0")
            if types[-1] == "relational":
                raise DataError(f"{where}, line {number}: {names[-1]!r} is relational, expected one value a row")
        elif word != "@relation":
            raise DataError(f"{where}, line {number}: given {shorten(line)}, expected @attribute NAME TYPE, or @data")
    raise DataError(f"{where} has no @attribute above @data, expected a file in ARFF")


def _split(line: str) -> list[str]:
    """Return the values of a row, in either kind of quotes."""
    separator = "\t" if "\t" in line and "," not in line else ","
    quote = "'" if "'" in line else '"'
    row = next(csv.reader([line], delimiter=separator, quotechar=quote, escapechar="\\", skipinitialspace=True))
    return [_unquoted(value.strip()) for value in row]


def _read_sparse(line: str, usual: list[str], where: str) -> list[str]:
    """Return all values of a sparse row ``{1 X, 3 Y}``: the others are 0, of a nominal attribute its first value."""
    values = list(usual)
    for pair in itertools.filterfalse(str.isspace, _split(line.strip("{} \t"))):
        index, _, value = pair.partition(" ")
        if not index.isdecimal() or int(index) >= len(usual):
            if not pair:
                continue
            raise DataError(f"{where}: given {shorten(pair)}, expected the index of an attribute and its value")
        values[int(index)] = _unquoted(value.strip())
    return values


def _unquoted(text: str) -> str:
    """Return a text without the quotes around it."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text
