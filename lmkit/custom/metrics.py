"""What a custom metric takes: classes, probabilities or logits; and its value for targets and outputs.

A metric says what it takes by an attribute ``takes``; by the name of its second parameter, in scikit-learn's spelling
(``y_pred``: classes; ``y_score``, ``y_prob``, ``y_proba``: probabilities; ``pred_decision``, ``logits``: logits); or by
the functions of scikit-learn that it calls. Everything else takes classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from lmkit.custom.objects import describe_error, signature_of
from lmkit.exceptions import ConfigError, nearest

if TYPE_CHECKING:
    import numpy as np

    from lmkit.preprocessing.table import TablePreprocessing

MetricInput = Literal["classes", "probabilities", "logits"]

INPUTS: tuple[MetricInput, ...] = ("classes", "probabilities", "logits")

SCORE_FUNCTIONS: dict[str, MetricInput] = {
    **dict.fromkeys(
        (
            "average_precision_score",
            "brier_score_loss",
            "calibration_curve",
            "d2_brier_score",
            "d2_log_loss_score",
            "det_curve",
            "log_loss",
            "precision_recall_curve",
            "roc_auc_score",
            "roc_curve",
            "top_k_accuracy_score",
        ),
        "probabilities",
    ),
    "hinge_loss": "logits",
}
"""Functions of scikit-learn that take no classes → what they take; some call it ``y_pred``."""

_PARAMETERS: dict[str, MetricInput] = {
    "prob": "probabilities",
    "score": "probabilities",
    "logit": "logits",
    "decision": "logits",
}
"""Part of the name of a parameter → what it takes."""

_PREDICTIONS = ("y_pred", "y_hat", "yhat", "pred", "preds", "prediction", "predictions", "y_score", "y_prob", "y_proba")
_TARGETS = ("y_true", "true", "truth", "target", "targets", "y", "label", "labels")


def metric_input(metric: Any) -> MetricInput:
    """Return what a metric takes.

    Raises:
        ConfigError: its attribute ``takes`` is unknown.

    >>> def brier(y_true, y_prob): ...
    >>> def share(y_true, y_pred): ...
    >>> metric_input(brier), metric_input(share)
    ('probabilities', 'classes')
    """
    function = _unwrap(metric)
    for holder in (metric, function):
        takes = getattr(holder, "takes", None)
        if takes in INPUTS:
            return takes  # type: ignore[no-any-return]
        if isinstance(takes, str):
            raise ConfigError([f"training.metrics: takes of {_name(metric)} is {takes!r}; {nearest(takes, INPUTS)}"])
    if _name(function) in SCORE_FUNCTIONS:
        return SCORE_FUNCTIONS[_name(function)]
    names = _positional(metric)
    prediction = names[0] if _reversed(names) else names[1] if len(names) > 1 else ""
    for part, takes in _PARAMETERS.items():
        if part in prediction.lower():
            return takes
    code = getattr(function, "__code__", None) or getattr(getattr(function, "__call__", None), "__code__", None)  # noqa: B004
    called = [SCORE_FUNCTIONS[name] for name in getattr(code, "co_names", ()) if name in SCORE_FUNCTIONS]
    return called[0] if called else "classes"


def compute_metric(
    name: str, metric: Callable[..., Any], y: np.ndarray, outputs: np.ndarray, preprocessing: TablePreprocessing
) -> float:
    """Return the value of a metric for encoded targets and a model's outputs, both turned back into the data's values.

    Of two classes a metric of scores gets the probability (rows,), or logit, of the second one, of more those of all
    (rows, classes). Parameters of scikit-learn that follow from the classes are filled in: ``pos_label``, ``labels``
    and ``multi_class``.

    Raises:
        ConfigError: the metric raises, or returns no number.
    """
    takes = metric_input(metric) if preprocessing.classes else "classes"
    predictions = preprocessing.decode(outputs) if takes == "classes" else _scores(takes, outputs, preprocessing)
    pair = (preprocessing.restore(y), predictions)
    try:
        return float(
            metric(*(pair[::-1] if _reversed(_positional(metric)) else pair), **_keywords(metric, takes, preprocessing))
        )
    except Exception as error:
        raise ConfigError(
            [
                f"training.metrics: {name} raised {describe_error(error)}; expected a number. It was given targets and "
                f"{'predictions' if not preprocessing.classes else takes} {predictions.shape}; a metric of "
                f"probabilities calls its second parameter y_prob, or has the attribute {name}.takes = 'probabilities'"
            ]
        ) from error


def _scores(takes: MetricInput, outputs: np.ndarray, preprocessing: TablePreprocessing) -> np.ndarray:
    """Return probabilities or logits: of the second of two classes (rows,), else of all (rows, classes)."""
    two_classes = len(preprocessing.classes) == 2
    if takes == "probabilities":
        scores = preprocessing.probabilities(outputs)
        return scores[:, 1] if two_classes else scores
    logits = preprocessing.logits(outputs)
    if not two_classes:
        return logits
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]


def _keywords(metric: Any, takes: MetricInput, preprocessing: TablePreprocessing) -> dict[str, Any]:
    """Return the keywords of scikit-learn that follow from the classes, and that the metric has and leaves open."""
    classes, signature = preprocessing.classes, signature_of(metric)
    if not classes or signature is None:
        return {}
    bound = _bound(metric)
    free = {name: p.default for name, p in signature.parameters.items() if name not in bound}
    keywords: dict[str, Any] = {}
    binary_average = {**free, **bound}.get("average", "binary") in (
        "binary",
        "macro" if takes != "classes" else "binary",
    )
    if (
        "pos_label" in free
        and len(classes) == 2
        and binary_average
        and (takes != "classes" or free["pos_label"] not in classes)
    ):
        keywords["pos_label"] = classes[1]
    if takes != "classes" and getattr(_unwrap(metric), "__module__", "").startswith("sklearn."):
        if "labels" in free:
            keywords["labels"] = classes
        if free.get("multi_class") == "raise" and len(classes) > 2:
            keywords["multi_class"] = "ovr"
    return keywords


def _bound(metric: Any) -> dict[str, Any]:
    """Return the keywords that the partials of a metric set."""
    keywords: dict[str, Any] = {}
    while hasattr(metric, "func"):
        keywords = {**getattr(metric, "keywords", {}), **keywords}
        metric = metric.func
    return keywords


def _unwrap(metric: Any) -> Any:
    """Return a metric without its partials and decorators."""
    while hasattr(metric, "func"):
        metric = metric.func
    return inspect.unwrap(metric)


def _name(metric: Any) -> str:
    return str(getattr(metric, "__name__", type(metric).__name__))


def _positional(metric: Any) -> list[str]:
    """Return the names of the positional parameters of a metric."""
    signature = signature_of(metric)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, p in signature.parameters.items() if p.kind in kinds] if signature else []


def _reversed(names: list[str]) -> bool:
    """Return whether a metric takes the prediction first, by the names of its parameters."""
    return len(names) > 1 and names[0].lower() in _PREDICTIONS and names[1].lower() in _TARGETS
