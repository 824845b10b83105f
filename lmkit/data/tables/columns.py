"""The columns of a table: which are numbers, categories, dates or numbers of rows, and their conversion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.preprocessing.formats import (
    DATE_FORMATS,
    PARTS,
    Format,
    date_parts,
    expand,
    parse_date,
    parse_number,
    to_seconds,
)
from lmkit.specs.values import plain_value

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmkit.specs.data import DataSpec

MISSING = "(missing)"
"""The category of missing values, in a column of categories."""

NAMELESS = re.compile(r"(Unnamed: \d+|__index_level_\d+__|index|rownames|row_?number|)", re.IGNORECASE)
"""Names that programs give to the numbers of the rows."""

TRIED_VALUES = 200
"""Different values that are tried with all formats before the others are with the one that fits."""


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
    """

    names: list[Any]
    categories: list[Any]
    formats: dict[Any, Format]
    notes: list[str]
    warnings: list[str]
    problems: list[str]
    drop: list[str]
    target: Format | None = None


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
    for name, dtype in X.dtypes.items():
        where = f"column {name!r} of {source}"
        if name in spec.categorical:
            columns.categories.append(name)
        elif pd.api.types.is_complex_dtype(dtype):
            columns.problems.append(
                f"{where} has complex numbers; use their real and imaginary parts, or data: {{drop: [{name}]}}"
            )
            columns.drop.append(str(name))
        elif pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
            if numbers_rows(X[name]) and NAMELESS.fullmatch(str(name)):
                columns.warnings.append(
                    f"{name!r} numbers the rows ({_span(X[name])}) and is left out; to learn from it give it a name"
                )
                continue
        elif pd.api.types.is_datetime64_any_dtype(dtype):
            _add_date(columns, name, X[name], "iso")
        elif pd.api.types.is_timedelta64_dtype(dtype):
            columns.formats[name] = {"type": "duration"}
            columns.notes.append(f"{name!r} has durations: their days are a feature")
        else:
            _infer_text(columns, X[name], name, where, decimal)
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
    sign = _number_sign([v for v in texts.unique() if isinstance(v, str)], decimal)
    if sign is None or not all(isinstance(v, str) for v in texts):
        return None
    return {"type": "number", "decimal": sign}


def category_names(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return the values of a column as names of categories; 1 and 1.0 are the same category."""
    return column.map(lambda v: str(plain_value(v)), na_action="ignore").astype(object)


# -- text -----------------------------------------------------------------------------------------


def _infer_text(columns: Columns, column: pd.Series[Any], name: Any, where: str, decimal: str) -> None:
    """Add a column of text: numbers as people write them, dates, or categories."""
    present = column.dropna()
    if any(isinstance(v, list | tuple | set | dict) or getattr(v, "ndim", 0) for v in present.head(TRIED_VALUES)):
        columns.problems.append(
            f"{where} has lists in its cells, expected one value; make a column of each, or use data: "
            f"{{drop: [{name}]}}"
        )
        columns.drop.append(str(name))
        return
    distinct = present.map(str).drop_duplicates()
    texts = distinct.tolist()
    sign = _number_sign(texts, decimal)
    is_plain = sign is not None and all(_is_plain(v) for v in texts) and isinstance(present.iloc[0], str)
    if sign is not None and not (is_plain and len(texts) <= 20):
        columns.formats[name] = {"type": "number", "decimal": sign}
        columns.notes.append(f"{name!r} has numbers as text, such as {texts[0]!r}: read with the decimal sign {sign!r}")
        return
    if layout := _date_format(texts):
        _add_date(columns, name, column, layout)
        return
    stray = distinct[[parse_number(v, ".") is None and parse_number(v, ",") is None for v in texts]]
    rows = int(present.map(str).isin(stray).sum())
    if 0 < rows < 0.5 * len(present):
        columns.problems.append(
            f"{where} has text in {rows} of {len(present)} numbers, first {stray.iloc[0]!r} in row {stray.index[0]}; "
            f"correct it, or use data: {{categorical: [{name}]}} or {{drop: [{name}]}}"
        )
        columns.drop.append(str(name))
    elif len(texts) > max(20, 0.5 * len(present)):
        columns.problems.append(
            f"{where} has {len(texts)} different texts in {len(present)} rows, too many categories to learn from; "
            f"use data: {{drop: [{name}]}}"
        )
        columns.drop.append(str(name))
    else:
        columns.categories.append(name)


def _number_sign(texts: list[str], decimal: str) -> str | None:
    """Return the decimal sign with which all texts are numbers, the preferred one first; None where they are not."""
    if not texts:
        return None
    signs = (decimal, "," if decimal == "." else ".")
    return next((s for s in signs if all(parse_number(v, s) is not None for v in texts)), None)


def _is_plain(text: str) -> bool:
    """Whether a text is a number as Python writes it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _date_format(texts: list[str]) -> str | None:
    """Return the format in which all texts are dates; None where there is none."""
    if not texts or not any(c.isdigit() for c in texts[0]):
        return None
    first = texts[:TRIED_VALUES]
    for layout in DATE_FORMATS:
        if all(parse_date(v, layout) is not None for v in first) and all(
            parse_date(v, layout) is not None for v in texts[TRIED_VALUES:]
        ):
            return layout
    return None


def _add_date(columns: Columns, name: Any, column: pd.Series[Any], layout: str) -> None:
    """Add a column of dates: those of its parts that vary, and its age."""
    import numpy as np

    seconds = to_seconds(str(name), plain_values(column), layout)
    present = seconds[~np.isnan(seconds)]
    newest = float(present.max()) if len(present) else 0.0
    values = date_parts(present, newest)
    parts = [part for part in PARTS if part == "age" or len(np.unique(values[part])) > 1]
    columns.formats[name] = {"type": "date", "format": layout, "parts": parts, "newest": newest}
    written = "" if layout == "iso" else f" as {layout}"
    columns.notes.append(f"{name!r} has dates{written}: its features are {', '.join(parts)} (days before the newest)")


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


# -- row numbers ----------------------------------------------------------------------------------


def numbers_rows(column: pd.Series[Any]) -> bool:
    """Whether a column counts the rows, from 0 or from 1."""
    import numpy as np

    if len(column) < 2 or column.isna().any():
        return False
    values = column.to_numpy(dtype=np.float64)
    return bool(values[0] in (0, 1) and (np.diff(values) == 1).all())


def _span(column: pd.Series[Any]) -> str:
    return f"{column.iloc[0]:g} … {column.iloc[-1]:g}"
