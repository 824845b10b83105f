"""A run's folder, the only protocol between who trains and who watches.

runs/<UTC time>-<name>-<short id>/
  experiment.yaml     the whole configuration
  environment.json    versions, hardware, git commit, the command
  preprocessing.json  what was fitted on the training part
  own.py              the text of functions and classes that are the user's own
  status.json         state, process, heartbeat; replaced atomically
  metrics.jsonl       numbers of every step, in blocks
  events.jsonl        what happened
  control.jsonl       what people asked for
  checkpoints/        last/ and best/
  log.txt             what the worker printed
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import yaml

from lmkit.errors import ConfigError, RunNotFound, RunStateError, nearest
from lmkit.events import JOURNAL, EventLog, JsonLines
from lmkit.experiment import Experiment
from lmkit.specs.plain import load_written

if TYPE_CHECKING:
    import numpy as np

    Arrays = dict[str, np.ndarray]

LIVE = ("pending", "running", "paused")
"""The states in which a worker works, or waits."""

LOST_AFTER = 15.0
"""Seconds without a heartbeat after which a worker on another machine counts as vanished."""

EARLIER = "LMKIT_EARLIER"
"""The environment variable that names the journals of earlier attempts at the notebook that is executed."""

STATUS = "status.json"

OWN = "own.py"


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a run stands.

    Attributes:
        state: pending, running, paused, completed, stopped, failed, or lost (its worker vanished).
        epoch, epochs: the epoch being trained, counted from 1, and how many there will be at most.
        step, steps: steps done, and how many there will be at most.
        steps_per_second, samples_per_second: the rate, over the last second or so.
        seconds: time trained so far.
        seconds_left: what is left at this rate.
        heartbeat: when the worker last gave a sign of life, in seconds since 1970.
        pid, pid_started, host: the worker's process, when it started, and its machine.
        memory: the worker's resident memory in bytes.
        peak_memory: the most that it was.
        device: where the tensors lie.
        reason: why the run ended, where it did not simply complete.
        metrics: measured on the test part, once the run has ended.
    """

    state: str = "pending"
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    steps_per_second: float | None = None
    samples_per_second: float | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    heartbeat: float = 0.0
    pid: int = 0
    pid_started: float = 0.0
    host: str = ""
    memory: int = 0
    peak_memory: int = 0
    device: str = ""
    reason: str = ""
    metrics: dict[str, float] | None = None

    @property
    def progress(self) -> float:
        """Share of the steps that are done, 0 to 1."""
        return 1.0 if self.state == "completed" else self.step / self.steps if self.steps else 0.0

    @property
    def live(self) -> bool:
        """Whether a worker works on it, or waits."""
        return self.state in LIVE

    @property
    def rate(self) -> float | None:
        """Steps a second."""
        return self.steps_per_second


class RunFolder:
    """One run's folder, for the worker that writes it and for whoever watches."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.metrics = JsonLines(self.path / "metrics.jsonl")
        self.events = EventLog(self.path / "events.jsonl")
        self.control = JsonLines(self.path / "control.jsonl")
        self.log = self.path / "log.txt"
        self.checkpoints = self.path / "checkpoints"

    @property
    def name(self) -> str:
        """The folder's own name, by which a run is found."""
        return self.path.name

    @property
    def experiment(self) -> Experiment:
        """The configuration that the run was started with."""
        with contextlib.suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
            return Experiment.from_dict(load_written((self.path / "experiment.yaml").read_text(encoding="utf-8")))
        return Experiment.load(self.path / "experiment.yaml")  # what is wrong with it is told as of any other file

    @classmethod
    def create(cls, experiment: Experiment, root: str | Path | None = None) -> RunFolder:
        """A new folder for ``experiment`` under ``root`` (default: $LMKIT_RUNS or ./runs)."""
        root = runs_root(root)
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        folder = cls(root / f"{stamp}-{experiment.name}-{secrets.token_hex(3)}")
        try:
            (folder.path / "checkpoints").mkdir(parents=True)
            folder.write_status(Status(heartbeat=time.time(), host=socket.gethostname(), **process()))
            experiment.save(folder.path / ".experiment.yaml")  # a folder is a run from the moment it holds the whole
            (folder.path / ".experiment.yaml").replace(folder.path / "experiment.yaml")
        except OSError as error:
            shutil.rmtree(folder.path, ignore_errors=True)
            raise RunStateError(
                f"no run can be kept under {str(root)!r}: {error.strerror}; "
                "name another folder: runs='…', --runs … or LMKIT_RUNS=…"
            ) from None
        folder.tell_journal()
        return folder

    def tell_journal(self) -> None:
        """Tells whoever executes this notebook, if anybody does, that it works on this run."""
        _told.add(self.path)
        if journal := os.environ.get(JOURNAL):
            with contextlib.suppress(OSError):
                JsonLines(Path(journal)).append({"run": str(self.path)})

    def write_json(self, name: str, value: Any) -> None:
        """Replaces a file of the folder, all of it or nothing."""
        aside = self.path / f".{name}.{os.getpid()}.{secrets.token_hex(2)}"
        try:
            aside.write_text(json.dumps(value, indent=2, default=str), encoding="utf-8")
            aside.replace(self.path / name)
        except OSError:
            aside.unlink(missing_ok=True)
            raise

    def read_json(self, name: str) -> Any:
        """The content of a file of the folder, None where there is none, or a failing machine left half of it."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    # -- status -----------------------------------------------------------------------------------

    def write_status(self, status: Status) -> None:
        """Replaces the status."""
        self.write_json(STATUS, asdict(status))

    def status(self) -> Status:
        """The status, with a worker that vanished told as ``lost``."""
        status = self._written_status()
        while status.live and vanished(status):
            seen, status = status, self._written_status()
            if seen == status:  # else the worker has just ended in good order, or another took over
                return replace(status, state="lost", reason="its worker vanished without a word")
        return status

    def _written_status(self) -> Status:
        known = {f.name for f in fields(Status)}
        return Status(**{k: v for k, v in (self.read_json(STATUS) or {}).items() if k in known})

    def claim(self) -> None:
        """Takes the folder for one more worker, so that of two who resume at once only one does.

        Raises:
            RunStateError: somebody else took it.
        """
        taken = RunStateError(f"{self.name} is being resumed by somebody else right now")
        attempts = sum(1 for e in self.events.read()[0] if e.type in ("started", "resumed", "failed"))
        with self._writing():
            for again in itertools.count():
                mark = self.path / f".claim-{attempts}-{again}"
                try:
                    mark.touch(exist_ok=False)
                    break
                except FileExistsError:
                    holder, marked = self.status(), mark.stat().st_mtime
                    # a claim is followed by a heartbeat, unless whoever made it died in between
                    waiting = holder.heartbeat < marked and time.time() - marked < LOST_AFTER
                    if holder.live or waiting:
                        raise taken from None
            if self.status().live:  # claimed by another, who has come further than this since we counted
                mark.unlink()
                raise taken
            self.write_status(replace(self.status(), state="pending", reason="", heartbeat=time.time(), **process()))

    # -- control ----------------------------------------------------------------------------------

    def command(self, verb: str, **arguments: Any) -> None:
        """Asks the worker for something: pause, resume, stop, learning_rate, checkpoint, note."""
        with self._writing():
            self.control.append({"time": round(time.time(), 3), "by": os.getpid(), "command": verb, **arguments})

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Says in the project's own words that the folder cannot be written."""
        try:
            yield
        except OSError as error:
            raise RunStateError(f"{str(self.path)!r} cannot be written: {error.strerror}") from None

    # -- checkpoints ------------------------------------------------------------------------------

    def save_checkpoint(self, kind: str, weights: Arrays, optimizer: Arrays, state: dict[str, Any]) -> None:
        """Writes ``checkpoints/<kind>`` beside the old one and then puts it in its place."""
        new, old, place = (self.checkpoints / n for n in (f".{kind}-new", f".{kind}-old", kind))
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            _save_arrays(weights, new / "weights.safetensors")
            if optimizer:
                _save_arrays(optimizer, new / "optimizer.safetensors")
            (new / "state.json").write_text(json.dumps(state), encoding="utf-8")
            for file in new.iterdir():
                with file.open("rb") as f:
                    os.fsync(f.fileno())
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
            place.rename(old)
        new.rename(place)
        shutil.rmtree(old, ignore_errors=True)

    def load_checkpoint(self, kind: str) -> tuple[Arrays, Arrays, dict[str, Any]] | None:
        """Weights, optimizer and state of ``checkpoints/<kind>``; None where there is none."""
        from safetensors.numpy import load_file

        # a worker that died between two renames leaves the old one aside
        for place in (self.checkpoints / kind, self.checkpoints / f".{kind}-old"):
            if (place / "state.json").is_file():
                optimizer = place / "optimizer.safetensors"
                return (
                    load_file(place / "weights.safetensors"),
                    load_file(optimizer) if optimizer.is_file() else {},
                    json.loads((place / "state.json").read_text(encoding="utf-8")),
                )
        return None


def _save_arrays(arrays: Arrays, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(arrays, path)
    except SafetensorError as error:  # a full disk is an OSError everywhere else
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


def process(pid: int | None = None) -> dict[str, Any]:
    """A process as status.json knows it: pids are used again, so its start time stands beside."""
    pid = pid or os.getpid()
    return {"pid": pid, "pid_started": psutil.Process(pid).create_time()}


def vanished(status: Status) -> bool:
    """Whether the process that a status names is gone; of one on another machine, whether it is silent."""
    if status.host != socket.gethostname():
        return time.time() - status.heartbeat > LOST_AFTER
    try:
        worker = psutil.Process(status.pid)
        # a process that was killed is a zombie, then for a moment dead, and then gone
        ended = worker.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return ended or abs(worker.create_time() - status.pid_started) > 2
    except (psutil.NoSuchProcess, ValueError):
        return True


def runs_root(root: str | Path | None = None) -> Path:
    """Where runs are kept: ``root``, else $LMKIT_RUNS, else ./runs."""
    return Path(root or os.environ.get("LMKIT_RUNS") or "runs").expanduser().absolute()


_told: set[Path] = set()
"""The runs that this process has told of."""


def begun(experiment: Experiment) -> RunFolder | None:
    """The run of this experiment that an earlier attempt at the notebook began, if any; each is found once."""
    journals = [Path(p) for p in os.environ.get(EARLIER, "").split(os.pathsep) if p]
    lines = [line for journal in journals for line in JsonLines(journal).read(quiet=True)[0]]
    for folder in (RunFolder(line["run"]) for line in reversed(lines) if "run" in line):
        with contextlib.suppress(ConfigError):
            if folder.path not in _told and folder.experiment == experiment:
                return folder
    return None


def run_folders(root: str | Path | None = None) -> list[RunFolder]:
    """The runs under ``root``, oldest first."""
    found = sorted(p.parent for p in runs_root(root).glob("*/experiment.yaml"))
    return [RunFolder(p) for p in found]


def find_run(name: str | Path, root: str | Path | None = None) -> RunFolder:
    """The run that a name, a prefix, a short id, ``last``, or the path of its folder stands for.

    Raises:
        RunNotFound: none or more than one does.
    """
    text = str(name)
    if ".." in Path(text).parts:
        raise RunNotFound(f"given {text!r}: expected a run's name, not a path with '..' in it; `lmkit runs` lists them")
    if os.sep in text:
        if (Path(text) / "experiment.yaml").is_file():
            return RunFolder(text)
        raise RunNotFound(f"{text!r} is no run's folder: it holds no experiment.yaml; `lmkit runs` lists the runs")
    folders = run_folders(root)
    where = f"under {str(runs_root(root))!r}"
    if not folders:
        raise RunNotFound(f"given {text!r}, but there are no runs {where}; start one: `lmkit run train`, or --runs DIR")
    if text == "last":
        return max(folders, key=lambda f: (f.path / "experiment.yaml").stat().st_mtime_ns)
    if not text:
        raise RunNotFound("given an empty name, expected a run's name; `lmkit runs` lists them")
    for matches in (
        [f for f in folders if text == f.name],
        [f for f in folders if text == f.name.rsplit("-", 1)[-1]],
        [f for f in folders if text == _bare(f.name)],
        [f for f in folders if f.name.startswith(text) or _bare(f.name).startswith(text)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            listed = "\n  ".join(f.name for f in matches[-10:])
            raise RunNotFound(f"{text!r} is {len(matches)} runs {where}; write more of the name:\n  {listed}")
    names = [f.name for f in folders[-10:]]
    raise RunNotFound(f"there is no run {text!r} {where}; {nearest(text, dict.fromkeys([*map(_bare, names), *names]))}")


def told_apart(folders: Sequence[str], frameworks: Sequence[str]) -> list[str]:
    """What runs are called beside each other: by their frameworks, or their experiments' names, where those tell all
    of them apart, else by their short ids.

    >>> told_apart(["20260101-000000-a-b-1a2b3c", "20260101-000001-a-b-4d5e6f"], ["torch", "torch"])
    ['1a2b3c', '4d5e6f']
    """
    ids = [folder.rsplit("-", 1)[-1] for folder in folders]
    ways = (list(frameworks), [_bare(folder) for folder in folders], ids)
    return next((way for way in ways if len(set(way)) == len(way)), ids)


def _bare(folder: str) -> str:
    """The experiment's name in a folder's name: without the time and the short id."""
    return folder.split("-", 2)[-1].rsplit("-", 1)[0]
