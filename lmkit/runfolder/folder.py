"""A run's folder, the only protocol between the worker and its watchers.

runs/<UTC time>-<name>-<short id>/
  experiment.yaml     the whole configuration
  environment.json    versions, hardware, git commit, the command
  data.json           what the data were: hashes, and the folder that relative paths begin in
  preprocessing.json  the preprocessing, fitted on the training part
  own.py              the source of the user's functions and classes
  status.json         state, process, heartbeat; replaced atomically
  metrics.jsonl       numbers of every step, in blocks
  events.jsonl        events
  control.jsonl       commands to the worker
  readings.jsonl      statistics of layers, weights and outputs at some steps, for the doctor
  ranks/              one file and one log a process, where several train the run; on several machines the key, too
  snapshots/          weights along the path of training, where ``training.snapshots`` asks for them
  profile.json        what the data are like, and what simple models reach on them
  autopsy.json        why a run diverged, once the doctor has repeated it
  tests.json          what the doctor's tests found, once they were run
  checkpoints/        last/ and best/, each in files as ``lmkit.runfolder.shards`` describes
  log.txt             the worker's output
  lock                held by the worker for its life
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lmkit.display.units import format_bytes
from lmkit.exceptions import ConfigError, DamagedFile, RunStateError
from lmkit.experiment.experiment import Experiment
from lmkit.runfolder import shards
from lmkit.runfolder.commands import Command, Resume, last_resume
from lmkit.runfolder.events import EventLog
from lmkit.runfolder.status import Status, vanished
from lmkit.specs.plain import load_written, not_yaml
from lmkit.system.files import (
    JsonLines,
    make_directory,
    old_path,
    path_inside,
    replace_directory,
    write_json,
    write_text,
)
from lmkit.system.locks import LockHeld, ProcessLock
from lmkit.system.parquet_size import parquet_bytes
from lmkit.system.processes import process
from lmkit.system.reading import check_file, read_json, read_object, read_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Arrays = dict[str, np.ndarray]

STATUS, EXPERIMENT = "status.json", "experiment.yaml"

LOCK_TIMEOUT = 5.0
"""Seconds that a worker waits for the process that resumes the run to let go of the folder."""

END_TIMEOUT = 40.0
"""Seconds that a process which resumes a run waits for the worker that has just written the outcome to end."""

OWN = "own.py"

MAX_PREDICTION_BYTES = 2**29
"""The largest content of a table of predictions that is read: about 33 million rows."""

EPOCH_ARRAYS = "epoch.safetensors"
"""File of a checkpoint: what the metrics of an epoch that is not over need."""

VANISHED = "its worker ended without a final status"
"""The reason of a lost run."""


class RunFolder:
    """The folder of a run, for its worker and its watchers.

    Args:
        path: of the folder.
        writes: whether this process writes what happens; of several that train a run, the first does, and what the
            others would write goes nowhere.
    """

    def __init__(self, path: str | Path, *, writes: bool = True) -> None:
        self.path, self.writes = Path(path).absolute(), writes
        self.metrics = JsonLines(self.path / "metrics.jsonl", writes=writes)
        self.events = EventLog(self.path / "events.jsonl", writes=writes)
        self.control = JsonLines(self.path / "control.jsonl")
        self.readings = JsonLines(self.path / "readings.jsonl", writes=writes)
        self.log = self.path / "log.txt"
        self.lock = ProcessLock(self.path / "lock")
        self.checkpoints = self.path / "checkpoints"

    @property
    def name(self) -> str:
        """The name of the folder, by which a run is found."""
        return self.path.name

    @property
    def experiment(self) -> Experiment:
        """The configuration that the run was started with.

        Raises:
            ConfigError: the file is missing, cannot be read, or does not describe an experiment.
        """
        path = self.path / "experiment.yaml"
        try:
            return Experiment.from_dict(load_written(read_text(path)))
        except FileNotFoundError:
            raise ConfigError([f"no file {str(path)!r}; expected the experiment of the run"]) from None
        except DamagedFile as error:
            raise ConfigError([str(error)]) from None
        except yaml.YAMLError as error:
            raise ConfigError([f"{str(path)!r}: {not_yaml(error)}"]) from None

    @property
    def resumed_experiment(self) -> Experiment:
        """The configuration, on the devices that the last command to resume names.

        Raises:
            ConfigError: it cannot be read, or the devices are no number.
        """
        return apply_resume(self.experiment, last_resume(self.control.read(quiet=True)[0]))

    @classmethod
    def create(cls, experiment: Experiment, root: str | Path | None = None) -> RunFolder:
        """Create a folder for ``experiment`` in ``root`` (default: $LMKIT_RUNS or ./runs)."""
        root = runs_root(root)
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        folder = cls(root / f"{stamp}-{experiment.name}-{secrets.token_hex(3)}")
        try:
            (folder.path / "checkpoints").mkdir(parents=True)
            folder.write_status(Status(heartbeat=time.time(), host=socket.gethostname(), **process()))
            experiment.save(folder.path / "experiment.yaml")  # a folder is a run once it holds the complete file
        except OSError as error:
            shutil.rmtree(folder.path, ignore_errors=True)
            raise RunStateError(
                f"cannot create a run in {str(root)!r}: {error.strerror}; "
                "choose another folder: runs='…', --runs … or LMKIT_RUNS=…"
            ) from None
        return folder

    def write_json(self, name: str, value: Any) -> None:
        """Replace a file of the folder, completely or not at all."""
        if self.writes:
            write_json(self.path / name, value, indent=2, default=str)

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file of the folder, completely or not at all."""
        if self.writes:
            write_text(self.inside(name), text)

    def read_json(self, name: str) -> Any:
        """Return the content of a JSON file; None if it does not exist.

        Raises:
            DamagedFile: it cannot be read.
        """
        return read_json(self.path / name)

    def inside(self, *parts: str) -> Path:
        """Return the path of a file to write in the folder.

        Raises:
            LinkError: a folder on the way is a symbolic link.
        """
        return path_inside(self.path, *parts)

    # -- status -----------------------------------------------------------------------------------

    def write_status(self, status: Status) -> None:
        """Replace the status."""
        self.write_json(STATUS, asdict(status))

    def status(self) -> Status:
        """Return the status; it is ``lost`` if the worker's process is gone.

        Raises:
            DamagedFile: the status cannot be read.
        """
        status = self._written_status()
        while status.live and vanished(status) and not self.lock.is_held:
            seen, status = status, self._written_status()
            if seen == status:  # else the worker has just ended in good order, or another took over
                return replace(status, state="lost", reason=VANISHED, cause="vanished")
        return status

    def _written_status(self) -> Status:
        path = self.path / STATUS
        try:
            return Status.from_dict(read_object(path) or {}, path)
        except DamagedFile as error:
            if error.is_cut_short:  # by a failing machine: the run is lost, and can be resumed
                return Status()
            raise

    def claim(self) -> None:
        """Claim the folder for a new worker, so that of two processes that resume at once only one does.

        The status then names this process, which hands the run over to its worker. A worker that has written the
        outcome, and is about to end, is waited for.

        Raises:
            RunStateError: another process claimed it, or trains it.
        """
        has_ended = not self._written_status().live
        with self._writing(), contextlib.suppress(LockHeld), self.lock.hold(END_TIMEOUT if has_ended else 1.0):
            status = self._written_status()
            if not status.live or vanished(status):  # no worker holds the lock
                here = {"heartbeat": time.time(), "host": socket.gethostname(), **process()}
                self.write_status(replace(status, state="pending", reason="", cause="", **here))
                return
        raise RunStateError(f"{self.name} is being resumed by another process")

    @contextlib.contextmanager
    def train_lock(self) -> Iterator[None]:
        """Hold the run for as long as this process trains it.

        Raises:
            RunStateError: another process trains it.
        """
        try:
            with self.lock.hold(LOCK_TIMEOUT):
                yield
        except LockHeld:
            raise RunStateError(f"{self.name} is already being trained by another process") from None

    @property
    def is_deleted(self) -> bool:
        """Whether the folder was deleted or moved: it holds no experiment any more."""
        return not (self.path / EXPERIMENT).exists()

    # -- control ----------------------------------------------------------------------------------

    def send(self, command: Command) -> None:
        """Append a command for the worker."""
        with self._writing():
            self.control.append({"time": round(time.time(), 3), "by": os.getpid(), **command.to_record()})

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn an OSError into a RunStateError that names the folder."""
        try:
            yield
        except OSError as error:
            raise RunStateError(f"{str(self.path)!r} cannot be written: {error.strerror}") from None

    # -- checkpoints ------------------------------------------------------------------------------

    def save_checkpoint(
        self,
        kind: str,
        weights: Arrays,
        optimizer: Arrays,
        state: dict[str, Any],
        epoch_arrays: Arrays | None = None,
    ) -> None:
        """Replace ``checkpoints/<kind>``, completely or not at all; a folder that was deleted is not created again.

        Args:
            kind: last or best.
            weights: of the model.
            optimizer: its state, and the random states.
            state: the progress.
            epoch_arrays: what the metrics of an epoch that is not over need.
        """
        if not self.writes:
            return
        make_directory(self.path, "checkpoints", parents=False)
        with replace_directory(self.inside("checkpoints", kind), sync=True) as folder:
            shards.save_arrays(weights, folder, "weights")
            if optimizer:
                shards.save_arrays(optimizer, folder, "optimizer")
            if epoch_arrays:
                shards.save_file(epoch_arrays, folder / EPOCH_ARRAYS)
            write_json(folder / "state.json", state)

    def load_checkpoint(self, kind: str) -> tuple[Arrays, Arrays, dict[str, Any]] | None:
        """Return weights, optimizer and state of ``checkpoints/<kind>``; None if it does not exist.

        Raises:
            DamagedFile: a file of it is missing or cannot be read.
        """
        for folder in self._checkpoint_paths(kind):
            if (state := read_object(folder / "state.json")) is not None:
                weights, optimizer = (shards.load_arrays(folder, name) for name in ("weights", "optimizer"))
                if weights is None:
                    raise DamagedFile(folder / "weights.safetensors", "it does not exist")
                return weights, optimizer or {}, state
        return None

    def load_epoch_arrays(self) -> Arrays:
        """Return what the last checkpoint holds for the metrics of its epoch; empty where that is over.

        Raises:
            DamagedFile: the file cannot be read.
        """
        path = next((path for path in self._checkpoint_paths("last") if (path / "state.json").exists()), None)
        try:
            return {} if path is None else shards.load_file(path / EPOCH_ARRAYS)
        except FileNotFoundError:
            return {}

    def _checkpoint_paths(self, kind: str) -> tuple[Path, Path]:
        """The folder of a checkpoint, and where a worker that died between two renames leaves the previous one."""
        path = self.checkpoints / kind
        return path, old_path(path)

    # -- predictions ------------------------------------------------------------------------------

    def predictions(self) -> pd.DataFrame:
        """Return ``target`` and ``prediction`` of the test part; empty where there is none.

        Raises:
            DamagedFile: the file cannot be read.
        """
        import pandas as pd

        path = self.path / "predictions.parquet"
        try:
            size = parquet_bytes(check_file(path), MAX_PREDICTION_BYTES)
            if size > MAX_PREDICTION_BYTES:
                limit = format_bytes(MAX_PREDICTION_BYTES)
                raise DamagedFile(path, f"it holds {format_bytes(size)} unpacked, expected at most {limit}")
            frame = pd.read_parquet(path)
        except FileNotFoundError:
            return pd.DataFrame({"target": [], "prediction": []})
        except (OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
            raise error if isinstance(error, DamagedFile) else DamagedFile(path, str(error)[:200]) from None
        if missing := [name for name in ("target", "prediction") if name not in frame.columns]:
            raise DamagedFile(path, f"it has no column {missing[0]!r}")
        return frame


def apply_resume(experiment: Experiment, resume: Resume) -> Experiment:
    """Return an experiment on the devices that a command to resume names.

    Raises:
        ConfigError: they are no number, or there is no such strategy.
    """
    changes: dict[str, Any] = {}
    if resume.devices is not None:
        changes = {"training.devices": resume.devices, "training.strategy": "auto"}
    if resume.strategy is not None:
        changes["training.strategy"] = resume.strategy
    return experiment.override(changes) if changes else experiment


def check_weights(expected: Mapping[str, tuple[int, ...]], weights: Arrays, path: Path) -> None:
    """Check that the weights of a checkpoint fit a model.

    Args:
        expected: the shapes of the weights of the model.
        weights: those of the checkpoint.
        path: the folder of the checkpoint.

    Raises:
        DamagedFile: one is missing or has another shape.
    """
    shards.check_shapes(expected, {n: w.shape for n, w in weights.items()}, shards.entry_path(path, "weights"))


def runs_root(root: str | Path | None = None) -> Path:
    """Return the folder of the runs: ``root``, else $LMKIT_RUNS, else ./runs."""
    return Path(root or os.environ.get("LMKIT_RUNS") or "runs").expanduser().absolute()
