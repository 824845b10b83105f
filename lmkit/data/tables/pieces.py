"""Pieces of a large table: read, parsed and checked ``PIECE_ROWS`` rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.tables.columns import MISSING, Columns, convert, infer_columns, parse_target, target_format
from lmkit.data.tables.files import arrow_options, is_delimited, read_names, strip_values
from lmkit.data.tables.missing import find_signs, replace_in_frame
from lmkit.data.tables.sniff import sniff
from lmkit.data.tables.table import find_infinite, raise_problems
from lmkit.exceptions import DataError, join_names
from lmkit.specs.data import DataSpec
from lmkit.specs.file_names import PARQUET
from lmkit.specs.inference import Target

if TYPE_CHECKING:
    import pandas as pd

    from lmkit.preprocessing.formats import Format

PIECE_ROWS = 2**14
"""Rows in memory at once, in a dozen copies at most while they are prepared."""


def read_header(spec: DataSpec) -> tuple[list[str], int | None]:
    """Return the names of the columns, and the number of rows; None: the file is not Parquet, which stores it.

    Raises:
        DataError: the file does not exist, or cannot be read.
    """
    path = Path(spec.source).expanduser()
    if not path.is_file():
        raise DataError(f"data.source: no file {spec.source!r}; the current folder is {str(Path.cwd())!r}")
    try:
        if path.suffix.lower() in PARQUET:
            from pyarrow.parquet import ParquetFile

            with ParquetFile(path) as file:
                return list(file.schema_arrow.names), file.metadata.num_rows
        return read_names(path, spec), None
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"data.source: {spec.source!r} cannot be read: {error}") from None


def infer_features(spec: DataSpec) -> Columns:
    """Return how the columns become features, as the first rows decide."""
    source, target = repr(spec.source), str(spec.target)
    names = [name for name in read_header(spec)[0] if name == target or name not in spec.drop]
    frame = next(_read(spec, names), None)
    if frame is None:
        raise DataError(f"data.source: {source} has no rows")
    signs = find_signs(frame, spec)
    frame = replace_in_frame(frame, signs.by_column)
    X = frame.drop(columns=target)
    columns = infer_columns(X, spec, source, _decimal(spec))
    columns.notes.extend(signs.notes)
    columns.warnings.extend(signs.warnings)
    columns = columns._replace(missing_values=signs.by_column)
    if not columns.names:
        columns.problems.append(f"data.source: {source} has no column to learn from; {'; '.join(columns.warnings)}")
    if is_delimited(spec.source):
        columns.problems.extend(_stray_columns(X, columns, spec, source))
    raise_problems(source, columns.problems, columns.drop)
    raise_problems(source, find_infinite(convert(X[columns.names], columns), source))
    layout = target_format(frame[target], _decimal(spec)) if spec.task in ("auto", "regression") else None
    if layout and (spec.task == "regression" or _is_number(parse_target(frame[target], layout))):
        columns = columns._replace(target=layout)
    return columns


def _is_number(y: pd.Series[Any]) -> bool:
    return Target.of(y.dropna()).infer_task() == "regression"


def iter_pieces(spec: DataSpec, columns: Columns) -> Iterator[tuple[pd.DataFrame, pd.Series[Any]]]:
    """Iterate over parsed features and targets, ``PIECE_ROWS`` rows at a time, without dropped rows."""
    import pandas as pd

    source = repr(spec.source)
    target = str(spec.target)
    pending: list[tuple[pd.DataFrame, pd.Series[Any]]] = []
    rows = 0
    for piece in _read(spec, [*columns.names, target]):
        frame = replace_in_frame(piece, columns.missing_values)
        y = _target(frame, spec, columns.target)
        X = _convert_piece(frame.loc[y.index, columns.names], columns, source)
        gaps = X.isna()
        if spec.missing == "drop":
            complete = ~gaps.any(axis=1)
            X, y = X[complete], y[complete]
        elif spec.missing == "error":
            empty = [str(name) for name in gaps.columns[gaps.any()] if name not in columns.categories]
            if empty:
                raise DataError(
                    f"{source} has missing values ({join_names(empty)}). Choose how to handle "
                    "them: data: {missing: drop}, or mean"
                )
            X = X.fillna(dict.fromkeys(columns.categories, MISSING)) if columns.categories else X
        elif any(gaps[name].any() for name in columns.categories):
            raise DataError(f"{source} has missing categories, which have no mean; use data: {{missing: drop}}")
        if not rows and len(y) == PIECE_ROWS:
            yield X, y
            continue
        pending.append((X, y))
        rows += len(y)
        if rows >= PIECE_ROWS:
            X, y = (pd.concat(parts) for parts in zip(*pending, strict=True))
            for start in range(0, rows - PIECE_ROWS + 1, PIECE_ROWS):
                yield X.iloc[start : start + PIECE_ROWS], y.iloc[start : start + PIECE_ROWS]
            end = rows - rows % PIECE_ROWS
            pending, rows = [(X.iloc[end:], y.iloc[end:])], rows - end
    if rows:
        X, y = (pd.concat(parts) for parts in zip(*pending, strict=True))
        yield X, y


def iter_targets(spec: DataSpec, columns: Columns) -> Iterator[pd.Series[Any]]:
    """Iterate over the target alone."""
    for frame in _read(spec, [str(spec.target)]):
        yield _target(replace_in_frame(frame, columns.missing_values), spec, columns.target)


def _decimal(spec: DataSpec) -> str:
    return sniff(Path(spec.source).expanduser(), spec).decimal if is_delimited(spec.source) else "."


def _stray_columns(X: pd.DataFrame, columns: Columns, spec: DataSpec, source: str) -> list[str]:
    """Return a problem for each column of numbers that was read as text because of text in later rows."""
    import pandas as pd

    problems = []
    for name in (*columns.categories, *columns.formats):
        column = X[name].dropna()
        text = name not in spec.categorical and len(column) and pd.api.types.is_string_dtype(column)
        if text and pd.to_numeric(column, errors="coerce").notna().all():
            problems.append(_stray_text(name, source))
    return problems


def _stray_text(name: Any, source: str) -> str:
    return (
        f"column {name!r} of {source} has text among its numbers; correct it, or use data: "
        f"{{categorical: [{name}]}} or {{drop: [{name}]}}"
    )


def _target(frame: pd.DataFrame, spec: DataSpec, layout: Format | None) -> pd.Series[Any]:
    """Return the target of the rows that have one, parsed where it has a format."""
    y = frame[spec.target]
    if layout is not None:
        y = parse_target(y, layout)
    if y.isna().any():
        if spec.missing == "drop":
            return y.dropna()
        raise DataError(
            f"data.target: {spec.target!r} is missing in rows of {spec.source!r}, which cannot be trained on; "
            "use data: {missing: drop}"
        )
    return y


def _convert_piece(X: pd.DataFrame, columns: Columns, source: str) -> pd.DataFrame:
    """Return the features of a piece."""
    try:
        converted = convert(X, columns)
    except (TypeError, ValueError):
        special = {*columns.categories, *columns.formats}
        name = next(n for n in X.columns if n not in special and not _is_numeric(X[n]))
        raise DataError(_stray_text(name, source)) from None
    raise_problems(source, find_infinite(converted, source))
    return converted


def _is_numeric(column: pd.Series[Any]) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column))


def _read(spec: DataSpec, columns: list[str]) -> Iterator[pd.DataFrame]:
    """Iterate over the rows of the file, up to ``PIECE_ROWS`` at a time, with the columns ``columns``."""
    path = Path(spec.source).expanduser()
    try:
        if path.suffix.lower() in PARQUET:
            from pyarrow.parquet import ParquetFile

            with ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(PIECE_ROWS, columns=columns, use_threads=False):
                    yield batch.to_pandas()
            return
        from pyarrow import csv

        # the first block decides the types
        padded = sniff(path, spec).padded
        with csv.open_csv(path, **arrow_options(path, spec, columns)) as file:
            for batch in file:
                for start in range(0, batch.num_rows, PIECE_ROWS):
                    frame = batch.slice(start, PIECE_ROWS).to_pandas()
                    yield strip_values(frame) if padded else frame
    except DataError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these
        is_value = "conversion error" in str(error)
        hint = "; if it stands for a missing value, use data: {missing_values: […]}" if is_value else ""
        raise DataError(f"data.source: {spec.source!r} cannot be read: {error}{hint}") from None
