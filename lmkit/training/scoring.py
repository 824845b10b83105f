"""Loss and metrics of outputs that something other than a trainer computed, such as a deployed model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.backends import RowLosses, get_backend
from lmkit.custom import arguments, trust
from lmkit.exceptions import ConfigError
from lmkit.specs.losses import loss_value, resolve_loss
from lmkit.specs.references import is_reference
from lmkit.training.metrics import score

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment
    from lmkit.specs.outputs import OutputKind

MAX_NUMBERS = 2**22
"""Outputs that are converted to float64 at once."""


class PrecomputedOutputs:
    """An evaluator whose outputs of the test part were computed elsewhere.

    Args:
        experiment: says which loss was minimized.
        root: the folder beside which custom objects lie: the one that holds the run's folder.
        outputs: (rows, outputs), as the run's model gives them.
        data: the data of the run.
        start: the row of the test part that the first row of ``outputs`` is of.
    """

    def __init__(self, experiment: Experiment, root: Path, outputs: np.ndarray, data: Dataset, start: int = 0) -> None:
        trust.load(experiment, root)
        self.experiment, self.values = experiment, outputs
        self.y = data.test.y[start : start + len(outputs)] if start else data.test.y
        self.output_kind = data.preprocessing.output_kind
        self.loss = resolve_loss(experiment.training.loss, data.preprocessing.task)

    def outputs(self, part: str, rows: int | None = None) -> np.ndarray:  # noqa: ARG002 (part of the interface)
        """Outputs (rows, outputs)."""
        return self.values[:rows]

    def losses(self, part: str, rows: int | None = None) -> RowLosses:  # noqa: ARG002 (part of the interface)
        """The loss of each row; a custom loss is computed by its framework."""
        import numpy as np

        spec, z = self.experiment, self.values[:rows]
        y = np.asarray(self.y[: len(z)])
        if is_reference(self.loss):
            backend = get_backend(spec.framework)
            return backend.losses(self.loss, z.astype(spec.training.weight_dtype), y, spec.data.batch_size)
        return RowLosses.of(np.array([_row_loss(self.loss, a, b, self.output_kind) for a, b in zip(z, y, strict=True)]))


def _row_loss(loss: str, z: np.ndarray, y: np.ndarray, kind: OutputKind) -> float:
    """Return the mean loss over the positions of a row; few outputs at a time are converted to float64."""
    z, y = z.reshape(-1, z.shape[-1]), y.reshape(-1)
    size = max(1, MAX_NUMBERS // z.shape[-1])
    if len(z) <= size:
        return loss_value(loss, z, y, kind)
    pieces = [slice(i, i + size) for i in range(0, len(z), size)]
    return sum(loss_value(loss, z[piece], y[piece], kind) * len(z[piece]) for piece in pieces) / len(z)


def score_outputs(experiment: Experiment, root: Path, outputs: np.ndarray, data: Dataset) -> dict[str, float]:
    """Return loss and metrics of the test part; custom metrics too, as far as these outputs allow.

    Args:
        experiment: says which loss was minimized, and which metrics to compute.
        root: the folder beside which custom objects lie.
        outputs: (rows, outputs), of a language (rows, length, vocabulary), as the run's model gives them.
        data: the data of the run.
    """
    evaluator = PrecomputedOutputs(experiment, root, outputs, data)
    metrics = arguments.load_metrics(experiment)
    try:
        return score(evaluator, "test", data, evaluator.loss, metrics=metrics)
    except ConfigError:
        if not metrics:
            raise
        return score(evaluator, "test", data, evaluator.loss)
