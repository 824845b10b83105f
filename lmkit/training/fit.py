"""The steps of training: epochs, calls of the trainer, and the points at which callbacks run.

``Fit`` asks a trainer for as many steps at a time as take a twentieth of a second. Nothing is written, drawn or decided
inside a step: all of that happens in callbacks between two calls. Nothing here reads or writes a run folder, so that
every process of a run takes the same steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lmkit.exceptions import LmkitError
from lmkit.runfolder.status import Cause

if TYPE_CHECKING:
    from lmkit.backends import Steps, Trainer
    from lmkit.data.dataset import Dataset
    from lmkit.training.progress import Progress

CHUNK_SECONDS = 0.05
"""Duration of a call of the trainer, at most: a command takes effect within it, or within one step."""

MAX_CHUNK = 4096
"""Steps in a call, at most."""

Clock = Callable[[], float]
"""Returns seconds that never go backwards."""


class StopTraining(Exception):
    """Raised by a callback to end training.

    Attributes:
        state: of the run, once it has ended: ``completed`` or ``stopped``.
        reason: for the status and the log; empty where all epochs were trained.
        cause: the kind of reason.
    """

    def __init__(self, state: str, reason: str = "", cause: Cause = "") -> None:
        super().__init__(reason)
        self.state, self.reason, self.cause = state, reason, cause


class Diverged(LmkitError):
    """The loss is NaN or infinite."""


class Block(NamedTuple):
    """Consecutive steps of one call of the trainer.

    Attributes:
        first: number of the first step, counted from 1.
        steps: losses and other columns.
        rates: (n,), the learning rate of each step.
        requested: steps that the trainer was asked for; it takes fewer where a loader ends early.
    """

    first: int
    steps: Steps
    rates: np.ndarray
    requested: int


class Callback:
    """Runs between two calls of the trainer, and may change or end training. Every method does nothing by default."""

    def max_steps(self, fit: Fit) -> int | None:
        """Return the largest number of steps that the next call may take; None for no limit."""

    def on_steps_begin(self, fit: Fit) -> None:
        """Run before a call."""

    def on_steps_end(self, fit: Fit, block: Block) -> None:
        """Run after a call; ``fit.progress`` already counts its steps."""

    def on_epoch_end(self, fit: Fit) -> None:
        """Run after the last step of an epoch; ``fit.progress.epoch`` already counts it."""

    def on_validation_end(self, fit: Fit, epoch: float, metrics: dict[str, float]) -> None:
        """Run after a validation, whose ``metrics`` are those of the epoch event."""

    def on_train_end(self, fit: Fit, stop: StopTraining) -> None:
        """Run once training has ended in good order."""

    def close(self) -> None:
        """Run last, also where training failed: release what the callback holds. It raises nothing."""


class Fit:
    """Takes steps until a callback ends training or all epochs are done.

    Args:
        trainer: takes the steps.
        data: the data set that the trainer holds.
        batch_size: rows of a step.
        seed: of the order of the rows.
        epochs: passes over the training part.
        rates: returns the learning rate of each step from its number, counted from 0.
        progress: where training starts.
        callbacks: run in this order.
        clock: by which calls are timed.
    """

    def __init__(
        self,
        trainer: Trainer,
        data: Dataset,
        *,
        batch_size: int,
        seed: int,
        epochs: int,
        rates: Callable[[np.ndarray], np.ndarray],
        progress: Progress,
        callbacks: Sequence[Callback],
        clock: Clock = time.monotonic,
    ) -> None:
        self.trainer, self.data, self.progress, self.clock = trainer, data, progress, clock
        self.seed, self.epochs, self.rates = seed, epochs, rates
        self.steps_per_epoch = data.steps_per_epoch(batch_size)
        self.callbacks = list(callbacks)
        self.chunk = 1

    def run(self) -> StopTraining:
        """Train to the end; return why it ended."""
        try:
            while self.progress.epoch < self.epochs:
                self.run_epoch()
            raise StopTraining("completed")
        except StopTraining as stop:
            for callback in self.callbacks:
                callback.on_train_end(self, stop)
            return stop
        finally:
            for callback in self.callbacks:
                callback.close()

    def run_epoch(self) -> None:
        """Take the remaining steps of the current epoch."""
        progress = self.progress
        self.trainer.epoch(self.data.order(self.seed, progress.epoch), progress.epoch)
        while progress.batch < self.steps_per_epoch:
            for callback in self.callbacks:
                callback.on_steps_begin(self)
            limits = [limit for callback in self.callbacks if (limit := callback.max_steps(self)) is not None]
            self._take(min(self.chunk, self.steps_per_epoch - progress.batch, *limits))
        progress.epoch, progress.batch = progress.epoch + 1, 0
        for callback in self.callbacks:
            callback.on_epoch_end(self)

    def _take(self, n: int) -> None:
        """Take ``n`` steps in one call of the trainer."""
        progress = self.progress
        first = progress.step
        rates = self.rates(np.arange(first, first + n))
        begin = self.clock()
        steps = self.trainer.advance(progress.batch, rates)
        seconds = self.clock() - begin
        bad = np.flatnonzero(~np.isfinite(steps.loss))
        if len(bad):  # the trainer computed the steps after it from weights that are no numbers
            steps = steps.head(int(bad[0]) + 1)
        count = len(steps.loss)
        progress.add(steps, seconds)
        if count:
            self._set_chunk(seconds / count)
        block = Block(first + 1, steps, rates[:count], n)
        for callback in self.callbacks:
            callback.on_steps_end(self, block)

    def _set_chunk(self, seconds_per_step: float) -> None:
        """Choose how many steps the next call takes; it grows gently, for the first steps include compilation."""
        fitting = max(1, int(CHUNK_SECONDS / max(seconds_per_step, 1e-7)))
        self.chunk = min(fitting, 4 * self.chunk, MAX_CHUNK)
