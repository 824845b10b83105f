"""The content of ``environment.json``: its types, as far as tables and reports read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit.system.reading import read_object
from lmkit.system.records import Count, parse_record


@dataclass(frozen=True)
class _Processor:
    name: str | None = None
    abilities: list[str] | None = None


@dataclass(frozen=True)
class _Environment:
    python: str | None = None
    platform: str | None = None
    command: str | None = None
    git_commit: str | None = None
    cores: Count | None = None
    memory_bytes: Count | None = None
    packages: dict[str, str | None] | None = None
    backend: dict[str, Any] | None = None
    cpu: _Processor | None = None


def read_environment(path: Path) -> dict[str, Any]:
    """Return versions, hardware, git commit and command of a run; empty where the file does not exist.

    Raises:
        DamagedFile: it cannot be read, or a value has another type.
    """
    values = read_object(path) or {}
    parse_record(_Environment, values, path)
    return values
