"""Errors of a loader, and rows that its batches share with other parts of the data, each as a callback of ``Fit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmkit.exceptions import DataError
from lmkit.runfolder.events import DataWarning
from lmkit.training.fit import Block, Callback, Fit

if TYPE_CHECKING:
    from lmkit.runfolder.folder import RunFolder
    from lmkit.training.checkpoints import Checkpoints


class LoaderLeaks(Callback):
    """Logs, after the first epoch, which rows of the other parts the batches of a loader hold as well."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_epoch_end(self, fit: Fit) -> None:
        """Log a warning for each part, once all batches of the first epoch have been compared."""
        batches: Any = fit.data.batches
        progress = fit.progress
        overlap = getattr(batches, "overlap", None)
        if overlap is not None and progress.epoch == 1 and overlap.batches == batches.count:
            for text in overlap.warnings():
                self.folder.events.record(DataWarning(step=progress.step, text=text))


class LoaderErrors(Callback):
    """Fails a run whose loader raised, after a checkpoint of the steps before."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints

    def on_steps_begin(self, fit: Fit) -> None:
        """Raise the loader's error, if any."""
        error = getattr(fit.data.batches, "error", None)
        if error is not None:
            self.checkpoints.save(fit, wait=True)
            raise DataError(f"{error}; {fit.progress.step} steps are kept: mend it, then `lmkit resume`") from error

    def on_steps_end(self, fit: Fit, block: Block) -> None:
        """Raise where the loader gave no batch at all."""
        if not len(block.steps.loss):
            self.on_steps_begin(fit)
