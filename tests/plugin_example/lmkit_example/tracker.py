"""A tracker: one file of JSON lines per run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lmkit.runfolder.status import Status
from lmkit.trackers.base import Point, RunInfo, TrackerRun

TITLE, PACKAGE, EXTRA = "JSON lines", "json", ""


class JsonRun:
    """The file of one run."""

    def __init__(self, info: RunInfo, where: str) -> None:
        path = Path(where) / f"{info.name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        self.where = str(path)

    def log_points(self, points: Sequence[Point]) -> None:
        """Append values."""
        self._append(*({"name": p.name, "step": p.step, "value": p.value} for p in points))

    def log_text(self, name: str, step: int, text: str, time: float) -> None:
        """Append a text."""
        self._append({"name": name, "step": step, "text": text})

    def rewind(self, step: int, time: float) -> None:
        """Append a mark: later steps follow again."""
        self._append({"rewind": step})

    def update_status(self, status: Status) -> None:
        """Append the state."""
        self._append({"state": status.state})

    def _append(self, *records: dict[str, object]) -> None:
        with Path(self.where).open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


def default(info: RunInfo) -> str:
    """Return a folder in the folder of the runs."""
    return str(info.runs / "jsonl")


def open_run(info: RunInfo, where: str, parent: TrackerRun | None = None) -> JsonRun:
    """Return a new file."""
    return JsonRun(info, where)
