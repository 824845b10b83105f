"""One reader of a run's logs as they grow: byte offsets, torn lines, and steps that a resume takes back.

A worker that resumes from a checkpoint trains the later steps of an earlier worker again. Both logs record it: the
metrics with ``{"resumed": step}``, the events with a ``resumed`` event; what they hold of later steps is then void. A
reader of whole logs (``valid_epochs``, ``valid_blocks``) gets what counts; one that follows a run (``LogTail``) gets a
``Rewind`` and drops what it has of later steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lmkit.runfolder.events import MAX_STEP, Epoch, Event, Resumed, is_time
from lmkit.runfolder.folder import RunFolder
from lmkit.system.records import is_number


class StepBlock(NamedTuple):
    """Consecutive steps.

    Attributes:
        first: the number of the first step, counted from 1.
        size: the number of steps.
        columns: ``loss``, ``lr``, ``gradient_norm``: a list with a value per step, or one number for all of them; a
            value in a list that was not finite is None.
        time: when the block was written, in seconds since 1970; None if the log does not say.
    """

    first: int
    size: int
    columns: dict[str, Any]
    time: float | None = None

    def until(self, step: int) -> StepBlock:
        """Return the part of the block up to ``step``."""
        size = max(0, min(self.size, step - self.first + 1))
        columns = {k: v[:size] if isinstance(v, list) else v for k, v in self.columns.items()}
        return StepBlock(self.first, size, columns, self.time)


class Rewind(NamedTuple):
    """A worker resumed after ``step``: what was read of later steps is void."""

    step: int


def parse_block(record: Mapping[str, Any]) -> StepBlock | Rewind | None:
    """Parse a line of ``metrics.jsonl``; return None for a line of another kind, or a damaged one."""
    if "resumed" in record:
        return Rewind(record["resumed"]) if _is_step(record["resumed"]) else None
    losses, time = record.get("loss"), record.get("time")
    if not _is_step(record.get("step")) or not isinstance(losses, list):
        return None
    columns = {k: v for k, v in record.items() if k not in ("step", "time")}
    if not all(_is_column(values, len(losses)) for values in columns.values()):
        return None
    return StepBlock(record["step"], len(losses), columns, time if is_time(time) else None)


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_STEP


def _is_column(values: Any, size: int) -> bool:
    """Whether values are one number or None for all steps, or a list with one per step."""
    if not isinstance(values, list):
        return values is None or is_number(values)
    try:
        return len(values) == size and np.asarray(values, dtype=np.float64).ndim == 1
    except (TypeError, ValueError, OverflowError):
        return False


def valid_blocks(records: Iterable[Mapping[str, Any]]) -> list[StepBlock]:
    """Return the steps that count, each once, as last trained."""
    blocks: list[StepBlock] = []
    for record in records:
        block = parse_block(record)
        if isinstance(block, Rewind):
            blocks = [b.until(block.step) for b in blocks if b.first <= block.step]
        elif block is not None:
            blocks.append(block)
    return blocks


def valid_epochs(events: Iterable[Event]) -> list[Event]:
    """Return the ``epoch`` events that count, in the order of their epochs, each as last trained."""
    epochs: dict[float, Event] = {}
    for event in events:
        if event.type == Resumed.type:
            epochs = {e: epoch for e, epoch in epochs.items() if epoch.data["step"] <= event.data["step"]}
        elif event.type == Epoch.type:
            epochs[event.data["epoch"]] = event
    return [epochs[e] for e in sorted(epochs)]


class LogTail:
    """Follow the logs of a run: each call returns what was written since the last one.

    Torn lines are skipped without a warning, since the last line of a run that trains may still be incomplete.

    Args:
        folder: the run's folder.
        limit: bytes of metrics that one call reads at most (one more line may follow); none: all of them.

    Attributes:
        is_behind: whether the last call of ``read_steps`` met the limit, so that there may be more to read at once.
    """

    def __init__(self, folder: RunFolder, limit: int | None = None) -> None:
        self.folder, self.limit = folder, limit
        self.is_behind = False
        self._steps_offset = self._events_offset = 0

    def read_steps(self) -> list[StepBlock | Rewind]:
        """Return the blocks of steps since the last call, with a ``Rewind`` wherever a worker resumed."""
        records, offset = self.folder.metrics.read(self._steps_offset, quiet=True, limit=self.limit)
        self.is_behind = self.limit is not None and offset - self._steps_offset >= self.limit // 2
        self._steps_offset = offset
        return [block for record in records if (block := parse_block(record)) is not None]

    def read_events(self) -> list[Event]:
        """Return the events since the last call; a ``resumed`` event voids the epochs after its step."""
        events, self._events_offset = self.folder.events.read(self._events_offset)
        return events
