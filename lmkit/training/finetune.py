"""Fine-tuning of a model that pruning or distilling made: the steps of ``Fit``, by Adam, up to the best validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.specs.optimizers import Adam
from lmkit.training.checks import avoid_single_row
from lmkit.training.fit import Block, Callback, Fit, StopTraining
from lmkit.training.progress import Progress

if TYPE_CHECKING:
    import numpy as np

    from lmkit.backends import Backend, Trainer
    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment
    from lmkit.specs.models import Weights

RATE = 3e-3
"""The first learning rate: the one with which pruned models recovered best on digits."""

MIN_STEPS = 1000
"""Steps that training may last even where they are more epochs than the limit: those of a small table are short."""

VALIDATIONS = 50
"""Approximate number of validations, so that neither short nor long epochs are validated too often or too seldom."""

LOSS_ROWS = 2000
"""Rows of the training part whose loss is watched where there is no validation part."""


class FineTuned(NamedTuple):
    """A model after fine-tuning.

    Attributes:
        weights: those of the best validation.
        epochs: passes over the training part.
        best: the number of passes at the best validation; 0: before the first step.
    """

    weights: Weights
    epochs: float
    best: float


@dataclass(frozen=True)
class Limits:
    """The extent of fine-tuning.

    Attributes:
        epochs: passes over the training part, at most.
        steps: at most.
        patience: validations without a better one after which training ends.
    """

    epochs: int
    steps: int
    patience: int | None = None

    def total(self, steps_per_epoch: int) -> int:
        """Return the steps in all: those of the epochs, or ``MIN_STEPS``, but at most ``steps``."""
        return max(1, min(max(self.epochs * steps_per_epoch, MIN_STEPS), self.steps))


class _BestValidation(Callback):
    """Validates every so many steps; holds the best weights; ends training after ``patience`` validations or all steps.

    A loader may end an epoch early: the missing steps are skipped.
    """

    def __init__(
        self, backend: Backend, model: Any, trainer: Trainer, part: str, every: int, total: int, patience: int | None
    ) -> None:
        self.backend, self.model, self.trainer, self.part = backend, model, trainer, part
        self.every, self.total, self.patience = every, total, patience
        self.loss, self.step, self.weights, self.validations = self.measure(), 0, backend.weights(model), 0

    def measure(self) -> float:
        """Return the mean loss of the part; of a large training part, of its beginning."""
        rows = None if self.part == "validation" else LOSS_ROWS
        return self.trainer.losses(self.part, rows).total.mean

    def max_steps(self, fit: Fit) -> int:
        """Return the steps until the next validation, or the end."""
        step = fit.progress.step
        return min(self.total, (step // self.every + 1) * self.every) - step

    def on_steps_end(self, fit: Fit, block: Block) -> None:
        """Validate where that is due."""
        progress = fit.progress
        if not len(block.steps.loss):
            progress.skip(block.requested)
        if progress.step < self.total and progress.step % self.every:
            return
        if (loss := self.measure()) < self.loss:
            self.loss, self.step, self.validations = loss, progress.step, 0
            self.weights = self.backend.weights(self.model)
        else:
            self.validations += 1
            if self.patience and self.validations >= self.patience:
                raise StopTraining("completed", cause="condition")
        if progress.step >= self.total:
            raise StopTraining("completed", cause="condition")


class _Mask(Callback):
    """Sets weights that were pruned to zero after every step."""

    def __init__(self, backend: Backend, model: Any, mask: Mapping[str, np.ndarray]) -> None:
        self.backend, self.model, self.mask = backend, model, mask

    def max_steps(self, fit: Fit) -> int:  # noqa: ARG002 (part of the interface)
        """Return 1."""
        return 1

    def on_steps_end(self, fit: Fit, block: Block) -> None:  # noqa: ARG002 (part of the interface)
        """Apply the mask."""
        self.backend.set_weights(self.model, masked(self.backend.weights(self.model), self.mask))


def tuning_experiment(experiment: Experiment, steps_per_epoch: int, limits: Limits, rate: float) -> Experiment:
    """Return the experiment that a trainer of ``finetune`` takes: Adam for so many steps, uncompiled."""
    total = limits.total(steps_per_epoch)
    changes = {
        "optimizer": Adam(lr=rate),
        "epochs": math.ceil(total / steps_per_epoch),
        "steps": total,
        "gradient_norm": None,
        "compile": "off",
    }
    return experiment.model_copy(update={"training": experiment.training.model_copy(update=changes)})


def finetune(
    backend: Backend,
    model: Any,
    experiment: Experiment,
    data: Dataset,
    limits: Limits,
    *,
    rate: float,
    mask: Mapping[str, np.ndarray] | None = None,
) -> FineTuned:
    """Train a model with its experiment's loss; return the weights of the best validation.

    The rule is Adam, its rate falling along half a cosine to zero (Loshchilov and Hutter, 2017). The result depends on
    the seed alone.

    Args:
        backend: of the experiment's framework.
        model: built, with the weights from which to start; it is trained.
        experiment: says the model's specification, the loss, the batch size and the seed.
        data: the training data; without a validation part the training loss is watched.
        limits: when to end.
        rate: the first learning rate.
        mask: weight → array that is zero where the weight must stay zero; applied after every step.
    """
    import numpy as np

    from lmkit.backends.threads import threads_for
    from lmkit.specs.losses import resolve_loss

    batch_size = experiment.data.batch_size
    data, _ = avoid_single_row(backend, experiment, model, data)
    per_epoch = data.steps_per_epoch(batch_size)
    total = limits.total(per_epoch)
    experiment = tuning_experiment(experiment, per_epoch, limits, rate)
    rates = rate / 2 * (1 + np.cos(np.pi * np.arange(total) / total))
    every = max(1, total // VALIDATIONS, min(per_epoch, total // 10))
    signature = data.preprocessing.signature
    work = getattr(model, "multiplications", 0)
    threads = threads_for(experiment.model, signature, batch_size, multiplications=work)
    before = backend.set_threads(threads) if threads else 0
    try:
        loss = resolve_loss(experiment.training.loss, data.preprocessing.task)
        trainer = backend.trainer(model, experiment, data, loss)
        part = "validation" if len(data.validation.X) else "training"
        best = _BestValidation(backend, model, trainer, part, every, total, limits.patience)
        fit = Fit(
            trainer,
            data,
            batch_size=batch_size,
            seed=experiment.seed,
            epochs=experiment.training.epochs,
            rates=lambda numbers: rates[numbers],
            progress=Progress(rate=rate),
            callbacks=[*([_Mask(backend, model, mask)] if mask else []), best],
        )
        fit.run()
    finally:
        if before:
            backend.set_threads(before)
    return FineTuned(best.weights, round(fit.progress.step / per_epoch, 2), round(best.step / per_epoch, 2))


def masked(weights: Weights, mask: Mapping[str, np.ndarray]) -> Weights:
    """Return weights that are zero where a mask is zero."""
    return {name: values * mask[name] if name in mask else values for name, values in weights.items()}
