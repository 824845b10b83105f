"""The quality of a variant: metrics on the test part, and how far its outputs are from the baseline's.

Outputs come in pieces, so that those of a large vocabulary are never in memory at once: of each piece only sums, losses
and predictions are kept. Where metrics need all outputs of all rows, as an AUC does, these are kept; there a row has a
few numbers.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.backends import RowLosses
from lmkit.custom.arguments import load_metrics
from lmkit.custom.metrics import compute_metric
from lmkit.deploy.measure.paired import (
    auc_difference,
    bootstrap_difference,
    resampled_difference,
    share_difference,
)
from lmkit.deploy.measure.statistics import Interval
from lmkit.exceptions import ConfigError, DataError
from lmkit.specs.tasks import get_task
from lmkit.training.metrics import loss_metrics
from lmkit.training.scoring import MAX_NUMBERS, PrecomputedOutputs, score_outputs

if TYPE_CHECKING:
    from lmkit.deploy.trained_model import TrainedModel


class Quality:
    """Outputs of a variant and of the baseline on the same rows, added piece by piece.

    Args:
        trained: the run's model, its data and its preprocessing.
    """

    def __init__(self, trained: TrainedModel) -> None:
        self.run, self.data = trained.run, trained.data
        self.preprocessing = trained.run.preprocessing
        self.task = get_task(self.preprocessing.task)
        self.has_test_rows = len(self.data.test.X) > 0
        self.rows = self.numbers = self.bad_rows = self.equal = self.predictions = 0
        self.difference_squares = self.reference_squares = 0.0
        self.losses: list[tuple[RowLosses, RowLosses]] = []
        self.outputs: list[np.ndarray] = []

    def add(self, outputs: np.ndarray, reference: np.ndarray) -> None:
        """Add the outputs (rows, …) of the next rows, and the baseline's."""
        if outputs.shape != reference.shape:
            raise DataError(
                f"its outputs for {len(reference)} rows have shape {outputs.shape}, and the trained model's "
                f"{reference.shape}: the file computes another model"
            )
        start = self.rows
        self.rows, self.numbers = self.rows + len(outputs), self.numbers + outputs.size
        self.bad_rows += int((~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)).sum())
        if self.bad_rows:  # verification reports it; metrics would fail or mean nothing
            return
        flat, flat_reference = outputs.reshape(-1), reference.reshape(-1)
        for i in range(0, flat.size, MAX_NUMBERS):
            wide = flat_reference[i : i + MAX_NUMBERS].astype(np.float64)
            self.reference_squares += float(np.dot(wide, wide))
            wide -= flat[i : i + MAX_NUMBERS]
            self.difference_squares += float(np.dot(wide, wide))
        if self.task.discrete:
            equal = self.preprocessing.decode(outputs) == self.preprocessing.decode(reference)
            self.equal, self.predictions = self.equal + int(equal.sum()), self.predictions + equal.size
        if not self.has_test_rows:
            return
        self.losses.append((self._losses(outputs, start), self._losses(reference, start)))
        if not self.task.per_position:
            self.outputs.append(np.stack([outputs, reference]))

    def _losses(self, outputs: np.ndarray, start: int) -> RowLosses:
        """Return the losses of the rows from ``start`` on."""
        run = self.run
        return PrecomputedOutputs(run.experiment, run.path.parent, outputs, self.data, start).losses("test")

    def result(self) -> dict[str, Any]:
        """Return the metrics, the divergence and agreement, and the differences to the baseline's metrics.

        ``differences`` holds value, low and high by metric.
        """
        values: dict[str, Any] = {"rows": self.rows, "bad_rows": self.bad_rows, "metrics": {}, "differences": {}}
        if self.bad_rows:
            return values | {"divergence": math.inf, "agreement": None}
        values["divergence"] = math.sqrt(self.difference_squares / (self.reference_squares or self.numbers))
        values["agreement"] = self.equal / self.predictions if self.predictions else None
        if self.has_test_rows:
            metrics, differences = self._metrics()
            values["metrics"] = metrics
            values["differences"] = {name: [d.value, d.low, d.high] for name, d in differences.items()}
        return values

    def _metrics(self) -> tuple[dict[str, float], dict[str, Interval]]:
        """Return the metrics, and their differences to the baseline's."""
        losses = np.stack([RowLosses.join(parts).shares for parts in zip(*self.losses, strict=True)], axis=1)
        differences = {"loss": bootstrap_difference(losses, lambda means: means[..., 0] - means[..., 1])}
        if self.task.per_position:
            metrics = loss_metrics(float(losses[:, 0].mean()), "test", self.preprocessing)
            for name in metrics.keys() - {"loss"}:
                differences[name] = bootstrap_difference(losses, self._loss_metric(name))
            return metrics, differences
        outputs, reference = np.concatenate(self.outputs, axis=1)
        metrics = score_outputs(self.run.experiment, self.run.path.parent, outputs.astype(np.float64), self.data)
        differences |= self._row_metrics(outputs, reference) | self._custom_metrics(outputs, reference)
        return metrics, {name: difference for name, difference in differences.items() if name in metrics}

    def _loss_metric(self, name: str) -> Any:
        """Return the difference of a metric that follows from the mean loss."""

        def metric(losses: Any) -> Any:
            values = [loss_metrics(float(loss), "test", self.preprocessing)[name] for loss in np.ravel(losses)]
            return np.reshape(values, np.shape(losses))

        return lambda means: metric(means[..., 0]) - metric(means[..., 1])

    def _row_metrics(self, outputs: np.ndarray, reference: np.ndarray) -> dict[str, Interval]:
        """Return the differences of metrics that are means over rows, of R² and of the AUC."""
        y = np.asarray(self.data.test.y[: len(outputs)])
        target = self.preprocessing.restore(y)
        predictions = [self.preprocessing.decode(values) for values in (outputs, reference)]
        scores = [self.task.row_scores(prediction, target) for prediction in predictions]
        differences = {}
        for name in scores[0]:
            first, second = (np.asarray(score[name]) for score in scores)
            if first.dtype == bool:
                differences[name] = share_difference(first, second)
            else:
                columns = np.stack([first, second], axis=1)
                differences[name] = bootstrap_difference(columns, lambda means: means[..., 0] - means[..., 1])
        if self.task.numeric and np.ptp(target) > 0:
            centred = target - target.mean()  # for precision only: a shift changes no variance
            squares = [np.square(prediction - target) for prediction in predictions]
            differences["r2"] = bootstrap_difference(np.stack([*squares, centred, centred**2], axis=1), _r2_difference)
        if self.task.exclusive_classes:
            truth = target[:, None] == np.array(self.preprocessing.classes)
            if truth.any(axis=0).all() and not truth.all(axis=0).any():
                shares = [self.preprocessing.probabilities(values) for values in (outputs, reference)]
                differences["auc"] = auc_difference(shares[0], shares[1], truth)
        return differences

    def _custom_metrics(self, outputs: np.ndarray, reference: np.ndarray) -> dict[str, Interval]:
        """Return the differences of the run's custom metrics, as far as these outputs allow."""
        y = np.asarray(self.data.test.y[: len(outputs)])
        differences = {}
        for name, metric in load_metrics(self.run.experiment).items():

            def difference(rows: np.ndarray, name: str = name, metric: Any = metric) -> float | None:
                try:
                    variant, baseline = (
                        compute_metric(name, metric, y[rows], values[rows].astype(np.float64), self.preprocessing)
                        for values in (outputs, reference)
                    )
                except ConfigError:  # such as an area under a curve of rows of one class
                    return None
                return variant - baseline

            with warnings.catch_warnings():  # of scikit-learn, about classes that some rows lack
                warnings.simplefilter("ignore")
                if interval := resampled_difference(difference, len(y)):
                    differences[name] = interval
        return differences


def _r2_difference(means: np.ndarray) -> np.ndarray:
    """Return the difference of two R² from the mean squared errors, the target and its square (…, 4)."""
    error, reference_error, target, square = np.moveaxis(means, -1, 0)
    variance = square - target**2
    return np.asarray((reference_error - error) / np.where(variance > 0, variance, np.inf))
