"""Metrics of the training part from what the steps computed: nothing is evaluated again.

As in Keras, they are means over the rows of the epoch's steps, each by the weights before its update, and with dropout
and batch normalization as in training. Early in training they lag behind the weights by half an epoch. A metric that
compares rows with each other, such as the AUC, and a custom metric take the outputs of the last steps together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmkit.custom.metrics import compute_metric
from lmkit.exceptions import DamagedFile
from lmkit.specs.tasks import get_task
from lmkit.training.fit import Block, Callback, Fit
from lmkit.training.metrics import MetricFunctions
from lmkit.training.progress import running_sum

if TYPE_CHECKING:
    from pathlib import Path

    from lmkit.data.dataset import Dataset

COMPARED_ROWS = 2_000
"""Rows that the AUC and custom metrics are computed of, at least, or a twentieth of an epoch: the last ones."""

CALL_OUTPUTS = 2**22
"""Outputs that the trainer collects in one call, at most."""


class EpochMetrics(Callback):
    """Adds up the metrics of the training part between two validations.

    The sums are held by the progress, so that a checkpoint has them; ``arrays`` has the rest.

    Args:
        data: the data of the run; a task with a loss per position has no metrics but the loss.
        batch_size: rows of a step.
        metrics: custom metrics by name.
    """

    def __init__(self, data: Dataset, batch_size: int, metrics: MetricFunctions) -> None:
        self.preprocessing, self.metrics = data.preprocessing, metrics
        self.task = get_task(self.preprocessing.task)
        self.batch_size, self.compared_rows = batch_size, max(COMPARED_ROWS, data.rows // 20)
        self.outputs: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []
        self.outputs_per_step = 0

    def max_steps(self, fit: Fit) -> int | None:  # noqa: ARG002 (part of the interface)
        """Return the number of steps whose outputs are collected at once."""
        return max(1, CALL_OUTPUTS // self.outputs_per_step) if self.outputs_per_step else None

    def on_steps_end(self, fit: Fit, block: Block) -> None:
        """Add the rows of the steps of a call."""
        outputs, targets = block.steps.outputs, block.steps.targets
        if outputs is None or targets is None or not len(outputs):
            return
        targets = self.task.unmix(targets)
        self.outputs_per_step = outputs[:1].size * self.batch_size
        self._keep(outputs, targets)
        sums = fit.progress.sums
        if "rows" not in sums:
            sums["rows"] = 0.0
            if self.task.numeric:
                sums["origin"] = float(self.preprocessing.restore(targets[:1])[0])
        for name, values in self._row_sums(outputs, targets, sums.get("origin", 0.0)).items():
            sums[name] = running_sum(sums.get(name, 0.0), values)
        sums["rows"] += len(outputs)

    def result(self, fit: Fit) -> dict[str, float]:
        """Return the metrics since the last validation, without the loss, and begin anew."""
        sums, fit.progress.sums = fit.progress.sums, {}
        arrays, self.outputs, self.targets = self.arrays(), [], []
        if not arrays:
            return {}
        outputs, targets, preprocessing = arrays["outputs"], arrays["targets"], self.preprocessing
        values = self.task.measure(preprocessing.logits(outputs), targets, preprocessing)
        rows, _ = sums.pop("rows"), sums.pop("origin", 0.0)
        values |= self.task.measure_sums(sums, rows)
        return values | {
            name: compute_metric(name, metric, targets, outputs, preprocessing) for name, metric in self.metrics.items()
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the outputs and targets of the last rows for a checkpoint; empty where there are none."""
        if not self.outputs:
            return {}
        last = {"outputs": self.outputs, "targets": self.targets}
        return {name: np.concatenate(pieces)[-self.compared_rows :] for name, pieces in last.items()}

    def restore(self, arrays: dict[str, np.ndarray], sums: dict[str, float], path: Path) -> None:
        """Continue from the ``arrays`` and the sums of a checkpoint; ``path`` is the file of the arrays, for messages.

        Raises:
            DamagedFile: they do not fit the data.
        """
        if not arrays:
            sums.clear()  # those of the steps before would be missing in other metrics
            return
        outputs, targets = arrays.get("outputs"), arrays.get("targets")
        try:
            if outputs is None or targets is None or not 0 < len(outputs) == len(targets):
                raise ValueError(f"expected outputs and targets of as many rows, given {', '.join(arrays) or 'none'}")
            if missing := {"rows", *self._row_sums(outputs[:1], targets[:1], 0.0)} - set(sums):
                raise ValueError(f"its sums lack {', '.join(sorted(missing))}")
        except (ValueError, TypeError, IndexError) as error:
            raise DamagedFile(path, f"it does not fit the data: {str(error)[:200]}") from None
        self.outputs, self.targets = [outputs], [targets]

    def _row_sums(self, outputs: np.ndarray, targets: np.ndarray, origin: float) -> dict[str, np.ndarray]:
        return self.task.row_sums(self.preprocessing.logits(outputs), targets, self.preprocessing, origin)

    def _keep(self, outputs: np.ndarray, targets: np.ndarray) -> None:
        """Append rows, and let go of those that are no longer among the last."""
        self.outputs.append(outputs[-self.compared_rows :])
        self.targets.append(targets[-self.compared_rows :])
        while sum(map(len, self.outputs[1:])) >= self.compared_rows:
            del self.outputs[0], self.targets[0]
