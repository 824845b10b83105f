"""A live view of a run: its folder, read as it grows, in as many points as a screen can show.

    metrics.jsonl ──> DownsampledSeries (every step) ──> buckets: lowest, highest, mean … of consecutive steps
    events.jsonl  ──> DownsampledSeries (every epoch), marks

A series has at most ``BUCKETS`` buckets: when there are more, two become one. A view after a million steps costs what
it costs after a thousand, and no extreme is lost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lmkit.runfolder.downsample import Column, DownsampledSeries
from lmkit.runfolder.events import Event
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.progress import sentence
from lmkit.runfolder.tail import LogTail, Rewind
from lmkit.specs.tasks import drawn_metrics

SLICE_BYTES = 2**20
"""Bytes of a log that one ``poll`` reads at most; a long run needs several."""


class Mark(NamedTuple):
    """An event after a step, to be drawn on the charts."""

    step: int
    type: str
    text: str


METRICS = drawn_metrics()
"""Metrics to draw next to the loss; the first one that the run measures is drawn."""

STEP_LINES = tuple(
    Column(*c.split(":"))
    for c in ("loss:low", "loss:high", "loss:mean", "lr:last", "gradient_norm:low", "gradient_norm:high")
)
EPOCH_LINES = tuple(
    Column(*c.split(":"))
    for c in (
        "step:last",
        "loss:last",
        "val_loss:low",
        "val_loss:high",
        "metric:last",
        "val_metric:low",
        "val_metric:high",
        "epoch:last",
        "seconds:last",
    )
)


class RunView:
    """The view of one run; ``poll`` reads the new lines of its logs.

    Attributes:
        steps, epochs: the series.
        marks: the events to draw.
        metric: the name of the metric that is drawn next to the loss; empty until an epoch has ended.
        sample: the last text of a language model: ``step``, ``prompt`` and ``text``.
        status: the status at the last ``poll``.
        is_behind: whether the log holds more to read at once.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.steps = DownsampledSeries(("loss", "lr", "gradient_norm"), STEP_LINES)
        self.epochs = DownsampledSeries(
            ("step", "loss", "val_loss", "metric", "val_metric", "epoch", "seconds"), EPOCH_LINES
        )
        self.marks: list[Mark] = []
        self.metric = ""
        self.sample: dict[str, Any] = {}
        self.status = folder.status()
        self.is_behind = True
        self._tail = LogTail(folder, SLICE_BYTES)

    def poll(self) -> None:
        """Read what was written since the last call."""
        self.status = self.folder.status()
        for block in self._tail.read_steps():
            if isinstance(block, Rewind):
                self.steps.truncate(block.step)
            else:  # null in the log (a value that was not finite) becomes NaN
                columns = {k: v for k, v in block.columns.items() if k in self.steps.rows and v is not None}
                self.steps.extend(block.size, {k: np.array(v, dtype=np.float32) for k, v in columns.items()})
        self.is_behind = self._tail.is_behind
        for event in self._tail.read_events():
            self._add_event(event)

    def _add_event(self, event: Event) -> None:
        data = event.data
        if event.type == "epoch":
            self.metric = self.metric or next((m for m in METRICS if m in data), "")
            row = {"metric": data.get(self.metric), "val_metric": data.get(f"val_{self.metric}")}
            self.epochs.extend(1, data | row)
            return
        if event.type == "resumed":
            steps = self.epochs.rows["step"][: self.epochs.count]
            self.epochs.truncate(int(np.searchsorted(steps, data["step"], side="right")))
        if event.type == "sample":
            self.sample = data
            return
        text = sentence(event)
        if text and event.type != "started":
            self.marks.append(Mark(int(data.get("step", 0)), event.type, text))
