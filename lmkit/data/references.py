"""Simple models on the data of a run, by which its own result is judged: a linear model and a small forest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.data.profile import Profile, Reference, has_row_vectors, sample
from lmkit.specs.tasks import get_task

if TYPE_CHECKING:
    from lmkit.data.dataset import Dataset

MAX_FEATURES = 256
"""Features that the models see, at most: of more, so many at equal distances. The time of a forest grows with them."""

TREES = 50


def with_references(profile: Profile, data: Dataset) -> Profile:
    """Return the profile with what a constant, a linear model and a small forest reach; unchanged where rows are no
    vectors, or there are too few.

    The rows are those of the profile. It takes between some tenths of a second and three seconds, by the number of
    features; scikit-learn's import comes on top. The models have a seed of their own.
    """
    training, other = sample(data.training), sample(data.validation if len(data.validation.X) else data.test)
    if not has_row_vectors(data) or len(training.X) < 10 or len(other.X) < 2:
        return profile
    is_class = get_task(profile.task).exclusive_classes
    columns = np.linspace(0, profile.features - 1, min(profile.features, MAX_FEATURES)).astype(np.int64)
    X, V = (part.X.reshape(len(part.X), -1)[:, columns].astype(np.float64) for part in (training, other))
    y, v = (part.y.reshape(-1) if is_class else part.y.reshape(len(part.y), -1) for part in (training, other))
    if len(np.unique(y)) < 2 or not (np.isfinite(X).all() and np.isfinite(V).all()):
        return profile
    mean, spread = X.mean(0), np.where(X.std(0) > 0, X.std(0), 1.0)
    X, V = (X - mean) / spread, (V - mean) / spread
    references = {"constant": _constant(y, v, is_class)}
    for name, model in _models(is_class).items():
        model.fit(X, y if y.size > len(y) else y.reshape(-1))
        references[name] = Reference(
            score=_score(v, model.predict(V), is_class), training_score=_score(y, model.predict(X), is_class)
        )
    return replace(profile, references=references, score_rows=len(V))


def _models(is_class: bool) -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import Ridge, RidgeClassifier

    if is_class:
        return {
            "linear": RidgeClassifier(),
            "forest": RandomForestClassifier(TREES, min_samples_leaf=2, random_state=0, n_jobs=1),
        }
    return {
        "linear": Ridge(),
        "forest": RandomForestRegressor(TREES, min_samples_leaf=2, max_features=1 / 3, random_state=0, n_jobs=1),
    }


def _constant(y: np.ndarray, v: np.ndarray, is_class: bool) -> Reference:
    if is_class:
        classes, counts = np.unique(y, return_counts=True)
        top = classes[counts.argmax()]
        return Reference(score=float(np.mean(v == top)), training_score=float(np.mean(y == top)))
    return Reference(score=_score(v, np.broadcast_to(y.mean(0), v.shape), is_class), training_score=0.0)


def _score(target: np.ndarray, prediction: np.ndarray, is_class: bool) -> float:
    """Return the accuracy, or R² over all outputs."""
    if is_class:
        return float(np.mean(target.reshape(-1) == prediction.reshape(-1)))
    target, prediction = target.astype(np.float64), prediction.reshape(target.shape)
    total = float(((target - target.mean(0)) ** 2).sum())
    return 1 - float(((target - prediction) ** 2).sum()) / total if total else 0.0
