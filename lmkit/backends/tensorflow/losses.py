"""Anyone's own loss in TensorFlow."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lmkit.data.objects import find, told
from lmkit.errors import ConfigError
from lmkit.specs.references import label


class OwnLoss:
    """A function ``loss(y_true, y_pred)``, or a ``keras.losses.Loss``, that gives a scalar or a value a row.

    Of a function that gives a scalar, the loss of each of some rows is the scalar of them all: it has no other.
    """

    def __init__(self, reference: str) -> None:
        self.name = label(reference)
        given: Any = find(reference, "training.loss")
        given = given() if isinstance(given, type) else given
        self.loss = given.call if isinstance(given, keras.losses.Loss) else given

    def __call__(self, y: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """The loss of each row (rows,), or a scalar, from targets and outputs."""
        try:
            value = self.loss(y, z)
        except Exception as error:
            raise ConfigError(
                [f"training.loss: {self.name} raised {told(error)}; it was given targets {tuple(y.shape)} and outputs "
                 f"{tuple(z.shape)}"]
            ) from error  # fmt: skip
        if not tf.is_tensor(value):
            raise ConfigError([f"training.loss: {self.name} returned a {type(value).__name__}, expected a tensor"])
        value = tf.cast(value, z.dtype)
        if value.shape.rank == 0:
            return value
        if None not in (value.shape[0], z.shape[0]) and value.shape[0] != z.shape[0]:
            raise ConfigError(
                [f"training.loss: {self.name} returned {tuple(value.shape)} for {z.shape[0]} rows, expected a scalar, "
                 "or a value a row"]
            )  # fmt: skip
        return tf.reduce_mean(tf.reshape(value, (tf.shape(value)[0], -1)), axis=1)
