"""Validation, samples of text, best weights, and ends of training, each as a callback of ``Fit``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.backends.base import LossSum
from lmkit.runfolder.events import Compiled, DataWarning, Epoch, Sample
from lmkit.training.fit import Block, Callback, Diverged, Fit, StopTraining
from lmkit.training.generation import generate
from lmkit.training.metrics import loss_metrics

if TYPE_CHECKING:
    from lmkit.runfolder.folder import RunFolder
    from lmkit.specs.models import Weights
    from lmkit.training.epoch_metrics import EpochMetrics
    from lmkit.training.recorder import Recorder
    from lmkit.training.setup import Components

SAMPLE_TOKENS, SAMPLE_PROMPT = 80, 24
"""Tokens that a language model writes after a validation, and tokens of the validation part in its prompt."""

SAMPLE_SECONDS, SAMPLE_SHARE = 3.0, 0.05
"""Seconds between two samples, at least, and the share of the time that they may take."""


class TerminateOnNaN(Callback):
    """Fails a run whose training loss or validation loss is NaN or infinite."""

    def on_steps_end(self, fit: Fit, block: Block) -> None:
        """Raise ``Diverged`` if the last loss is not finite: ``Fit`` drops what comes after it."""
        losses, progress = block.steps.loss, fit.progress
        if len(losses) and not math.isfinite(losses[-1]):
            raise Diverged(
                f"the loss is {losses[-1]} at step {progress.step}, epoch {progress.epoch + 1}: "
                f"training diverged; run.doctor(autopsy=True) finds the place (learning rate {block.rates[-1]:g})"
            )

    def on_validation_end(self, fit: Fit, epoch: float, metrics: dict[str, float]) -> None:
        """Raise ``Diverged`` if the validation loss is not finite."""
        check_finite("validation", metrics.get("val_loss"), f"after epoch {epoch:g}, step {fit.progress.step}")


class TrainerNotes(Callback):
    """Logs what the trainer has to say of its steps, such as that memory ran out, as warnings."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_steps_end(self, fit: Fit, block: Block) -> None:  # noqa: ARG002 (part of the interface)
        """Log the notes, each once."""
        for text in fit.trainer.notes:
            self.folder.events.record(DataWarning(step=fit.progress.step, text=text))
        fit.trainer.notes.clear()


class Compilation(Callback):
    """Logs how long a compiled step took when it was first called."""

    def __init__(self, components: Components, folder: RunFolder) -> None:
        self.components, self.folder = components, folder
        self.is_due = components.trainer.compiled
        self.begin = 0.0

    def on_steps_begin(self, fit: Fit) -> None:
        """Begin to time the first call."""
        if self.is_due:
            self.begin = fit.clock()

    def on_steps_end(self, fit: Fit, block: Block) -> None:
        """Log the time of the first call, of which the steps themselves are a small part."""
        if self.is_due:
            self.is_due = False
            self.folder.events.record(Compiled(step=block.first, seconds=round(fit.clock() - self.begin, 4)))


class Validation(Callback):
    """Measures the model after every epoch and every ``validate_every`` steps, and logs an epoch event."""

    def __init__(self, components: Components, recorder: Recorder, epoch_metrics: EpochMetrics) -> None:
        self.components, self.recorder, self.epoch_metrics = components, recorder, epoch_metrics
        self.every = components.experiment.training.validate_every

    def max_steps(self, fit: Fit) -> int | None:
        """Return the steps until the next validation within an epoch."""
        return self.every - fit.progress.step % self.every if self.every else None

    def on_steps_begin(self, fit: Fit) -> None:
        """Validate within an epoch where that is due."""
        progress = fit.progress
        if self.every and progress.step % self.every == 0 and progress.validated < progress.step:
            self.validate(fit, round(progress.epoch + progress.batch / fit.steps_per_epoch, 4))

    def on_epoch_end(self, fit: Fit) -> None:
        """Validate after an epoch."""
        self.validate(fit, fit.progress.epoch)

    def validate(self, fit: Fit, epoch: float) -> None:
        """Measure and log the model after so many epochs; values of the training part are those since the last time."""
        components, progress = self.components, fit.progress
        preprocessing = components.data.preprocessing
        row = {
            "loss": LossSum(progress.loss_sum, progress.rows_seen).mean,
            **self.epoch_metrics.result(fit),
        }
        if components.task.per_position:
            row |= loss_metrics(row["loss"], "training", preprocessing)
        row |= {f"val_{name}": value for name, value in components.score("validation").items()}
        if components.experiment.training.precision == "float16":
            row["skipped_steps"] = progress.skipped
        progress.loss_sum, progress.rows_seen, progress.skipped, progress.validated = 0.0, 0, 0, progress.step
        rate = float(fit.rates(np.array([progress.step - 1]))[0])
        norm = progress.last_norm if math.isfinite(progress.last_norm) else None
        self.recorder.flush()
        self.recorder.folder.events.record(
            Epoch(
                epoch=epoch,
                step=progress.step,
                seconds=round(progress.seconds, 4),
                lr=rate,
                gradient_norm=norm,
                metrics=row,
            )
        )
        for callback in fit.callbacks:
            callback.on_validation_end(fit, epoch, row)


class Samples(Callback):
    """Logs text that a language model writes after the first tokens of the validation part."""

    def __init__(self, components: Components, folder: RunFolder) -> None:
        self.components, self.folder = components, folder
        self.due = 0.0

    def on_validation_end(self, fit: Fit, epoch: float, metrics: dict[str, float]) -> None:  # noqa: ARG002 (part of the interface)
        """Generate and log a sample where that is due."""
        components, begin = self.components, fit.clock()
        preprocessing: Any = components.data.preprocessing
        if not components.task.per_position or begin < self.due:
            return
        data = components.data
        rows = (data.validation if len(data.validation.X) else data.training).X[:1]
        prompt = preprocessing.text(rows[0, :SAMPLE_PROMPT])
        text = generate(
            lambda row: preprocessing.logits(components.backend.predict(components.model, row)),
            preprocessing,
            prompt,
            SAMPLE_TOKENS,
            seed=components.experiment.seed,
        )
        end = fit.clock()
        self.due = end + max(SAMPLE_SECONDS, (end - begin) / SAMPLE_SHARE)
        self.folder.events.record(Sample(step=fit.progress.step, prompt=prompt, text=text[len(prompt) :]))


class BestWeights(Callback):
    """Holds a copy of the weights of the best validation.

    Attributes:
        weights: the copy; None before the first validation.
        saved: whether a checkpoint holds them.
    """

    def __init__(self, components: Components, weights: Weights | None) -> None:
        self.components, self.weights, self.saved = components, weights, True
        self.early = components.early_stopping

    def on_validation_end(self, fit: Fit, epoch: float, metrics: dict[str, float]) -> None:
        """Copy the weights if the loss is lower than the best one by ``min_delta``."""
        progress, loss = fit.progress, watched_loss(metrics)
        if loss < progress.best_loss - (self.early.min_delta if self.early else 0.0):
            progress.best_loss, progress.best_epoch = loss, epoch
            self.weights, self.saved = self.components.backend.weights(self.components.model), False

    def on_train_end(self, fit: Fit, stop: StopTraining) -> None:  # noqa: ARG002 (part of the interface)
        """Set the model to its best weights where early stopping says so."""
        if self.early and self.early.restore_best and self.weights is not None and stop.state == "completed":
            self.components.backend.set_weights(self.components.model, self.weights)


class EarlyStopping(Callback):
    """Ends training after ``patience`` epochs without a better validation."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_epoch_end(self, fit: Fit) -> None:
        """End training where the best validation lies that far back."""
        progress = fit.progress
        if progress.epoch - progress.best_epoch >= self.patience:
            reason = f"no better validation loss since epoch {progress.best_epoch:g}"
            raise StopTraining("completed", reason, "condition")


class Limits(Callback):
    """Ends training after a number of steps or seconds, at a low loss, or at a small gradient."""

    def __init__(
        self,
        steps: int,
        seconds: float | None = None,
        target_loss: float | None = None,
        gradient_norm: float | None = None,
    ) -> None:
        self.steps, self.seconds = steps, seconds
        self.target_loss, self.gradient_norm = target_loss, gradient_norm

    def max_steps(self, fit: Fit) -> int:
        """Return the remaining steps; one where the gradient norm of any step may end training."""
        return 1 if self.gradient_norm is not None else self.steps - fit.progress.step

    def on_steps_begin(self, fit: Fit) -> None:
        """Check steps and seconds."""
        progress = fit.progress
        if progress.step >= self.steps:
            raise StopTraining("completed", f"after {progress.step} steps", "condition")
        if self.seconds is not None and progress.seconds >= self.seconds:
            raise StopTraining("completed", f"after {self.seconds:g} seconds", "condition")

    def on_validation_end(self, fit: Fit, epoch: float, metrics: dict[str, float]) -> None:  # noqa: ARG002 (part of the interface)
        """Check the loss."""
        loss = watched_loss(metrics)
        if self.target_loss is not None and loss <= self.target_loss:
            raise StopTraining("completed", f"the loss {loss:.4g} reached {self.target_loss:g}", "condition")

    def on_steps_end(self, fit: Fit, block: Block) -> None:  # noqa: ARG002 (part of the interface)
        """Check the gradient norm."""
        norm, limit = fit.progress.last_norm, self.gradient_norm
        if limit is not None and norm < limit:
            reason = f"the gradient's norm {norm:.3g} fell below {limit:g}"
            raise StopTraining("completed", reason, "condition")


def check_finite(part: str, loss: float | None, where: str) -> None:
    """Raise ``Diverged`` if the loss of a part is not finite, although the training loss is.

    Args:
        part: validation or test.
        loss: its loss; None where the data have no such part.
        where: at which point of training it was measured.
    """
    if loss is not None and not math.isfinite(loss):
        raise Diverged(
            f"the {part} loss is {loss} {where}, although the training loss is finite: the outputs of the model are "
            "not finite in evaluation mode, or too large for its loss; run.doctor(autopsy=True) finds the place"
        )


def watched_loss(metrics: dict[str, float]) -> float:
    """Return the validation loss; without a validation part, the training loss."""
    return metrics.get("val_loss", metrics["loss"])
