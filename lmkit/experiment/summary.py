"""What an experiment trains, and how, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmkit.experiment.experiment import Experiment

if TYPE_CHECKING:
    from lmkit.specs.signature import Signature


def summarize(experiment: Experiment, signature: Signature, *, validates: bool = True) -> str:
    """Return the model, the optimizer and the end of training, most of which are often defaults.

    Args:
        experiment: what is trained.
        signature: the inputs and outputs of the model.
        validates: whether the data has a validation part, which early stopping needs.

    >>> from lmkit.specs.signature import Signature
    >>> summarize(Experiment(data="wine", model="mlp:tiny"), Signature((13,), 3, "multiclass"))
    'mlp 13-10-3 (173 parameters), adam at 0.001, batches of 32, up to 100 epochs, early stopping with patience 10'
    """
    model, training = experiment.model, experiment.training
    count = "" if model.is_custom else f" ({sum(layer.parameters for layer in model.layers(signature)):,} parameters)"
    batches = "" if signature.graph else f", batches of {experiment.data.batch_size}"
    limit = f"{training.epochs:,} epochs" + (f" or {training.steps:,} steps" if training.steps else "")
    early = training.early_stopping if validates else None
    return (
        f"{model.describe(signature)}{count}, {training.optimizer.name} at {training.optimizer.lr:g}{batches}, "
        f"up to {limit}" + (f", early stopping with patience {early.patience}" if early else "")
    )
