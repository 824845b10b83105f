"""Checkpoints of a run: copied between two steps, and written by a thread while training continues."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lmkit.runfolder.events import Checkpoint
from lmkit.training.fit import Block, Callback, Clock, Fit, StopTraining

if TYPE_CHECKING:
    from lmkit.training.callbacks import BestWeights
    from lmkit.training.epoch_metrics import EpochMetrics
    from lmkit.training.recorder import Recorder
    from lmkit.training.setup import Components


class BackgroundWriter:
    """Runs one function at a time in a thread, and raises in the caller's thread what the function raised."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a function is running."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, write: Callable[[], None]) -> None:
        """Run ``write`` in a thread, after the function before it has ended; raises what ``wait`` raises."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="lmkit-checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the function that is running, and raise its exception, once."""
        self.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def join(self) -> None:
        """Wait for the function that is running; its exception is left for ``wait``."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:
            self._error = error


class Checkpoints(Callback):
    """Writes weights, optimizer state and progress, every so many seconds and at the end.

    A step waits for the copy in memory only. At most one checkpoint is being written: a further one that is due waits,
    while training continues. What the writing raised, as of a full disk, is raised between the next two steps.
    """

    def __init__(
        self,
        components: Components,
        recorder: Recorder,
        best: BestWeights,
        epoch_metrics: EpochMetrics,
        clock: Clock = time.monotonic,
    ) -> None:
        self.components, self.recorder, self.best = components, recorder, best
        self.epoch_metrics = epoch_metrics
        self.seconds = components.experiment.training.checkpoint_seconds
        self.clock = clock
        self.saved = clock()
        self.writer = BackgroundWriter()

    def save(self, fit: Fit, *, wait: bool = False) -> None:
        """Copy the current state and write it as ``last``, and the best weights as ``best`` where they are new.

        Args:
            fit: whose progress is saved.
            wait: return once the checkpoint is on the disk.

        Raises:
            OSError: this checkpoint (with ``wait``), or the one before, cannot be written.
        """
        self.writer.wait()
        folder, components = self.recorder.folder, self.components
        self.recorder.flush()
        self.saved = self.clock()
        progress = fit.progress.to_dict()
        event = Checkpoint(step=fit.progress.step, epoch=fit.progress.epoch)
        best = None if self.best.saved else self.best.weights
        best_state = {"epoch": fit.progress.best_epoch, "loss": fit.progress.best_loss}
        weights, optimizer = components.backend.weights(components.model), components.trainer.state()
        arrays = self.epoch_metrics.arrays()

        def write() -> None:
            if best is not None:
                folder.save_checkpoint("best", best, {}, best_state)
            folder.save_checkpoint("last", weights, optimizer, progress, arrays)
            folder.events.record(event)

        self.best.saved = True  # a failure to write them ends training
        self.writer.start(write)
        if wait:
            self.writer.wait()

    def on_steps_end(self, fit: Fit, block: Block) -> None:  # noqa: ARG002 (part of the interface)
        """Save where that is due."""
        is_due = not self.writer.is_busy and self.clock() - self.saved >= self.seconds
        if self.components.ranks.share(is_due):  # the first process decides: a copy may need all of them
            self.save(fit)
        elif not self.writer.is_busy:
            self.writer.wait()

    def on_train_end(self, fit: Fit, stop: StopTraining) -> None:  # noqa: ARG002 (part of the interface)
        """Save the final state, and wait until it is on the disk."""
        self.save(fit, wait=True)

    def close(self) -> None:
        """Wait for a checkpoint that is being written: nothing is written once training has ended."""
        self.writer.join()
