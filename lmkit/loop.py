"""The loop of training that every framework shares: epochs, ends, checkpoints, controls; all of it in the run's folder.

The loop asks a trainer for as many steps at a time as take a twentieth of a second, writes down what they were, and
looks whether anybody asked for something. So nothing is written, drawn or decided inside a step.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import socket
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.backends import Steps, get_backend
from lmkit.data import objects, quality
from lmkit.data.metrics import of_language, predictions, score
from lmkit.data.preparation import batch_order, prepare
from lmkit.data.streams import Stream
from lmkit.environment import environment
from lmkit.errors import DataError, LmkitError
from lmkit.generation import continued
from lmkit.recorder import Progress, Recorder
from lmkit.runfolder import OWN, RunFolder
from lmkit.specs.losses import resolve_loss

if TYPE_CHECKING:
    from lmkit.specs.models import Weights

CHUNK_SECONDS = 0.05
"""How long a call of the trainer lasts at most: a pause takes effect within it, or within one step."""

RESERVE_BYTES = 65_536
SMALL_STEP = 2**24
"""Multiplications of a step up to which one thread serves it best: more would mostly wait for each other, and where
several runs share a machine they wait a hundred times longer than they work."""

SAMPLE_TOKENS, SAMPLE_PROMPT = 80, 24
"""Tokens that a language model writes after a validation, and those of the validation part that it goes on from."""

SAMPLE_SECONDS, SAMPLE_SHARE = 3.0, 0.05
"""How often it does so at most, and the share of the time that it may take."""

TRAINING_ROWS = 2_000
"""Metrics of the training part are taken on its first so many rows, or a twentieth of them, to stay cheap."""


class _End(Exception):
    """Training ends: as ``state``, because of ``reason``."""

    def __init__(self, state: str, reason: str) -> None:
        self.state, self.reason = state, reason


class Diverged(LmkitError):
    """The loss is no longer a number."""


def train(folder: RunFolder) -> None:
    """Trains the run in ``folder``, from its last checkpoint where there is one, and leaves the outcome there.

    It raises nothing that went wrong with the run: that is the state ``failed``, with its reason.
    """
    loop = Loop(folder)
    reserve = folder.path / ".reserve"
    try:
        reserve.write_bytes(os.urandom(RESERVE_BYTES))  # so that a full disk still has room to say so
        loop.run()
    except BaseException as error:
        _remove(reserve)
        loop.fail(error)
        if not isinstance(error, Exception):
            raise
    else:
        _remove(reserve)


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)


class Loop:
    """One worker's pass over one run."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.experiment = folder.experiment
        self.record = Recorder(folder, self.experiment)
        self.interrupted = ""
        self.control_offset = 0
        self.threads_before = 0
        self.asked: list[dict[str, Any]] = []
        self.saved = time.monotonic()
        self.sample_due = 0.0
        self.best: Weights | None = None
        self.best_saved = True

    # -- from start to end ------------------------------------------------------------------------

    def run(self) -> None:
        """Trains to an end and writes it down."""
        self.record.show()
        restore_signals = self._catch_signals()
        try:
            with self.record.alive():
                end = self._train()
        finally:
            restore_signals()
            if self.threads_before:
                self.backend.set_threads(self.threads_before)
        metrics = self._metrics("test")
        self._predictions()
        self.folder.events.append(
            "finished", state=end.state, reason=end.reason, step=self.at.step, epoch=self.at.epoch, metrics=metrics
        )
        self.record.show(state=end.state, reason=end.reason, metrics=metrics, seconds_left=0.0)

    def fail(self, error: BaseException) -> None:
        """Writes down that the run failed, and why, and what was not written yet."""
        reason = str(error) if isinstance(error, LmkitError) else f"{type(error).__name__}: {error}"
        full = _cannot_write(error, self.folder)
        if full:
            reason = f"cannot write to {str(self.folder.path)!r}: {full}; make room or permit it, then `lmkit resume`"
        if not isinstance(error, LmkitError) or error.__cause__:
            traceback.print_exception(error)
        if not full:
            with contextlib.suppress(OSError):
                self.record.flush()
        try:
            self.record.show(state="failed", reason=reason, seconds_left=None)
            self.folder.events.append("failed", reason=reason, step=self.record.status.step)
        except OSError:
            raise error from None  # not even that: the worker vanishes, and whoever trains inline is told
        with contextlib.suppress(OSError):
            self.record.flush()  # last, where there may be no room for it

    def _train(self) -> _End:
        self._set_up()
        try:
            while True:
                if self.at.epoch >= self.experiment.training.epochs:
                    raise _End("completed", "")
                self._epoch()
        except _End as end:
            self.record.flush()
            if self.early and self.early.restore_best and self.best is not None and end.state == "completed":
                self.backend.set_weights(self.model, self.best)
            self._checkpoint()
            return end

    def _set_up(self) -> None:
        """Data, model and trainer; the checkpoint, where there is one."""
        spec = self.experiment
        training = spec.training
        root = self.folder.path.parent
        self.backend = get_backend(spec.framework)
        objects.fetch(spec, root)
        if text := objects.sources(spec, root):
            (self.folder.path / OWN).write_text(text, encoding="utf-8")
        self.data = prepare(spec.data, spec.seed, training.precision, root)
        self.loss = resolve_loss(training.loss, self.data.preprocessing.task)
        self.measures = objects.metrics(spec)
        signature = self.data.preprocessing.signature
        spec.model.check(signature)
        rows = 1 if signature.graph else spec.data.batch_size
        work = spec.model.multiplications(signature)
        if training.threads or 0 < rows * work < SMALL_STEP:
            self.threads_before = self.backend.set_threads(training.threads or 1)
        self.backend.seed(spec.seed)
        self.model = self.backend.build(spec.model, signature, training.precision)
        work = work or getattr(self.model, "multiplications", 0)  # of somebody's own, known once it is built
        if not self.threads_before and 0 < rows * work < SMALL_STEP:
            self.threads_before = self.backend.set_threads(1)
        if first := spec.model.initial_weights(signature, spec.seed):
            self.backend.set_weights(self.model, first)
        self.trainer = self.backend.trainer(self.model, spec, self.data, self.loss)
        fed = self.data.batches
        self.rows = fed.rows if fed else len(self.data.training.X)
        self.per_epoch = fed.count if fed else math.ceil(self.rows / spec.data.batch_size)
        self.total = min(training.epochs * self.per_epoch, training.steps or 10**18)
        self.early = training.early_stopping
        self.at = Progress(rate=training.optimizer.lr)
        self.chunk = 1
        self.folder.write_json("preprocessing.json", self.data.preprocessing.to_dict())
        self.folder.write_json("environment.json", environment(self.backend.environment()))
        asked, self.control_offset = self.folder.control.read(quiet=True)
        resumed = max((i for i, line in enumerate(asked) if line.get("command") == "resume"), default=-1)
        self.asked = asked[resumed + 1 :]
        saved = self.folder.load_checkpoint("last")
        again = any(e.type == "started" for e in self.folder.events.read()[0])
        if saved:
            weights, memory, state = saved
            self.backend.set_weights(self.model, weights)
            self.trainer.restore(memory)
            self.at = Progress.from_dict(state)
            best = self.folder.load_checkpoint("best")
            self.best = best[0] if best else None
        else:
            self._check_gradients()
            if self.measures:  # what is wrong with one is said now, not after an epoch
                score(self.trainer, "training", self.data, self.loss, 32, self.measures, skip_loss=True)
        self.record.at, self.record.total = self.at, self.total
        if again:
            self.folder.events.append("resumed", step=self.at.step, epoch=self.at.epoch, pid=os.getpid())
            self.folder.metrics.append({"resumed": self.at.step})
        else:
            self.folder.events.append("started", pid=os.getpid(), host=socket.gethostname(), device=self.trainer.device)
            for text in quality.warnings(self.data, quality.CHEAP):
                self.folder.events.append("warning", step=0, text=text)
        self.record.show(device=self.trainer.device, epochs=training.epochs, steps=self.total, epoch=self.at.epoch + 1)

    def _check_gradients(self) -> None:
        """Refuses a training step that never sees the model: every weight must have a part in the loss."""
        gradients = self.trainer.gradients(np.arange(min(len(self.data.training.X), self.experiment.data.batch_size)))
        own = self.experiment.model.family == "own"  # whose author may have weights that are used now and then
        blind = [name for name, g in gradients.items() if g is None and not own]
        if blind or all(g is None or not np.any(g) for g in gradients.values()):
            raise LmkitError(
                f"the loss does not depend on {', '.join(blind) or 'any weight of the model'}: nothing would be "
                "learned; compute the loss from the model's own output"
            )

    def _epoch(self) -> None:
        """The rest of the epoch that training stands in."""
        at, training = self.at, self.experiment.training
        self.trainer.epoch(batch_order(self.experiment.seed, at.epoch, self.rows), at.epoch)
        while at.batch < self.per_epoch:
            if self._due():
                self._validate(round(at.epoch + at.batch / self.per_epoch, 4))
            self._obey()
            if at.step >= self.total:
                raise _End("completed", f"after {at.step} steps")
            if training.seconds is not None and at.seconds >= training.seconds:
                raise _End("completed", f"after {training.seconds:g} seconds")
            self._check_loader()
            self._advance(min(self.chunk, self.per_epoch - at.batch, self.total - at.step, self._until_due()))
        at.epoch, at.batch = at.epoch + 1, 0
        self._validate(at.epoch)
        if self.early and at.epoch - at.best_epoch >= self.early.patience:
            raise _End("completed", f"no better validation loss since epoch {at.best_epoch:g}")

    def _check_loader(self) -> None:
        """Ends training where a loader of somebody's own has raised, with all that was done before kept."""
        error = getattr(self.data.batches, "error", None)
        if error is not None:
            self._checkpoint()
            raise DataError(f"{error}; {self.at.step} steps are kept: mend it, then `lmkit resume`") from error

    def _sizes(self, n: int) -> np.ndarray:
        """Rows of each of the next ``n`` steps, which have been taken."""
        if isinstance(self.data.batches, Stream):
            return self.data.batches.sizes(self.at.batch, n)
        sizes = np.full(n, self.experiment.data.batch_size)
        if self.at.batch + n == self.per_epoch:
            sizes[-1] = self.rows - (self.per_epoch - 1) * self.experiment.data.batch_size
        return sizes

    def _until_due(self) -> int:
        """Steps until the next validation amid an epoch."""
        every = self.experiment.training.validate_every
        return every - self.at.step % every if every else self.total

    def _due(self) -> bool:
        """Whether it is time for a validation amid an epoch."""
        every = self.experiment.training.validate_every
        return bool(every) and self.at.step % (every or 1) == 0 and self.at.validated < self.at.step

    def _advance(self, n: int) -> None:
        """Takes ``n`` steps and writes down what they were."""
        at, spec = self.at, self.experiment
        numbers = np.arange(at.step, at.step + n)
        rates = at.rate * spec.training.schedule.factors(numbers, self.per_epoch, self.total)
        began = time.monotonic()
        steps = self.trainer.advance(at.batch, rates)
        took, n = time.monotonic() - began, len(steps.loss)
        numbers, rates = numbers[:n], rates[:n]
        if not n:
            self._check_loader()
        sizes = self._sizes(n)
        bad = np.flatnonzero(~np.isfinite(steps.loss))
        if len(bad):  # what the trainer went on to do tells nothing
            n = int(bad[0]) + 1
            numbers, rates, sizes, steps = numbers[:n], rates[:n], sizes[:n], Steps(*(column[:n] for column in steps))
        self.record.add(at.step + 1, steps, rates)
        at.seconds += took
        at.step += n
        at.batch += n
        at.loss_sum += float(np.dot(steps.loss, sizes))
        at.rows_seen += int(sizes.sum())
        at.last_norm = float(steps.gradient_norm[-1])
        if len(bad):
            raise Diverged(
                f"the loss is {steps.loss[-1]} at step {at.step}, epoch {at.epoch + 1}: "
                f"training diverged; lower the learning rate (now {rates[-1]:g}), "
                "or write training: {clip_norm: 1.0}"
            )
        self._pace(n, took)
        self.record.due()
        wanted = spec.training.gradient_norm
        if wanted is not None and at.last_norm < wanted:
            raise _End("completed", f"the gradient's norm {at.last_norm:.3g} fell below {wanted:g}")
        if time.monotonic() - self.saved >= spec.training.checkpoint_seconds:
            self._checkpoint()

    def _pace(self, n: int, took: float) -> None:
        """Chooses how many steps the next call takes."""
        each = took / n
        wanted = max(1, int(CHUNK_SECONDS / max(each, 1e-7)))
        self.chunk = min(wanted, 4 * self.chunk, 4096)  # grows gently: the first steps include compilation
        if self.experiment.training.gradient_norm is not None:
            self.chunk = 1  # the norm of every step may be the end

    def _validate(self, epoch: float) -> None:
        """Validation after so many epochs: a line in the log, the best weights, and the end if the loss is low enough.

        The training loss that it tells of is the mean since the last one.
        """
        at, training = self.at, self.experiment.training
        row = {"loss": at.loss_sum / at.rows_seen, **self._metrics("training", skip_loss=True)}
        if self.data.preprocessing.task == "language":
            row |= of_language(row["loss"], "training", self.data.preprocessing)
        row |= {f"val_{k}": v for k, v in self._metrics("validation").items()}
        at.loss_sum, at.rows_seen, at.validated = 0.0, 0, at.step
        rate = at.rate * float(training.schedule.factors(np.array([at.step - 1]), self.per_epoch, self.total)[0])
        norm = at.last_norm if math.isfinite(at.last_norm) else None
        self.record.flush()
        self.folder.events.append(
            "epoch", epoch=epoch, step=at.step, seconds=round(at.seconds, 4), lr=rate, gradient_norm=norm, **row
        )
        self._sample()
        watched = row.get("val_loss", row["loss"])
        if watched < at.best_loss - (self.early.min_delta if self.early else 0.0):
            at.best_loss, at.best_epoch = watched, epoch
            self.best, self.best_saved = self.backend.weights(self.model), False
        if training.target_loss is not None and watched <= training.target_loss:
            raise _End("completed", f"the loss {watched:.4g} reached {training.target_loss:g}")

    def _metrics(self, part: str, skip_loss: bool = False) -> dict[str, float]:
        """Loss and metrics of one part of the data."""
        rows = max(TRAINING_ROWS, len(self.data.training.X) // 20) if part == "training" else None
        return score(self.trainer, part, self.data, self.loss, rows, self.measures, skip_loss=skip_loss)

    def _sample(self) -> None:
        """Lets a language model go on from the beginning of the validation part, and writes down how it does."""
        began = time.monotonic()
        if self.data.preprocessing.task != "language" or began < self.sample_due:
            return
        known: Any = self.data.preprocessing
        rows = (self.data.validation if len(self.data.validation.X) else self.data.training).X[:1]
        prompt = known.text(rows[0, :SAMPLE_PROMPT])
        text = continued(
            lambda row: self.backend.predict(self.model, row), known, prompt, SAMPLE_TOKENS, seed=self.experiment.seed
        )
        ended = time.monotonic()
        self.sample_due = ended + max(SAMPLE_SECONDS, (ended - began) / SAMPLE_SHARE)
        self.folder.events.append("sample", step=self.at.step, prompt=prompt, text=text[len(prompt) :])

    def _predictions(self) -> None:
        """Keeps what the model says of the test part, for the charts of whoever reads the run; a text says enough."""
        if not len(self.data.test.X) or self.data.preprocessing.task == "language":
            return
        frame = predictions(self.data.preprocessing, self.data.test, self.trainer.outputs("test"))
        frame.to_parquet(self.folder.path / "predictions.parquet", index=False)

    # -- what is written --------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        """Writes where training stands, and the best weights so far."""
        self.record.flush()
        self.saved = time.monotonic()
        if self.best is not None and not self.best_saved:
            self.folder.save_checkpoint("best", self.best, {}, {"epoch": self.at.best_epoch, "loss": self.at.best_loss})
            self.best_saved = True
        self.folder.save_checkpoint("last", self.backend.weights(self.model), self.trainer.state(), self.at.to_dict())
        self.folder.events.append("checkpoint", step=self.at.step, epoch=self.at.epoch)

    # -- what people ask for ----------------------------------------------------------------------

    def _obey(self) -> None:
        """Does what was asked for since the last look; waits while paused."""
        paused = False
        while True:
            for line in self._commands():
                verb = line.get("command")
                if verb == "stop":
                    raise _End("stopped", "on request")
                if verb == "pause" and not paused:
                    paused = True
                    self._checkpoint()
                    self.folder.events.append("paused", step=self.at.step)
                    self.record.show(state="paused")
                elif verb == "resume" and paused:
                    paused = False
                    self.folder.events.append("continued", step=self.at.step)
                    self.record.show(state="running")
                elif verb == "learning_rate":
                    old, self.at.rate = self.at.rate, float(line["value"])
                    self.folder.events.append("learning_rate", step=self.at.step, old=old, value=self.at.rate)
                    self._checkpoint()  # a resume goes on at it
                elif verb == "checkpoint":
                    self._checkpoint()
                elif verb == "note":
                    self.folder.events.append("note", step=self.at.step, text=str(line.get("text", "")))
            if self.interrupted:
                raise _End("stopped", self.interrupted)
            if not paused:
                return
            time.sleep(0.05)

    def _commands(self) -> list[dict[str, Any]]:
        """What was asked for since the last call."""
        asked, self.asked = self.asked, []
        with contextlib.suppress(FileNotFoundError):
            if self.folder.control.path.stat().st_size > self.control_offset:
                lines, self.control_offset = self.folder.control.read(self.control_offset, quiet=True)
                asked += lines
        return asked

    def _catch_signals(self) -> Any:
        """SIGTERM and Ctrl-C end training in good order; returns what restores the old handling."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None

        def note(number: int, _: Any) -> None:
            self.interrupted = signal.Signals(number).name

        old = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
        return lambda: [signal.signal(s, h) for s, h in old.items()]


def _cannot_write(error: BaseException, folder: RunFolder) -> str:
    """Why the run's folder cannot be written, where that is what the error says; else nothing."""
    if not isinstance(error, OSError):
        return ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    here = isinstance(error.filename, str | os.PathLike) and Path(error.filename).is_relative_to(folder.path)
    return error.strerror or str(error) if full or here else ""
