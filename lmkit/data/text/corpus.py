"""Texts, read piece by piece: only one piece is in memory, whatever the size of the source.

A source consists of documents: the topics of Python's documentation, the lines of a .jsonl file, the rows of a table,
the files of a folder; a .txt file is one document.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lmkit.exceptions import DataError, nearest, shorten
from lmkit.specs.data import PYTHON_DOCS, DataSpec

BLOCK = 2**20
"""Bytes of a file that are read at once."""


class Piece(NamedTuple):
    """A part of a document, or all of it; ``is_end`` tells whether the document ends with it."""

    text: str
    is_end: bool


def pieces(spec: DataSpec) -> Iterator[Piece]:
    """Iterate over the texts of a source, in order, without empty documents.

    A document of several pieces is cut before the white space that follows a word, which no token of byte-pair
    encoding crosses.

    Raises:
        DataError: the source does not exist, or cannot be read as text; the message says where.
    """
    if spec.source == PYTHON_DOCS:
        yield from (Piece(text, True) for text in _topics())
        return
    column = spec.tokens.column
    for path in files(spec):
        suffix = path.suffix.lower()
        if suffix == ".jsonl":
            texts = _read_lines(path, column)
        elif suffix == ".parquet":
            texts = _read_parquet(path, column)
        elif suffix == ".csv":
            texts = _read_csv(path, column)
        else:
            yield from _read_text(path)
            continue
        yield from (Piece(text, True) for text in texts if text)


def files(spec: DataSpec) -> list[Path]:
    """Return the files of a source, in reading order.

    Raises:
        DataError: the source has no files.
    """
    path = Path(spec.source).expanduser()
    if path.is_dir():
        paths = sorted(p for p in path.rglob("*.txt") if p.is_file())
        if not paths:
            raise DataError(f"data.source: the folder {spec.source!r} contains no .txt file")
        return paths
    if not path.is_file():
        raise DataError(f"data.source: no file or folder {spec.source!r}; the current folder is {str(Path.cwd())!r}")
    if path.suffix.lower() not in (".txt", ".jsonl", ".parquet", ".csv"):
        raise DataError(
            f"data.source: given {shorten(spec.source)}, expected {PYTHON_DOCS}, a file that ends in .txt, "
            f".jsonl, .parquet "
            "or .csv, or a folder of .txt files"
        )
    return [path]


def source_bytes(spec: DataSpec) -> int:
    """Return the size of the source in bytes."""
    if spec.source == PYTHON_DOCS:
        return sum(len(text) for text in _topics())
    return sum(path.stat().st_size for path in files(spec))


def fingerprint(spec: DataSpec) -> str:
    """Return a hash of the content of the source."""
    content = hashlib.sha256()
    if spec.source == PYTHON_DOCS:
        for text in _topics():
            content.update(text.encode() + b"\0")
    else:
        for path in files(spec):
            content.update(f"{path.suffix.lower()} {path.stat().st_size} ".encode())
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    content.update(block)
    return content.hexdigest()


def _topics() -> list[str]:
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]


def _read_text(path: Path) -> Iterator[Piece]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = ""
    read = 0
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            pending = len(decoder.getstate()[0])
            try:
                rest += decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                position = read - pending + error.start
                raise DataError(
                    f"data.source: {str(path)!r} is not UTF-8: byte {position} is 0x{error.object[error.start]:02x}; "
                    f"convert it: iconv -f latin1 -t utf8 {path.name}"
                ) from None
            read += len(block)
            if not block:
                break
            cut = _find_cut(rest)
            if cut:
                yield Piece(rest[:cut], False)
                rest = rest[cut:]
    if read:
        yield Piece(rest, True)


def _find_cut(text: str) -> int:
    """Return where to cut a text: before the last white space that follows a word; 0: nowhere."""
    space = max(text.rfind(" "), text.rfind("\n"))
    return len(text[:space].rstrip()) if space > 0 else len(text) if len(text) > 4 * BLOCK else 0


def _read_lines(path: Path, field: str) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"data.source: line {number} of {str(path)!r}"
            try:
                record = json.loads(line.decode())
            except UnicodeDecodeError as error:
                raise DataError(f"{where} is not UTF-8: its byte {error.start} is 0x{line[error.start]:02x}") from None
            except ValueError as error:
                raise DataError(f"{where} is not JSON: {error}; expected one object per line") from None
            if not isinstance(record, dict):
                raise DataError(f"{where} is {type(record).__name__}, expected an object such as {{{field!r}: …}}")
            if field not in record:
                raise DataError(
                    f"{where} has no field {field!r}; use text: {{column: …}}; {nearest(field, record, 'fields:')}"
                )
            yield _check_text(record[field], where, field)


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"data.source: {str(path)!r} cannot be read: {error}") from None
    _check_column(path, column, file.schema_arrow.names)
    row = 0
    for batch in file.iter_batches(batch_size=1024, columns=[column]):
        for value in batch.column(0).to_pylist():
            row += 1
            if value is not None:
                yield _check_text(value, f"data.source: row {row} of {str(path)!r}", column)


def _read_csv(path: Path, column: str) -> Iterator[str]:
    import pandas as pd

    try:
        _check_column(path, column, [str(c) for c in pd.read_csv(path, nrows=0).columns])
        row = 0
        for frame in pd.read_csv(path, usecols=[column], dtype=str, keep_default_na=False, chunksize=4096):
            yield from frame[column]
            row += len(frame)
    except UnicodeDecodeError as error:
        raise DataError(f"data.source: {str(path)!r} is not UTF-8: {error}") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise DataError(f"data.source: {str(path)!r} cannot be read: {error}") from None


def _check_column(path: Path, column: str, names: list[str]) -> None:
    if column not in names:
        raise DataError(
            f"data.text.column: {str(path)!r} has no column {column!r}; use text: {{column: …}}; "
            f"{nearest(column, names, 'columns:')}"
        )


def _check_text(value: object, where: str, name: str) -> str:
    if not isinstance(value, str):
        raise DataError(
            f"{where} contains {type(value).__name__} in {name!r}, expected text; given {shorten(value)}"[:300]
        )
    return value
