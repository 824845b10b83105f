"""Training of a model that a technique made, in lmkit's own trainers; what pruning and distilling share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.specs.optimizers import Adam

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.preparation import Dataset
    from lmkit.deploy.techniques import Subject
    from lmkit.specs.models import ModelSpec, Weights

RATE = 3e-3
"""The first learning rate: of those tried on digits what pruned models recover best with."""

LEAST_STEPS = 1000
"""Training may last so many steps even where they are more epochs than were asked for: those of a small table are
short."""

VALIDATIONS = 50
"""About so many are there at most, so that neither short epochs nor long ones are watched too often or too seldom."""

MOST_AT_ONCE = 512
"""Steps that are asked of a trainer at once."""


class Tuned(NamedTuple):
    """A model after training.

    Attributes:
        weights: those of the best validation.
        epochs: passes over the training part, as far as training went.
        best: the pass after which validation was best; 0: before the first step.
    """

    weights: Weights
    epochs: float
    best: float


def passes(subject: Subject, epochs: int, steps: int) -> tuple[int, int]:
    """Steps of a pass over the training part; and in all: of so many epochs, or ``LEAST_STEPS``, at most ``steps``."""
    fed = subject.data.batches
    each = fed.count if fed else math.ceil(len(subject.data.training.X) / subject.run.experiment.data.batch_size)
    return each, max(1, min(max(epochs * each, LEAST_STEPS), steps))


def tuned(
    subject: Subject,
    spec: ModelSpec,
    weights: Weights,
    data: Dataset,
    *,
    rate: float,
    epochs: int,
    steps: int,
    patience: int | None = None,
    mask: Mapping[str, np.ndarray] | None = None,
) -> Tuned:
    """Trains a model for a subject's data with its run's own loss, and keeps what validates best.

    The rule is Adam, its rate falling along half a cosine to zero (Loshchilov and Hutter, 2017). It depends on the seed
    alone.

    Args:
        subject: says the framework, the batch size and the seed.
        spec: the model.
        weights: from which it starts.
        data: what it learns from; without a validation part the training loss is watched.
        rate: the first learning rate.
        epochs: passes over the training part, at most.
        steps: at most.
        patience: validations without a better one, after which training ends.
        mask: name → which numbers of a weight may be other than zero; holds after every step.
    """
    import numpy as np

    from lmkit.data.preparation import batch_order
    from lmkit.specs.losses import resolve_loss

    run, backend = subject.run.experiment, subject.backend
    each, total = passes(subject, epochs, steps)
    changes = {
        "optimizer": Adam(lr=rate), "epochs": math.ceil(total / each), "steps": total, "gradient_norm": None,
        "compile": "off",
    }  # fmt: skip
    experiment = run.model_copy(update={"model": spec, "training": run.training.model_copy(update=changes)})
    rates = rate / 2 * (1 + np.cos(np.pi * np.arange(total) / total))
    every = max(1, total // VALIDATIONS, min(each, total // 10))
    before = _threads(subject, spec)
    try:
        model = subject.build(spec, weights)
        trainer = backend.trainer(model, experiment, data, resolve_loss(run.training.loss, data.preprocessing.task))
        part = "validation" if len(data.validation.X) else "training"
        best, best_step, kept, since = _watched(trainer, part), 0, backend.weights(model), 0
        rows = data.batches.rows if data.batches else len(data.training.X)
        done = 0
        while done < total:
            epoch, at = divmod(done, each)
            if not at:
                trainer.epoch(batch_order(run.seed, epoch, rows), epoch)
            until = min(total, (epoch + 1) * each, (done // every + 1) * every)
            n = 1 if mask else min(MOST_AT_ONCE, until - done)
            taken = len(trainer.advance(at, rates[done : done + n]).loss)
            if mask:
                backend.set_weights(model, masked(backend.weights(model), mask))
            done = done + taken if taken else until  # an epoch of a stream may end before it was expected to
            if done < total and done % every:
                continue
            if (loss := _watched(trainer, part)) < best:
                best, best_step, kept, since = loss, done, backend.weights(model), 0
            else:
                since += 1
                if patience and since >= patience:
                    break
    finally:
        if before:
            backend.set_threads(before)
    return Tuned(kept, round(done / each, 2), round(best_step / each, 2))


def masked(weights: Weights, mask: Mapping[str, np.ndarray]) -> Weights:
    """Weights with zeros where a mask says so."""
    return {name: values * mask[name] if name in mask else values for name, values in weights.items()}


def _watched(trainer: Any, part: str) -> float:
    """The mean loss of a part; of a large training part, of its beginning."""
    return float(trainer.losses(part, None if part == "validation" else 2000).mean())


def _threads(subject: Subject, spec: ModelSpec) -> int:
    """Sets one thread where the model is so small that more would wait for each other; how many it was, else 0."""
    from lmkit.loop import SMALL_STEP

    rows = subject.run.experiment.data.batch_size
    small = rows * spec.multiplications(subject.signature) < SMALL_STEP
    return subject.backend.set_threads(1) if small else 0
