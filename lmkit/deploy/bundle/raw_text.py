"""Columns of text inside an ONNX file: categories by name, numbers as people write them, and dates become numbers.

ONNX has no regular expressions: a text is split at a sign (``StringSplit``), its pieces are joined (``StringConcat``)
and read as a number (``Cast``). Days are counted as in https://howardhinnant.github.io/date_algorithms.html.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.preprocessing.formats import DAY, ISO

OPSET = 20
"""The version of the operations that has StringSplit and StringConcat."""

CURRENCIES = ("$", "€", "£", "¥", "₹", "₩", "USD", "EUR", "CHF", "GBP", "JPY", "CNY", "INR")
"""What may stand before a number; what stands behind it is skipped in reading it."""

BLANKS = (" ", "\u00a0", "\u202f", "'", "’")
"""Signs between thousands."""

MAX_GROUPS = 6
"""Signs between thousands in a number at most."""

MONTHS = {
    spelled: month
    for month in range(1, 13)
    for name in (calendar.month_name[month], calendar.month_abbr[month])
    for spelled in (name, name.lower(), name.upper())
}
"""Name of a month → its number."""

DIRECTIVES = frozenset("YymdHIMSbBp")


class Nodes:
    """Operations and constants of an ONNX graph, which are added one by one.

    Attributes:
        nodes: the operations.
        constants: the tensors.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operation: str, *inputs: Any, result: str = "", outputs: int = 1, **attributes: Any) -> str:
        """Add an operation, and return the name of its first result; an input is a name, or the values of a constant.

        Args:
            operation: such as ``Add``.
            inputs: names of results, or arrays.
            result: its name; else one is made.
            outputs: the number of results.
            attributes: of the operation.
        """
        import numpy as np
        from onnx import helper, numpy_helper

        names = []
        for value in inputs:
            if isinstance(value, str):
                names.append(value)
                continue
            array = np.asarray(value)
            array = array.astype(object) if array.dtype.kind == "U" else array
            self.constants.append(numpy_helper.from_array(array, f"{self.prefix}constant_{len(self.constants)}"))
            names.append(self.constants[-1].name)
        name = result or f"{self.prefix}{len(self.nodes)}"
        results = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        label = f"{self.prefix}{operation}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, names, results, name=label, **attributes))
        return name

    def real(self, name: str) -> str:
        """Return texts or whole numbers as numbers."""
        from onnx import TensorProto

        return self.add("Cast", name, to=TensorProto.DOUBLE)

    def whole(self, name: str) -> str:
        """Return numbers without their fractions."""
        from onnx import TensorProto

        return self.add("Cast", name, to=TensorProto.INT64)

    def any_of(self, text: str, values: Sequence[str]) -> str:
        """Return whether texts (rows, 1) are one of several."""
        result = ""
        for value in values:
            equal = self.add("Equal", text, [[value]])
            result = self.add("Or", result, equal) if result else equal
        return result

    def split(self, text: str, sign: str, count: int = 1) -> list[str]:
        """Return the pieces (rows, 1) of texts between the first ``count`` signs; empty where there are fewer."""
        import numpy as np

        longer = self.add("Concat", text, [[sign * count]], axis=0)  # so that there are as many pieces in any case
        pieces = self.add("StringSplit", longer, outputs=2, delimiter=sign, maxsplit=count)
        first, last, axis = (np.array([n], dtype=np.int64) for n in (0, -1, 0))
        pieces = self.add("Slice", pieces, first, last, axis)
        return [self.add("Gather", pieces, np.int64(i), axis=2) for i in range(count + 1)]

    def join(self, pieces: Sequence[Any]) -> str:
        """Return texts one after the other."""
        text, *others = pieces
        for other in others:
            text = self.add("StringConcat", text, other)
        return str(text)

    def remove(self, text: str, sign: str, count: int = 1) -> str:
        """Return texts without a sign, of which there are at most ``count``."""
        return self.join(self.split(text, sign, count))


def unsupported(column_format: Mapping[str, Any]) -> str:
    """Return why a column cannot be read inside an ONNX file; empty where it can."""
    if column_format["type"] == "duration":
        return "has durations"
    if column_format["type"] == "number":
        return "" if column_format["decimal"] in (".", ",") else "has numbers with either decimal sign"
    layout = column_format["format"]
    directives = set(re.findall(r"%(.)", layout))
    if layout != ISO and not (directives <= DIRECTIVES and re.fullmatch(r"(%\w[^%\w]*)+", layout)):
        return f"has dates as {layout}"
    return ""


def read_column(
    nodes: Nodes, text: str, name: str, column_format: Mapping[str, Any] | None, signs: Sequence[str]
) -> dict[str, str]:
    """Return feature → its values (rows, 1), NaN where missing, of a column of texts.

    Args:
        nodes: of the graph.
        text: the texts (rows, 1).
        name: of the column.
        column_format: of its values; None: plain numbers.
        signs: texts that stand for a missing value.
    """
    import numpy as np

    missing = nodes.any_of(text, signs)
    if column_format is None or column_format["type"] == "number":
        present = nodes.add("Where", missing, [["NaN"]], text)
        values = nodes.real(present) if column_format is None else _amount(nodes, present, column_format["decimal"])
        return {name: values}
    layout = column_format["format"]
    seconds = _iso_seconds(nodes, text, missing) if layout == ISO else _seconds(nodes, text, missing, layout)
    parts = _date_parts(nodes, seconds, column_format["newest"], column_format["parts"])
    return {f"{name}.{part}": nodes.add("Where", missing, np.array([[np.nan]]), parts[part]) for part in parts}


def _amount(nodes: Nodes, text: str, decimal: str) -> str:
    """Return numbers as people write them."""
    import numpy as np

    negative = nodes.add("Or", *(nodes.add("Not", _is_empty(nodes, text, sign)) for sign in ("(", "−")))
    for sign in ("(", "−", *CURRENCIES):
        text = nodes.remove(text, sign)
    for sign in (*BLANKS, "," if decimal == "." else "."):
        text = nodes.remove(text, sign, MAX_GROUPS)
    if decimal == ",":
        whole, fraction = nodes.split(text, ",")
        text = nodes.join([whole, [["."]], fraction])
    number = nodes.real(text)
    return nodes.add("Where", negative, nodes.add("Mul", number, np.array([[-1.0]])), number)


def _is_empty(nodes: Nodes, text: str, sign: str) -> str:
    """Return whether texts (rows, 1) do not have a sign."""
    whole = nodes.split(text, sign)
    return nodes.add("Equal", text, whole[0])


def _number(nodes: Nodes, text: str) -> str:
    """Return texts of digits as numbers; an empty one as 0."""
    return nodes.real(nodes.add("Where", nodes.add("Equal", text, [[""]]), [["0"]], text))


def _clock(nodes: Nodes, text: str) -> str:
    """Return the seconds of times such as ``18:30:05``, whose last parts may be missing."""
    import numpy as np

    hours, minutes, seconds = (_number(nodes, part) for part in nodes.split(text, ":", 2))
    total = nodes.add("Mul", hours, np.array([[3600.0]]))
    total = nodes.add("Add", total, nodes.add("Mul", minutes, np.array([[60.0]])))
    return nodes.add("Add", total, seconds)


def _iso_seconds(nodes: Nodes, text: str, missing: str) -> str:
    """Return the seconds since 1970 of dates in ISO's format, in UTC where they have a zone."""
    text = nodes.add("Where", missing, [["1970-01-01"]], text)
    text = nodes.join([(pieces := nodes.split(text, "T"))[0], [[" "]], pieces[1]])
    date, time = nodes.split(text, " ")
    year, month, day = (_number(nodes, part) for part in nodes.split(date, "-", 2))
    time, ahead = nodes.split(nodes.remove(time, " "), "+")
    time, behind = nodes.split(time, "-")
    clock = nodes.add("Sub", nodes.add("Add", _clock(nodes, time), _clock(nodes, behind)), _clock(nodes, ahead))
    return _total(nodes, year, month, day, clock)


def _seconds(nodes: Nodes, text: str, missing: str, layout: str) -> str:
    """Return the seconds since 1970 of dates in a format of ``strptime``."""
    import numpy as np

    steps = re.findall(r"%(\w)([^%]*)", layout)
    usual = re.sub(r"%(\w)", lambda match: {"b": "Jan", "B": "January", "Y": "1970"}.get(match[1], "01"), layout)
    rest = nodes.add("Where", missing, [[usual]], text)
    parts: dict[str, str] = {}
    for directive, literal in steps:
        part, rest = nodes.split(rest, literal) if literal else (rest, rest)
        if directive in "bB":
            hits = nodes.real(nodes.add("Equal", part, [list(MONTHS)]))
            parts["m"] = nodes.add("MatMul", hits, np.array(list(MONTHS.values()), dtype=np.float64)[:, None])
        elif directive == "p":
            parts["p"] = nodes.real(nodes.any_of(part, ("PM", "pm", "Pm")))
        else:
            parts[directive] = _number(nodes, part)
    one, zero = nodes.add("Identity", np.array([[1.0]])), nodes.add("Identity", np.array([[0.0]]))
    year = parts.get("Y")
    if year is None:
        short = parts["y"]
        century = nodes.add("Where", nodes.add("Less", short, np.array([[69.0]])), [[2000.0]], [[1900.0]])
        year = nodes.add("Add", short, century)
    hours = parts.get("H", zero)
    if "I" in parts:
        half = nodes.add("Mod", parts["I"], np.array([[12.0]]), fmod=1)
        hours = nodes.add("Add", half, nodes.add("Mul", parts.get("p", zero), np.array([[12.0]])))
    clock = nodes.add("Mul", hours, np.array([[3600.0]]))
    clock = nodes.add("Add", clock, nodes.add("Mul", parts.get("M", zero), np.array([[60.0]])))
    clock = nodes.add("Add", clock, parts.get("S", zero))
    return _total(nodes, year, parts.get("m", one), parts.get("d", one), clock)


class _Whole:
    """Whole numbers (rows, 1) of a graph, with Python's operators; a division drops the fraction."""

    def __init__(self, nodes: Nodes, name: str) -> None:
        self.nodes, self.name = nodes, name

    def _with(self, operation: str, other: _Whole | int) -> _Whole:
        import numpy as np

        value = other.name if isinstance(other, _Whole) else np.array([[other]], dtype=np.int64)
        return _Whole(self.nodes, self.nodes.add(operation, self.name, value))

    def __add__(self, other: _Whole | int) -> _Whole:
        return self._with("Add", other)

    def __sub__(self, other: _Whole | int) -> _Whole:
        return self._with("Sub", other)

    def __mul__(self, other: _Whole | int) -> _Whole:
        return self._with("Mul", other)

    def __floordiv__(self, other: _Whole | int) -> _Whole:
        return self._with("Div", other)

    def __mod__(self, other: _Whole | int) -> _Whole:
        return self._with("Mod", other)

    def less(self, other: int) -> _Whole:
        """Return 1 where a number is less than another, else 0."""
        return _Whole(self.nodes, self.nodes.whole(self._with("Less", other).name))


def _total(nodes: Nodes, year: str, month: str, day: str, clock: str) -> str:
    """Return the seconds since 1970 of years, months, days and the seconds of the day."""
    import numpy as np

    years, months, days = (_Whole(nodes, nodes.whole(name)) for name in (year, month, day))
    years = years - months.less(3)
    era = years // 400
    of_era = years - era * 400
    of_year = (((months + 9) % 12) * 153 + 2) // 5 + days - 1
    since = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    return nodes.add("Add", nodes.add("Mul", nodes.real(since.name), np.array([[float(DAY)]])), clock)


def _date_parts(nodes: Nodes, seconds: str, newest: float, parts: Sequence[str]) -> dict[str, str]:
    """Return part → its numbers (rows, 1) of the seconds since 1970, as ``lmkit.preprocessing.formats.date_parts``."""
    import numpy as np

    whole = nodes.add("Floor", nodes.add("Div", seconds, np.array([[float(DAY)]])))
    of_day = nodes.add("Sub", seconds, nodes.add("Mul", whole, np.array([[float(DAY)]])))
    days = _Whole(nodes, nodes.whole(whole))
    shifted = days + 719_468
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    years = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (years * 365 + years // 4 - years // 100)
    march = (of_year * 5 + 2) // 153
    month = (march + 2) % 12 + 1
    values = {
        "year": nodes.real((years + era * 400 + month.less(3)).name),
        "month": nodes.real(month.name),
        "day": nodes.real((of_year - (march * 153 + 2) // 5 + 1).name),
        "weekday": nodes.real(((days + 3) % 7).name),
        "hour": nodes.add("Div", of_day, np.array([[3600.0]])),
        "age": nodes.add("Div", nodes.add("Sub", np.array([[newest]]), seconds), np.array([[float(DAY)]])),
    }
    return {part: values[part] for part in parts}
