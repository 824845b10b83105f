"""The events of a run: ``events.jsonl``, one JSON object per line, with a dataclass for each type of event."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from lmkit.system.files import JsonLines, TornLine
from lmkit.system.records import is_number

MAX_STEP = 2**53
"""Steps of a run, at most: beyond, steps cannot be told apart on an axis."""


@dataclass(frozen=True, kw_only=True)
class Details:
    """The details of an event of one type; values that an older version did not write have their defaults."""

    type: ClassVar[str]
    required: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Details:
        """Return the details in an event's ``data``; keys of other versions are ignored."""
        names = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in names})

    @classmethod
    def is_valid(cls, data: Mapping[str, Any]) -> bool:
        """Return whether ``data`` has the fields that readers need, and each field has its type."""
        return cls.required <= data.keys() and all(
            _is_valid(data[f.name], f.default) for f in fields(cls) if f.name in data
        )

    def to_data(self) -> dict[str, Any]:
        """Return the details as they are written, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Started(Details):
    """A worker began to train a new run.

    Attributes:
        pid, host: the worker and its machine.
        device: where it trains.
        rows: part of the data → its number of rows; without the parts whose number is unknown.
        summary: what is trained, and how.
    """

    type: ClassVar[str] = "started"
    pid: int = 0
    host: str = ""
    device: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    summary: str = ""

    def to_data(self) -> dict[str, Any]:
        """Return the details as they are written: without rows or a summary where there are none."""
        return {name: value for name, value in super().to_data().items() if name not in ("rows", "summary") or value}


@dataclass(frozen=True, kw_only=True)
class Resumed(Details):
    """A worker continued from the checkpoint after ``step``; later steps and epochs before this event are void."""

    type: ClassVar[str] = "resumed"
    required: ClassVar[frozenset[str]] = frozenset({"step"})
    step: int = 0
    epoch: int = 0
    pid: int = 0


@dataclass(frozen=True, kw_only=True)
class Epoch(Details):
    """A validation: at the end of an epoch, or within one, where ``epoch`` is not a whole number.

    Attributes:
        epoch: epochs trained.
        step: steps taken.
        seconds: training time so far.
        lr: the learning rate of the last step.
        gradient_norm: that of the last step.
        metrics: by column of the history: ``loss``, ``accuracy``, … (means over the rows of the steps since the last
            validation, before their updates), ``val_loss``, … (of the validation part, now).
    """

    type: ClassVar[str] = "epoch"
    required: ClassVar[frozenset[str]] = frozenset({"epoch", "step"})
    epoch: float = 0
    step: int = 0
    seconds: float = 0.0
    lr: float | None = None
    gradient_norm: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Epoch:
        """Return the details in an event's ``data``, in which the metrics stand among the other keys."""
        names = {f.name for f in fields(cls)} - {"metrics"}
        values = {key: value for key, value in data.items() if key in names}
        return cls(**values, metrics={key: value for key, value in data.items() if key not in names})

    @classmethod
    def is_valid(cls, data: Mapping[str, Any]) -> bool:
        """Return whether ``data`` has epoch and step, and numbers only: they are the columns of the history."""
        return all(is_number(data.get(name), 0, MAX_STEP) for name in cls.required) and all(
            value is None or is_number(value) for value in data.values()
        )

    def to_data(self) -> dict[str, Any]:
        """Return the details as they are written: the metrics follow the other keys."""
        data = super().to_data()
        metrics = data.pop("metrics")
        return {**data, **metrics}


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Details):
    """A checkpoint was written."""

    type: ClassVar[str] = "checkpoint"
    step: int = 0
    epoch: int = 0


@dataclass(frozen=True, kw_only=True)
class Paused(Details):
    """The worker waits, on request."""

    type: ClassVar[str] = "paused"
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Continued(Details):
    """The worker trains again after a pause."""

    type: ClassVar[str] = "continued"
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Restarting(Details):
    """One of several processes was killed or hung; all start again from the last checkpoint.

    Attributes:
        step: that training had reached.
        rank: of the process that failed first.
        reason: why.
    """

    type: ClassVar[str] = "restarting"
    step: int = 0
    rank: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class LearningRate(Details):
    """The learning rate was changed on request."""

    type: ClassVar[str] = "learning_rate"
    step: int = 0
    old: float = 0.0
    value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Note(Details):
    """A note that a person added."""

    type: ClassVar[str] = "note"
    step: int = 0
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class DataInferred(Details):
    """What was inferred about the data where the configuration leaves it open, such as the task."""

    type: ClassVar[str] = "data"
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class DataWarning(Details):
    """A finding about the data, such as a constant column."""

    type: ClassVar[str] = "warning"
    step: int = 0
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Compiled(Details):
    """The compiled step was called for the first time, which took ``seconds``."""

    type: ClassVar[str] = "compiled"
    step: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Sample(Details):
    """Text that a language model generated after a validation."""

    type: ClassVar[str] = "sample"
    required: ClassVar[frozenset[str]] = frozenset({"step", "prompt", "text"})
    step: int = 0
    prompt: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Converted(Details):
    """The model was converted from the one of ``run`` in another framework."""

    type: ClassVar[str] = "converted"
    step: int = 0
    run: str = ""
    framework: str = ""
    to: str = ""


@dataclass(frozen=True, kw_only=True)
class Finished(Details):
    """The run ended: completed, or stopped on request."""

    type: ClassVar[str] = "finished"
    state: str = ""
    reason: str = ""
    step: int = 0
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failed(Details):
    """The run ended with an error."""

    type: ClassVar[str] = "failed"
    reason: str = ""
    step: int = 0


def _is_valid(value: Any, default: Any) -> bool:
    """Whether a value has the type of a field with that default."""
    if isinstance(default, str):
        return isinstance(value, str)
    if default is MISSING:
        return isinstance(value, Mapping)
    return is_number(value) or (value is None and default is None)


DETAILS: dict[str, type[Details]] = {cls.type: cls for cls in Details.__subclasses__()}
"""The details by type of event."""


@dataclass(frozen=True)
class Event:
    """Something that happened in a run.

    Attributes:
        time: in seconds since 1970.
        type: started, epoch, checkpoint, …; plugins and later versions may write others.
        data: the details as they are written.
    """

    time: float
    type: str
    data: dict[str, Any]

    @property
    def details(self) -> Details | None:
        """The details as a dataclass; None for a type that is not in ``DETAILS``."""
        cls = DETAILS.get(self.type)
        return cls.from_data(self.data) if cls else None


def parse_event(record: Mapping[str, Any]) -> Event | None:
    """Return the event in a line of the log; None for another line, or a damaged one."""
    time, event_type = record.get("time", ""), record.get("type")
    if not is_time(time) or not isinstance(event_type, str):
        return None
    data = {k: v for k, v in record.items() if k not in ("time", "type")}
    cls = DETAILS.get(event_type)
    return None if cls and not cls.is_valid(data) else Event(time, event_type, data)


def is_time(value: Any) -> bool:
    """Whether a value is a time, in seconds since 1970, of which a date can be made."""
    return is_number(value, 0, 253_402_300_799)


class EventLog:
    """The events of a run, in the order in which they were written; see ``JsonLines``."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.lines = JsonLines(path, writes=writes)

    def append(self, event_type: str, /, **data: Any) -> None:
        """Record that something happened, now."""
        self.lines.append({"time": round(time.time(), 3), "type": event_type, **data})

    def record(self, details: Details) -> None:
        """Record an event, now."""
        self.append(details.type, **details.to_data())

    def read(self, offset: int = 0, *, quiet: bool = True) -> tuple[list[Event], int]:
        """Return the events from byte ``offset`` on, and the offset of the next read.

        A line that is no event, or lacks what every reader of its type needs, is skipped as a torn one is.

        Raises:
            DamagedFile: the log is no regular file.
        """
        records, offset = self.lines.read(offset, quiet=quiet)
        events = [event for record in records if (event := parse_event(record)) is not None]
        if len(events) < sum("time" in record and "type" in record for record in records) and not quiet:
            warnings.warn(f"{self.lines.path.name}: a damaged line is skipped", TornLine, stacklevel=2)
        return events, offset

    def __iter__(self) -> Iterator[Event]:
        return iter(self.read(quiet=False)[0])
