"""The layers that families are built of, in a registry by the kind of layer that ``ModelSpec.layers()`` names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from lmkit.backends.implementations import NotImplementedHere
from lmkit.specs.models import GCN, MLP, Layer
from lmkit.specs.models.base import EPSILON
from lmkit.specs.signature import Signature
from lmkit.system.registry import Registry


@keras.saving.register_keras_serializable("lmkit")
def gelu(x: Any) -> Any:
    """The tanh approximation. Keras's own takes its constants in float32, whatever ``x`` is: 1e-9 off in float64."""
    return 0.5 * x * (1 + keras.ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


class Constants(keras.layers.Layer):
    """A layer whose weights are constants of the data: they are saved with the model, but are no weights of it."""


ACTIVATIONS: dict[str, Callable[[Any], Any] | str] = {
    "relu": "relu",
    "tanh": "tanh",
    "gelu": gelu,
    "sigmoid": "sigmoid",
}


class Context(NamedTuple):
    """What a layer may need of the model that it is built for.

    Attributes:
        spec: of the model.
        signature: of its rows.
        precision: of its arithmetic.
        layers: built so far.
    """

    spec: Any
    signature: Signature
    precision: str
    layers: dict[str, Any]

    def options(self, layer: Layer) -> dict[str, Any]:
        """Return the name and the type of a Keras layer."""
        return {"name": layer.name, "dtype": self.precision}


LayerBuilder = Callable[[Layer, Context], Any]

LAYERS: Registry[LayerBuilder] = Registry("layer in TensorFlow", None, error=NotImplementedHere)
"""Kind of layer → builder."""


def build_layer(layer: Layer, context: Context) -> Any:
    """Return the Keras layer of one layer, or a function that takes its place.

    Raises:
        NotImplementedHere: TensorFlow has no such kind of layer.
    """
    return LAYERS.get(layer.kind)(layer, context)


def activation(layer: Layer, context: Context) -> keras.layers.Layer:
    """An activation."""
    return keras.layers.Activation(ACTIVATIONS[layer.kind], **context.options(layer))


for _kind in ACTIVATIONS:
    LAYERS.add(_kind, activation)


@LAYERS.register("dense")
def dense(layer: Layer, context: Context) -> keras.layers.Layer:
    """A dense layer."""
    return keras.layers.Dense(layer.kernel[-1], use_bias="bias" in layer.weights, **context.options(layer))


@LAYERS.register("layer norm")
def layer_norm(layer: Layer, context: Context) -> keras.layers.Layer:
    """Layer normalization over the last axis."""
    center = "beta" in layer.weights
    return keras.layers.LayerNormalization(epsilon=EPSILON, center=center, **context.options(layer))


@LAYERS.register("rms norm")
def rms_norm(layer: Layer, context: Context) -> keras.layers.Layer:
    """Root-mean-square normalization over the last axis."""
    return keras.layers.RMSNormalization(epsilon=EPSILON, **context.options(layer))


@LAYERS.register("dropout")
def dropout(layer: Layer, context: Context) -> keras.layers.Layer:
    """Dropout, at the model's rate."""
    return keras.layers.Dropout(context.spec.dropout, **context.options(layer))


def hidden_tail(spec: MLP | GCN, i: int, before: Any, x: Any, precision: str) -> Any:
    """Apply what follows the weights of hidden layer ``i``: normalization, activation, dropout, and add ``before``."""
    L = keras.layers
    if spec.normalization == "layer":
        x = L.LayerNormalization(epsilon=EPSILON, name=f"norm_{i}", dtype=precision)(x)
    x = L.Activation(ACTIVATIONS[spec.activation], name=f"{spec.activation}_{i}", dtype=precision)(x)
    if spec.dropout:
        x = L.Dropout(spec.dropout, name=f"dropout_{i}", dtype=precision)(x)
    return x if before is None else L.Add(name=f"add_{i}", dtype=precision)([before, x])
