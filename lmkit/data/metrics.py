"""What a model scores on one part of the data."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from lmkit.specs.losses import LossName, loss_value

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.preparation import Preprocessing


def part_metrics(
    loss: LossName, logits: np.ndarray, y: np.ndarray, preprocessing: Preprocessing, *, skip_loss: bool = False
) -> dict[str, float]:
    """Loss and metrics, by the task: accuracy and AUC for classes; MAE (in the target's own unit) and R² for numbers.

    The AUC of more than two classes is the mean over each class against the rest (Provost and Domingos, 2000);
    it is left out where a class does not occur in ``y``.

    Args:
        loss: which loss was minimized.
        logits: (rows, outputs).
        y: the prepared target, (rows, 1) or numbers of classes (rows,).
        preprocessing: what brings the target back to its own unit.
        skip_loss: leave the loss out, where it is known already.
    """
    import numpy as np
    from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score

    found = {} if skip_loss else {"loss": loss_value(loss, logits, y)}
    if preprocessing.task == "regression":
        scale, shift = preprocessing.target["scale"], preprocessing.target["shift"]
        truth, guess = (v[:, 0].astype(np.float64) * scale + shift for v in (y, logits))
        found["mae"] = float(mean_absolute_error(truth, guess))
        if len(truth) > 1:
            found["r2"] = float(r2_score(truth, guess))
        return found
    if preprocessing.task == "binary":
        truth = y[:, 0].astype(int)
        found["accuracy"] = float(np.mean((logits[:, 0] > 0) == truth))
        if len(np.unique(truth)) == 2 and np.isfinite(logits).all():
            found["auc"] = float(roc_auc_score(truth, logits[:, 0]))
        return found
    found["accuracy"] = float(np.mean(logits.argmax(axis=1) == y))
    if len(np.unique(y)) == logits.shape[1] and np.isfinite(logits).all():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found["auc"] = float(roc_auc_score(y, preprocessing.probabilities(logits), multi_class="ovr"))
    return found
