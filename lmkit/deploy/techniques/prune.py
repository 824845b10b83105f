"""Pruning: the least important units or weights are removed, and the rest is fine-tuned."""

from __future__ import annotations

import zlib
from functools import partial
from typing import TYPE_CHECKING

from lmkit.backends import CannotPrune
from lmkit.deploy.techniques.base import model_technique
from lmkit.deploy.trained_model import TrainedModel
from lmkit.specs.models import Custom
from lmkit.system.rpc import NotApplicable
from lmkit.training.finetune import MIN_STEPS, RATE, FineTuned, Limits, masked

if TYPE_CHECKING:
    import numpy as np

    from lmkit.specs.models import ModelSpec, Weights

PACKAGES = ("torch-pruning",)
"""Packages that build these variants."""

SHARES = (0.3, 0.5, 0.7)
"""Shares of the units of each hidden layer that structured pruning removes."""

EPOCHS, STEPS, PATIENCE = 30, 2000, 8
"""Epochs and steps of fine-tuning at most (and no more than the run's own), and validations without improvement after
which it ends."""


def structured(share: float, trained: TrainedModel) -> TrainedModel:
    """Remove whole units from every hidden layer, so that the model is smaller and faster, and fine-tune the rest."""
    from lmkit.specs.models.pruning import parameters, present_widths, prune_units

    spec, signature, weights = trained.spec, trained.signature, trained.weights
    if isinstance(spec, Custom):
        return _structured_custom(share, trained)
    sets = spec.units(signature)
    if not sets:
        raise NotApplicable(_no_hidden_layers(trained))
    smaller = prune_units(spec, signature, weights, share)
    before, after = present_widths(sets), present_widths(smaller.spec.units(signature))
    if before == after:
        raise NotApplicable(
            f"none of {_join_widths(before)} can lose {share:.0%} and keep at least one unit"
            f"{' of each group' if any(units.groups > 1 for units in sets) else ''}: nothing would change"
        )
    rate = _learning_rate(trained)
    tuning = _finetune(trained, smaller.spec, smaller.weights, rate)
    return trained.with_model(
        spec=smaller.spec,
        weights=tuning.weights,
        units_asked=share,
        parameters_removed=round(1 - parameters(tuning.weights) / parameters(weights), 4),
        widths_before=before,
        widths_after=after,
        rate=rate,
        epochs=tuning.epochs,
        best_epoch=tuning.best,
    )


def _structured_custom(share: float, trained: TrainedModel) -> TrainedModel:
    """Remove units from a custom model, whose framework traces the dependencies between its layers."""
    from lmkit.specs.models.pruning import parameters

    model, weights, backend = trained.model, trained.weights, trained.backend
    try:
        removed = [*trained.removed, *backend.prune_units(model, trained.sample_rows, share)]
    except CannotPrune as error:
        raise NotApplicable(f"a custom model: {error}") from None
    smaller, rate = backend.weights(model), _learning_rate(trained)
    pruned = trained.with_model(weights=smaller, removed=removed)
    tuning = _finetune(pruned, trained.spec, smaller, rate)
    return trained.with_model(
        weights=tuning.weights,
        removed=removed,
        units_asked=share,
        parameters_removed=round(1 - parameters(tuning.weights) / parameters(weights), 4),
        rate=rate,
        epochs=tuning.epochs,
        best_epoch=tuning.best,
    )


for _share in SHARES:
    model_technique(
        f"prune-{100 * _share:.0f}",
        "prune",
        f"{_share:.0%} of the units of every hidden layer removed, the rest fine-tuned: smaller and faster",
    )(partial(structured, _share))


@model_technique("prune-unstructured-50", "prune")
def unstructured(trained: TrainedModel) -> TrainedModel:
    """The smaller half of all weights set to zero (Han et al., 2015), the rest fine-tuned: smaller once compressed."""
    share, weights = 0.5, trained.weights
    learned = trained.backend.learned(trained.model)
    mask = magnitude_mask({name: v for name, v in weights.items() if name in learned}, share)
    rate = _learning_rate(trained)
    tuning = _finetune(trained, trained.spec, masked(weights, mask), rate, mask)
    total = sum(values.size for values in mask.values())
    return trained.with_model(
        weights=tuning.weights,
        weights_asked=share,
        weights_removed=round(1 - sum(int(values.sum()) for values in mask.values()) / total, 4),
        compressed_bytes=compressed_bytes(tuning.weights),
        compressed_bytes_before=compressed_bytes(weights),
        rate=rate,
        epochs=tuning.epochs,
        best_epoch=tuning.best,
    )


def magnitude_mask(weights: Weights, share: float) -> dict[str, np.ndarray]:
    """Return masks of the kernels and tables that are false for the ``share`` of the smallest numbers of them all.

    Biases and the weights of normalizations, which are small, are not pruned.
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
    """Return the size of the weights' file compressed by zlib, in bytes."""
    from safetensors.numpy import save

    return len(zlib.compress(save(weights), 9))


def _learning_rate(trained: TrainedModel) -> float:
    """Return the initial learning rate: the run's, unless its optimizer was SGD."""
    optimizer = trained.run.experiment.training.optimizer
    return RATE if optimizer.name == "sgd" else optimizer.lr


def _finetune(
    trained: TrainedModel, spec: ModelSpec, weights: Weights, rate: float, mask: dict[str, np.ndarray] | None = None
) -> FineTuned:
    limits = Limits(EPOCHS, min(STEPS, max(MIN_STEPS, trained.run.status.step)), PATIENCE)
    return trained.finetune(spec, weights, trained.data, limits, rate=rate, mask=mask)


def _no_hidden_layers(trained: TrainedModel) -> str:
    """Return why no units of a model can be removed."""
    family = trained.spec.family  # type: ignore[attr-defined]
    return f"this {family} has no hidden layer whose units could be removed"


def _join_widths(widths: dict[str, int]) -> str:
    return ", ".join(f"{field} ({width})" for field, width in widths.items())
