"""Simple models on the same rows: what a linear model and a small random forest reach, by scikit-learn."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from lmkit.specs.tasks import get_task

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.batches import Part
    from lmkit.data.dataset import Dataset

NAMES = {"linear": "linear model", "forest": "random forest"}
"""Name of a column → the baseline in words."""

MAX_ROWS, MAX_NUMBERS = 20_000, 2**24
"""Training rows, and numbers in them, up to which baselines are fitted."""

TREES = 100
"""Trees of the forest."""


def baseline_scores(data: Dataset, part: str, metric: str) -> dict[str, float]:
    """Return the score of each baseline, fitted to the prepared training rows; NaN where it cannot be computed.

    Args:
        data: the prepared data; a graph and rows that are not in memory have no baselines.
        part: the part to score, test or validation.
        metric: a metric of the task that follows from outputs, such as accuracy or mae.

    Returns:
        ``linear``: logistic or ridge regression; ``forest``: a random forest of 100 trees.
    """
    import numpy as np

    training, scored = data.training, getattr(data, part)
    X = training.X
    fits = isinstance(X, np.ndarray) and len(X) <= MAX_ROWS and X.size <= MAX_NUMBERS
    preprocessing = data.preprocessing
    if not fits or preprocessing.signature.graph is not None or preprocessing.signature.vocabulary:
        return dict.fromkeys(NAMES, math.nan)
    task = get_task(preprocessing.task)
    y = np.asarray(training.y).reshape(len(X), -1)[:, 0]
    scores = {}
    for name, model in _models(numeric=task.numeric).items():
        outputs = _outputs(model, training, y, scored.X, preprocessing.outputs, numeric=task.numeric)
        values = {} if outputs is None else task.measure(outputs, np.asarray(scored.y), preprocessing)
        scores[name] = float(values.get(metric, math.nan))
    return scores


def _models(*, numeric: bool) -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import LogisticRegression, Ridge

    if numeric:
        return {"linear": Ridge(), "forest": RandomForestRegressor(TREES, random_state=0)}
    return {"linear": LogisticRegression(max_iter=500), "forest": RandomForestClassifier(TREES, random_state=0)}


def _outputs(
    model: Any, training: Part, y: np.ndarray, X: np.ndarray, outputs: int, *, numeric: bool
) -> np.ndarray | None:
    """Return what a network would output for X: values (rows, 1) or logits (rows, outputs); None for a single class."""
    import numpy as np

    rows = np.asarray(training.X).reshape(len(training.X), -1)
    flat = np.asarray(X).reshape(len(X), -1)
    if not numeric and len(np.unique(y)) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a regression that has not converged is a baseline nevertheless
        model.fit(rows, y)
    if numeric:
        return np.asarray(model.predict(flat)).reshape(-1, 1)
    probabilities = np.full((len(flat), max(outputs, 2)), 1e-9)
    probabilities[:, model.classes_.astype(int)] += model.predict_proba(flat)
    logits: np.ndarray = np.log(probabilities)
    return logits if outputs > 1 else logits[:, 1:] - logits[:, :1]
