"""Pruning: what matters least is taken out, and what is left is trained on for a little while."""

from __future__ import annotations

import zlib
from functools import partial
from typing import TYPE_CHECKING

from lmkit.backends import CannotNarrow
from lmkit.deploy.techniques import NotApplicable, Subject, makes_model
from lmkit.deploy.techniques.tuning import LEAST_STEPS, RATE, Tuned, masked, tuned
from lmkit.specs.models import Own

if TYPE_CHECKING:
    import numpy as np

    from lmkit.specs.models import ModelSpec, Weights

SHARES = (0.3, 0.5, 0.7)
"""Of the units of each hidden layer that structured pruning takes out."""

EPOCHS, STEPS, PATIENCE = 30, 2000, 8
"""How long training goes on after pruning, at most (and no longer than the run's own), and validations without a better
one after which it ends."""


def structured(share: float, subject: Subject) -> Subject:
    """Takes whole units out of every hidden layer, so that the model is smaller and faster, and trains what is left."""
    from lmkit.specs.models.narrowing import narrowed, parameters, present_widths

    spec, signature, weights = subject.spec, subject.signature, subject.weights
    if isinstance(spec, Own):
        return _own(share, subject)
    sets = spec.units(signature)
    if not sets:
        raise NotApplicable(_nothing_to_prune(subject))
    smaller = narrowed(spec, signature, weights, share)
    before, after = present_widths(sets), present_widths(smaller.spec.units(signature))
    if before == after:
        raise NotApplicable(
            f"none of {_listed(before)} can lose {share:.0%} and keep at least one unit"
            f"{' of each group' if any(units.groups > 1 for units in sets) else ''}: nothing would change"
        )
    rate = _rate(subject)
    done = _trained_on(subject, smaller.spec, smaller.weights, rate)
    return subject.become(
        spec=smaller.spec,
        weights=done.weights,
        units_asked=share,
        parameters_removed=round(1 - parameters(done.weights) / parameters(weights), 4),
        widths_before=before,
        widths_after=after,
        rate=rate,
        epochs=done.epochs,
        best_epoch=done.best,
    )


def _own(share: float, subject: Subject) -> Subject:
    """The same of a model that is somebody's own, whose framework finds what depends on what."""
    from lmkit.specs.models.narrowing import parameters

    model, weights, backend = subject.model, subject.weights, subject.backend
    try:
        removed = [*subject.removed, *backend.narrow(model, subject.few, share)]
    except CannotNarrow as error:
        raise NotApplicable(f"a model of one's own: {error}") from None
    smaller, rate = backend.weights(model), _rate(subject)
    narrow = subject.become(weights=smaller, removed=removed)
    done = _trained_on(narrow, subject.spec, smaller, rate)
    return subject.become(
        weights=done.weights,
        removed=removed,
        units_asked=share,
        parameters_removed=round(1 - parameters(done.weights) / parameters(weights), 4),
        rate=rate,
        epochs=done.epochs,
        best_epoch=done.best,
    )


for _share in SHARES:
    makes_model(
        f"prune-{100 * _share:.0f}",
        "prune",
        f"{_share:.0%} of the units of every hidden layer taken out, the rest trained on: smaller and faster",
    )(partial(structured, _share))


@makes_model("prune-unstructured-50", "prune")
def unstructured(subject: Subject) -> Subject:
    """The smaller half of all weights made zero (Han et al., 2015), the rest trained on: smaller once compressed."""
    share, weights = 0.5, subject.weights
    learned = subject.backend.learned(subject.model)
    mask = magnitude_mask({name: v for name, v in weights.items() if name in learned}, share)
    rate = _rate(subject)
    done = _trained_on(subject, subject.spec, masked(weights, mask), rate, mask)
    of = sum(values.size for values in mask.values())
    return subject.become(
        weights=done.weights,
        weights_asked=share,
        weights_removed=round(1 - sum(int(values.sum()) for values in mask.values()) / of, 4),
        compressed_bytes=compressed_bytes(done.weights),
        compressed_bytes_before=compressed_bytes(weights),
        rate=rate,
        epochs=done.epochs,
        best_epoch=done.best,
    )


def magnitude_mask(weights: Weights, share: float) -> dict[str, np.ndarray]:
    """Which numbers of the kernels and tables stay, where the ``share`` of the smallest of all of them goes.

    Biases and what normalizations learn are few, and stay.
    """
    import numpy as np

    names = [name for name, values in weights.items() if values.ndim > 1]
    sizes = np.abs(np.concatenate([weights[name].ravel() for name in names])) if names else np.zeros(0)
    count = round(share * len(sizes))
    stays = np.ones(len(sizes), dtype=bool)
    stays[np.argsort(sizes, kind="stable")[:count]] = False
    ends = np.cumsum([weights[name].size for name in names])
    return {
        name: part.reshape(weights[name].shape) for name, part in zip(names, np.split(stays, ends[:-1]), strict=True)
    }


def compressed_bytes(weights: Weights) -> int:
    """Bytes of the weights' file once it is zipped."""
    from safetensors.numpy import save

    return len(zlib.compress(save(weights), 9))


def _rate(subject: Subject) -> float:
    """The first learning rate: the run's own where its rule was Adam's too."""
    own = subject.run.experiment.training.optimizer
    return RATE if own.name == "sgd" else own.lr


def _trained_on(
    subject: Subject, spec: ModelSpec, weights: Weights, rate: float, mask: dict[str, np.ndarray] | None = None
) -> Tuned:
    steps = min(STEPS, max(LEAST_STEPS, subject.run.status.step))
    return tuned(
        subject, spec, weights, subject.data, rate=rate, epochs=EPOCHS, steps=steps, patience=PATIENCE, mask=mask
    )


def _nothing_to_prune(subject: Subject) -> str:
    """Why a model has no units that can be taken out."""
    family = subject.spec.family  # type: ignore[attr-defined]
    return f"this {family} has no hidden layer whose units could be taken out"


def _listed(widths: dict[str, int]) -> str:
    return ", ".join(f"{field} ({width})" for field, width in widths.items())
