"""The folder of a run for those of its processes that only read it: what they write goes nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmkit.runfolder.events import EventLog
from lmkit.runfolder.folder import RunFolder
from lmkit.system.files import JsonLines

if TYPE_CHECKING:
    from pathlib import Path

    from lmkit.runfolder.folder import Arrays


class SilentLines(JsonLines):
    """A file of JSON lines that is read, and to which nothing is appended."""

    def append(self, record: Mapping[str, Any]) -> None:
        """Do nothing."""


class SilentFolder(RunFolder):
    """The folder of a run that its first process writes, as the others see it."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.metrics, self.readings = SilentLines(self.metrics.path), SilentLines(self.readings.path)
        self.events = EventLog(self.events.lines.path)
        self.events.lines = SilentLines(self.events.lines.path)

    def write_json(self, name: str, value: Any) -> None:
        """Do nothing."""

    def write_text(self, name: str, text: str) -> None:
        """Do nothing."""

    def save_checkpoint(
        self,
        kind: str,
        weights: Arrays,
        optimizer: Arrays,
        state: dict[str, Any],
        epoch_arrays: Arrays | None = None,
    ) -> None:
        """Do nothing."""
