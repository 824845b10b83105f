"""How a file of text holds a table, inferred from its beginning: encoding, separator, header, what is no row.

``data.encoding``, ``data.separator``, ``data.decimal`` and ``data.header`` take precedence.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import itertools
import lzma
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from lmkit.data.tables.encodings import find_encoding
from lmkit.exceptions import DataError, join_names
from lmkit.specs.file_names import COMPRESSIONS

if TYPE_CHECKING:
    from lmkit.specs.data import DataSpec

READ_NOTES, DECIMAL = "lmkit.notes", "lmkit.decimal"
"""Attributes of a table: what was inferred in reading it, and the decimal sign of its numbers."""

SAMPLE_BYTES = 2**18
"""Bytes of the beginning of a file that are looked at."""

SAMPLE_LINES = 100

TITLE_LINES = 10
"""Lines above a header at most that are a title."""

SPACE, SPACES, COLUMNS = " ", r"\s+", r"\s{2,}"
"""Separators of aligned columns: one space, any number of them, and at least two where values have single ones."""

NAMES = {
    **{",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"},
    **{SPACE: "spaces", SPACES: "spaces", COLUMNS: "several spaces"},
}
"""Separators that are recognized, with their names; spaces only where there is no other."""

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""The end of a name → the function that opens such a file, decompressed."""

YEARS = re.compile(r"(18|19|20)\d\d")

UNIT = re.compile(r"[\[(]?[^\W\d_%°][\w%°µμ/²³·*^\-. $€£¥]{0,11}[\])]?|[\[(].{1,12}[\])]|[%°$€£¥]\S{0,5}|-")
"""A unit as a line below a header names it."""

NO_UNITS = frozenset(("na", "nan", "n/a", "null", "none", "nil", "unknown", "missing", "-", "--", "?", ".", "*", ""))


class TextFormat(NamedTuple):
    """How a file of text holds a table.

    Attributes:
        encoding: Python's name of it.
        separator: between two values; of more than one letter a regular expression.
        names: the columns where no line names them; empty: a header does.
        decimal: the decimal sign.
        skipped: the lines, from 0, that are neither the header nor rows: comments, a title, units.
        header: the line of the header; −1: there is none.
        comments: whether lines that begin with # are comments.
        padded: whether values are padded with spaces.
        columns: the cells of the header.
        repeated: the names that several columns have.
        notes: what was inferred and is not the usual, a sentence each.
    """

    encoding: str
    separator: str
    names: tuple[str, ...]
    decimal: str
    skipped: tuple[int, ...]
    header: int
    comments: bool
    padded: bool
    columns: tuple[str, ...]
    repeated: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def first_row(self) -> int:
        """The number of lines above the first row."""
        return max((*self.skipped, self.header), default=-1) + 1


def sniff(path: Path, spec: DataSpec) -> TextFormat:
    """Return how a file of text holds a table, by its beginning and by ``spec``."""
    encoding, text, notes = _decode(path, spec)
    lines = [(i, line) for i, line in enumerate(text.splitlines()[: SAMPLE_LINES * 2]) if line.strip()]
    skipped: list[int] = []
    separator = spec.separator
    if lines and (match := re.fullmatch(r"\"?sep=(.)\"?", lines[0][1].strip("\ufeff"), re.IGNORECASE)):
        separator = separator or match[1]
        skipped.append(lines.pop(0)[0])
    comments = list(itertools.takewhile(lambda line: line[1].startswith("#"), lines))
    rows = lines[len(comments) : len(comments) + SAMPLE_LINES]
    separator = separator or _find_separator([line for _, line in rows], path)
    if len(comments) == 1 and rows and _is_named(comments[0][1].lstrip("# "), rows[0][1], separator, spec):
        comments, rows = [], [*comments, *rows]  # the header begins like a comment
    skipped += [number for number, _ in comments]
    if not (spec.separator or len(skipped) > len(comments)) and separator != (
        "\t" if ".tsv" in path.name.lower() else ","
    ):
        notes = (*notes, f"its values are separated by {NAMES.get(separator, repr(separator))}")
    padded = separator not in (SPACE, SPACES, COLUMNS) and _is_padded([line for _, line in rows], separator)
    cells = [split_line(line, separator, padded=padded) for _, line in rows]
    titles = count_titles(cells)
    if titles:
        title = rows[0][1].strip(f"{separator[0]} ")
        notes = (*notes, f"{count_lines(titles)} above its header, {title[:60]!r}: a title")
    skipped += [number for number, _ in rows[:titles]]
    rows, cells = rows[titles:], cells[titles:]
    decimal = spec.decimal or ("," if separator != "," and _has_decimal_commas(cells) else ".")
    if decimal == "," and not spec.decimal:
        notes = (*notes, "its decimal sign is a comma")
    names: tuple[str, ...] = ()
    header, columns, repeated = -1, tuple[str, ...](), tuple[str, ...]()
    if cells and not (_has_header(cells, spec) if spec.header is None else spec.header):
        names = tuple(f"x{i}" for i in range(max(map(len, cells))))
        if spec.header is None:
            notes = (*notes, f"its first line is no header, and the columns are {names[0]} to {names[-1]}")
    elif cells:
        header = rows[0][0]
        columns, repeated = tuple(cell.strip() for cell in cells[0]), find_repeated(cells[0])
        if has_units(cells):
            skipped.append(rows[1][0])
            notes = (*notes, f"the line below its header has units, and is no row: {join_names(cells[1])}")
    if repeated:
        notes = (*notes, describe_repeated(repeated))
    if comments:
        notes = (*notes, f"{count_lines(len(comments))} at its beginning: comments")
    return TextFormat(
        *(encoding, separator, names, decimal, tuple(skipped), header, bool(comments), padded, columns, repeated, notes)
    )


def split_line(line: str, separator: str, *, padded: bool = False) -> list[str]:
    """Return the values of a line, whose values may be padded with spaces."""
    if separator in (SPACES, COLUMNS):
        return re.split(separator, line.strip())
    return next(csv.reader([line], delimiter=separator, skipinitialspace=padded), [])


def count_titles(rows: Sequence[Sequence[str]]) -> int:
    """Return how many of the first rows are a title: one value each, where all rows below have more.

    >>> count_titles([["Prices in 2024", ""], ["town", "price"], ["Bern", "1"], ["Uri", "2"]])
    1
    """
    widths = [sum(bool(str(cell).strip()) for cell in row) for row in rows]
    usual = Counter(len(row) for row in rows).most_common(1)[0][0] if rows else 0
    for count, width in enumerate(widths[: TITLE_LINES + 1]):
        if width > 1 and (len(rows[count]) == usual or width == usual):
            return count if usual > 1 and len(rows) - count > 1 else 0
        if width > max(1, usual // 2):
            break
    return 0


def has_units(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the second row has units: words in columns whose other values are numbers.

    >>> has_units([["mass", "name", "y"], ["kg", "", "m"], ["1", "a", "2"], ["3", "b", "4"]])
    True
    """
    if len(rows) < 4:
        return False
    units = [str(cell).strip() for cell in rows[1]]
    columns = list(itertools.zip_longest(*rows[2:], fillvalue=""))[: len(units)]
    words, brackets = 0, 0
    for unit, column in zip(units, columns, strict=False):
        values = [str(value).strip() for value in column if str(value).strip().lower() not in NO_UNITS]
        if is_number(unit) or (unit and unit in values):
            return False
        if values and all(map(is_number, values)) and unit:
            if (unit.lower() in NO_UNITS and unit != "-") or not UNIT.fullmatch(unit):
                return False
            words += unit != "-"
            brackets += unit[0] in "[(%°"
        elif unit and not (unit[0] in "[(" or unit == "-"):
            return False  # a name in a column of names
    return words > 1 or brackets > 0


def find_repeated(names: Sequence[Any]) -> tuple[str, ...]:
    """Return the names that several columns have."""
    counts = Counter(str(name).strip() for name in names)
    return tuple(name for name, count in counts.items() if count > 1 and name)


def describe_repeated(names: Sequence[str]) -> str:
    """Return what happens to columns that have the same name."""
    listed = join_names(f"{name!r} → {name + '.1'!r}" for name in names)
    return f"columns of the same name are renamed, from the second on: {listed}"


def is_number(cell: str) -> bool:
    """Return whether a text is a number, with either decimal sign."""
    try:
        float(cell.strip().replace(",", "."))
    except ValueError:
        return False
    return True


def open_binary(path: Path, spec: DataSpec) -> IO[bytes]:
    """Open a file, decompressed by its name.

    Raises:
        DataError: an archive has several files.
    """
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
            f"data.source: {spec.source!r} has {len(members)} files ({join_names(members)}), expected one; unpack "
            "it, and name the file"
        )
    return archive.open(members[0])


def iter_lines(path: Path, spec: DataSpec) -> Iterator[str]:
    """Iterate over the lines of a file of text, decompressed and decoded."""
    encoding, *_ = _decode(path, spec)
    with open_binary(path, spec) as file:
        yield from io.TextIOWrapper(file, encoding=encoding)


def foreign_note(encoding: str, language: str) -> str:
    """Return that a file is not UTF-8, and how it is read."""
    return f"it is not UTF-8, and read as {encoding} ({language}); for another use data: {{encoding: …}}"


# -- the parts ------------------------------------------------------------------------------------


def count_lines(count: int) -> str:
    """Return a number of lines in words."""
    return f"{count} lines" if count > 1 else "1 line"


def _decode(path: Path, spec: DataSpec) -> tuple[str, str, tuple[str, ...]]:
    """Return the encoding of a file, the text of its beginning, and what was inferred."""
    with open_binary(path, spec) as file:
        content = file.read(SAMPLE_BYTES)
    is_cut = len(content) == SAMPLE_BYTES
    encoding, language = (spec.encoding, "") if spec.encoding else find_encoding(content)
    notes = tuple[str, ...]()
    if language:
        notes = (f"it is encoded as {encoding}" if encoding.startswith("utf") else foreign_note(encoding, language),)
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(content, final=not is_cut)
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(
            f"data.source: {spec.source!r} cannot be read: {error}; give its encoding: data: {{encoding: …}}"
        ) from None
    if is_cut:
        text = text[: text.rfind("\n") + 1] or text
    return encoding, text, notes


def _find_separator(rows: list[str], path: Path) -> str:
    """Return the separator by which most lines have the same number of values, the most of all."""
    usual = "\t" if ".tsv" in path.name.lower() else ","
    best, best_score = usual, (0.0, 0)
    for separator in (usual, *(s for s in NAMES if s not in (usual, SPACE, SPACES, COLUMNS))):
        split = [row for row in csv.reader(rows, delimiter=separator, skipinitialspace=True) if row]
        titles = sum(1 for _ in itertools.takewhile(lambda row: len(row) < 2, split[:TITLE_LINES]))
        widths = Counter(map(len, split[titles:]))
        width, lines = widths.most_common(1)[0] if widths else (0, 0)
        score = (lines / max(1, widths.total()), width)
        if width > 1 and score[0] >= 0.8 and (round(score[0], 1), width) > (round(best_score[0], 1), best_score[1]):
            best, best_score = separator, score
    if best_score == (0.0, 0) or (best_score[0] < 1 and not any(best in row for row in rows[-3:])):
        return next((s for s in (SPACE, SPACES, COLUMNS) if _are_spaced(rows, s)), best)
    return best


def _are_spaced(rows: list[str], separator: str) -> bool:
    """Whether every line has the same number of values between spaces, and many of them are numbers."""
    cells = [split_line(row, separator) for row in rows]
    cells = [row for row in cells if row]
    if not cells or len({len(row) for row in cells}) != 1 or len(cells[0]) < 2:
        return False
    values = [is_number(cell) for row in cells[1:] or cells for cell in row]
    return (1 if separator == COLUMNS else 2) * sum(values) > (0.2 if separator == COLUMNS else 1) * len(values)


def _is_padded(lines: list[str], separator: str) -> bool:
    """Whether values are padded with spaces, in most lines."""
    padded = [f"{separator} " in line or f" {separator}" in line for line in lines]
    return 2 * sum(padded) > len(padded)


def _has_decimal_commas(rows: list[list[str]]) -> bool:
    """Whether numbers have decimal commas, and none has a decimal point."""
    cells = [cell.strip() for row in rows[1:] for cell in row]
    commas = any(re.fullmatch(r"[+-]?\d+,\d+", cell) for cell in cells)
    points = (cell for cell in cells if re.fullmatch(r"[+-]?\d+\.\d+", cell))
    return commas and all(re.fullmatch(r"[+-]?\d{1,3}\.\d{3}", cell) for cell in points)  # thousands


def _has_header(rows: list[list[str]], spec: DataSpec) -> bool:
    """Whether the first row names the columns: it has no number, except for numbers of columns and years."""
    first = [cell.strip() for cell in rows[0]]
    if len(rows) < 2 or {spec.target, *spec.drop, *spec.categorical, *(spec.ids or ())} & set(first):
        return True
    numbers = [cell for cell in first if is_number(cell)]
    if not numbers or len(set(numbers)) < len(numbers):
        return not numbers
    counts = (list(map(str, range(start, start + len(numbers)))) for start in (0, 1))
    return numbers in counts or all(YEARS.fullmatch(cell) for cell in numbers)


def _is_named(header: str, row: str, separator: str, spec: DataSpec) -> bool:
    """Whether a line names the columns of the next one."""
    cells = [split_line(text, separator) for text in (header, row)]
    return len(cells[0]) == len(cells[1]) > 1 and _has_header(cells, spec) and any(map(is_number, cells[1]))
