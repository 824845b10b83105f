"""Twins: an experiment trained anew for some seconds, with a change and without, from the same seed."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lmkit.data.loaders.streams import IsolatedGenerators
from lmkit.training.fit import Block, Callback, Fit, StopTraining
from lmkit.training.progress import Progress
from lmkit.training.setup import Components, build_components

if TYPE_CHECKING:
    from lmkit.backends import Backend
    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment
    from lmkit.runfolder.folder import RunFolder

MAX_EVALUATIONS = 40
"""Epochs after which a twin is evaluated, at most, at equal distances."""

MAX_ROWS = 4096
"""Rows of a part over which a twin is evaluated, at most."""

LOWER, HIGHER = 0.05, 0.02
"""The share by which a loss, and the amount by which a score has to get better, to speak of help."""


@dataclass
class Twin:
    """What a short training reached.

    Attributes:
        epochs: at which it was evaluated.
        losses, scores: on the validation part (without one, the training part) at these epochs; NaN where a value was
            not finite. Where early stopping restores the best weights, the end is the best epoch.
        score_name: accuracy or r2; empty where the task has neither.
        row_losses: (rows,), of each row at the end.
        rows: evaluated.
        steps: taken.
        has_diverged: whether its loss became NaN or infinite.
    """

    epochs: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    score_name: str = ""
    row_losses: np.ndarray = field(default_factory=lambda: np.zeros(0))
    rows: int = 0
    steps: int = 0
    has_diverged: bool = False
    restores_best: bool = False

    @property
    def end(self) -> int:
        """The index of the evaluation that counts: the best one where its weights are restored, else the last."""
        if self.restores_best and self.losses and not all(map(math.isnan, self.losses)):
            return int(np.nanargmin(self.losses))
        return len(self.losses) - 1

    @property
    def loss(self) -> float:
        """The loss at the end; NaN where it diverged."""
        return self.losses[self.end] if self.losses and not self.has_diverged else math.nan

    @property
    def score(self) -> float:
        """The score at the end; NaN where there is none."""
        return self.scores[self.end] if self.scores and not self.has_diverged else math.nan


def train_twin(
    folder: RunFolder, experiment: Experiment, seconds: float, share: float = 1.0, backend: Backend | None = None
) -> Twin:
    """Train an experiment anew, in memory, and return what it reached.

    Args:
        folder: of the run from which it descends; only read.
        experiment: that of the run, or a changed one.
        seconds: that it may train.
        share: of its epochs, and of the steps it may take at most.
        backend: of the device; none: it is chosen now.
    """
    training = experiment.training
    changes: dict[str, object] = {"training.epochs": max(1, round(training.epochs * share))}
    if training.steps:
        changes["training.steps"] = max(1, round(training.steps * share))
    experiment = experiment.override(changes)
    with ExitStack() as cleanup:
        cleanup.enter_context(IsolatedGenerators(experiment.seed))
        components = build_components(folder, experiment, cleanup, backend, is_same=False)
        return fit_twin(components, components.data, seconds)


def fit_twin(components: Components, data: Dataset, seconds: float) -> Twin:
    """Train built components over data for at most some seconds; return what was reached."""
    experiment = components.experiment
    early = components.early_stopping
    twin = Twin(restores_best=bool(early and early.restore_best))
    progress = Progress(rate=experiment.training.optimizer.lr)
    watch = _Watch(components, twin, time.monotonic() + seconds)
    with np.errstate(all="ignore"):
        Fit(
            components.trainer,
            data,
            batch_size=experiment.data.batch_size,
            seed=experiment.seed,
            epochs=experiment.training.epochs,
            rates=components.rates(progress),
            progress=progress,
            callbacks=[watch],
        ).run()
    twin.steps = progress.step
    return twin


class _Watch(Callback):
    """Evaluates a twin at the ends of epochs, and ends it at a time, without progress, or where it diverges."""

    def __init__(self, components: Components, twin: Twin, until: float) -> None:
        self.components, self.twin, self.until = components, twin, until
        self.part = "validation" if len(components.data.validation.X) else "training"
        self.every = max(1, components.experiment.training.epochs // MAX_EVALUATIONS)
        task = components.task
        is_scored = not task.per_position and (task.exclusive_classes or task.numeric)
        twin.score_name = ("accuracy" if task.exclusive_classes else "r2") if is_scored else ""
        self.rows = min(MAX_ROWS, len(getattr(components.data, self.part).X))
        self.early = components.early_stopping

    def max_steps(self, fit: Fit) -> int:
        """Return the steps that are left of the plan."""
        return max(1, self.components.steps - fit.progress.step)

    def on_steps_end(self, fit: Fit, block: Block) -> None:
        """End where the loss is not finite, at the planned number of steps, or after the time."""
        losses = block.steps.loss
        if not len(losses) or not np.isfinite(losses[-1]):
            self.twin.has_diverged = bool(len(losses))
            raise StopTraining("completed")
        if time.monotonic() > self.until or fit.progress.step >= self.components.steps:
            self.evaluate(fit)
            raise StopTraining("completed")

    def on_epoch_end(self, fit: Fit) -> None:
        """Evaluate, and end where early stopping says so."""
        epoch = fit.progress.epoch
        if epoch % self.every and epoch < fit.epochs:
            return
        self.evaluate(fit)
        best = self.twin.epochs[int(np.nanargmin(self.twin.losses))] if np.isfinite(self.twin.losses).any() else epoch
        if self.early and epoch - best >= max(self.early.patience, self.every):
            raise StopTraining("completed")

    def evaluate(self, fit: Fit) -> None:
        """Add a point to the curves."""
        components, twin = self.components, self.twin
        losses = components.trainer.losses(self.part, self.rows)
        value = losses.total.mean
        score = math.nan
        if twin.score_name:
            data = getattr(components.data, self.part)
            outputs = components.trainer.outputs(self.part, self.rows)
            preprocessing = components.data.preprocessing
            measured = components.task.measure(preprocessing.logits(outputs), data.y[: self.rows], preprocessing)
            score = measured.get(twin.score_name, math.nan)
        twin.epochs.append(fit.progress.epoch + fit.progress.batch / max(1, fit.steps_per_epoch))
        twin.losses.append(value if math.isfinite(value) else math.nan)
        twin.scores.append(score if math.isfinite(score) else math.nan)
        twin.row_losses, twin.rows = losses.shares, len(losses.values)


def judge(without: Twin, changed: Twin, *, same_loss: bool) -> tuple[bool, str]:
    """Return whether a change helps, and the numbers in words.

    It helps where the score gets better by more than twice its standard error and 2 points; where the loss of the
    same scale falls by 5 % while the score stays; or where only the run without the change diverges.

    Args:
        without: trained without the change.
        changed: trained with it.
        same_loss: whether both losses have the same unit.
    """
    name, numbers = without.score_name, []
    if not math.isnan(without.score) or not math.isnan(changed.score):
        numbers.append(f"{name} {_number(without.score)} → {_number(changed.score)}")
    if same_loss:
        numbers.append(f"loss {_number(without.loss)} → {_number(changed.loss)}")
    text = ", ".join(numbers) or "no number of both could be compared"
    if without.has_diverged or changed.has_diverged:
        return not changed.has_diverged, text
    gain = changed.score - without.score
    error = 2 * score_error(without) if not math.isnan(gain) else 0.0
    if gain > max(HIGHER, error):
        return True, text
    is_lower = same_loss and changed.loss < without.loss - LOWER * abs(without.loss)
    return bool(is_lower and (math.isnan(gain) or gain > -max(HIGHER, error))), text


def score_error(twin: Twin) -> float:
    """Return the standard error of an accuracy, or of an R² in its simplest approximation."""
    if twin.score_name == "accuracy":
        return math.sqrt(max(twin.score * (1 - twin.score), 0.01) / max(1, twin.rows))
    return 0.5 * max(0.0, 1 - twin.score) / math.sqrt(max(1, twin.rows))


def _number(value: float) -> str:
    return "not finite" if math.isnan(value) else f"{value:.3g}"
