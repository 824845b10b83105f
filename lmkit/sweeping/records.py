"""The records of a sweep's folder, one dataclass per file; ``folder.py`` says where each file lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from lmkit.batch.templates import OVERRIDES
from lmkit.exceptions import DamagedFile, SweepError, shorten
from lmkit.experiment.schema import full_path
from lmkit.sweeping.objectives import Objective
from lmkit.sweeping.pruners import Pruner, pruner_to_dict, read_pruner
from lmkit.sweeping.search_space import Space
from lmkit.system.records import Count, Number, Seconds, parse_record, read_record

VERSION = 1
"""The version of the folder's format."""

FINISHED = ("completed", "pruned", "diverged", "failed")
"""The states in which a trial is over; all others are continued by the next driver."""

Values = Annotated[list[Any], Field(min_length=1)]

TrialState = Literal["waiting", "running", "completed", "pruned", "diverged", "failed", "interrupted", "damaged"]
AttemptState = Literal["completed", "pruned", "diverged", "failed", "interrupted", "died", "full", "lost"]


@dataclass(frozen=True)
class FixedParameters:
    """What all trials of a sweep have in common.

    Attributes:
        parameters: parameter of the template → value.
        experiment: the parts of the experiment that is swept; None for a template with parameters.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    experiment: dict[str, Any] | None = None

    def bind(self, varied: Mapping[str, Any]) -> dict[str, Any]:
        """Return all parameters of a trial's template, given those that vary."""
        if self.experiment is None:
            return {**self.parameters, **varied}
        return {OVERRIDES: {**self.experiment, **{full_path(name): value for name, value in varied.items()}}}


@dataclass(frozen=True)
class SweepSpec:
    """What a sweep varies and how: the content of ``sweep.yaml``.

    Attributes:
        template: file name of the notebook in the sweep's folder.
        fixed: what all trials have in common.
        space: the parameters that vary.
        method: ``grid``, ``random`` or ``tpe``.
        objectives: the numbers by which trials are compared.
        pruner: stops weak trials early; None: none are stopped.
        seed: random seed of the search.
        template_sha256: the SHA-256 of the notebook; empty in a sweep of lmkit before 0.3.
    """

    template: str
    fixed: FixedParameters
    space: Space
    method: str
    objectives: tuple[Objective, ...]
    pruner: Pruner | None
    seed: int
    template_sha256: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values in the order of ``sweep.yaml``."""
        return {
            "version": VERSION,
            "template": self.template,
            **({"template_sha256": self.template_sha256} if self.template_sha256 else {}),
            "parameters": self.fixed.parameters,
            "experiment": self.fixed.experiment,
            **self.space.to_dict(),
            "method": self.method,
            "objectives": [list(o) for o in self.objectives],
            "prune": pruner_to_dict(self.pruner),
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], path: Path = Path("sweep.yaml")) -> Self:
        """Return the specification that ``to_dict`` wrote; ``path`` is its file, for messages.

        Raises:
            DamagedFile: a value is missing or has another type.
        """
        content = parse_record(_SpecFile, values, path)
        try:
            pruner = read_pruner(content.prune)
        except SweepError as error:
            raise DamagedFile(path, str(error)) from None
        return cls(
            content.template,
            FixedParameters(content.parameters or {}, content.experiment),
            Space.from_dict(values),
            content.method,
            tuple(Objective(*o) for o in content.objectives),
            pruner,
            content.seed,
            content.template_sha256,
        )


@dataclass(frozen=True, kw_only=True)
class _RangeFile:
    low: Number
    high: Number
    log: bool = False
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class _ChoiceFile:
    values: Values


@dataclass(frozen=True, kw_only=True)
class _SpecFile:
    """The types of the values in ``sweep.yaml``."""

    template: Annotated[str, StringConstraints(pattern=r"^[^/\\\x00]+\.ipynb$", max_length=255)]
    grid: dict[str, Values]
    search: dict[str, _RangeFile | _ChoiceFile]
    method: str
    objectives: list[tuple[str, Literal["minimize", "maximize"]]]
    seed: Count
    prune: str | dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    experiment: dict[str, Any] | None = None
    template_sha256: str = ""


class _Record:
    """A dataclass in a JSON file that ``to_dict`` describes; unknown keys are ignored."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values in the order of the file."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], path: Path = Path("record")) -> Self:
        """Return the record that ``to_dict`` wrote; ``path`` is its file, for messages.

        Raises:
            DamagedFile: a value is missing or has another type.
        """
        return parse_record(cls, values, path)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the record in a file; None where there is no file; raises what ``from_dict`` raises."""
        return read_record(cls, path)


@dataclass(frozen=True)
class SweepSettings(_Record):
    """What may change when a sweep is continued: the content of ``settings.json``.

    Attributes:
        trials: number of trials of the sweep.
        workers: trials at a time.
        threads: threads of each trial.
        engine: where trials are executed.
        time_limit: seconds of one trial; None: unlimited.
        retry_failed: whether failed trials are repeated.
        runs: the folder of the runs.
        command: the command that started the sweep.
        kernel: the registered kernel that executes the trials; empty: the current Python.
        cwd: the folder that the kernels work in.
    """

    trials: Count = 0
    workers: Count = 1
    threads: Count = 0
    engine: str = "threads"
    time_limit: float | None = None
    retry_failed: bool = False
    runs: str = ""
    command: str = ""
    kernel: str = ""
    cwd: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without those of later versions that are not set."""
        return {k: v for k, v in super().to_dict().items() if v or k not in ("kernel", "cwd")}


@dataclass(frozen=True)
class DriverRecord(_Record):
    """The process that drives a sweep: the content of ``lock``.

    Attributes:
        pid, pid_started: the process and its start time, since process ids are reused.
        host: the machine's name.
        token: tells one driver from another.
        since: time at which it took the lock.
    """

    pid: Count
    pid_started: Number
    host: str
    token: str = ""
    since: Seconds = 0.0


@dataclass(frozen=True)
class TrialRecord(_Record):
    """What a trial is to try: the content of ``trial.json``.

    Attributes:
        number: counted from 1.
        parameters: the values of the parameters that vary.
        note: what the sampler needs to recognise the trial.
    """

    number: Count
    parameters: dict[str, Any] = field(default_factory=dict)
    note: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PruneRecord(_Record):
    """Why a trial was stopped early: the content of ``pruned.json``."""

    reason: str = ""
    epoch: Number = 0.0


@dataclass(frozen=True)
class TrialOutcome(_Record):
    """How an attempt at a trial ended: the content of ``done.json`` (finished) or ``ended.json`` (to be continued).

    Attributes:
        state: completed, pruned, diverged (its loss or an objective is not finite) or failed (finished); interrupted,
            died (its kernel or its run's worker died), full (nothing could be written), or lost (the engine does not
            answer).
        error: why it did not complete; empty where it did.
        run: the folder of its last run; None without a run.
        notebook: the executed notebook, relative to the trial's folder; None without a notebook.
        values: the last numbers of its run and what its notebook recorded; None where no notebook was executed.
        attempt: the name of the attempt's folder; empty where it did not get that far.
        threads: threads that it could use.
        seconds: duration over all attempts so far.
        repeats: the number of the trial with the same parameters whose result this is; 0: it was executed.
    """

    state: AttemptState
    error: str = ""
    run: str | None = None
    notebook: str | None = None
    values: dict[str, Any] | None = None
    attempt: str = ""
    threads: Count = 0
    seconds: Seconds = 0.0
    repeats: Count = 0

    @property
    def finished(self) -> bool:
        """Whether the trial is over."""
        return self.state in FINISHED

    def to_dict(self) -> dict[str, Any]:
        """Return plain values in the order of the file, without those that were never determined."""
        values = super().to_dict()
        missing: set[str] = set() if self.values is not None else {"run", "notebook", "values"}
        missing |= set() if self.attempt else {"attempt", "threads", "seconds"}
        missing |= set() if self.repeats else {"repeats"}
        return {name: value for name, value in values.items() if name not in missing}


def _numbers_text(values: Mapping[str, Any]) -> str:
    """Return named values in a line, numbers with four digits."""
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {shorten(v)}" for k, v in values.items())


@dataclass(frozen=True, repr=False)
class Trial:
    """One parameter set of a sweep, as read from its folder.

    Attributes:
        path: its folder.
        number: counted from 1.
        parameters: the values of the parameters that the sweep varies.
        state: waiting, running, completed, pruned, diverged, failed, interrupted, or damaged.
        values: the last numbers of its run and what its notebook recorded.
        error: why it did not complete; empty where it did.
        run: the folder of its run; None without a run.
        notebook: the executed notebook; None before the first attempt.
        seconds: duration over all attempts.
        note: what the sampler needs to recognise the trial.
        repeats: the number of the trial with the same parameters whose result it took; 0: it was executed.
    """

    path: Path
    number: int
    parameters: dict[str, Any]
    state: TrialState
    values: dict[str, Any]
    error: str
    run: Path | None
    notebook: Path | None
    seconds: float
    note: dict[str, Any]
    repeats: int = 0

    def __repr__(self) -> str:
        """Return one line: its state, parameters, last numbers and run."""
        parts = (_numbers_text(self.parameters), _numbers_text(self.values), self.run and f"run {self.run.name}")
        text = f"trial {self.number}: {self.state}" + (f" ({shorten(self.error)})" if self.error else "")
        return "; ".join([text, *(part for part in parts if part)])

    @property
    def done(self) -> bool:
        """Whether it is over: completed, pruned, diverged or failed."""
        return self.state in FINISHED

    @property
    def good(self) -> bool:
        """Whether it completed or was pruned."""
        return self.state in ("completed", "pruned")

    @property
    def determined(self) -> bool:
        """Whether it was executed, and its parameters determined how it ended: another attempt would end alike."""
        return not self.repeats and self.state in ("completed", "pruned", "diverged")

    @property
    def failed(self) -> bool:
        """Whether it failed or diverged."""
        return self.state in ("failed", "diverged")
