"""Append-only logs of JSON lines, and what is read out of them.

A line is written whole by one system call, so any number of processes may append to the same log. A line that a
dying process tore is skipped by every reader, which says so.
"""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

JOURNAL = "LMKIT_JOURNAL"
"""The environment variable in which whoever executes a notebook names a file; what it does adds lines to it."""


class TornLine(UserWarning):
    """A line of a log was not written to its end, and is skipped."""


class JsonLines:
    """One append-only file with a JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds one object, in a single write."""
        line = json.dumps(_finite(record), separators=(",", ":"), allow_nan=False).encode() + b"\n"
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                line = b"\n" + line  # whoever wrote last died in the middle of a line
            while line:
                line = line[os.write(file, line) :]
        finally:
            os.close(file)

    def read(
        self, offset: int = 0, *, quiet: bool = False, limit: int | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        """The objects from byte ``offset`` on, and the offset to read on from.

        A last line that has no end yet is left for the next read. With a ``limit`` it ends with the line that
        exceeds so many bytes.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                text = file.read(-1 if limit is None else limit)
                if limit is not None and len(text) == limit:
                    text += file.readline()
        except FileNotFoundError:
            return [], offset
        whole = text.rfind(b"\n") + 1
        records, torn = [], whole < len(text)
        for line in text[:whole].splitlines():
            try:
                record = json.loads(line) if line.strip() else None
            except ValueError:
                record, torn = None, True
            if isinstance(record, dict):
                records.append(record)
        if torn and not quiet:
            warnings.warn(f"{self.path.name}: a torn line is skipped", TornLine, stacklevel=2)
        return records, offset + whole


class Event(NamedTuple):
    """Something that happened in a run: when (seconds since 1970), what, and its particulars."""

    time: float
    type: str
    data: dict[str, Any]


class EventLog:
    """The events of a run: started, epoch, checkpoint, paused, resumed, learning_rate, failed, finished, …"""

    def __init__(self, path: Path) -> None:
        self.lines = JsonLines(path)

    def append(self, type: str, **data: Any) -> None:
        """Records that something happened, now."""
        self.lines.append({"time": round(time.time(), 3), "type": type, **data})

    def read(self, offset: int = 0, *, quiet: bool = True) -> tuple[list[Event], int]:
        """The events from byte ``offset`` on, and the offset to read on from."""
        records, offset = self.lines.read(offset, quiet=quiet)
        return [
            Event(r["time"], r["type"], {k: v for k, v in r.items() if k not in ("time", "type")})
            for r in records
            if "time" in r and "type" in r
        ], offset

    def __iter__(self) -> Iterator[Event]:
        return iter(self.read(quiet=False)[0])


def history(events: Iterable[Event]) -> pd.DataFrame:
    """One row an epoch, and one a validation amid an epoch, which is numbered by how far that has come.

    What was trained again after a resume counts once, as last trained.
    """
    import pandas as pd

    rows: dict[int, dict[str, Any]] = {}
    for event in events:
        if event.type == "resumed":
            rows = {e: r for e, r in rows.items() if r["step"] <= event.data["step"]}
        elif event.type == "epoch":
            rows[event.data["epoch"]] = event.data
    return pd.DataFrame([rows[e] for e in sorted(rows)]).astype(float, errors="ignore")


def steps(blocks: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a step, out of blocks ``{"step": first, "loss": [...], "lr": 0.1, …}``; a number stands for all steps.

    A block ``{"resumed": n}`` takes back the steps after ``n``, which were trained again.
    """
    import numpy as np
    import pandas as pd

    kept: list[tuple[int, dict[str, Any]]] = []
    for block in blocks:
        if "resumed" in block:
            end = block["resumed"]
            kept = [
                (first, {k: v[: end - first + 1] if isinstance(v, list) else v for k, v in columns.items()})
                for first, columns in kept
                if first <= end
            ]
        elif "step" in block and isinstance(block.get("loss"), list):
            kept.append((block["step"], {k: v for k, v in block.items() if k not in ("step", "time")}))
    columns: dict[str, Any] = {"step": [], "loss": [], "lr": []}
    for name in dict.fromkeys([*columns, *(c for _, block in kept for c in block)]):
        parts = []
        for first, block in kept:
            n = len(block["loss"])
            values = np.arange(first, first + n) if name == "step" else block.get(name)
            values = np.asarray(values, dtype=np.int64 if name == "step" else np.float64)
            parts.append(np.broadcast_to(values, (n,)))
        columns[name] = np.concatenate(parts) if parts else np.array([], dtype=np.float64)
    return pd.DataFrame(columns)


def _finite(value: Any) -> Any:
    """``value`` with what JSON has no word for (NaN, infinities) as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
