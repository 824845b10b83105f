"""Dropout of some rows of a batch: the mask is drawn for the whole batch, so that its division changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from lmkit.backends.tensorflow.models.custom import CustomModel

_lock = threading.RLock()
"""Held by the thread whose dropout differs: Keras has one class of it for all threads."""


@contextmanager
def batch_dropout(rows: Any, begin: tf.Tensor) -> Iterator[None]:
    """While a model is traced, drop out its inputs as the rows from ``begin`` on of a batch of ``rows`` rows.

    The counters of the layers have to be where the batch begins; they end where it ends. Subclasses of
    ``keras.layers.Dropout`` with another ``call`` draw for their rows alone. Models that other threads trace meanwhile
    are not affected.
    """
    layer: Any = keras.layers.Dropout
    owner = threading.get_ident()

    def call(self: Any, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if threading.get_ident() != owner:
            return drop_out(self, inputs, training=training)
        if not training or not self.rate:
            return inputs
        mask = drop_out(self, tf.ones(tf.concat([[rows], tf.shape(inputs)[1:]], 0), inputs.dtype), training=True)
        index = tf.minimum(begin + tf.range(tf.shape(inputs)[0]), rows - 1)  # rows that pad the batch count nothing
        return inputs * tf.ensure_shape(tf.gather(mask, index), inputs.shape)

    with _lock:
        drop_out = layer.call
        layer.call = call
        try:
            yield
        finally:
            layer.call = drop_out


def counters(model: keras.Model | CustomModel) -> list[keras.Variable]:
    """Return the states from which the dropout of a model draws: a seed and a counter for each layer."""
    keras_model = model.module if isinstance(model, CustomModel) else model
    layers = [layer for layer in keras_model._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
    return [layer.seed_generator.state for layer in layers if getattr(layer, "seed_generator", None) is not None]
