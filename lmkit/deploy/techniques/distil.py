"""Distilling: a smaller model of the same family learns what the trained one answers (Hinton et al., 2015)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lmkit.data.batches import Gathered, Part, evaluated_rows
from lmkit.deploy.techniques import NotApplicable, Subject, makes_model
from lmkit.deploy.techniques.tuning import RATE, tuned

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.batches import Batches
    from lmkit.data.preparation import Dataset
    from lmkit.specs.models import ModelSpec, Weights
    from lmkit.specs.signature import Task

TEMPERATURE, SOFT = 2.0, 0.5
"""By what the teacher's logits are divided; and the share of its answers in what the student is to learn."""

EPOCHS, STEPS, PATIENCE = 60, 5000, 8
"""How long the student learns at most, and validations without a better one after which it ends."""

MOST_SHARES = 2**22
"""Shares of classes in one batch, at most: those of a language's every place take room."""


@makes_model("distil", "distil")
def distil(subject: Subject) -> Subject:
    """A model of half the width, or half the blocks, that learns what the trained one answers."""
    spec, signature, data = subject.spec, subject.signature, subject.data
    student = spec.smaller(signature)
    if student == spec:
        family = spec.family  # type: ignore[attr-defined]
        if family == "own":
            raise NotApplicable(
                "which smaller model would learn from one of one's own is for its author to say: give its builder "
                "smaller widths, and train that"
            )
        raise NotApplicable(f"there is no smaller model of this {family} to be taught: it has nothing that halves")
    task = data.preprocessing.task
    batch = subject.run.experiment.data.batch_size
    shares = batch * signature.features * signature.outputs if task == "language" else 0
    if shares > MOST_SHARES:
        raise NotApplicable(
            f"the shares of {signature.outputs} tokens at {signature.features} places of {batch} rows are {shares:,} "
            f"numbers a batch, expected at most {MOST_SHARES:,}; train with a smaller batch or vocabulary"
        )
    temperature = TEMPERATURE if task in ("binary", "multiclass") else 1.0
    seed = subject.run.experiment.seed
    taught = _taught(subject, temperature)
    first = student.initial_weights(signature, seed)
    done = tuned(
        subject, student, first, taught, rate=RATE, epochs=EPOCHS, steps=STEPS, patience=PATIENCE
    )  # fmt: skip
    weights, scale = done.weights, 1.0
    if temperature != 1 and len(data.validation.X):
        weights, scale = _sharpened(subject, student, weights)
    return subject.become(
        spec=student,
        weights=weights,
        student=student.model_dump(mode="json"),
        parameters_removed=round(1 - _size(weights) / _size(subject.weights), 4),
        temperature=temperature,
        soft_share=SOFT,
        output_scale=round(scale, 4),
        rate=RATE,
        epochs=done.epochs,
        best_epoch=done.best,
    )


def targets(logits: np.ndarray, y: np.ndarray, task: Task, temperature: float, soft: float = SOFT) -> np.ndarray:
    """What a student is to learn: the teacher's answers, mixed with the truth.

    Args:
        logits: the teacher's, (rows, outputs); of a language (rows, places, outputs).
        y: the prepared target: (rows, 1), or numbers of classes (rows,), or of tokens (rows, places).
        task: what is predicted.
        temperature: T of softmax(z/T), which shows how a teacher ranks the classes that it deems wrong.
        soft: share of the teacher's answers in the mixture.

    >>> import numpy as np
    >>> targets(np.array([[0.0, 0.0]]), np.array([1]), "multiclass", temperature=2.0).tolist()
    [[0.25, 0.75]]
    """
    import numpy as np
    from scipy.special import expit, softmax

    z = logits.astype(np.float64)
    if task == "regression":
        answers, truth = z, y
    elif task == "binary":
        answers, truth = expit(z / temperature), y
    else:
        answers, truth = softmax(z / temperature, axis=-1), y[..., None] == np.arange(z.shape[-1])
    return np.asarray((soft * answers + (1 - soft) * truth).astype(logits.dtype))


class Taught:
    """Batches whose targets a teacher gives: to rows that are changed anew each epoch, or whose targets take room."""

    def __init__(self, batches: Batches, teach: Callable[[Part], Part]) -> None:
        self.batches, self.teach = batches, teach
        self.rows, self.count = batches.rows, batches.count

    def epoch(self, number: int, order: np.ndarray) -> None:
        """Begins an epoch."""
        self.batches.epoch(number, order)

    def take(self, first: int) -> Iterator[Part]:
        """The epoch's batches from ``first`` on."""
        return map(self.teach, self.batches.take(first))


def _taught(subject: Subject, temperature: float) -> Dataset:
    """The data with the targets that the subject's model gives to be learnt; a language's validation keeps the true."""
    import numpy as np

    backend, data, teacher = subject.backend, subject.data, subject.model
    task, batch = data.preprocessing.task, subject.run.experiment.data.batch_size

    def teach(part: Part) -> Part:
        size = evaluated_rows(part.X, batch)
        slices = [slice(i, i + size) for i in range(0, len(part.X), size)]
        found = [targets(backend.predict(teacher, part.X[s]), part.y[s], task, temperature) for s in slices]
        return Part(part.X, np.concatenate(found) if found else part.y)

    if task == "language":
        return data._replace(batches=Taught(data.batches or Gathered(data.training, batch), teach))
    data = data._replace(validation=teach(data.validation))
    if data.batches:
        return data._replace(batches=Taught(data.batches, teach))
    return data._replace(training=teach(data.training))


def _sharpened(subject: Subject, spec: ModelSpec, weights: Weights) -> tuple[Weights, float]:
    """Weights whose logits are scaled to fit the true validation targets best, and the scale (Guo et al., 2017).

    Targets at a temperature teach a student to be less sure than it should; which class is first does not change.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    from lmkit.specs.losses import loss_value, resolve_loss

    X, y = subject.data.validation
    loss = resolve_loss("auto", subject.data.preprocessing.task)
    logits = subject.backend.predict(subject.build(spec, weights), np.asarray(X[:])).astype(np.float64)
    found = minimize_scalar(
        lambda power: loss_value(loss, logits * np.exp(power), np.asarray(y)), bounds=(-3, 3), method="bounded"
    )
    scale = float(np.exp(found.x))
    output = spec.layers(subject.signature)[-1]
    of = {f"{output.name}.{name}" for name in output.weights}
    return {
        name: values * values.dtype.type(scale) if name in of else values for name, values in weights.items()
    }, scale


def _size(weights: Weights) -> int:
    from lmkit.specs.models.narrowing import parameters

    return parameters(weights)
