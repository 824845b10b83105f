"""Files that are replaced whole or not at all, and append-only files of JSON lines.

A file is written under a temporary name beside its path and renamed, so that a reader sees the old content or the new
one. The folder of a run, a sweep or a bundle may come from another person: what is written there stays there.
``path_inside`` refuses a symbolic link in place of a folder, a link in place of a file is replaced by the file, and a
log that is a link is refused.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from lmkit.exceptions import DamagedFile, LinkError, shorten
from lmkit.system.numbers import to_json
from lmkit.system.reading import NO_WAIT, open_file

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""The flag of ``os.open`` that refuses a symbolic link; 0 on Windows."""

MAX_LOG_BYTES = 2**31
"""The most that one call reads of a log; the steps of a run take about 12 bytes each."""

MAX_LINE_BYTES = 2**26
"""The most that is read to find the end of a line."""


# -- paths ----------------------------------------------------------------------------------------


def path_inside(root: Path, *parts: str) -> Path:
    """Return the path of a file in a folder, of which no folder below ``root`` is a symbolic link.

    The last part may be one: the functions of this module replace or refuse it.

    Raises:
        LinkError: a folder on the way is a link, so that the file would be written elsewhere.
    """
    relative = Path(*parts)
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"given {shorten(str(relative))}, expected a path inside {str(root)!r}")
    path = root
    for part in relative.parts[:-1]:
        path = path / part
        refuse_link(path)
    return root / relative


def refuse_link(path: Path) -> None:
    """Raise a LinkError for a path that is a symbolic link."""
    if path.is_symlink():
        raise LinkError(path)


def make_directory(root: Path, *parts: str, exist_ok: bool = True, parents: bool = True) -> Path:
    """Create a folder in ``root``, with those on the way unless ``parents`` is false, and return its path.

    Raises:
        LinkError: one of them is a symbolic link.
        OSError: it cannot be created, or exists where ``exist_ok`` is false.
    """
    path = path_inside(root, *parts)
    refuse_link(path)
    path.mkdir(parents=parents, exist_ok=exist_ok)
    return path


# -- whole files ----------------------------------------------------------------------------------


@contextmanager
def replace_file(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; the file written there takes the place of ``path`` at the end.

    If the block raises, ``path`` is left as it was and the temporary file is deleted.

    Args:
        path: the file to create or replace; its folder exists.
        sync: whether the content is on the disk before the file is renamed.
    """
    temporary_path = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(2)}")
    try:
        yield temporary_path
        if sync:
            _sync(temporary_path)
        temporary_path.replace(path)
    except BaseException:
        temporary_path.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Replace a file with ``content``, atomically."""
    with replace_file(path, sync=sync) as temporary_path:
        descriptor = os.open(temporary_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


def write_text(path: Path, text: str, *, sync: bool = False) -> None:
    """Replace a file with ``text`` in UTF-8, atomically; line ends are written as they are."""
    write_bytes(path, text.encode(), sync=sync)


def write_json(
    path: Path,
    value: Any,
    *,
    indent: int | None = None,
    default: Callable[[Any], Any] | None = None,
    sync: bool = False,
) -> None:
    """Replace a file with ``value`` as JSON, atomically; NaN and infinities become null.

    ``indent`` and ``default`` are those of ``json.dumps``.
    """
    write_text(path, to_json(value, indent=indent, default=default), sync=sync)


def create_json(path: Path, value: Any, *, indent: int | None = None) -> bool:
    """Write ``value`` as JSON where no file is yet, on the disk; return False if another process was first."""
    temporary_path = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(2)}")
    try:
        write_json(temporary_path, value, indent=indent, sync=True)
        os.link(temporary_path, path)
    except FileExistsError:
        return False
    finally:
        temporary_path.unlink(missing_ok=True)
    return True


def copy_file(source: Path, target: Path) -> Path:
    """Replace a file with a copy of another one, atomically, and return its path."""
    with replace_file(target) as temporary_path:
        shutil.copyfile(source, temporary_path)
    return target


def move_file(source: Path, target: Path) -> Path:
    """Replace a file with another one, which may be on another disk, and return its path."""
    copy_file(source, target)
    source.unlink(missing_ok=True)
    return target


# -- whole folders --------------------------------------------------------------------------------


def new_path(path: Path) -> Path:
    """Return the temporary path of a folder that is being written."""
    return path.with_name(f".{path.name}-new")


def old_path(path: Path) -> Path:
    """Return where the previous folder is while the new one takes its place; a crash may leave it there."""
    return path.with_name(f".{path.name}-old")


@contextmanager
def replace_directory(
    path: Path, *, existing: Literal["replace", "keep", "empty"] = "replace", sync: bool = False
) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that takes its place at the end; if the block raises, it is deleted.

    Args:
        path: the folder to create or replace.
        existing: what happens to a folder at ``path``. ``replace``: it is deleted, after the rename. ``keep``: it
            stays and the new one is deleted, as several processes may write the same. ``empty``: it must be empty.
        sync: whether the files are on the disk before the folder is renamed.

    Raises:
        OSError: the folder cannot be written, or is not empty where ``existing`` says so.
    """
    new, old = new_path(path), old_path(path)
    if existing == "keep":  # each process has its own
        new = new.with_name(f"{new.name}.{os.getpid()}.{secrets.token_hex(2)}")
    remove_directory(new)
    new.mkdir(parents=True)
    try:
        yield new
        if sync:
            for file in new.rglob("*"):
                if file.is_file():
                    _sync(file)
        if existing == "keep":
            _rename_unless_exists(new, path)
        elif existing == "empty":
            if path.exists():
                path.rmdir()
            new.rename(path)
        else:
            if path.exists():
                remove_directory(old)
                path.rename(old)
            new.rename(path)
            remove_directory(old)
    finally:
        remove_directory(new)


def remove_directory(path: Path) -> None:
    """Delete a folder with all that is in it, or the link that is in its place; errors are ignored."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _rename_unless_exists(new: Path, path: Path) -> None:
    if path.exists():
        return
    try:
        new.rename(path)
    except OSError:
        if not path.exists():  # otherwise another process was first
            raise


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


# -- logs -----------------------------------------------------------------------------------------


class TornLine(UserWarning):
    """A line of a log was not written to its end, and is skipped."""


def open_log(path: Path) -> int:
    """Open a regular file, created if necessary, for reading and appending; return its descriptor.

    Raises:
        LinkError: it is a symbolic link.
        OSError: it cannot be written, or is no regular file.
    """
    refuse_link(path)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | NO_FOLLOW | NO_WAIT, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor


def append_line(path: Path, line: bytes) -> None:
    """Append a line in a single write; if the last line of the file has no end, the new one begins after it.

    Raises:
        LinkError: the file is a symbolic link.
        OSError: it cannot be written.
    """
    line += b"\n"
    descriptor = open_log(path)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # the last writer died in the middle of a line
        while line:
            line = line[os.write(descriptor, line) :]
    finally:
        os.close(descriptor)


class JsonLines:
    """An append-only file with one JSON object per line.

    Args:
        path: the file.
        writes: whether anything is appended; else what is to be appended goes nowhere.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path, self.writes = path, writes

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one object, in a single write; NaN and infinities become null."""
        if self.writes:
            append_line(self.path, to_json(record, separators=(",", ":")).encode())

    def read(
        self, offset: int = 0, *, quiet: bool = False, limit: int | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        """Return the objects from byte ``offset`` on, and the offset of the next read.

        A last line without its end is left for the next read.

        Args:
            offset: where to begin, in bytes.
            quiet: whether torn lines are skipped without a ``TornLine`` warning.
            limit: the number of bytes after which no further line is begun.

        Raises:
            DamagedFile: the file is no regular file, or more than ``MAX_LOG_BYTES`` would be read.
        """
        try:
            with open_file(self.path) as file:
                size = max(0, os.fstat(file.fileno()).st_size - offset)
                if limit is None and size > MAX_LOG_BYTES:
                    raise DamagedFile(self.path, f"it has {size:,} bytes, expected at most {MAX_LOG_BYTES:,}")
                file.seek(offset)
                text = file.read(size if limit is None else min(size, limit))  # a read allocates what it is asked for
                if limit is not None and len(text) == limit:
                    text += file.readline(MAX_LINE_BYTES)
        except FileNotFoundError:
            return [], offset
        end = text.rfind(b"\n") + 1
        records, is_torn = [], end < len(text)
        for line in text[:end].splitlines():
            try:
                record = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError):
                record, is_torn = None, True
            if isinstance(record, dict):
                records.append(record)
        if is_torn and not quiet:
            warnings.warn(f"{self.path.name}: a torn line is skipped", TornLine, stacklevel=2)
        return records, offset + end
