"""Which file a reference to code was read from: what a file or a run names is not written in its reader's call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.specs.references import OBJECT, is_reference

_files: dict[str, Path] = {}
"""Reference → the file that it was last read from in this process."""


def note_file(values: Any, path: Path) -> None:
    """Note that plain values, with the references in them, were read from a file."""
    if isinstance(values, Mapping):
        values = [*values.values()]
    if isinstance(values, list | tuple):
        for value in values:
            note_file(value, path)
    elif isinstance(values, str) and is_reference(reference := values.removeprefix(OBJECT)):
        _files[reference] = path


def file_of(reference: str) -> Path | None:
    """Return the file that a reference was read from in this process."""
    return _files.get(reference)
