"""Texts, read piece by piece: whatever their size, no more than a piece is in memory.

A source is read as documents: the topics of Python's documentation, the lines of a .jsonl file, the rows of a table,
the files of a folder; a .txt file is one document.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lmkit.errors import DataError, nearest
from lmkit.specs.data import PYTHON_DOCS, DataSpec

BLOCK = 2**20
"""Bytes of a file that are read at once."""


class Piece(NamedTuple):
    """A part of a document, or all of it; a document ends with it, or goes on in the next piece."""

    text: str
    ends: bool


def pieces(spec: DataSpec) -> Iterator[Piece]:
    """The texts of a source, in order. Documents without a character are left out.

    A document that comes in several pieces is cut before the white space that follows a word, where no token of
    byte-pair encoding reaches over.

    Raises:
        DataError: the source does not exist, or cannot be read as text; the message says where.
    """
    if spec.source == PYTHON_DOCS:
        yield from (Piece(text, True) for text in _topics())
        return
    column = spec.tokens.column
    for path in files(spec):
        ending = path.suffix.lower()
        if ending == ".jsonl":
            texts = _lines(path, column)
        elif ending == ".parquet":
            texts = _parquet(path, column)
        elif ending == ".csv":
            texts = _csv(path, column)
        else:
            yield from _text(path)
            continue
        yield from (Piece(text, True) for text in texts if text)


def files(spec: DataSpec) -> list[Path]:
    """The files that a source consists of, in the order in which they are read.

    Raises:
        DataError: there is none.
    """
    path = Path(spec.source).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.rglob("*.txt") if p.is_file())
        if not found:
            raise DataError(f"data.source: the folder {spec.source!r} holds no .txt file")
        return found
    if not path.is_file():
        raise DataError(
            f"data.source: there is no file or folder {spec.source!r}; the current folder is {str(Path.cwd())!r}"
        )
    if path.suffix.lower() not in (".txt", ".jsonl", ".parquet", ".csv"):
        raise DataError(
            f"data.source: given {spec.source!r}, expected {PYTHON_DOCS}, a file that ends in .txt, .jsonl, .parquet "
            "or .csv, or a folder of .txt files"
        )
    return [path]


def size(spec: DataSpec) -> int:
    """Bytes of the source, as it lies there."""
    if spec.source == PYTHON_DOCS:
        return sum(len(text) for text in _topics())
    return sum(path.stat().st_size for path in files(spec))


def fingerprint(spec: DataSpec) -> str:
    """The hash of the source's content."""
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


def _text(path: Path) -> Iterator[Piece]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    left = ""
    read = 0
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            waiting = len(decoder.getstate()[0])
            try:
                left += decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                at = read - waiting + error.start
                raise DataError(
                    f"data.source: {str(path)!r} is not UTF-8: byte {at} is 0x{error.object[error.start]:02x}; "
                    f"convert it: iconv -f latin1 -t utf8 {path.name}"
                ) from None
            read += len(block)
            if not block:
                break
            cut = _cut(left)
            if cut:
                yield Piece(left[:cut], False)
                left = left[cut:]
    if read:
        yield Piece(left, True)


def _cut(text: str) -> int:
    """Where a text may be cut: before the last white space that follows a word; nowhere in the beginning of it."""
    space = max(text.rfind(" "), text.rfind("\n"))
    return len(text[:space].rstrip()) if space > 0 else len(text) if len(text) > 4 * BLOCK else 0


def _lines(path: Path, field: str) -> Iterator[str]:
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
                raise DataError(f"{where} is not JSON: {error}; expected an object a line") from None
            if not isinstance(record, dict):
                raise DataError(f"{where} is {type(record).__name__}, expected an object such as {{{field!r}: …}}")
            if field not in record:
                raise DataError(f"{where} has no field {field!r}; write text: {{column: …}} {nearest(field, record)}")
            yield _checked(record[field], where, field)


def _parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"data.source: {str(path)!r} cannot be read: {error}") from None
    _known(path, column, file.schema_arrow.names)
    row = 0
    for batch in file.iter_batches(batch_size=1024, columns=[column]):
        for value in batch.column(0).to_pylist():
            row += 1
            if value is not None:
                yield _checked(value, f"data.source: row {row} of {str(path)!r}", column)


def _csv(path: Path, column: str) -> Iterator[str]:
    import pandas as pd

    try:
        _known(path, column, [str(c) for c in pd.read_csv(path, nrows=0).columns])
        row = 0
        for frame in pd.read_csv(path, usecols=[column], dtype=str, keep_default_na=False, chunksize=4096):
            yield from frame[column]
            row += len(frame)
    except UnicodeDecodeError as error:
        raise DataError(f"data.source: {str(path)!r} is not UTF-8: {error}") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise DataError(f"data.source: {str(path)!r} cannot be read: {error}") from None


def _known(path: Path, column: str, names: list[str]) -> None:
    if column not in names:
        raise DataError(
            f"data.text.column: {str(path)!r} has no column {column!r}; write text: {{column: …}} "
            f"{nearest(column, names)}"
        )


def _checked(value: object, where: str, name: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where} holds {type(value).__name__} in {name!r}, expected text; given {value!r}"[:300])
    return value
