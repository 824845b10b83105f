"""Files of tables: text of any separator, encoding and compression, Parquet, Feather, JSON, ARFF and Excel.

What a file of text does not say is inferred from its beginning and reported, see ``lmkit.data.tables.sniff``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.tables.sniff import (
    COLUMNS,
    DECIMAL,
    READ_NOTES,
    SPACES,
    TextFormat,
    count_lines,
    count_titles,
    describe_repeated,
    find_repeated,
    foreign_note,
    has_units,
    sniff,
)
from lmkit.exceptions import DataError, join_names, nearest, shorten
from lmkit.specs.file_names import COMPRESSIONS, DELIMITED, RECORDS
from lmkit.system.optional import require

if TYPE_CHECKING:
    import pandas as pd

    from lmkit.specs.data import DataSpec

MISSING_TEXTS = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""Texts that are missing values, whether pandas reads a file or pyarrow."""

SHEET_ROWS = 50
"""Rows of a sheet that are looked at for a title and units."""


def is_delimited(path: str | Path) -> bool:
    """Whether the name of a file is that of a file of text with a row a line, compressed or not."""
    return str(path).lower().endswith((*DELIMITED, ".txt"))


def read_file(path: Path, spec: DataSpec) -> pd.DataFrame:
    """Read a file of a table, except for arrays.

    Raises:
        DataError: its content is no table.
        MissingPackage: a package for its format is not installed.
    """
    import pandas as pd

    name = path.name.lower()
    bare = name.removesuffix(path.suffix.lower()) if path.suffix.lower() in COMPRESSIONS else name
    if is_delimited(path):
        return _read_delimited(path, spec)
    if bare.endswith(RECORDS):
        from lmkit.data.tables.records import read_records

        return read_records(path, spec)
    if bare.endswith(".arff"):
        from lmkit.data.tables.arff import read_arff

        return read_arff(path, spec)
    if name.endswith(".feather"):
        feather: pd.DataFrame = pd.read_feather(path)
        return feather
    if name.endswith(".xlsx"):
        require("openpyxl", extra="excel", purpose=f"data.source: {spec.source!r}")
        return _read_sheet(path, spec)
    return pd.read_parquet(path)


def unique_names(frame: pd.DataFrame, target: str | None = None) -> pd.DataFrame:
    """Return a table whose columns have different names as text: ``a`` twice becomes ``a`` and ``a.1``, which is noted.

    Raises:
        DataError: the target is such a name.
    """
    frame = frame.rename(columns=str)
    repeated = find_repeated(list(frame.columns))
    if not repeated:
        return frame
    if target in repeated:
        raise DataError(f"data.target: several columns are named {target!r}, expected one; rename or remove the others")
    attributes = {**frame.attrs, READ_NOTES: [*frame.attrs.get(READ_NOTES, ()), describe_repeated(repeated)]}
    frame = frame.set_axis(_renamed(list(frame.columns)), axis=1)
    frame.attrs = attributes
    return frame


def read_names(path: Path, spec: DataSpec) -> list[str]:
    """Return the names of the columns of a file of text."""
    import pandas as pd

    layout = sniff(path, spec)
    if layout.names:
        return list(layout.names)
    if layout.padded:
        return _renamed(list(layout.columns))
    return [str(name) for name in pd.read_csv(path, nrows=0, **_pandas_options(layout)).columns]


def arrow_options(path: Path, spec: DataSpec, columns: list[str]) -> dict[str, Any]:
    """Return the options with which pyarrow reads a file of text as pandas does, piece by piece.

    Raises:
        DataError: pyarrow cannot read such a file.
    """
    from pyarrow import csv as arrow_csv

    layout = sniff(path, spec)
    if layout.separator in (SPACES, COLUMNS):
        raise DataError(
            f"data.streaming: the columns of {spec.source!r} are aligned by spaces, and such a file cannot be read "
            "piece by piece; use data: {streaming: off} if it fits in memory, or write it with commas"
        )
    missing = [str(value) for value in spec.missing_values or ()]
    return {
        "read_options": arrow_csv.ReadOptions(
            block_size=2**24,
            use_threads=False,
            encoding=layout.encoding.removesuffix("-sig"),
            skip_rows=layout.first_row,
            column_names=read_names(path, spec),
        ),
        "parse_options": arrow_csv.ParseOptions(delimiter=layout.separator),
        "convert_options": arrow_csv.ConvertOptions(
            include_columns=columns,
            strings_can_be_null=True,
            null_values=[*MISSING_TEXTS, *missing],
            decimal_point=layout.decimal,
            timestamp_parsers=[],
        ),
    }


# -- reading --------------------------------------------------------------------------------------


def _read_delimited(path: Path, spec: DataSpec) -> pd.DataFrame:
    import pandas as pd

    layout = sniff(path, spec)
    if spec.target in layout.repeated:
        unique_names(pd.DataFrame(columns=[spec.target] * 2), spec.target)  # raises
    try:
        frame: pd.DataFrame = pd.read_csv(path, **_pandas_options(layout))
    except UnicodeDecodeError:
        if spec.encoding or layout.encoding != "utf-8":
            raise
        # a later part of the file is not UTF-8
        note = foreign_note("cp1252", "Western European")
        layout = layout._replace(encoding="cp1252", notes=(*layout.notes, note))
        frame = pd.read_csv(path, **_pandas_options(layout))
    if layout.padded:
        frame = strip_values(frame).set_axis(_renamed(list(layout.names or layout.columns)), axis=1)
    frame, notes = _drop_footer(frame)
    if layout.notes or notes:
        frame.attrs[READ_NOTES] = [f"{spec.source!r}: {note}" for note in (*layout.notes, *notes)]
    frame.attrs[DECIMAL] = layout.decimal
    return frame


def strip_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table without spaces around its texts; numbers among them, and nothing but spaces, become such."""
    import pandas as pd

    frame = frame.copy()
    for name in frame.columns:
        if pd.api.types.is_string_dtype(frame[name]) or frame[name].dtype == object:
            texts = frame[name].map(lambda v: v.strip() if isinstance(v, str) else v)
            texts = texts.where(~texts.isin(MISSING_TEXTS), None)
            numbers = pd.to_numeric(texts, errors="coerce")
            frame[name] = numbers if texts.notna().any() and numbers.notna().equals(texts.notna()) else texts
    return frame


def _pandas_options(layout: TextFormat) -> dict[str, Any]:
    return {
        "sep": layout.separator,
        "encoding": layout.encoding,
        "decimal": layout.decimal,
        "skiprows": list(layout.skipped),
        "keep_default_na": False,
        "na_values": list(MISSING_TEXTS),
        "comment": "#" if layout.comments else None,
        "skipinitialspace": layout.padded,
        **({"engine": "python"} if layout.separator == COLUMNS else {}),
        **({"header": None, "names": list(layout.names)} if layout.names else {}),
    }


def _drop_footer(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return a table without notes below its rows: lines of one text, in the first column, which else has numbers."""
    import pandas as pd

    if frame.shape[1] < 3 or len(frame) < 3 or pd.api.types.is_numeric_dtype(frame.dtypes.iloc[0]):
        return frame, ()
    rows = len(frame)
    while rows > 1 and frame.iloc[rows - 1, 1:].isna().all() and isinstance(frame.iat[rows - 1, 0], str):
        rows -= 1
    if rows == len(frame):
        return frame, ()
    text = str(frame.iat[rows, 0])
    note = f"{count_lines(len(frame) - rows)} below its rows, {text[:60]!r}: no row"
    return frame.iloc[:rows].apply(_as_numbers), (note,)


def _as_numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of texts as numbers, where all of them are."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers if column.notna().any() and numbers.notna().equals(column.notna()) else column


def _renamed(names: list[str]) -> list[str]:
    """Return names that differ, as pandas makes them: the second ``a`` is ``a.1``."""
    used: set[str] = set()
    result = []
    for name in names:
        new, number = name, 0
        while new in used or (number and new in names):
            number += 1
            new = f"{name}.{number}"
        used.add(new)
        result.append(new)
    return result


def _read_sheet(path: Path, spec: DataSpec) -> pd.DataFrame:
    """Read a sheet of an Excel file; a note says which it is where there are several.

    Raises:
        DataError: there is no such sheet.
    """
    import pandas as pd

    with pd.ExcelFile(path, engine="openpyxl") as file:
        names = [str(name) for name in file.sheet_names]
        sheet = spec.sheet or "0"
        if sheet not in names and not (sheet.isdecimal() and int(sheet) < len(names)):
            problem = f"{spec.source!r} has no sheet {shorten(sheet)}; {nearest(sheet, names, 'sheets:')}"
            raise DataError(f"data.sheet: {problem}")
        options: dict[str, Any] = {"sheet_name": sheet if sheet in names and spec.sheet else int(sheet)}
        first = pd.read_excel(file, header=None, nrows=SHEET_ROWS, **options)
        cells = [["" if pd.isna(cell) else str(cell) for cell in row] for row in first.to_numpy(dtype=object)]
        titles = count_titles(cells)
        cells = cells[titles:]
        units = has_units(cells)
        skipped = [*range(titles), *([titles + 1] if units else [])]
        frame: pd.DataFrame = pd.read_excel(file, skiprows=skipped, **options)
    notes = []
    if spec.sheet is None and len(names) > 1:
        others = join_names(map(repr, names[1:]))
        notes.append(f"its first sheet, {names[0]!r}, is read; others by data.sheet: {others}")
    if titles:
        notes.append(f"{count_lines(titles)} above its header: a title")
    if units:
        notes.append(f"the line below its header has units, and is no row: {join_names(cells[1])}")
    if cells and (repeated := find_repeated(cells[0])):
        notes.append(describe_repeated(repeated))
        if spec.target in repeated:
            unique_names(pd.DataFrame(columns=[spec.target] * 2), spec.target)  # raises
    if notes:
        frame.attrs[READ_NOTES] = [f"{spec.source!r}: {note}" for note in notes]
    return frame
