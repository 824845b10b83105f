"""The losses: the task of each, its formula, and unsuitable combinations.

* ``binary_crossentropy``: L = −1/n Σ [y log ŷ + (1−y) log(1−ŷ)], from logits z as max(z,0) − zy + log(1+e^−|z|)
* ``categorical_crossentropy``: L = −1/n Σ log softmax(z)[y], from logits through log-sum-exp
* ``mean_squared_error``: L = 1/n Σ (ŷ−y)²

(Goodfellow, Bengio and Courville, *Deep Learning*, sections 5.5 and 6.2.)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BeforeValidator, WithJsonSchema

from lmkit.exceptions import ConfigError, nearest, shorten
from lmkit.specs.outputs import EPSILON, OutputKind, to_logits
from lmkit.specs.references import is_reference
from lmkit.specs.tasks import TASKS, TaskName, get_task

if TYPE_CHECKING:
    import numpy as np

LossName = str
"""One of ``LOSSES``, or the reference of a custom loss."""

LOSSES = tuple(dict.fromkeys(task.loss for task in TASKS.values()))
SHORT: dict[str, LossName] = {
    "bce": "binary_crossentropy",
    "cce": "categorical_crossentropy",
    "mse": "mean_squared_error",
}
# Names in the frameworks, and frequent misnomers; compared in lower case, letters and digits only.
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


MASKED = -100
"""The target of a place that does not count, where each place of a row has one; PyTorch's ``ignore_index``."""


def has_masked(targets: np.ndarray) -> bool:
    """Return whether places of rows (rows, places) are masked; those of a file or of unsigned tokens are not."""
    import numpy as np

    in_memory = isinstance(targets, np.ndarray) and not isinstance(targets, np.memmap)
    return bool(in_memory and targets.ndim > 1 and targets.dtype.kind == "i" and (targets == MASKED).any())


class LossFacts(NamedTuple):
    """What is known of a custom loss: one of a framework's own.

    Attributes:
        name: the name of its class or function.
        takes: what outputs it takes.
        remedy: the loss of the same kind that takes logits, or probabilities, in its stead; empty where there is none.
        per_class: it takes an output for each class; else one for two classes.
    """

    name: str
    takes: OutputKind
    remedy: str = ""
    per_class: bool = False


def _spell(value: Any) -> Any:
    if not isinstance(value, str) or value in ("auto", *LOSSES):
        return value
    if value in SHORT:
        return SHORT[value]
    if is_reference(value):
        return value
    if re.search(r"\.(backward|gradient|step)\b", value):
        raise ValueError(
            f"{shorten(value)} computes gradients and is not a loss; lmkit differentiates in both frameworks "
            "(loss.backward() exists in PyTorch only, TensorFlow has tf.GradientTape); "
            f"use loss: auto, or one of {', '.join(LOSSES)}"
        )
    word = re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*\)$", "", value).rsplit(".", 1)[-1].lower())
    meant = {**ELSEWHERE, **SHORT}.get(word)
    if meant:
        raise ValueError(f"no loss {shorten(value)} here; the same in both frameworks is {meant!r}")
    raise ValueError(f"unknown loss {shorten(value)}; {nearest(value, ['auto', *LOSSES])}")


Loss = Annotated[str, BeforeValidator(_spell), WithJsonSchema({"type": "string", "enum": ["auto", *LOSSES]})]


def resolve_loss(loss: str, task: TaskName, *, custom_model: bool = False) -> LossName:
    """Return the loss for ``task``: its default for ``auto``, else ``loss`` itself if it suits the task.

    A custom loss suits any task. A custom model may have an output for each of two classes, whose loss is that of more
    classes; training finds out.

    Raises:
        ConfigError: the loss does not suit the task; the message says why and what to use.

    >>> resolve_loss("auto", "binary")
    'binary_crossentropy'
    """
    right = get_task(task).loss
    if loss in ("auto", right):
        return right
    if is_reference(loss) or (custom_model and (task, loss) == ("binary", get_task("multiclass").loss)):
        return loss
    why = get_task(task).unsuitable_losses.get(loss, "it is not made for this task")
    raise ConfigError([f"training.loss: given {shorten(loss)} for a {task} target, but {why}; write loss: {right}"])


def loss_value(loss: LossName, outputs: np.ndarray, target: np.ndarray, kind: OutputKind = "logits") -> float:
    """Return the mean loss over rows, in NumPy.

    Args:
        loss: one of ``LOSSES``.
        outputs: (n, outputs).
        target: (n, outputs), or classes (n,).
        kind: what the outputs are.
    """
    import numpy as np

    z = to_logits(outputs, kind, EPSILON).astype(np.float64)
    if loss == "categorical_crossentropy":
        top = z.max(axis=1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(z - top).sum(axis=1))
        return float(np.mean(log_sum - z[np.arange(len(z)), target.astype(int)]))
    y = target.reshape(z.shape).astype(np.float64)
    if loss == "binary_crossentropy":
        return float(np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))))
    return float(np.mean((z - y) ** 2))
