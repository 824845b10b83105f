"""Files of tables: CSV of any separator, encoding and compression, Parquet, Feather, JSON records and Excel.

What a CSV file does not say is inferred from its beginning and reported: encoding, separator, decimal sign, comment
lines, and whether the first line is a header. ``data.encoding``, ``data.separator``, ``data.decimal`` and
``data.header`` take precedence.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import json
import lzma
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from lmkit.exceptions import DataError, nearest, shorten
from lmkit.specs.data import COMPRESSIONS, DELIMITED
from lmkit.system.optional import require

if TYPE_CHECKING:
    import pandas as pd

    from lmkit.specs.data import DataSpec

READ_NOTES, DECIMAL = "lmkit.notes", "lmkit.decimal"
"""Attributes of a table: what was inferred in reading it, and the decimal sign of its numbers."""

SAMPLE_BYTES = 2**18
"""Bytes of the beginning of a file that are looked at."""

SAMPLE_LINES = 100

SPACE = " "

NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", SPACE: "spaces"}
"""Separators that are recognized, with their names; spaces only between numbers, and where there is no other."""

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""The end of a name → the function that opens such a file, decompressed."""

MISSING_TEXTS = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""Texts that are missing values, whether pandas reads a file or pyarrow."""

YEARS = re.compile(r"(18|19|20)\d\d")


class TextFormat(NamedTuple):
    """How a CSV file is written.

    Attributes:
        encoding: Python's name of it.
        separator: between two values.
        names: the columns where no line names them; empty: a header does.
        decimal: the decimal sign.
        comments: lines at the beginning that are comments.
        notes: what was inferred and is not the usual, a sentence each.
    """

    encoding: str
    separator: str
    names: tuple[str, ...]
    decimal: str
    comments: int
    notes: tuple[str, ...]


def is_delimited(path: str | Path) -> bool:
    """Whether the name of a file is that of a CSV or TSV file, compressed or not."""
    return str(path).lower().endswith(DELIMITED)


def read_file(path: Path, spec: DataSpec) -> pd.DataFrame:
    """Read a file of a table, except for arrays.

    Raises:
        DataError: its content is no table.
        MissingPackage: a package for its format is not installed.
    """
    import pandas as pd

    name = path.name.lower()
    if is_delimited(path):
        return _read_delimited(path, spec)
    if name.endswith(".feather"):
        feather: pd.DataFrame = pd.read_feather(path)
        return feather
    if name.endswith(".xlsx"):
        require("openpyxl", extra="excel", purpose=f"data.source: {spec.source!r}")
        return _read_sheet(path, spec)
    if name.endswith((".json", ".jsonl")):
        return _read_records(path, spec)
    return pd.read_parquet(path)


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
        frame: pd.DataFrame = pd.read_excel(file, sheet_name=sheet if sheet in names and spec.sheet else int(sheet))
    if spec.sheet is None and len(names) > 1:
        others = ", ".join(map(repr, names[1:6])) + (", …" if len(names) > 6 else "")
        note = f"{spec.source!r}: its first sheet, {names[0]!r}, is read; others by data.sheet: {others}"
        frame.attrs[READ_NOTES] = [note]
    return frame


def read_names(path: Path, spec: DataSpec) -> list[str]:
    """Return the names of the columns of a CSV file."""
    import pandas as pd

    layout = sniff(path, spec)
    if layout.names:
        return list(layout.names)
    options = _pandas_options(layout)
    return [str(name) for name in pd.read_csv(path, nrows=0, **options).columns]


def sniff(path: Path, spec: DataSpec) -> TextFormat:
    """Return how a CSV file is written, by its beginning and by ``spec``."""
    encoding, text, notes = _decode(path, spec)
    lines = [line for line in text.splitlines()[: SAMPLE_LINES * 2] if line.strip()]
    comments = 0
    while comments < len(lines) and lines[comments].startswith("#"):
        comments += 1
    rows = lines[comments : comments + SAMPLE_LINES]
    separator = spec.separator or _find_separator(rows, path)
    if comments == 1 and rows and _is_named(lines[0].lstrip("# "), rows[0], separator, spec):
        comments, rows = 0, [lines[0], *rows]  # the header begins like a comment
    if not spec.separator and separator != ("\t" if ".tsv" in path.name.lower() else ","):
        notes = (*notes, f"its values are separated by {NAMES.get(separator, repr(separator))}")
    cells = [next(csv.reader([row], delimiter=separator), []) for row in rows]
    decimal = spec.decimal or ("," if separator != "," and _has_decimal_commas(cells) else ".")
    if decimal == "," and not spec.decimal:
        notes = (*notes, "its decimal sign is a comma")
    names: tuple[str, ...] = ()
    if cells and not (_has_header(cells, spec) if spec.header is None else spec.header):
        names = tuple(f"x{i}" for i in range(max(map(len, cells))))
        if spec.header is None:
            notes = (*notes, f"its first line is no header, and the columns are {names[0]} to {names[-1]}")
    if comments:
        notes = (*notes, f"{comments} lines at its beginning are comments")
    return TextFormat(encoding, separator, names, decimal, comments, notes)


def arrow_options(path: Path, spec: DataSpec, columns: list[str]) -> dict[str, Any]:
    """Return the options with which pyarrow reads a CSV file as pandas does, piece by piece."""
    from pyarrow import csv as arrow_csv

    layout = sniff(path, spec)
    return {
        "read_options": arrow_csv.ReadOptions(
            block_size=2**24,
            use_threads=False,
            encoding=layout.encoding.removesuffix("-sig"),
            skip_rows=layout.comments,
            column_names=list(layout.names) or None,
        ),
        "parse_options": arrow_csv.ParseOptions(delimiter=layout.separator),
        "convert_options": arrow_csv.ConvertOptions(
            include_columns=columns,
            strings_can_be_null=True,
            null_values=list(MISSING_TEXTS),
            decimal_point=layout.decimal,
            timestamp_parsers=[],
        ),
    }


# -- reading --------------------------------------------------------------------------------------


def _read_delimited(path: Path, spec: DataSpec) -> pd.DataFrame:
    import pandas as pd

    layout = sniff(path, spec)
    options = _pandas_options(layout)
    try:
        frame: pd.DataFrame = pd.read_csv(path, **options)
    except UnicodeDecodeError:
        if spec.encoding or layout.encoding != "utf-8":
            raise
        # a later part of the file is not UTF-8
        layout = layout._replace(encoding="cp1252", notes=(*layout.notes, _western_note()))
        frame = pd.read_csv(path, **_pandas_options(layout))
    if layout.notes:
        frame.attrs[READ_NOTES] = [f"{spec.source!r}: {note}" for note in layout.notes]
    frame.attrs[DECIMAL] = layout.decimal
    return frame


def _pandas_options(layout: TextFormat) -> dict[str, Any]:
    return {
        "sep": layout.separator,
        "encoding": layout.encoding,
        "decimal": layout.decimal,
        "skiprows": layout.comments,
        "keep_default_na": False,
        "na_values": list(MISSING_TEXTS),
        "comment": "#" if layout.comments else None,
        **({"header": None, "names": list(layout.names)} if layout.names else {}),
    }


def _read_records(path: Path, spec: DataSpec) -> pd.DataFrame:
    """Read a .json file of a list of records, or of columns, or a .jsonl file of a record a line."""
    import pandas as pd

    text = path.read_text(encoding=spec.encoding or "utf-8-sig")
    if path.suffix.lower() == ".jsonl":
        values: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
    else:
        values = json.loads(text)
    if isinstance(values, list) and all(isinstance(record, dict) for record in values):
        return pd.DataFrame(values)
    if isinstance(values, dict) and values and all(isinstance(column, list | dict) for column in values.values()):
        return pd.DataFrame(values).reset_index(drop=True)
    raise DataError(f'data.source: {spec.source!r} has no table, expected a list of records: [{{"a": 1, "y": 0}}, …]')


# -- sniffing -------------------------------------------------------------------------------------


def _decode(path: Path, spec: DataSpec) -> tuple[str, str, tuple[str, ...]]:
    """Return the encoding of a file, the text of its beginning, and what was inferred."""
    with _open(path, spec) as file:
        content = file.read(SAMPLE_BYTES)
    is_cut = len(content) == SAMPLE_BYTES
    encoding, notes = spec.encoding or _find_encoding(content), tuple[str, ...]()
    if not spec.encoding and encoding == "cp1252":
        notes = (_western_note(),)
    elif not spec.encoding and encoding.startswith("utf-16"):
        notes = (f"it is encoded as {encoding}",)
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(content, final=not is_cut)
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(
            f"data.source: {spec.source!r} cannot be read: {error}; give its encoding: data: {{encoding: …}}"
        ) from None
    if is_cut:
        text = text[: text.rfind("\n") + 1] or text
    return encoding, text, notes


def _open(path: Path, spec: DataSpec) -> IO[bytes]:
    """Open a file, decompressed by its name."""
    suffix = path.suffix.lower()
    if suffix not in COMPRESSIONS:
        return path.open("rb")
    if suffix != ".zip":
        file: IO[bytes] = OPENERS[suffix](path)
        return file
    archive = zipfile.ZipFile(path)
    members = [name for name in archive.namelist() if not name.endswith("/")]
    if len(members) != 1:
        raise DataError(
            f"data.source: {spec.source!r} has {len(members)} files ({', '.join(members[:5])}), expected one; unpack "
            "it, and name the file"
        )
    return archive.open(members[0])


def _western_note() -> str:
    return "it is not UTF-8, and read as cp1252 (Western European); for another use data: {encoding: …}"


def _find_encoding(content: bytes) -> str:
    """Return the encoding that the beginning of a file has."""
    if content.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    zeros = [content[i::2].count(0) for i in (0, 1)]
    if max(zeros) > 0.2 * len(content):
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _find_separator(rows: list[str], path: Path) -> str:
    """Return the separator by which most lines have the same number of values, the most of all."""
    usual = "\t" if ".tsv" in path.name.lower() else ","
    best, best_score = usual, (0.0, 0)
    for separator in (usual, *(s for s in NAMES if s not in (usual, SPACE))):
        widths = Counter(len(row) for row in csv.reader(rows, delimiter=separator) if row)
        width, lines = widths.most_common(1)[0] if widths else (0, 0)
        score = (lines / max(1, widths.total()), width)
        if width > 1 and score[0] >= 0.8 and (round(score[0], 1), width) > (round(best_score[0], 1), best_score[1]):
            best, best_score = separator, score
    if best_score == (0.0, 0) and _are_spaced_numbers(rows):
        return SPACE
    return best


def _are_spaced_numbers(rows: list[str]) -> bool:
    """Whether every line has the same number of values between single spaces, and most of them are numbers."""
    cells = [row for row in csv.reader(rows, delimiter=SPACE) if row]
    if len({len(row) for row in cells}) != 1 or len(cells[0]) < 2:
        return False
    values = [_is_number(cell) for row in cells[1:] or cells for cell in row]
    return 2 * sum(values) > len(values)  # the words of a text are no table


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().replace(",", "."))
    except ValueError:
        return False
    return True


def _has_decimal_commas(rows: list[list[str]]) -> bool:
    """Whether numbers have decimal commas, and none has a decimal point."""
    cells = [cell.strip() for row in rows[1:] for cell in row]
    commas = any(re.fullmatch(r"[+-]?\d+,\d+", cell) for cell in cells)
    points = (cell for cell in cells if re.fullmatch(r"[+-]?\d+\.\d+", cell))
    return commas and all(re.fullmatch(r"[+-]?\d{1,3}\.\d{3}", cell) for cell in points)  # thousands


def _has_header(rows: list[list[str]], spec: DataSpec) -> bool:
    """Whether the first row names the columns: it has no number, except for numbers of columns and years."""
    first = [cell.strip() for cell in rows[0]]
    if len(rows) < 2 or {spec.target, *spec.drop, *spec.categorical} & set(first):
        return True
    numbers = [cell for cell in first if _is_number(cell)]
    if not numbers or len(set(numbers)) < len(numbers):
        return not numbers
    counts = (list(map(str, range(start, start + len(numbers)))) for start in (0, 1))
    return numbers in counts or all(YEARS.fullmatch(cell) for cell in numbers)


def _is_named(header: str, row: str, separator: str, spec: DataSpec) -> bool:
    """Whether a line names the columns of the next one."""
    cells = [next(csv.reader([text], delimiter=separator), []) for text in (header, row)]
    return len(cells[0]) == len(cells[1]) > 1 and _has_header(cells, spec) and any(map(_is_number, cells[1]))
