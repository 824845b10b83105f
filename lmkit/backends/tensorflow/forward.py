"""The forward pass of a training step in TensorFlow: in 16 bits, and with recomputed blocks."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from lmkit.backends.tensorflow.dropout import counters
from lmkit.backends.tensorflow.models.custom import CustomModel
from lmkit.exceptions import ConfigError

if TYPE_CHECKING:
    from lmkit.specs.training import TrainingSpec

Rows = Callable[[tf.Tensor], tf.Tensor]
"""Rows (rows, …) → outputs (rows, outputs)."""


class ForwardPass:
    """Computes the outputs of a training step as ``training`` asks; evaluation calls the model itself.

    Attributes:
        compute: rows → outputs, to be traced.
    """

    def __init__(self, model: keras.Model | CustomModel, training: TrainingSpec) -> None:
        self.model = model
        self.policy = f"mixed_{training.precision}" if training.precision in ("bfloat16", "float16") else ""
        self.dtype = tf.as_dtype(training.weight_dtype)
        self.segments: list[tuple[keras.Model, bool]] = []
        if training.recompute == "blocks":
            self.segments = find_segments(model)
        self.compute: Rows = self._compute if self.policy or self.segments else lambda x: model(x, training=True)

    def _compute(self, x: tf.Tensor) -> tf.Tensor:
        with mixed_precision(self.model, self.policy):
            z = self._recompute(x) if self.segments else self.model(x, training=True)
        return tf.cast(z, self.dtype)

    def _recompute(self, x: tf.Tensor) -> tf.Tensor:
        """Compute one segment after another; of the blocks each saves its input alone."""
        if isinstance(self.model, CustomModel):
            x = self.model.reshape(x)
        for segment, is_block in self.segments:
            x = recompute(segment, self.policy)(x) if is_block else segment(x, training=True)
        return x


@contextmanager
def mixed_precision(model: keras.Model | CustomModel, policy: str) -> Iterator[None]:
    """While a model is traced, let its layers compute in 16 bits with the weights that they have.

    Args:
        model: the model.
        policy: the name of a policy of Keras; empty: the layers' own.
    """
    keras_model: Any = getattr(model, "module", model)
    layers = keras_model._flatten_layers() if policy else []
    before = [(layer, layer.dtype_policy) for layer in layers]
    try:
        for layer, _ in before:
            layer.dtype_policy = policy
        yield
    finally:
        for layer, own in before:
            layer.dtype_policy = own


def recompute(segment: keras.Model, policy: str) -> Rows:
    """Return a segment that is computed again in the backward pass, with the masks that its dropout drew first."""
    states = counters(segment)
    drawn: list[tf.Tensor] = []

    def compute(x: tf.Tensor) -> tf.Tensor:
        if drawn:
            for state, values in zip(states, drawn, strict=True):
                state.assign(values)
        else:
            drawn.extend(state.value.read_value() for state in states)
        with mixed_precision(segment, policy):
            return segment(x, training=True)

    wrapped: Rows = tf.recompute_grad(compute)
    return wrapped


def find_segments(model: keras.Model | CustomModel) -> list[tuple[keras.Model, bool]]:
    """Return a model's layers divided at each residual sum, as models that share its layers, and whether it is a block.

    Raises:
        ConfigError: the model has no residual sums through which everything passes.
    """
    keras_model: Any = getattr(model, "module", model)
    segments: list[tuple[keras.Model, bool]] = []
    if hasattr(keras_model, "operations") and len(getattr(keras_model, "inputs", ())) == 1:
        sums = [layer for layer in keras_model.layers if isinstance(layer, keras.layers.Add)]
        ends = [layer.output for layer in sums]
        for begins in (sums[:1], []):  # the first block begins at its sum's first term, if nothing passes beside that
            bounds = [keras_model.inputs[0], *(layer.input[0] for layer in begins), *ends, *keras_model.outputs]
            bounds = list({id(bound): bound for bound in bounds}.values())
            with contextlib.suppress(ValueError):  # something passes beside a bound
                segments = [(keras.Model(a, b), any(b is end for end in ends)) for a, b in itertools.pairwise(bounds)]
                break
    if not any(is_block for _, is_block in segments):
        raise ConfigError(
            [
                "training.recompute: given blocks, but this model has none (a transformer, residual layers, or sums "
                "keras.layers.Add in a functional model); write training.recompute: none"
            ]
        )
    return segments
