"""What the checks look at: everything that a run's folder tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import median_high
from typing import TYPE_CHECKING, Any

from lmkit.data.profile import Profile, Reference
from lmkit.doctor.autopsy import Autopsy
from lmkit.runfolder.readings import LayerReading, Reading
from lmkit.specs.tasks import TASKS, Task
from lmkit.system.numbers import finite_number

if TYPE_CHECKING:
    import numpy as np

    from lmkit.experiment.experiment import Experiment
    from lmkit.runfolder.status import Status

LEARNED = 0.8
"""The share of the chance level below which a loss says that something was learned."""

EARLY_STEPS, EARLY_SHARE, MAX_EARLY_STEPS = 64, 0.05, 1000
"""The beginning of a run: so many steps (of a short run a quarter), and this share of it, up to so many steps. Healthy
runs have constant outputs and small gradients there."""


@dataclass
class Evidence:
    """What is known of a run.

    Attributes:
        experiment: its configuration.
        status: its status.
        epochs: the metrics of each validation: epoch, step, loss, val_loss, accuracy, …
        losses: (n,), the loss of each step; NaN where it was not finite.
        rates, gradient_norms: (n,), those of each step; NaN where they were not computed.
        readings: what was read of layers, weights and outputs.
        profile: what the data are like.
        output_kind: what the outputs of the model are taken for.
        autopsy: why the run diverged, where that was examined.
    """

    experiment: Experiment
    status: Status
    epochs: list[dict[str, Any]]
    losses: np.ndarray
    rates: np.ndarray
    gradient_norms: np.ndarray
    readings: list[Reading]
    profile: Profile
    output_kind: str = "logits"
    autopsy: Autopsy | None = None

    @property
    def has_started(self) -> bool:
        """Whether a step was taken, or something was read of the model."""
        return len(self.losses) > 0 or bool(self.readings)

    @property
    def is_early(self) -> bool:
        """Whether the run is at its beginning, where what it has learned says nothing about it."""
        if not self.status.live:
            return False
        planned = self.status.steps or math.inf
        return len(self.losses) < max(min(EARLY_STEPS, planned / 4), min(EARLY_SHARE * planned, MAX_EARLY_STEPS))

    # -- losses and scores ------------------------------------------------------------------------

    @property
    def task(self) -> Task | None:
        """The task of the data; None where it is unknown."""
        return TASKS.get(self.profile.task)

    @property
    def is_classification(self) -> bool:
        """Whether a row belongs to one of several classes."""
        return self.task is not None and self.task.exclusive_classes and not self.task.per_position

    @property
    def chance(self) -> float | None:
        """The loss of the best constant prediction."""
        return self.profile.chance_loss

    @cached_property
    def start_loss(self) -> float | None:
        """The loss before the first step, dropout off; else that of the first step."""
        if self.readings and self.readings[0].step == 0 and self.readings[0].loss is not None:
            return self.readings[0].loss
        return finite_number(float(self.losses[0])) if len(self.losses) else None

    @cached_property
    def end_loss(self) -> float | None:
        """The training loss at the end, dropout off: of the last reading, else the mean of the last steps."""
        if self.readings and self.readings[-1].loss is not None:
            return self.readings[-1].loss
        values = [v for v in self.losses[-20:].tolist() if math.isfinite(v)]
        return sum(values) / len(values) if values else None

    @property
    def above_chance(self) -> float | None:
        """The training loss at the end, relative to the chance level; without one, to the start."""
        base = self.chance or self.start_loss
        if self.end_loss is None or not base or base <= 0:
            return None
        return self.end_loss / base

    @property
    def is_learned(self) -> bool:
        """Whether the model predicts clearly better than a constant does."""
        if self.has_diverged:
            return False
        score = self.training_score
        if score is not None and self.profile.chance_score is not None:
            return score > self.profile.chance_score + 0.25 * (1 - self.profile.chance_score)
        return self.above_chance is not None and self.above_chance < LEARNED

    @property
    def is_weak(self) -> bool:
        """Whether the model has learned nothing, or is clearly worse than a forest."""
        score, forest = self.validation_score, self.reference("forest").score
        is_worse = score is not None and forest is not None and forest - score > max(0.1, 2 * self.score_error)
        return not self.is_learned or is_worse

    @property
    def has_diverged(self) -> bool:
        """Whether the loss became NaN or infinite."""
        return self.status.cause == "diverged"

    def column(self, name: str) -> list[float | None]:
        """Return a metric of each validation."""
        return [finite_number(epoch.get(name)) for epoch in self.epochs]

    def last(self, name: str) -> float | None:
        """Return a metric of the last validation that has it."""
        return next((v for v in reversed(self.column(name)) if v is not None), None)

    @property
    def score_name(self) -> str:
        """The metric that ``references`` measure: accuracy, or r2."""
        return "accuracy" if self.is_classification else "r2"

    @property
    def training_score(self) -> float | None:
        """Accuracy or R² on the training part at the end."""
        return self.last(self.score_name)

    @property
    def validation_score(self) -> float | None:
        """The best accuracy or R² on the validation part."""
        values = [v for v in self.column(f"val_{self.score_name}") if v is not None]
        return max(values) if values else None

    def reference(self, name: str) -> Reference:
        """Return what another model reaches; empty where it was not fitted."""
        return self.profile.references.get(name, Reference())

    @property
    def score_error(self) -> float:
        """The standard error of an accuracy of one half on the rows by which models are compared."""
        return 0.5 / math.sqrt(max(1, self.profile.rows.get("validation") or self.profile.score_rows))

    @property
    def matches_forest(self) -> bool | None:
        """Whether the model is about as good as a forest; None where one of the two has no score."""
        score, forest = self.validation_score, self.reference("forest").score
        return None if score is None or forest is None else score > forest - 0.04

    # -- readings ---------------------------------------------------------------------------------

    @property
    def reading_steps(self) -> list[float]:
        """The steps of the readings."""
        return [float(reading.step) for reading in self.readings]

    def largest(self, value: Callable[[Reading], float | None]) -> float | None:
        """Return the largest value over the readings; None where none has one."""
        return _largest(map(value, self.readings))

    def over_layers(self, value: Callable[[LayerReading], float | None]) -> list[float | None]:
        """Return the largest value over the layers, reading by reading."""
        return [_largest(value(layer) for layer in reading.layers) for reading in self.readings]

    @cached_property
    def updates(self) -> list[dict[str, float]]:
        """Reading by reading: matrix of a layer → ‖Δw‖ / ‖w‖ of the step after it."""
        return [
            {w.name: w.update for w in reading.weights if w.is_kernel and w.update is not None}
            for reading in self.readings
        ]

    @cached_property
    def largest_updates(self) -> list[float | None]:
        """The largest change of a layer, reading by reading."""
        return [_largest(updates.values()) for updates in self.updates]

    @cached_property
    def median_update(self) -> float | None:
        """The median over all readings and layers of the change in a step."""
        values = [v for updates in self.updates for v in updates.values()]
        return median_high(values) if values else None

    @cached_property
    def kernels(self) -> list[str]:
        """The names of the matrices of the layers, in their order."""
        return [w.name for w in self.readings[0].weights if w.is_kernel] if self.readings else []

    @property
    def learning_rate(self) -> float:
        """The learning rate of the configuration."""
        return float(self.experiment.training.optimizer.lr)


def _largest(values: Iterable[float | None]) -> float | None:
    numbers = [v for v in values if v is not None]
    return max(numbers) if numbers else None
