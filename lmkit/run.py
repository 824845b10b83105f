"""Run, the person's handle on a run's folder: train, attach, watch, steer, resume, read, predict."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, overload

from lmkit.backends import get_backend, require
from lmkit.data import objects
from lmkit.errors import ConfigError, RunFailed, RunStateError
from lmkit.events import Event, history, steps
from lmkit.executors import WorkerExecutor
from lmkit.experiment import Experiment
from lmkit.progress import Reporter
from lmkit.runfolder import RunFolder, Status, find_run, run_folders, told_apart

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmkit.data.preparation import Preprocessing

FEW = 2**28
"""Multiplications a token up to which one thread writes a text: on a busy machine, more mostly wait for each other."""


class Run:
    """One run. What it tells comes from its folder, so any number of people may hold it, anywhere.

    Attributes:
        folder: the run's folder.

    >>> import lmkit as lk
    >>> run = lk.train(lk.Experiment(data="wine"), wait=True)  # doctest: +SKIP
    >>> run.metrics["accuracy"]  # doctest: +SKIP
    1.0
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    # -- what it is -------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def name(self) -> str:
        """The folder's name, by which ``attach`` finds it."""
        return self.folder.name

    @cached_property
    def experiment(self) -> Experiment:
        """The configuration that it was started with."""
        return self.folder.experiment

    @property
    def status(self) -> Status:
        """State, progress, rate, heartbeat: where it stands now."""
        return self.folder.status()

    @property
    def state(self) -> str:
        """pending, running, paused, completed, stopped, failed, or lost."""
        return self.status.state

    @property
    def events(self) -> list[Event]:
        """What happened so far."""
        return self.folder.events.read(quiet=False)[0]

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch, and a validation amid one: epoch, step, seconds, lr, loss, accuracy, …, val_loss, …"""
        return history(self.events)

    @property
    def steps(self) -> pd.DataFrame:
        """One row a step: step (counted from 1), loss, lr, gradient_norm (where it was taken)."""
        return steps(self.folder.metrics.read()[0])

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware, git commit and command that it was made with."""
        return self.folder.read_json("environment.json") or {}

    @property
    def preprocessing(self) -> Preprocessing:
        """What was fitted on the training part."""
        from lmkit.data.preparation import read_preprocessing

        values = self.folder.read_json("preprocessing.json")
        if values is None:
            raise RunStateError(f"{self.name} has not prepared its data yet; run.wait() first")
        return read_preprocessing(values)

    # -- waiting ----------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Run:
        """Waits until it has ended, in whatever state; returns itself.

        Raises:
            TimeoutError: it still lives after ``timeout`` seconds.
        """
        return self.wait_for(timeout=timeout)

    def wait_for(self, *states: str, timeout: float | None = None) -> Run:
        """Waits until its state is one of ``states``, or it has ended; returns itself.

        Raises:
            TimeoutError: neither after ``timeout`` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        pause = 0.02
        while (status := self.status).live and status.state not in states:
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"{self.name} is still {status.state} after {timeout:g} seconds")
            time.sleep(pause)
            pause = min(0.25, pause * 1.2)
        return self

    def watch(self, file: TextIO | None = None, *, until: tuple[str, ...] = ()) -> Run:
        """Prints one line an epoch, and a sign of life between long ones, until it has ended or is in ``until``.

        Raises:
            RunFailed: it failed, or its worker vanished.
        """
        reporter = Reporter(self.folder, file or sys.stdout)
        while (status := self.status).live and status.state not in until:
            reporter.look()
            time.sleep(0.1)
        reporter.look(last=True)
        if status.live:
            return self
        self._ended("watched to its end")
        return self

    def _ended(self, wanted: str) -> Status:
        """The status after the end; refuses a run that did not get there."""
        status = self.wait().status
        if status.state in ("failed", "lost"):
            again = (
                "" if status.state == "failed" and "diverged" in status.reason else f"; go on: lmkit resume {self.name}"
            )
            raise RunFailed(f"{self.name} cannot be {wanted}: it {_became(status)}{again}")
        return status

    # -- results ----------------------------------------------------------------------------------

    @property
    def metrics(self) -> dict[str, float]:
        """Loss and metrics on the test part. Waits for the end."""
        return dict(self._ended("measured").metrics or {})

    @property
    def predictions(self) -> pd.DataFrame:
        """The test part: ``target`` and ``prediction``, as classes or in the target's own unit. Waits for the end."""
        import pandas as pd

        self._ended("asked for predictions")
        path = self.path / "predictions.parquet"
        return pd.read_parquet(path) if path.is_file() else pd.DataFrame({"target": [], "prediction": []})

    def load_model(self, which: str = "last") -> Any:
        """The model in its framework, with the weights of checkpoint ``last`` or ``best``.

        One of the user's own that is kept beside the runs is unpickled: what its maker wrote runs here.

        Raises:
            RunStateError: there is no such checkpoint (yet).
            ConfigError: a builder of the user's own is no longer where it was.
        """
        return get_backend(self.experiment.framework).bare(self.built(which))

    def built(self, which: str = "last") -> Any:
        """The model of a checkpoint as the backend speaks to it; ``load_model`` gives it as its author knows it."""
        saved = self.folder.load_checkpoint(which)
        if saved is None:
            raise RunStateError(f"{self.name} has no checkpoint {which!r} yet; it is {self.state}")
        spec, preprocessing = self.experiment, self.preprocessing
        backend = get_backend(spec.framework)
        objects.fetch(spec, self.path.parent)
        model = backend.build(spec.model, preprocessing.signature, spec.training.precision)
        backend.set_weights(model, saved[0])
        return model

    @cached_property
    def model(self) -> Any:
        """The trained model in its framework, an ``nn.Module`` or a ``keras.Model``. Waits for the end."""
        return get_backend(self.experiment.framework).bare(self._trained)

    @cached_property
    def _trained(self) -> Any:
        self._ended("loaded")
        return self.built("last")

    def predict(self, X: Any) -> np.ndarray:
        """Predictions (rows,) for rows as they came: classes of the target, or values in its unit. Waits for the end.

        Args:
            X: a DataFrame, or an array (rows, columns), with the columns trained on; or images or sequences.
        """
        return self.preprocessing.decode(self._logits(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (rows, classes), classes in the order of ``run.preprocessing.classes``. Waits for the end."""
        return self.preprocessing.probabilities(self._logits(X))

    def generate(
        self,
        prompt: str = "",
        tokens: int = 100,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int = 0,
    ) -> str:
        """The prompt, and how a language model goes on with it. Waits for the end.

        Args:
            prompt: what to go on from; empty: the beginning of a document.
            tokens: how many to write at most; it ends earlier where the model ends the document.
            temperature: what the logits are divided by: under 1 bolder, over 1 more varied, 0 the most probable token.
            top_k: draw from so many of the most probable tokens only.
            seed: decides what is drawn; the same in every framework.

        Raises:
            ConfigError: a setting cannot be, or the run is not of a language model.

        >>> run.generate("def ", tokens=20, temperature=0.8)  # doctest: +SKIP
        'def __init__(self, *args):'
        """
        from lmkit.generation import check, continued

        check(prompt, tokens, temperature, top_k, seed)
        if (kind := self.experiment.data.kind) != "text":
            raise ConfigError(
                [f"generate: {self.name} has learned from a {kind}, expected a run of a language model; train one: "
                 'lk.train(model="transformer:nano")']
            )  # fmt: skip
        model, backend, known = self._trained, get_backend(self.experiment.framework), self.preprocessing
        few = self.experiment.model.multiplications(known.signature) < FEW
        threads = backend.set_threads(1) if few else 0
        try:
            return continued(
                lambda row: backend.predict(model, row),
                known,  # type: ignore[arg-type]
                prompt, tokens, temperature, top_k, seed,
            )  # fmt: skip
        finally:
            if threads:
                backend.set_threads(threads)

    def _logits(self, X: Any) -> np.ndarray:
        model = self._trained
        prepared = self.preprocessing.apply(X)
        if prepared.dtype.kind == "f":  # else they are numbers of tokens
            prepared = prepared.astype(self.experiment.training.precision)
        return get_backend(self.experiment.framework).predict(model, prepared)

    # -- steering ---------------------------------------------------------------------------------

    def pause(self) -> Run:
        """Asks the worker to wait after a checkpoint."""
        return self._ask("pause")

    def stop(self) -> Run:
        """Asks the worker to end after a checkpoint; ``resume`` goes on from there."""
        return self._ask("stop")

    def checkpoint(self) -> Run:
        """Asks the worker for a checkpoint."""
        return self._ask("checkpoint")

    def note(self, text: str) -> Run:
        """Writes a note into the run's log, at the step it has come to."""
        return self._ask("note", text=text)

    def set_learning_rate(self, value: float) -> Run:
        """Asks the worker to go on at another learning rate (which its schedule then multiplies)."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ConfigError([f"learning rate: given {value!r}, expected a number greater than 0"])
        return self._ask("learning_rate", value=float(value))

    def resume(self) -> Run:
        """Goes on: wakes a paused worker, or starts a new one from the last checkpoint.

        Raises:
            RunStateError: it is running already, or has completed.
        """
        state = self.state
        if state == "paused":
            self.folder.command("resume")
            return self
        if state in ("running", "pending"):
            raise RunStateError(f"{self.name} is {state} already; watch it: lmkit watch {self.name}")
        if state == "completed":
            raise RunStateError(
                f"{self.name} has completed; train anew: lk.train(run.experiment.override({{'epochs': …}}))"
            )
        require(self.experiment.framework)
        self.folder.claim()
        self.folder.command("resume")  # what was asked for before concerns the worker before
        for name in ("model", "_trained"):
            self.__dict__.pop(name, None)
        WorkerExecutor().start(self.folder)
        return self

    def _ask(self, verb: str, **arguments: Any) -> Run:
        status = self.status
        if not status.live:
            raise RunStateError(f"{self.name} cannot do that: it {_became(status)}")
        self.folder.command(verb, **arguments)
        return self

    # -- how it shows itself ----------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.summary()}>"

    def summary(self) -> str:
        """One line: state, epoch, and the last or final numbers."""
        status = self.status
        numbers = status.metrics or {}
        told = ", ".join(f"{'test ' if numbers else ''}{k} {v:.4g}" for k, v in numbers.items())
        where = f"epoch {status.epoch}/{status.epochs}, step {status.step}" if status.step else ""
        return ", ".join(t for t in (status.state, where, told, status.reason) if t)


def _became(status: Status) -> str:
    said = {"completed": "has completed", "stopped": "was stopped", "failed": "failed", "lost": "was lost"}
    return said.get(status.state, f"is {status.state}") + (f" ({status.reason})" if status.reason else "")


def together(runs: Sequence[Run]) -> list[str]:
    """What runs are called beside each other; see ``told_apart``."""
    return told_apart([run.name for run in runs], [run.experiment.framework for run in runs])


class Runs(tuple[Run, ...]):
    """Several runs, to be looked at together."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))


@overload
def attach(name: Run | str | Path = "last", /, *, runs: str | Path | None = None) -> Run: ...


@overload
def attach(
    name: Run | str | Path, second: Run | str | Path, /, *more: Run | str | Path, runs: str | Path | None = None
) -> Runs: ...


def attach(*names: Run | str | Path, runs: str | Path | None = None) -> Run | Runs:
    """The run with this name, prefix or short id, or the ``last`` one started; of several names, all of them together.

    Raises:
        RunNotFound: none, or more than one, has it.
    """
    found = [_run(name, runs) for name in names or ("last",)]
    return found[0] if len(found) == 1 else Runs(found)


def _run(run: Run | str | Path, runs: str | Path | None) -> Run:
    return run if isinstance(run, Run) else Run(find_run(run, runs))


def watch(run: Run | str | Path = "last", *, runs: str | Path | None = None) -> Run:
    """Prints a line an epoch of a run until it has ended."""
    return _run(run, runs).watch()


def pause(run: Run | str | Path = "last", *, runs: str | Path | None = None) -> Run:
    """Asks a run to wait after a checkpoint."""
    return _run(run, runs).pause()


def stop(run: Run | str | Path = "last", *, runs: str | Path | None = None) -> Run:
    """Asks a run to end after a checkpoint."""
    return _run(run, runs).stop()


def resume(run: Run | str | Path = "last", *, runs: str | Path | None = None) -> Run:
    """Goes on with a paused, stopped, failed or lost run, from where it came to."""
    return _run(run, runs).resume()


def generate(
    run: Run | str | Path = "last",
    prompt: str = "",
    tokens: int = 100,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    runs: str | Path | None = None,
) -> str:
    """How a run's language model goes on with a prompt; see ``Run.generate``."""
    return _run(run, runs).generate(prompt, tokens, temperature=temperature, top_k=top_k, seed=seed)


def runs(root: str | Path | None = None) -> pd.DataFrame:
    """The runs under ``root`` (default: $LMKIT_RUNS or ./runs), the newest first, as a DataFrame."""
    import pandas as pd

    rows = []
    for folder in reversed(run_folders(root)):
        status, spec = folder.status(), None
        with contextlib.suppress(ConfigError):  # of another version, or damaged: listed nevertheless
            spec = folder.experiment
        rows.append(
            {
                "name": folder.name,
                "state": status.state,
                "framework": spec.framework if spec else "",
                "data": spec.data.source if spec else "",
                "model": spec.model.family if spec else "",
                "epoch": status.epoch,
                "step": status.step,
                "seconds": status.seconds,
                **{f"test_{k}": v for k, v in (status.metrics or {}).items()},
                "path": str(folder.path),
            }
        )
    columns = ["name", "state", "framework", "data", "model", "epoch", "step", "seconds", "path"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)
