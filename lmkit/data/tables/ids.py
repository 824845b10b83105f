"""Columns of a table that identify its rows: names, numbers and codes, from which nothing is learned about new rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lmkit.data.tables.text_formats import date_format, number_format, units_of
from lmkit.exceptions import join_names, shorten
from lmkit.preprocessing.formats import EITHER, parse_number

if TYPE_CHECKING:
    import pandas as pd

    from lmkit.specs.data import DataSpec

NAMELESS = re.compile(r"(Unnamed: \d+|__index_level_\d+__|index|rownames|row_?number|)", re.IGNORECASE)
"""Names that programs give to the numbers of the rows."""

IDENTIFIER = re.compile(
    r"(?i:(.*[\W_])?(ids?|uuid|guid|index|idx|row_?num(ber)?|row_?id|serial(_?no|_?number)?|nr|no\.?|number|key|hash))"
    r"|.*[a-z](Id|ID|Uuid|UUID|Nr|No|Number|Key)"
)
"""Names of columns that identify rows."""

TIME = re.compile(r"(?i)(.*[\W_])?(t|time|step|day|week|month|year|hour|minute|second|date|age|epoch|period|quarter)s?")
"""Names of columns that count time, from which something may be learned."""

MIN_ROWS = 20
"""Rows below which values that all differ say nothing."""

UNIQUE_SHARE = 0.95
"""Share of different texts above which they identify the rows."""

TEXT_WORDS = 6
"""Words of a text, on average, from which it is prose rather than a name."""


def find_ids(X: pd.DataFrame, spec: DataSpec, notes: list[str], warnings: list[str]) -> set[Any]:
    """Return the columns that identify rows: those of ``data.ids``, or those that are inferred; say so.

    Args:
        X: the features, or of a stream its first rows.
        spec: the data.
        notes: gets a sentence on the configured ones.
        warnings: gets a sentence on the inferred ones.
    """
    if spec.ids is not None:
        ids = {name for name in X.columns if name in spec.ids}
        if ids:
            notes.append(f"left out, as they identify the rows: {join_names(map(repr, sorted(ids, key=str)))}")
        return ids
    numbered, unique = [], []
    features = _features(X)
    for name in X.columns:
        if name in (*spec.categorical, spec.time) or name in features:
            continue
        column = X[name]
        if column.dtype.kind == "c":
            continue
        if _counts(column, str(name), X.shape[1]):
            numbered.append(name)
        elif identifies(column):
            unique.append(name)
    warnings.extend(
        f"{name!r} numbers the rows ({X[name].iloc[0]:g} … {X[name].iloc[-1]:g}) and is left out; to learn from it use "
        "data: {ids: []}"
        for name in numbered
    )
    if unique:
        example = shorten(X[unique[0]].dropna().iloc[0], 40)
        warnings.append(
            f"left out, as {'they identify' if len(unique) > 1 else 'it identifies'} the rows: "
            f"{join_names(map(repr, unique))}, such as {example}; to learn from {'them' if len(unique) > 1 else 'it'} "
            "use data: {ids: []}"
        )
    return {*numbered, *unique}


def _features(X: pd.DataFrame) -> set[Any]:
    """Return the columns of numbers that neither begin as numbers of rows do, nor are called an identifier."""
    import numpy as np

    names = [name for name, dtype in X.dtypes.items() if isinstance(dtype, np.dtype) and dtype.kind in "iuf"]
    if len(X) < 2 or not names:
        return set()
    first, second = X.iloc[:2][names].to_numpy(dtype=np.float64)
    is_other = second != first + 1
    return {n for n, other in zip(names, is_other, strict=True) if other and not IDENTIFIER.fullmatch(str(n))}


def numbers_rows(column: pd.Series[Any]) -> bool:
    """Whether a column of numbers counts the rows, from 0 or from 1."""
    import numpy as np

    if len(column) < 2 or column.iloc[0] not in (0, 1) or column.isna().any():
        return False
    values = column.to_numpy(dtype=np.float64)
    return bool((np.diff(values) == 1).all())


def identifies(column: pd.Series[Any]) -> bool:
    """Whether a column identifies rows: texts that differ in nearly all rows, or whole numbers that are called so."""
    import pandas as pd

    is_named, is_number = IDENTIFIER.fullmatch(str(column.name)) is not None, pd.api.types.is_numeric_dtype(column)
    if pd.api.types.is_bool_dtype(column) or (is_number and not is_named):
        return False
    present = column.dropna()
    if len(present) < MIN_ROWS:
        return False
    if is_number:
        return bool(present.is_unique) and bool((present % 1 == 0).all())
    if not all(isinstance(value, str) for value in present.head(MIN_ROWS)):
        return False
    first = present.head(1000).map(str)
    if first.nunique() < UNIQUE_SHARE * len(first):
        return False
    texts = present.map(str)
    is_unique = texts.nunique() >= UNIQUE_SHARE * len(texts)
    return is_unique and (is_named or _is_name(texts))


def is_prose(texts: pd.Series[Any]) -> bool:
    """Whether texts are sentences, by the number of their words."""
    return bool(texts.head(1000).map(lambda text: len(text.split())).mean() >= TEXT_WORDS)


def _is_name(texts: pd.Series[Any]) -> bool:
    """Whether texts that all differ are names or codes: no prose, and neither numbers nor dates."""
    sample = texts.head(200).tolist()
    numbers = sum(parse_number(text, EITHER) is not None for text in sample)
    if 2 * numbers > len(sample) or number_format(sample, ".") is not None or units_of(sample):
        return False
    return not is_prose(texts) and date_format(sample) is None


def _counts(column: pd.Series[Any], name: str, width: int) -> bool:
    """Whether a column merely counts the rows: it is called so, or is one of several and has no time."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or not numbers_rows(column):
        return False
    if NAMELESS.fullmatch(name):
        return True
    return len(column) >= MIN_ROWS and width > 1 and not TIME.fullmatch(name)
