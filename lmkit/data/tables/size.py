"""How much memory the content of a file takes, judged by its directory, footer or blocks, before it is read."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lmkit.data.tables.arrow_size import arrow_bytes
from lmkit.display.units import format_bytes
from lmkit.exceptions import DataError
from lmkit.specs.file_names import PARQUET
from lmkit.system.parquet_size import parquet_bytes

if TYPE_CHECKING:
    import numpy as np

ARRAYS = (".npz",)

ARCHIVES = (".zip", ".xlsx")
"""Endings of files that are archives, whose directory states the size of each member."""

STREAMS: Mapping[str, str] = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
"""The ending of a compressed file → the module that reads it; such a file does not state its size."""

MEMORY_SHARE = 0.8
"""The share of the machine's memory that the content of one file may take."""

MAX_RATIO = 10_000
"""How many times smaller a compressed stream is at most: shorter ones need not be read to be judged."""

CHUNK_BYTES = 2**20


def exceeds(path: Path, limit: int) -> bool:
    """Return whether the content of a file takes more than ``limit`` bytes of memory; a file that is damaged does not.

    Reading a damaged file reports what is wrong with it.
    """
    try:
        return unpacked_bytes(path, limit) > limit
    except Exception:  # of any of the libraries
        return False


def unpacked_bytes(path: Path, limit: int | None = None) -> int:
    """Return the bytes that the content of a file takes in memory.

    Args:
        path: the file.
        limit: where only a larger size matters, so that a stream is not read to its end.
    """
    ending, size = path.suffix.lower(), path.stat().st_size
    if ending in ARRAYS:
        return max(size, sum(headers(path).values()))
    if ending in ARCHIVES:
        with zipfile.ZipFile(path) as archive:
            return max(size, sum(member.file_size for member in archive.infolist()))
    if ending in STREAMS and (limit is None or size * MAX_RATIO > limit):
        return max(size, _stream_bytes(path, STREAMS[ending], math.inf if limit is None else limit))
    if ending in PARQUET:
        return max(size, parquet_bytes(path, limit))
    if ending == ".feather":
        return max(size, arrow_bytes(path))
    return size


def check_memory(path: Path, source: str, *names: str) -> None:
    """Check, before a file is read, that its content fits into the memory of the machine.

    Args:
        path: the file.
        source: its name in messages.
        names: the arrays of an .npz file that are read; none: all.

    Raises:
        DataError: it does not.
    """
    import psutil

    memory, ending = psutil.virtual_memory().total, path.suffix.lower()
    if ending in ARRAYS:
        size = sum(n for name, n in headers(path).items() if not names or name in names)
    elif exceeds(path, int(MEMORY_SHARE * memory)):
        size = unpacked_bytes(path, int(MEMORY_SHARE * memory))
    else:
        return
    if size > MEMORY_SHARE * memory:
        raise DataError(
            f"data.source: {source} holds {format_bytes(size)} unpacked, and this machine has {format_bytes(memory)} "
            "of memory; use a smaller file, or Parquet with data: {streaming: on}"
        )


def headers(path: Path) -> dict[str, int]:
    """Return the bytes of each array of an .npz file, by its header.

    Raises:
        DataError: a header states another size than the archive holds, or an array is of Python objects.
    """
    sizes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                shape, dtype = _read_header(file)
                length = file.tell()
            size = dtype.itemsize * math.prod(shape)
            if dtype.hasobject or size != member.file_size - length:
                raise DataError(
                    f"the array {member.filename!r} of {str(path)!r} has the shape {shape} and type {dtype}, and its "
                    f"file {member.file_size - length:,} bytes; expected an array of numbers that is whole"
                )
            sizes[member.filename.removesuffix(".npy")] = size
    return sizes


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    import numpy as np

    version = np.lib.format.read_magic(file)
    read: Callable[..., Any] = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(file)
    return shape, dtype


def _stream_bytes(path: Path, module: str, limit: float) -> int:
    """Return the bytes of a compressed stream; where they exceed ``limit``, at least one more than that."""
    import importlib

    size = 0
    with importlib.import_module(module).open(path, "rb") as file:
        while size <= limit and (chunk := file.read(CHUNK_BYTES)):
            size += len(chunk)
    return size
