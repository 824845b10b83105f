"""The losses in TensorFlow: ``loss(targets, outputs)`` of each row, each a sum with its normalizer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lmkit.backends.base import RowLosses
from lmkit.backends.implementations import NotImplementedHere
from lmkit.custom.objects import describe_error, get_object
from lmkit.exceptions import ConfigError
from lmkit.specs.losses import MASKED, LossFacts, LossName
from lmkit.specs.outputs import EPSILON, OutputKind
from lmkit.specs.references import is_reference, label

LossFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Targets and outputs of a batch → the loss of each row (rows,); that of a custom loss may be a scalar."""


def binary_crossentropy(y: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy of targets and logits (rows, 1)."""
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=z)[:, 0]


def categorical_crossentropy(y: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of classes (rows,), or shares of them (rows, classes); of tokens, the mean over their places."""
    if y.dtype.is_floating:
        losses = tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=z)
    else:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=z)
    return losses if losses.shape.rank == 1 else tf.reduce_mean(losses, axis=1)


def masked_crossentropy(y: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of tokens (rows, places), the mean over all places, of which masked ones are 0."""
    counts = tf.not_equal(y, MASKED)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.where(counts, y, tf.zeros_like(y)), logits=z)
    return tf.reduce_mean(tf.where(counts, losses, tf.zeros_like(losses)), axis=1)


def masked_normalizers(y: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return the share of the places of each row (rows,) that count."""
    return tf.reduce_mean(tf.cast(tf.not_equal(y, MASKED), dtype), axis=1)


def mean_squared_error(y: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Squared error, the mean over outputs."""
    return tf.reduce_mean(tf.square(z - y), axis=1)


LOSSES: dict[LossName, LossFunction] = {
    "binary_crossentropy": binary_crossentropy,
    "categorical_crossentropy": categorical_crossentropy,
    "mean_squared_error": mean_squared_error,
}
"""Name → loss of logits, or of values."""

_FROM_LOGITS = (
    *("BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"),
    *("BinaryFocalCrossentropy", "CategoricalFocalCrossentropy"),
    *("binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy"),
    *("binary_focal_crossentropy", "categorical_focal_crossentropy"),
)
"""Losses of Keras that take probabilities, or logits with ``from_logits=True``."""

_OF_PROBABILITIES = ("KLDivergence", "kl_divergence")
"""Losses of Keras that take probabilities only."""

_OF_SHARES = (
    *("CategoricalCrossentropy", "CategoricalFocalCrossentropy", "KLDivergence"),
    *("categorical_crossentropy", "categorical_focal_crossentropy", "kl_divergence"),
)
"""Losses that compare distributions: the class of a row is the one whose share is 1."""


def get_loss(name: LossName, output_kind: OutputKind = "logits", *, masked: bool = False) -> LossFunction:
    """Return a loss by its name, or a custom one by its reference.

    Args:
        name: of the loss.
        output_kind: what the outputs of the model are; a custom loss gets them as they are.
        masked: whether places of rows are masked.

    Raises:
        NotImplementedHere: TensorFlow has no such loss.
    """
    if is_reference(name):
        return CustomLoss(name)
    if name not in LOSSES:
        raise NotImplementedHere(f"TensorFlow has no loss {name!r}; expected one of {', '.join(LOSSES)}")
    loss = masked_crossentropy if masked and name == "categorical_crossentropy" else LOSSES[name]
    if output_kind == "logits" or name == "mean_squared_error":
        return loss
    single = name == "binary_crossentropy"
    return lambda y, outputs: loss(y, to_logits(outputs, output_kind, single))


def to_logits(outputs: tf.Tensor, kind: OutputKind, single: bool) -> tf.Tensor:
    """Return the logits of probabilities or log-probabilities, clipped; see ``lmkit.specs.outputs``."""
    if single:
        p = tf.exp(outputs) if kind == "log_probabilities" else outputs
        p = tf.clip_by_value(p, EPSILON, 1 - EPSILON)
        return tf.math.log(p) - tf.math.log1p(-p)
    if kind == "log_probabilities":
        return outputs
    shares = outputs / tf.reduce_sum(outputs, axis=-1, keepdims=True)
    return tf.math.log(tf.clip_by_value(shares, EPSILON, 1 - EPSILON))


def loss_facts(reference: str) -> LossFacts | None:
    """Return what a custom loss takes, where it is one of Keras's own."""
    loss, keywords = _unwrap(get_object(reference, "training.loss"))
    name = _keras_name(loss)
    if name in _OF_PROBABILITIES:
        return LossFacts(name, "probabilities", per_class=True)
    if name not in _FROM_LOGITS:
        return None
    from_logits = keywords.get("from_logits", getattr(loss, "from_logits", False))
    if not isinstance(from_logits, bool):
        from_logits = False
    arguments = "from_logits=False" if from_logits else "from_logits=True"
    remedy = f"keras.losses.{name}({arguments})" if name[0].isupper() else f"functools.partial({name}, {arguments})"
    kind: OutputKind = "logits" if from_logits else "probabilities"
    return LossFacts(f"{name}(from_logits={from_logits})", kind, remedy, per_class="binary" not in name.lower())


def _unwrap(loss: Any) -> tuple[Any, dict[str, Any]]:
    """Return a loss without its partials, and their keywords."""
    keywords: dict[str, Any] = {}
    while isinstance(loss, functools.partial):
        keywords = {**loss.keywords, **keywords}
        loss = loss.func
    return loss, keywords


def _keras_name(loss: Any) -> str:
    """Return the name of one of Keras's losses; empty for any other."""
    named = loss if isinstance(loss, type | FunctionType) else type(loss)
    return named.__name__ if str(named.__module__).startswith("keras.") else ""


class CustomLoss:
    """A function ``loss(y_true, y_pred)``, or a ``keras.losses.Loss``, that returns a scalar or one value per row.

    A function that returns a scalar has no loss of a single row: each row's is that of its batch.

    Attributes:
        is_sum: the losses of a batch are summed, as Keras's ``reduction="sum"`` says.
    """

    def __init__(self, reference: str) -> None:
        self.name = label(reference)
        loss: Any = get_object(reference, "training.loss")
        loss = loss() if isinstance(loss, type) else loss
        self.one_hot = _keras_name(_unwrap(loss)[0]) in _OF_SHARES
        is_loss = isinstance(loss, keras.losses.Loss)
        self.is_sum = is_loss and loss.reduction == "sum"
        self.loss = loss.call if is_loss else loss

    def __call__(self, y: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """Return the loss of each row (rows,), or a scalar, from targets and outputs."""
        if self.one_hot and y.dtype.is_integer:
            y = tf.one_hot(y, z.shape[-1], dtype=z.dtype)
        try:
            value = self.loss(y, z)
        except Exception as error:
            raise ConfigError(
                [
                    f"training.loss: {self.name} raised {describe_error(error)}; it was given targets {tuple(y.shape)} "
                    f"and outputs {tuple(z.shape)}"
                ]
            ) from error
        if not tf.is_tensor(value):
            raise ConfigError([f"training.loss: {self.name} returned a {type(value).__name__}, expected a tensor"])
        value = tf.cast(value, z.dtype)
        if value.shape.rank == 0:
            return value
        if None not in (value.shape[0], z.shape[0]) and value.shape[0] != z.shape[0]:
            raise ConfigError(
                [
                    f"training.loss: {self.name} returned {tuple(value.shape)} for {z.shape[0]} rows, expected "
                    "a scalar, or a value a row"
                ]
            )
        places = tf.reshape(value, (tf.shape(value)[0], -1))
        return tf.reduce_sum(places, axis=1) if self.is_sum else tf.reduce_mean(places, axis=1)

    def row_losses(self, y: tf.Tensor, z: tf.Tensor, batch_size: int) -> RowLosses:
        """Return the summands of the loss (rows,), and the normalizer of each.

        A loss that gives only a number is computed for ``batch_size`` rows at a time, as in training: a sum over a
        batch stays one.
        """
        values = []
        whole = self(y, z)
        if whole.shape.rank:
            values.append(whole.numpy())
        else:
            for i in range(0, len(z), batch_size):
                rows = slice(i, i + batch_size)
                values.append(np.full(len(z[rows]), float(self(y[rows], z[rows]))))
        losses = np.concatenate(values).astype(np.float64)
        return RowLosses(losses, self.normalizers(len(losses), batch_size))

    def normalizers(self, rows: int, batch_size: int) -> np.ndarray:
        """Return the share of each row (rows,) in the normalizer: 1, or of a sum its fraction of a batch."""
        return np.full(rows, 1 / batch_size if self.is_sum else 1.0)
