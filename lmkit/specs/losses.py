"""The losses: which task each is for, its formula, and what is refused.

* ``binary_crossentropy``: L = −1/n Σ [y log ŷ + (1−y) log(1−ŷ)], from logits z as max(z,0) − zy + log(1+e^−|z|)
* ``categorical_crossentropy``: L = −1/n Σ log softmax(z)[y], from logits through log-sum-exp
* ``mean_squared_error``: L = 1/n Σ (ŷ−y)²

(Goodfellow, Bengio and Courville, *Deep Learning*, sections 5.5 and 6.2.)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from lmkit.errors import ConfigError, nearest
from lmkit.specs.references import is_reference
from lmkit.specs.signature import Task

if TYPE_CHECKING:
    import numpy as np

LossName = str
"""One of ``LOSSES``, or the reference of somebody's own."""

FOR_TASK: dict[Task, LossName] = {
    "binary": "binary_crossentropy",
    "multiclass": "categorical_crossentropy",
    "regression": "mean_squared_error",
    "language": "categorical_crossentropy",
}
LOSSES = tuple(dict.fromkeys(FOR_TASK.values()))
SHORT: dict[str, LossName] = {
    "bce": "binary_crossentropy",
    "cce": "categorical_crossentropy",
    "mse": "mean_squared_error",
}
# What the frameworks call the same thing, and what teaching texts call it by mistake; compared without case or marks.
ELSEWHERE: dict[str, LossName] = {
    "bceloss": "binary_crossentropy",
    "bcewithlogitsloss": "binary_crossentropy",
    "binarycrossentropy": "binary_crossentropy",
    "binarycrossentropyloss": "binary_crossentropy",
    "sigmoidcrossentropywithlogits": "binary_crossentropy",
    "logloss": "binary_crossentropy",
    "crossentropy": "categorical_crossentropy",
    "crossentropyloss": "categorical_crossentropy",
    "categoricalcrossentropy": "categorical_crossentropy",
    "categoricalcrossentropyloss": "categorical_crossentropy",
    "sparsecategoricalcrossentropy": "categorical_crossentropy",
    "softmaxcrossentropywithlogits": "categorical_crossentropy",
    "nllloss": "categorical_crossentropy",
    "mseloss": "mean_squared_error",
    "meansquarederror": "mean_squared_error",
    "meansquarederrorloss": "mean_squared_error",
    "l2loss": "mean_squared_error",
}


def _spell(value: Any) -> Any:
    if not isinstance(value, str) or value in ("auto", *LOSSES):
        return value
    if value in SHORT:
        return SHORT[value]
    if is_reference(value):
        return value
    if re.search(r"\.(backward|gradient|step)\b", value):
        raise ValueError(
            f"{value!r} computes gradients, it is no loss; lmkit differentiates in both frameworks by itself "
            "(loss.backward() exists in PyTorch only, TensorFlow has tf.GradientTape); "
            f"name the loss: loss: auto {nearest('auto', LOSSES)}"
        )
    word = re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*\)$", "", value).rsplit(".", 1)[-1].lower())
    meant = {**ELSEWHERE, **SHORT}.get(word)
    if meant:
        raise ValueError(f"there is no loss {value!r} here; the same in both frameworks is {meant!r}")
    raise ValueError(f"unknown loss {value!r}; {nearest(value, ['auto', *LOSSES])}")


Loss = Annotated[str, BeforeValidator(_spell), WithJsonSchema({"type": "string", "enum": ["auto", *LOSSES]})]


def resolve_loss(loss: str, task: Task) -> LossName:
    """The loss for ``task``: what ``auto`` stands for, or a refusal of one that learns nothing there.

    A loss of somebody's own is taken for any task.

    Raises:
        ConfigError: the loss is not one for this task; the message says why and what to write.

    >>> resolve_loss("auto", "binary")
    'binary_crossentropy'
    """
    right = FOR_TASK[task]
    if loss in ("auto", right):
        return right
    if is_reference(loss):
        return loss
    why = {
        ("categorical_crossentropy", "binary"): "a softmax over a single output is always 1, so this loss is exactly "
        "0 from the first step on and nothing is learned",
        ("categorical_crossentropy", "regression"): "it compares classes, and the target is a number",
        ("binary_crossentropy", "multiclass"): "it knows two classes only, and the target has more",
        ("binary_crossentropy", "regression"): "it compares 0 with 1, and the target is a number",
        ("mean_squared_error", "binary"): "on a class it has flat regions where a wrong model stops learning",
        ("mean_squared_error", "multiclass"): "the number of a class is a name, not a quantity",
        ("binary_crossentropy", "language"): "it knows two classes only, and there are as many as tokens",
        ("mean_squared_error", "language"): "the number of a token is a name, not a quantity",
    }[(loss, task)]
    raise ConfigError([f"training.loss: given {loss!r} for a {task} target, but {why}; write loss: {right}"])


def loss_value(loss: LossName, logits: np.ndarray, target: np.ndarray) -> float:
    """The mean loss over rows, in NumPy: ``logits`` (n, outputs), ``target`` (n, outputs) or classes (n,)."""
    import numpy as np

    z = logits.astype(np.float64)
    if loss == "categorical_crossentropy":
        top = z.max(axis=1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(z - top).sum(axis=1))
        return float(np.mean(log_sum - z[np.arange(len(z)), target.astype(int)]))
    y = target.reshape(z.shape).astype(np.float64)
    if loss == "binary_crossentropy":
        return float(np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))))
    return float(np.mean((z - y) ** 2))
