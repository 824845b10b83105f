"""What a model scores on one part of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from lmkit.data.objects import told
from lmkit.errors import ConfigError
from lmkit.specs.losses import LossName, loss_value
from lmkit.specs.references import is_reference

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmkit.data.batches import Part
    from lmkit.data.preparation import Dataset, Preprocessing


MEASURED = 2**18
"""Tokens of a part of a text that it is measured on at most, its first: the mean over more is hardly another."""


Measures = Mapping[str, Callable[["np.ndarray", "np.ndarray"], float]]
"""Name → function of target and prediction, both (rows,)."""


class Evaluates(Protocol):
    """What tells what a model makes of a part of the data: a trainer of any framework."""

    def outputs(self, part: str, rows: int | None = None) -> np.ndarray:
        """Logits (rows, outputs) of one part of the data, or of its first ``rows``."""

    def losses(self, part: str, rows: int | None = None) -> np.ndarray:
        """The loss (rows,) of each row."""


def score(
    trainer: Evaluates,
    part: str,
    data: Dataset,
    loss: LossName,
    rows: int | None = None,
    measures: Measures | None = None,
    *,
    skip_loss: bool = False,
) -> dict[str, float]:
    """What the trainer's model scores on one part of the data, or on its first ``rows``; nothing where it is empty.

    Args:
        trainer: tells what the model makes of the part.
        part: training, validation or test.
        data: all of it.
        loss: what was minimized.
        rows: how many.
        measures: metrics of somebody's own: name → function of target and prediction, both (rows,).
        skip_loss: leave the loss out, where it is known already.
    """
    X, y = getattr(data, part)
    if not len(X):
        return {}
    if data.preprocessing.task == "language":
        if skip_loss:
            return {}
        most = max(1, MEASURED // X.shape[1])
        loss_of_rows = trainer.losses(part, most if rows is None else min(rows, most))
        return of_language(float(loss_of_rows.mean()), part, data.preprocessing)
    y = y[:rows]
    own = is_reference(loss)
    found = {"loss": float(trainer.losses(part, rows).mean())} if own and not skip_loss else {}
    logits = trainer.outputs(part, rows)
    found |= part_metrics(loss, logits, y, data.preprocessing, skip_loss=skip_loss or own)
    return found | _measured(measures or {}, y, logits, data.preprocessing)


def _measured(measures: Measures, y: np.ndarray, logits: np.ndarray, preprocessing: Preprocessing) -> dict[str, float]:
    """What metrics of somebody's own say, of targets and predictions in their own values."""
    found = {}
    for name, measure in measures.items():
        try:
            found[name] = float(measure(preprocessing.restore(y), preprocessing.decode(logits)))
        except Exception as error:
            raise ConfigError([f"training.metrics: {name} raised {told(error)}; expected a number"]) from error
    return found


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

    found = {} if skip_loss else {"loss": loss_value(loss, logits, y)}
    if preprocessing.task == "regression":
        scale, shift = preprocessing.target["scale"], preprocessing.target["shift"]
        truth, guess = (v[:, 0].astype(np.float64) * scale + shift for v in (y, logits))
        found["mae"] = float(np.abs(guess - truth).mean())
        spread = float(((truth - truth.mean()) ** 2).sum())
        if spread:
            found["r2"] = 1 - float(((guess - truth) ** 2).sum()) / spread
        return found
    if preprocessing.task == "binary":
        scores, truth = logits, y.astype(bool)
        found["accuracy"] = float(np.mean((logits > 0) == truth))
    else:
        scores, truth = logits, y[:, None] == np.arange(logits.shape[1])
        found["accuracy"] = float(np.mean(logits.argmax(axis=1) == y))
    if truth.any(axis=0).all() and not truth.all(axis=0).any() and np.isfinite(logits).all():
        if preprocessing.task == "multiclass":
            scores = preprocessing.probabilities(logits)
        found["auc"] = area_under_roc(scores, truth)
    return found


def of_language(loss: float, part: str, known: Preprocessing) -> dict[str, float]:
    """A mean loss in nats a token as what it means: perplexity e^loss, and bits a byte, which compares tokenizers.

    bits a byte = loss · tokens / bytes / ln 2, of the whole text of the part (Gao et al., 2020, section 3.1).
    """
    import numpy as np

    with np.errstate(over="ignore"):
        perplexity = float(np.exp(loss))
    ratio: float = known.bytes_a_token[part]  # type: ignore[attr-defined]
    return {"loss": loss, "perplexity": perplexity, "bits_per_byte": loss / ratio / math.log(2)}


def area_under_roc(scores: np.ndarray, truth: np.ndarray) -> float:
    """The area under the ROC curve, the mean over columns, by the ranks of the scores (Hanley and McNeil, 1982).

    Many times quicker than scikit-learn's, which checks and sorts a column at a time: it is taken every epoch.

    Args:
        scores: (rows, classes), higher for rows that rather belong to the class.
        truth: (rows, classes), whether they do; each column holds both.

    >>> import numpy as np
    >>> area_under_roc(np.array([[0.1], [0.4], [0.35], [0.8]]), np.array([[False], [False], [True], [True]]))
    0.75
    """
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    members = truth.sum(axis=0)
    above = (ranks * truth).sum(axis=0) - members * (members + 1) / 2
    return float((above / (members * (len(truth) - members))).mean())


def predictions(known: Preprocessing, part: Part, logits: np.ndarray) -> pd.DataFrame:
    """Some rows and their logits as ``target`` and ``prediction``, in the target's own values; before them, what the
    rows are called, where they have names."""
    import pandas as pd

    return pd.DataFrame(known.names(part.X) | {"target": known.restore(part.y), "prediction": known.decode(logits)})
