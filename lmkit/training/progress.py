"""The position of a training run, which a checkpoint holds beside weights and optimizer state."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.system.records import Count, Seconds, parse_record

if TYPE_CHECKING:
    import numpy as np

    from lmkit.backends import Steps


@dataclass
class Progress:
    """The position of training.

    Attributes:
        epoch, batch: the epoch and the batch in it that come next, counted from 0.
        step: steps taken.
        rate: the learning rate that the schedule multiplies.
        seconds: spent in steps.
        loss_sum, rows_seen: the sum of losses since the last validation, and its normalizer: for a mean, the rows.
        sums: the sums since the last validation from which metrics of the training part follow; see
            ``lmkit.training.epoch_metrics``.
        skipped: steps since the last validation whose gradients overflowed float16.
        best_loss, best_epoch: of the best validation.
        last_norm: the gradient norm of the last step.
        validated: steps that had been taken at the last validation.
    """

    epoch: Count = 0
    batch: Count = 0
    step: Count = 0
    rate: float = 0.0
    seconds: Seconds = 0.0
    loss_sum: float = 0.0
    rows_seen: float = 0
    sums: dict[str, float] = field(default_factory=dict)
    skipped: Count = 0
    best_loss: float = math.inf
    best_epoch: float = 0
    last_norm: float = math.nan
    validated: Count = 0

    def add(self, steps: Steps, seconds: float) -> None:
        """Count steps that were taken in ``seconds``."""
        n = len(steps.loss)
        self.seconds += seconds
        self.skip(n)
        if n:
            sums, normalizers = steps.loss_sums
            self.loss_sum = running_sum(self.loss_sum, sums)
            self.rows_seen = running_sum(self.rows_seen, normalizers)
            self.last_norm = float(steps.gradient_norm[-1])
            if "skipped" in steps.columns:
                self.skipped += int(steps.columns["skipped"].sum())

    def skip(self, n: int) -> None:
        """Move on by ``n`` steps of the epoch."""
        self.step += n
        self.batch += n

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint; ``from_dict`` reads them."""
        state = {k: v if not isinstance(v, float) or math.isfinite(v) else None for k, v in asdict(self).items()}
        state["best_loss"] = self.best_loss if math.isfinite(self.best_loss) else 1e308
        return state

    @classmethod
    def from_dict(cls, values: dict[str, Any], path: Path = Path("state.json")) -> Progress:
        """Return the progress that ``to_dict`` wrote; ``path`` is its file, for messages.

        Raises:
            DamagedFile: a value has another type.
        """
        return parse_record(cls, {k: math.nan if v is None else v for k, v in values.items()}, path)


def running_sum(total: float, values: np.ndarray) -> float:
    """Return ``total`` plus all values (n,), added one by one: the same digits wherever the values are divided.

    >>> import numpy as np
    >>> running_sum(0.5, np.array([1.0, 2.0]))
    3.5
    """
    import numpy as np

    return float(np.add.accumulate(np.concatenate([[total], np.asarray(values, dtype=np.float64)]))[-1])
