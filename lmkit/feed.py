"""What a watcher knows of a run: read from its folder as it grows, and thinned to what a screen can show.

    metrics.jsonl ──> Series (every step) ──> buckets: lowest, highest, mean … of consecutive steps
    events.jsonl  ──> Series (every epoch), marks

However long the run is, looking at it means at most ``BUCKETS`` buckets: when there are more, two become one. So a
look costs the same after a million steps as after a thousand, and no extreme is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmkit.events import Event
from lmkit.progress import sentence

if TYPE_CHECKING:
    from lmkit.run import Run

BUCKETS = 256
"""Buckets that a series is thinned to at most: one for two or three pixels of a chart."""

SLICE_BYTES = 2**20
"""What one look reads of a log at most; a long run is caught up with in several looks."""

REDUCERS = {"low": np.fmin, "high": np.fmax, "mean": np.add, "last": None}
"""How the values of a bucket become one; missing values (NaN) do not count."""


class Column(NamedTuple):
    """One line of a chart: which column of the log, and how the values of a bucket become one."""

    name: str
    reducer: str


class Series:
    """Columns that grow together, one row a step or an epoch, each seen through buckets of 2ᵏ rows.

    Args:
        columns: what is kept of each row.
        lines: what the buckets hold, in this order.

    Attributes:
        count: rows so far.
        width: rows a bucket.
        changed: the first bucket that changed since ``news`` was asked for.
    """

    def __init__(self, columns: Sequence[str], lines: Sequence[Column]) -> None:
        self.lines = tuple(lines)
        self.rows = {name: np.empty(1024, dtype=np.float32) for name in columns}
        self.count = 0
        self.width = 1
        self.changed = 0

    def extend(self, n: int, values: Mapping[str, Any]) -> None:
        """Adds ``n`` rows; a number stands for all of them, and a column that is not given is missing."""
        end = self.count + n
        for name, kept in self.rows.items():
            if end > len(kept):
                self.rows[name] = kept = np.resize(kept, max(end, 2 * len(kept)))
            value = values.get(name)
            kept[self.count : end] = np.nan if value is None else value
        self.changed = min(self.changed, self.count // self.width)
        self.count = end
        while self.count > BUCKETS * self.width:
            self.width *= 2
            self.changed = 0

    def cut(self, count: int) -> None:
        """Takes back the rows after the first ``count``."""
        if count < self.count:
            self.count = count
            self.changed = 0

    def news(self) -> tuple[int, np.ndarray]:
        """The first bucket that changed since the last call, and all from there on: (lines, buckets), float32."""
        first = self.changed
        self.changed = self.count // self.width
        return first, self.buckets(first * self.width, self.count, self.width)

    def buckets(self, start: int, stop: int, width: int) -> np.ndarray:
        """The rows from ``start`` to ``stop``, ``width`` at a time: (lines, buckets), float32."""
        starts = np.arange(start, stop, width) - start
        found = np.empty((len(self.lines), len(starts)), dtype=np.float32)
        for line, (name, reducer) in zip(found, self.lines, strict=True):
            rows = self.rows[name][start:stop]
            if not len(starts):
                continue
            combine = REDUCERS[reducer]
            if combine is None:
                line[:] = rows[np.append(starts[1:], len(rows)) - 1]
            elif reducer == "mean":
                line[:] = combine.reduceat(rows, starts, dtype=np.float64) / np.diff(np.append(starts, len(rows)))
            else:
                line[:] = combine.reduceat(rows, starts)
        return found

    def window(self, start: int, stop: int) -> tuple[int, int, np.ndarray]:
        """A part of the rows in as much detail as a screen can show: its first row, the rows a bucket, the buckets."""
        start, stop = max(0, start), min(self.count, stop)
        width = 1
        while stop - start > BUCKETS * width:
            width *= 2
        start -= start % width
        return start, width, self.buckets(start, stop, width)


class Mark(NamedTuple):
    """Something that happened after a step, to be drawn on the charts."""

    step: int
    type: str
    text: str


METRICS = ("accuracy", "r2", "bits_per_byte")
"""What is drawn beside the loss: the first that the run measures."""

STEP_LINES = tuple(
    Column(*c.split(":"))
    for c in ("loss:low", "loss:high", "loss:mean", "lr:last", "gradient_norm:low", "gradient_norm:high")
)
EPOCH_LINES = tuple(
    Column(*c.split(":")) for c in ("step:last", "loss:last", "val_loss:low", "val_loss:high", "metric:last",
                                    "val_metric:low", "val_metric:high")
)  # fmt: skip


class Feed:
    """One run, read on at each ``look``.

    Attributes:
        steps, epochs: the series.
        marks: what happened.
        metric: the name of what is drawn beside the loss, once it is known.
        sample: what a language model wrote last: ``step``, ``prompt`` and ``text``.
        status: where the run stood at the last look.
        behind: whether there is more to read already.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.steps = Series(("loss", "lr", "gradient_norm"), STEP_LINES)
        self.epochs = Series(("step", "loss", "val_loss", "metric", "val_metric"), EPOCH_LINES)
        self.marks: list[Mark] = []
        self.metric = ""
        self.sample: dict[str, Any] = {}
        self.status = run.status
        self.behind = True
        self._metrics_offset = self._events_offset = 0

    def look(self) -> None:
        """Reads what has come since the last look."""
        self.status = self.run.status
        folder = self.run.folder
        blocks, at = folder.metrics.read(self._metrics_offset, quiet=True, limit=SLICE_BYTES)
        self.behind = at - self._metrics_offset >= SLICE_BYTES // 2
        self._metrics_offset = at
        for block in blocks:
            self._take_steps(block)
        events, self._events_offset = folder.events.read(self._events_offset)
        for event in events:
            self._take_event(event)

    def _take_steps(self, block: Mapping[str, Any]) -> None:
        if "resumed" in block:
            self.steps.cut(block["resumed"])
        elif isinstance(block.get("loss"), list):
            # a value that was no number is null in the log: None becomes NaN here
            values = {k: np.array(block[k], dtype=np.float32) for k in self.steps.rows if block.get(k) is not None}
            self.steps.extend(len(block["loss"]), values)

    def _take_event(self, event: Event) -> None:
        data = event.data
        if event.type == "epoch":
            self.metric = self.metric or next((m for m in METRICS if m in data), "")
            row = {"metric": data.get(self.metric), "val_metric": data.get(f"val_{self.metric}")}
            self.epochs.extend(1, data | row)
            return
        if event.type == "resumed":
            done = self.epochs.rows["step"][: self.epochs.count]
            self.epochs.cut(int(np.searchsorted(done, data["step"], side="right")))
        if event.type == "sample":
            self.sample = data
            return
        said = sentence(event)
        if said and event.type != "started":
            self.marks.append(Mark(int(data.get("step", 0)), event.type, said))
