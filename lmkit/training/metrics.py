"""Loss and metrics of a model on one part of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from lmkit.backends.base import RowLosses
from lmkit.custom.metrics import compute_metric
from lmkit.specs.losses import LossName, loss_value
from lmkit.specs.references import is_reference
from lmkit.specs.tasks import get_task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmkit.data.batches import Part
    from lmkit.data.dataset import Dataset
    from lmkit.preprocessing.table import TablePreprocessing


MAX_TOKENS = 2**18
"""Tokens of a part of a text that are evaluated, at most, the first: the mean over more hardly differs."""


MetricFunctions = Mapping[str, Callable[["np.ndarray", "np.ndarray"], float]]
"""Name → function of the target (rows,) and what ``lmkit.custom.metrics.metric_input`` says that it takes."""


class Evaluator(Protocol):
    """Computes outputs and losses of a model on a part of the data, as the trainers do."""

    def outputs(self, part: str, rows: int | None = None) -> np.ndarray:
        """Outputs (rows, outputs) of one part of the data, or of its first ``rows``."""

    def losses(self, part: str, rows: int | None = None) -> RowLosses:
        """The loss of each row."""


def score(
    evaluator: Evaluator,
    part: str,
    data: Dataset,
    loss: LossName,
    rows: int | None = None,
    metrics: MetricFunctions | None = None,
    *,
    skip_loss: bool = False,
) -> dict[str, float]:
    """Return loss and metrics of a model on one part of the data, or on its first ``rows``; empty for an empty part.

    Args:
        evaluator: computes outputs and losses.
        part: training, validation or test.
        data: the data set.
        loss: the loss that was minimized.
        rows: how many, at most.
        metrics: custom metrics.
        skip_loss: leave the loss out, where it was computed before.

    Raises:
        ConfigError: a custom metric cannot be computed.
    """
    X, y = getattr(data, part)
    if not len(X):
        return {}
    task = get_task(data.preprocessing.task)
    if task.per_position:
        if skip_loss:
            return {}
        most = scored_rows(data, part)
        losses = evaluator.losses(part, most if rows is None else min(rows, most))
        return loss_metrics(losses.total.mean, part, data.preprocessing)
    y = y[:rows]
    custom = is_reference(loss)
    values = {"loss": evaluator.losses(part, rows).total.mean} if custom and not skip_loss else {}
    outputs = evaluator.outputs(part, rows)
    values |= part_metrics(loss, outputs, y, data.preprocessing, skip_loss=skip_loss or custom)
    return values | {
        name: compute_metric(name, metric, y, outputs, data.preprocessing) for name, metric in (metrics or {}).items()
    }


def scored_rows(data: Dataset, part: str) -> int:
    """Return how many rows of a part, from its first on, metrics are computed of."""
    X = getattr(data, part).X
    per_position = get_task(data.preprocessing.task).per_position
    return max(1, MAX_TOKENS // X.shape[1]) if per_position else len(X)


def part_metrics(
    loss: LossName, outputs: np.ndarray, y: np.ndarray, preprocessing: TablePreprocessing, *, skip_loss: bool = False
) -> dict[str, float]:
    """Return the loss and the metrics of the task.

    Args:
        loss: the loss that was minimized.
        outputs: (rows, outputs), as the model gives them.
        y: the prepared target, (rows, 1) or numbers of classes (rows,).
        preprocessing: says what the outputs are, and restores the target's original unit.
        skip_loss: leave the loss out, where it was computed before.
    """
    metrics = {} if skip_loss else {"loss": loss_value(loss, outputs, y, preprocessing.output_kind)}
    return metrics | get_task(preprocessing.task).measure(preprocessing.logits(outputs), y, preprocessing)


def loss_metrics(loss: float, part: str, preprocessing: TablePreprocessing) -> dict[str, float]:
    """Return a mean loss per position and the metrics that follow from it."""
    ratio: float = preprocessing.bytes_a_token[part]  # type: ignore[attr-defined]
    return {"loss": loss, **get_task(preprocessing.task).measure_loss(loss, ratio)}


def predictions(preprocessing: TablePreprocessing, part: Part, outputs: np.ndarray) -> pd.DataFrame:
    """Return rows and their outputs as ``target`` and ``prediction``, in the target's original values; the names of the
    rows come first, where they have any."""
    import pandas as pd

    values = {"target": preprocessing.restore(part.y), "prediction": preprocessing.decode(outputs)}
    return pd.DataFrame(preprocessing.names(part.X) | values)
