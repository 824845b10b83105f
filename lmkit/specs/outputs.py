"""What the outputs of a model are: logits, probabilities or log-probabilities; the only module that converts them.

Everything that reads outputs (losses, metrics, predictions, distillation, bundles) reads logits, which ``to_logits``
returns for outputs of any kind. The outputs of a regression are values, and need no conversion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lmkit.exceptions import DataError

if TYPE_CHECKING:
    import numpy as np

OutputKind = Literal["logits", "probabilities", "log_probabilities"]

OutputSetting = Literal["auto", "logits", "probabilities", "log_probabilities", "values"]
"""``model.outputs``: auto asks the last operation of the model and its first outputs; values suits numbers only."""

LAST_OPERATIONS: dict[str, OutputKind] = {
    "sigmoid": "probabilities",
    "softmax": "probabilities",
    "log_softmax": "log_probabilities",
    "log_sigmoid": "log_probabilities",
    "linear": "logits",
}
"""Last operation of a model → what its outputs are."""

EPSILON = 1e-7
"""The distance from 0 and 1 to which a loss clips probabilities, in every framework (Keras's ``epsilon``)."""

_SMALLEST, _BELOW_ONE = 1e-300, 1 - 2**-53


def to_logits(outputs: np.ndarray, kind: OutputKind, epsilon: float = 0.0) -> np.ndarray:
    """Return the logits (…, outputs) of outputs of a kind: their sigmoid, or softmax, are the probabilities.

    A single probability p has the logit log p − log(1 − p); several have their logarithms, whose softmax is p / Σp.

    Args:
        outputs: (…, outputs); a single output belongs to two classes.
        kind: what they are.
        epsilon: the distance from 0 and 1 to which probabilities are clipped.

    >>> import numpy as np
    >>> to_logits(np.array([[0.5], [0.8]]), "probabilities").round(3).tolist()
    [[0.0], [1.386]]
    """
    import numpy as np

    if kind == "logits":
        return outputs
    z = np.asarray(outputs, dtype=np.float64)
    if z.shape[-1] == 1:
        p = np.exp(z) if kind == "log_probabilities" else z
        p = np.clip(p, epsilon or _SMALLEST, 1 - epsilon if epsilon else _BELOW_ONE)
        return np.asarray(np.log(p) - np.log1p(-p))
    if kind == "log_probabilities":
        return np.asarray(np.maximum(z, np.log(_SMALLEST)))
    if epsilon:
        z = np.clip(z / np.maximum(z.sum(axis=-1, keepdims=True), _SMALLEST), epsilon, 1 - epsilon)
    return np.asarray(np.log(np.maximum(z, _SMALLEST)))


def logit_slopes(outputs: np.ndarray, kind: OutputKind) -> np.ndarray:
    """Return the derivative (…, outputs) of each logit of ``to_logits`` by its output.

    >>> import numpy as np
    >>> logit_slopes(np.array([[0.5], [0.8]]), "probabilities").round(3).tolist()
    [[4.0], [6.25]]
    """
    import numpy as np

    z = np.asarray(outputs, dtype=np.float64)
    if kind == "logits" or (kind == "log_probabilities" and z.shape[-1] > 1):
        return np.ones_like(z)
    if kind == "log_probabilities":  # log p − log(1 − p) of z = log p
        return np.asarray(1 / np.maximum(-np.expm1(z), _SMALLEST))
    p = np.maximum(z, _SMALLEST)
    return np.asarray(1 / (p * np.maximum(1 - p, 1 - _BELOW_ONE)) if z.shape[-1] == 1 else 1 / p)


def infer_kind(outputs: np.ndarray) -> OutputKind:
    """Return what outputs (rows, outputs) of some rows look like; logits where nothing tells.

    Probabilities lie between 0 and 1, and those of several classes sum to 1; the exponentials of log-probabilities do.

    >>> import numpy as np
    >>> infer_kind(np.array([[0.2, 0.8]])), infer_kind(np.log([[0.2, 0.8]])), infer_kind(np.array([[0.2, 0.7]]))
    ('probabilities', 'log_probabilities', 'logits')
    """
    import numpy as np

    z = np.asarray(outputs, dtype=np.float64)
    if not z.size or not np.isfinite(z).all():
        return "logits"
    single = z.shape[-1] == 1
    if lies_in_unit_interval(z) and (single or np.allclose(z.sum(axis=-1), 1, atol=1e-3)):
        return "probabilities"
    if not single and (z <= 0).all() and np.allclose(np.exp(z).sum(axis=-1), 1, atol=1e-3):
        return "log_probabilities"
    return "logits"


def check_row_count(outputs: np.ndarray, rows: int) -> np.ndarray:
    """Return outputs, after a check that there is one for each of the ``rows`` given.

    Raises:
        DataError: there are more or fewer.
    """
    if outputs.ndim and len(outputs) == rows:
        return outputs
    raise DataError(
        f"the model gave outputs of shape {outputs.shape} for {rows} rows, expected one for each row; a .squeeze() or "
        ".flatten() in the model removes the axis of the rows: write .squeeze(-1) or .flatten(1)"
    )


def lies_in_unit_interval(values: np.ndarray) -> bool:
    """Return whether all values lie between 0 and 1, up to rounding."""
    return bool(((values >= -1e-6) & (values <= 1 + 1e-6)).all())
