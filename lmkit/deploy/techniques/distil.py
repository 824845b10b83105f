"""Distillation: a smaller model of the same family learns the outputs of the trained one (Hinton et al., 2015)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lmkit.data.batches import GatheredBatches, Part, evaluation_batch_size
from lmkit.deploy.techniques.base import model_technique
from lmkit.deploy.trained_model import TrainedModel
from lmkit.specs.tasks import get_task
from lmkit.system.rpc import NotApplicable
from lmkit.training.finetune import RATE, Limits

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.batches import Batches
    from lmkit.data.dataset import Dataset
    from lmkit.specs.models import ModelSpec, Weights
    from lmkit.specs.tasks import TaskName

TEMPERATURE, SOFT_SHARE = 2.0, 0.5
"""Divisor of the teacher's logits, and the share of its outputs in the student's targets."""

EPOCHS, STEPS, PATIENCE = 60, 5000, 8
"""Epochs and steps of the student's training at most, and validations without improvement after which it ends."""

MAX_TARGETS = 2**22
"""Largest number of target probabilities in one batch; a language model has them for every token."""


@model_technique("distil", "distil")
def distil(trained: TrainedModel) -> TrainedModel:
    """A model of half the width or half the blocks that learns the outputs of the trained one."""
    spec, signature, data = trained.spec, trained.signature, trained.data
    student = spec.smaller(signature)
    if student == spec:
        family = spec.family  # type: ignore[attr-defined]
        if family == "own":
            raise NotApplicable(
                "a custom model has no smaller version; pass smaller widths to its builder and train that model"
            )
        raise NotApplicable(f"this {family} has no smaller version: nothing in it can be halved")
    task = get_task(data.preprocessing.task)
    batch = trained.run.experiment.data.batch_size
    targets_count = batch * signature.features * signature.outputs if task.per_position else 0
    if targets_count > MAX_TARGETS:
        raise NotApplicable(
            f"{signature.outputs} probabilities for {signature.features} tokens of {batch} rows are {targets_count:,} "
            f"numbers per batch, expected at most {MAX_TARGETS:,}; train with a smaller batch or vocabulary"
        )
    temperature = TEMPERATURE if task.has_classes else 1.0
    seed = trained.run.experiment.seed
    teacher_data = _with_teacher_targets(trained, temperature)
    initial = student.initial_weights(signature, seed)
    tuning = trained.finetune(student, initial, teacher_data, Limits(EPOCHS, STEPS, PATIENCE), rate=RATE)
    weights, scale = tuning.weights, 1.0
    if temperature != 1 and len(data.validation.X):
        weights, scale = _rescale_logits(trained, student, weights)
    return trained.with_model(
        spec=student,
        weights=weights,
        student=student.model_dump(mode="json"),
        parameters_removed=round(1 - _count_parameters(weights) / _count_parameters(trained.weights), 4),
        temperature=temperature,
        soft_share=SOFT_SHARE,
        output_scale=round(scale, 4),
        rate=RATE,
        epochs=tuning.epochs,
        best_epoch=tuning.best,
    )


def targets(
    logits: np.ndarray, y: np.ndarray, task: TaskName, temperature: float, soft: float = SOFT_SHARE
) -> np.ndarray:
    """Return the targets of a student: the teacher's outputs mixed with the true targets.

    Args:
        logits: the teacher's, (rows, outputs); of a language model (rows, tokens, outputs).
        y: the prepared target: (rows, 1), class indices (rows,), or token indices (rows, tokens).
        task: the run's task.
        temperature: T of softmax(z/T), which reveals how the teacher ranks the wrong classes.
        soft: share of the teacher's outputs in the mixture.

    >>> import numpy as np
    >>> targets(np.array([[0.0, 0.0]]), np.array([1]), "multiclass", temperature=2.0).tolist()
    [[0.25, 0.75]]
    """
    import numpy as np

    z, rules = logits.astype(np.float64), get_task(task)
    answers, truth = rules.soft_answers(z, temperature), rules.hard_answers(y, z.shape[-1])
    return np.asarray((soft * answers + (1 - soft) * truth).astype(logits.dtype))


class TeacherBatches:
    """Batches with a teacher's targets, computed per batch: for augmented rows, or targets too large to store."""

    def __init__(self, batches: Batches, teach: Callable[[Part], Part]) -> None:
        self.batches, self.teach = batches, teach
        self.rows, self.count = batches.rows, batches.count

    def epoch(self, number: int, order: np.ndarray) -> None:
        """Begin an epoch."""
        self.batches.epoch(number, order)

    def take(self, first: int) -> Iterator[Part]:
        """Yield the epoch's batches from ``first`` on."""
        return map(self.teach, self.batches.take(first))


def _with_teacher_targets(trained: TrainedModel, temperature: float) -> Dataset:
    """Return the data with the teacher's targets; the validation part of a language model keeps the true ones."""
    import numpy as np

    backend, data, teacher = trained.backend, trained.data, trained.model
    task, batch = data.preprocessing.task, trained.run.experiment.data.batch_size

    def teach(part: Part) -> Part:
        size = evaluation_batch_size(part.X.shape[1:], batch, has_tokens=part.X.dtype.kind in "iu")
        slices = [slice(i, i + size) for i in range(0, len(part.X), size)]
        soft_targets = [
            targets(data.preprocessing.logits(backend.predict(teacher, part.X[s])), part.y[s], task, temperature)
            for s in slices
        ]
        return Part(part.X, np.concatenate(soft_targets) if soft_targets else part.y)

    if get_task(task).per_position:
        return data._replace(batches=TeacherBatches(data.batches or GatheredBatches(data.training, batch), teach))
    data = data._replace(validation=teach(data.validation))
    if data.batches:
        return data._replace(batches=TeacherBatches(data.batches, teach))
    return data._replace(training=teach(data.training))


def _rescale_logits(trained: TrainedModel, spec: ModelSpec, weights: Weights) -> tuple[Weights, float]:
    """Scale the output layer to minimize the validation loss; return the weights and the scale (Guo et al., 2017).

    A student of targets at a temperature is underconfident. The scale does not change which class is first.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    from lmkit.specs.losses import loss_value, resolve_loss

    X, y = trained.data.validation
    loss = resolve_loss("auto", trained.data.preprocessing.task)
    logits = trained.backend.predict(trained.build(spec, weights), np.asarray(X[:])).astype(np.float64)
    result = minimize_scalar(
        lambda log_scale: loss_value(loss, logits * np.exp(log_scale), np.asarray(y)), bounds=(-3, 3), method="bounded"
    )
    scale = float(np.exp(result.x))
    output = spec.layers(trained.signature)[-1]
    names = {f"{output.name}.{name}" for name in output.weights}
    return {
        name: values * values.dtype.type(scale) if name in names else values for name, values in weights.items()
    }, scale


def _count_parameters(weights: Weights) -> int:
    from lmkit.specs.models.pruning import parameters

    return parameters(weights)
