"""Reading of files that may be anything, as those of a folder from another person.

Only regular files are opened, so that no pipe or device is waited for; sizes are bounded; and what is wrong with a file
is a ``DamagedFile`` that names it.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

from lmkit.exceptions import DamagedFile, shorten

NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""The flag of ``os.open`` that does not wait for the other end of a pipe; 0 on Windows."""

MAX_BYTES = 2**28
"""The largest file of a folder that is read as a whole."""


def open_file(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        FileNotFoundError: it does not exist.
        DamagedFile: it is a folder, a pipe, a socket or a device, or must not be read.
    """
    try:
        if path.is_socket():  # it cannot be opened at all
            raise DamagedFile(path, "it is no regular file")
        descriptor = os.open(path, os.O_RDONLY | NO_WAIT | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    except (OSError, ValueError) as error:
        raise DamagedFile(path, getattr(error, "strerror", None) or str(error)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DamagedFile(path, "it is no regular file")
    return os.fdopen(descriptor, "rb")


def check_file(path: Path) -> Path:
    """Return the path of a file that a library is to open; raise what ``open_file`` raises."""
    open_file(path).close()
    return path


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file.

    Raises:
        FileNotFoundError: it does not exist.
        DamagedFile: it is no regular file, cannot be read, or is larger than ``limit``.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise DamagedFile(path, f"it has {size:,} bytes, expected at most {limit:,}")
        try:
            return file.read(limit)
        except OSError as error:
            raise DamagedFile(path, error.strerror or str(error)) from None


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Return the content of a text file in UTF-8; raises what ``read_bytes`` raises."""
    try:
        return read_bytes(path, limit).decode()
    except UnicodeDecodeError as error:
        raise DamagedFile(path, f"it is no text in UTF-8 ({error.reason} at byte {error.start})") from None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None if it does not exist.

    Raises:
        DamagedFile: it is no regular file, or not JSON.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        return None


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if it does not exist; raises what ``read_json`` raises."""
    try:
        value = _load(path)
    except FileNotFoundError:
        return None
    if not isinstance(value, dict):
        raise DamagedFile(path, f"given {shorten(value)}, expected an object")
    return value


def _load(path: Path) -> Any:
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        problem = "it is empty" if not text.strip("\0 \n") else f"not JSON: {error}"
        raise DamagedFile(path, problem, is_cut_short=True) from None
    except RecursionError:
        problem = "its values are nested too deep"
    except ValueError:  # the digits of an integer
        problem = "a number has too many digits"
    raise DamagedFile(path, problem)
