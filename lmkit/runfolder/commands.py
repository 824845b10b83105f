"""The commands to a run's worker: ``control.jsonl``, one JSON object per line, with a dataclass for each command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Command:
    """A request to the worker of a run."""

    name: ClassVar[str]

    def to_record(self) -> dict[str, Any]:
        """Return the command as it is written, without its time and sender."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"command": self.name, **{name: value for name, value in values.items() if value is not None}}


@dataclass(frozen=True, kw_only=True)
class Pause(Command):
    """Write a checkpoint and wait."""

    name: ClassVar[str] = "pause"


@dataclass(frozen=True, kw_only=True)
class Resume(Command):
    """Train again after a pause. Commands before it in the file concern an earlier worker.

    Attributes:
        devices, strategy: on which the new worker trains; none: those of the experiment.
    """

    name: ClassVar[str] = "resume"
    devices: int | None = None
    strategy: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stop(Command):
    """Write a checkpoint and end."""

    name: ClassVar[str] = "stop"


@dataclass(frozen=True, kw_only=True)
class SaveCheckpoint(Command):
    """Write a checkpoint."""

    name: ClassVar[str] = "checkpoint"


@dataclass(frozen=True, kw_only=True)
class AddNote(Command):
    """Write a note into the log, at the current step."""

    name: ClassVar[str] = "note"
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class SetLearningRate(Command):
    """Use another learning rate from the next step on; the schedule multiplies it."""

    name: ClassVar[str] = "learning_rate"
    value: float


COMMANDS: dict[str, type[Command]] = {cls.name: cls for cls in Command.__subclasses__()}
"""The commands by name."""


def parse_command(record: Mapping[str, Any]) -> Command | None:
    """Return the command in a line of ``control.jsonl``; None for one that this version does not know."""
    cls = COMMANDS.get(str(record.get("command")))
    if cls is None:
        return None
    try:
        return cls(**{f.name: record[f.name] for f in fields(cls) if f.name in record})
    except TypeError:  # a value is missing
        return None


def last_resume(records: list[dict[str, Any]]) -> Resume:
    """Return the last command to resume; one without changes where there is none."""
    commands = (parse_command(record) for record in reversed(records) if record.get("command") == Resume.name)
    return next((command for command in commands if isinstance(command, Resume)), Resume())


def commands_since_resume(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records after the last ``resume``: those before it were for an earlier worker."""
    last = max((i for i, record in enumerate(records) if record.get("command") == Resume.name), default=-1)
    return records[last + 1 :]
