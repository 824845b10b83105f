"""The columns of a table: which are numbers, categories, dates or numbers of rows, and their conversion."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data.tables.ids import find_ids, is_prose
from lmkit.data.tables.text_formats import TRIED_TEXTS, date_format, number_format, units_of
from lmkit.exceptions import join_names, shorten
from lmkit.preprocessing.formats import EITHER, PARTS, Format, date_parts, expand, parse_number, to_seconds
from lmkit.specs.values import plain_value

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmkit.specs.data import DataSpec

MISSING = "(missing)"
"""The category of missing values, in a column of categories."""


class Columns(NamedTuple):
    """How the columns of a table become features.

    Attributes:
        names: the columns that are used, in the order of the source.
        categories: those that are categories.
        formats: column → its format, where its values have a meaning that has to be parsed.
        notes: what was inferred, a sentence each.
        warnings: what was left out, a sentence each.
        problems: why it cannot be trained on, a sentence each.
        drop: the columns that the problems advise to leave out.
        target: the format of a target of numbers as people write them.
        missing_values: column → the values that stand for a missing one.
    """

    names: list[Any]
    categories: list[Any]
    formats: dict[Any, Format]
    notes: list[str]
    warnings: list[str]
    problems: list[str]
    drop: list[str]
    target: Format | None = None
    missing_values: Mapping[Any, list[Any]] = MappingProxyType({})

    def refuse(self, name: Any, problem: str) -> None:
        """Add a problem of a column that can be left out instead."""
        self.problems.append(f"{problem} use data: {{drop: [{name}]}}")
        self.drop.append(str(name))


def infer_columns(X: pd.DataFrame, spec: DataSpec, source: str, decimal: str = ".") -> Columns:
    """Return how the columns of ``X`` become features.

    Args:
        X: the features, or of a stream its first rows.
        spec: the data.
        source: the name of the source, for messages.
        decimal: the decimal sign that its numbers have, where a text can be read both ways.
    """
    import pandas as pd

    columns = Columns([], [], {}, [], [], [], [])
    ids = find_ids(X, spec, columns.notes, columns.warnings)
    for name, dtype in X.dtypes.items():
        where = f"column {name!r} of {source}"
        if name in ids:
            continue
        if name in spec.categorical:
            columns.categories.append(name)
        elif pd.api.types.is_complex_dtype(dtype):
            columns.refuse(name, f"{where} has complex numbers; make columns of their real and imaginary parts, or")
        elif pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
            pass
        elif pd.api.types.is_datetime64_any_dtype(dtype):
            if not _add_date(columns, name, X[name], "iso", spec):
                continue
        elif pd.api.types.is_timedelta64_dtype(dtype):
            columns.formats[name] = {"type": "duration"}
            columns.notes.append(f"{name!r} has durations: their days are a feature")
        else:
            if not _infer_text(columns, X[name], where, decimal, spec):
                continue
        columns.names.append(name)
    return columns


def convert(X: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return the features of a table, or of a piece of it: floats, and categories as text (None where missing).

    Raises:
        DataError: a value does not have the format of its column.
        TypeError, ValueError: a column of numbers has text.
    """
    import numpy as np
    import pandas as pd

    special = {*columns.categories, *columns.formats}
    numbers = [name for name in columns.names if name not in special]
    block = X[numbers].astype(np.float64)
    if not special:
        return block
    converted: dict[Any, Any] = {}
    for name in columns.names:
        if name in columns.categories:
            converted[name] = category_names(X[name])
        elif name in columns.formats:
            for feature, values in expand(str(name), plain_values(X[name]), columns.formats[name]).items():
                converted[name if feature == str(name) else feature] = pd.Series(values, index=X.index)
        else:
            converted[name] = block[name]
    return pd.DataFrame(converted, index=X.index)


def convert_target(y: pd.Series[Any], decimal: str = ".") -> pd.Series[Any]:
    """Return a target of numbers as people write them ("$1,234") as numbers; any other unchanged."""
    layout = target_format(y, decimal)
    return y if layout is None else parse_target(y, layout)


def parse_target(y: pd.Series[Any], layout: Format) -> pd.Series[Any]:
    """Return a target of numbers as people write them as numbers."""
    import pandas as pd

    values = expand(str(y.name), plain_values(y), layout)[str(y.name)]
    return pd.Series(values, index=y.index, name=y.name)


def target_format(y: pd.Series[Any], decimal: str = ".") -> Format | None:
    """Return the format of a target of numbers as people write them; None for any other target."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(y) or pd.api.types.is_datetime64_any_dtype(y):
        return None
    texts = y.dropna()
    if not all(isinstance(v, str) for v in texts):
        return None
    return number_format([str(v) for v in texts.unique()], decimal)


def category_names(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return the values of a column as names of categories; 1 and 1.0 are the same category."""
    return column.map(lambda v: str(plain_value(v)), na_action="ignore").astype(object)


# -- text -----------------------------------------------------------------------------------------


def _infer_text(columns: Columns, column: pd.Series[Any], where: str, decimal: str, spec: DataSpec) -> bool:
    """Add a column of text: numbers as people write them, dates, or categories; return whether it is a feature."""
    name = column.name
    present = column.dropna()
    if any(isinstance(v, list | tuple | set | dict) or getattr(v, "ndim", 0) for v in present.head(TRIED_TEXTS)):
        columns.refuse(name, f"{where} has lists in its cells, expected one value; make a column of each, or")
        return True
    distinct = present.map(str).drop_duplicates()
    texts = distinct.tolist()
    layout = number_format(texts, decimal)
    is_plain = layout is not None and all(_is_plain(v) for v in texts) and isinstance(present.iloc[0], str)
    if layout is not None and not (is_plain and len(texts) <= 20):
        columns.formats[name] = layout
        columns.notes.append(f"{name!r} has numbers as text, such as {texts[0]!r}: {_describe_number(layout)}")
        return True
    if written := date_format(texts):
        return _add_date(columns, name, column, written, spec)
    if len(units := units_of(texts)) > 1:
        columns.refuse(name, f"{where} has numbers in several units ({join_names(units)}); convert them to one, or")
        return True
    stray = distinct[[parse_number(v, ".") is None and parse_number(v, ",") is None for v in texts]]
    rows = int(present.map(str).isin(stray).sum())
    if 0 < rows < 0.5 * len(present):
        marks = "" if len(stray) > 3 else f" or {{missing_values: [{', '.join(map(repr, stray))}]}}"
        columns.problems.append(
            f"{where} has text in {rows} of {len(present)} numbers, first {shorten(stray.iloc[0])} in row "
            f"{stray.index[0]}; correct it, or use data: {{categorical: [{name}]}} or {{drop: [{name}]}}{marks}"
        )
        columns.drop.append(str(name))
    elif texts and not len(stray):
        columns.refuse(
            name, f"{where} has decimal points and commas, and {texts[0]!r} may be read both ways; correct it, or"
        )
    elif len(texts) > max(20, 0.5 * len(present)):
        what = "sentences rather than categories" if is_prose(present.map(str)) else "too many categories to learn from"
        columns.refuse(name, f"{where} has {len(texts)} different texts in {len(present)} rows, {what};")
    else:
        columns.categories.append(name)
    return True


def _describe_number(layout: Format) -> str:
    """Return how numbers of a format are read."""
    unit = f"in {layout['unit']}, " if layout.get("unit") else ""
    sign = "either decimal sign" if layout["decimal"] == EITHER else f"the decimal sign {layout['decimal']!r}"
    return f"read {unit}with {sign}"


def _is_plain(text: str) -> bool:
    """Whether a text is a number as Python writes it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _add_date(columns: Columns, name: Any, column: pd.Series[Any], layout: str, spec: DataSpec) -> bool:
    """Add a column of dates: those of its parts that vary, and its age; return whether any is left."""
    import numpy as np

    seconds = to_seconds(str(name), plain_values(column), layout)
    present = seconds[~np.isnan(seconds)]
    newest = float(present.max()) if len(present) else 0.0
    values = date_parts(present, newest)
    varying = [part for part in PARTS if part == "age" or len(np.unique(values[part])) > 1]
    parts = [part for part in varying if f"{name}.{part}" not in spec.drop]
    if not parts:
        return False
    columns.formats[name] = {"type": "date", "format": layout, "parts": parts, "newest": newest}
    written = "" if layout == "iso" else f" as {layout}"
    age = " (days before the newest)" if "age" in parts else ""
    columns.notes.append(f"{name!r} has dates{written}: its features are {', '.join(parts)}{age}")
    return True


def plain_values(column: pd.Series[Any]) -> np.ndarray:
    """Return the values (rows,) of a column for ``expand``."""
    import pandas as pd

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    values: np.ndarray = column.to_numpy()
    if values.dtype.kind == "M":
        return values
    plain: Any = column.astype(object)
    objects: np.ndarray = plain.to_numpy(dtype=object, na_value=None)
    return objects
