"""Signs that stand for missing values in a table: those of ``data.missing_values``, or those that are inferred."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.exceptions import join_names
from lmkit.preprocessing.formats import DATE_FORMATS, parse_date, parse_number, replace_signs

if TYPE_CHECKING:
    import pandas as pd

    from lmkit.specs.data import DataSpec

Sign = str | int | float

ANYWHERE = frozenset(("?", "??", "n/a", "n.a.", "n.a", "#n/a", "<na>", "(missing)", "(null)", ""))
"""Texts, in small letters, that are missing values in a column of categories, too."""

AMONG_NUMBERS = ANYWHERE.union(
    ("-", "--", "---", "–", "—", ".", "..", "...", "*", "**", "x", "na", "nan", "null", "nil", "none", "nd", "n/d"),
    ("n.d.", "n/k", "nk", "tbd", "tba", "unk", "unknown", "undefined", "unspecified", "missing", "empty", "blank"),
    ("not available", "not known", "not recorded", "not applicable", "not reported", "not specified", "not given"),
    ("no data", "no answer", "#div/0!", "#value!", "#ref!", "#num!", "#name?"),
    ("unbekannt", "keine angabe", "k.a.", "inconnu", "desconocido", "s/d"),
)
"""Texts, in small letters, that are missing values where all others of their column are numbers or dates."""

LOW_CODES = (-9, -99, -999, -9999, -99999)
HIGH_CODES = (99, 999, 9999, 99999, 999999)
"""Numbers that often stand for a missing one."""

TRIED_TEXTS = 100
"""Texts of a column that are tried as dates."""


class Signs(NamedTuple):
    """What stands for missing values.

    Attributes:
        by_column: column → its signs.
        notes: what was inferred, a sentence each.
        warnings: what may be a missing value, and was not taken for one, a sentence each.
    """

    by_column: dict[Any, list[Any]]
    notes: list[str]
    warnings: list[str]


def find_signs(frame: pd.DataFrame, spec: DataSpec) -> Signs:
    """Return what stands for missing values in the columns of a table, or in the first rows of a stream."""
    import numpy as np

    columns = [name for name in frame.columns if name not in spec.drop]
    if spec.missing_values is not None:
        configured = _with_numbers(spec.missing_values)
        return Signs(dict.fromkeys(columns, configured) if configured else {}, [], [])
    by_column: dict[Any, list[Any]] = {}
    counts = []
    plain = {name for name, dtype in frame.dtypes.items() if isinstance(dtype, np.dtype) and dtype.kind in "biuf"}
    for name in columns:
        if name not in plain and (signs := list(_signs_of(frame[name]))):
            by_column[name] = signs
            rows = int(frame[name].isin(signs).sum())
            counts.append(f"{', '.join(map(repr, signs[:3]))} in {name!r} ({rows:,} rows)")
    notes = [f"read as missing values: {join_names(counts)}"] if counts else []
    return Signs(by_column, notes, _find_codes(frame[columns]))


def replace_in_frame(frame: pd.DataFrame, by_column: Mapping[Any, list[Any]]) -> pd.DataFrame:
    """Return a table with missing values in place of their signs; texts become numbers where all others are."""
    import pandas as pd

    present = {name: signs for name, signs in by_column.items() if name in frame.columns}
    if not present:
        return frame
    attributes = frame.attrs
    frame = frame.copy(deep=False)
    for name, signs in present.items():
        column: Any = frame[name]
        if _is_text(column):
            plain: Any = column.astype(object)
            values = replace_signs(plain.to_numpy(dtype=object, na_value=None), signs)
            texts = pd.Series(values, index=frame.index, name=name, dtype=object)
            frame[name] = texts
            with contextlib.suppress(ValueError, TypeError):
                frame[name] = pd.to_numeric(texts) if texts.notna().any() else texts
        elif pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            numbers = [sign for sign in signs if not isinstance(sign, str)]
            frame[name] = column.mask(column.isin(numbers)) if numbers else column
    frame.attrs = attributes
    return frame


def _with_numbers(signs: Sequence[Sign]) -> list[Sign]:
    """Return signs; those that are numbers, as number and as text."""
    result: dict[Sign, None] = {}
    for sign in signs:
        result[sign] = None
        if isinstance(sign, str):
            with contextlib.suppress(ValueError):
                result[float(sign)] = None
        else:
            result[f"{sign:g}"] = None
    return list(result)


def _is_text(column: pd.Series[Any]) -> bool:
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return bool(pd.api.types.is_string_dtype(column.dtype.categories.dtype))
    return bool(pd.api.types.is_string_dtype(column) or column.dtype == object)


def _signs_of(column: pd.Series[Any]) -> tuple[str, ...]:
    """Return the texts of a column that stand for missing values."""
    if not _is_text(column):
        return ()
    values = list(column.drop_duplicates())
    texts = [value for value in values if isinstance(value, str)]
    signs = [text for text in texts if text.strip().lower() in AMONG_NUMBERS]
    if not signs or len(signs) == len(texts) == len(values):
        return ()
    others = [text for text in texts if text.strip().lower() not in AMONG_NUMBERS]
    if others and (_are_numbers(others) or _are_dates(others)):
        return tuple(signs)
    return tuple(text for text in signs if text.strip().lower() in ANYWHERE)


def _are_numbers(texts: list[str]) -> bool:
    return any(all(parse_number(text, sign) is not None for text in texts) for sign in (".", ","))


def _are_dates(texts: list[str]) -> bool:
    first = texts[:TRIED_TEXTS]
    return any(all(parse_date(text, layout) is not None for text in first) for layout in DATE_FORMATS)


def _find_codes(frame: pd.DataFrame) -> list[str]:
    """Return a warning for each column with a number far from its others that often stands for a missing one."""
    warnings: list[str] = []
    numbers = frame.select_dtypes("number")
    numbers = numbers.loc[:, [dtype.kind != "c" for dtype in numbers.dtypes]]
    if numbers.empty:
        return warnings
    candidates = numbers.min().isin(LOW_CODES) | numbers.max().isin(HIGH_CODES)
    for name, column in numbers.loc[:, candidates.to_numpy()].items():
        low, high = column.min(), column.max()
        for code, codes in ((low, LOW_CODES), (high, HIGH_CODES)):
            if code not in codes:
                continue
            others = column[column.notna() & (column != code)]
            count = int((column == code).sum())
            is_far = len(others) > count and (others.min() >= 0 if code < 0 else others.max() * 4 < code)
            if count > 1 and is_far:
                warnings.append(
                    f"{name!r} is {code:g} in {count:,} rows, and {others.min():g} to {others.max():g} in the others: "
                    f"if that stands for a missing value, use data: {{missing_values: [{code:g}]}}"
                )
    return warnings
