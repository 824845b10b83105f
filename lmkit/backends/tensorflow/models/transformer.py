"""The transformer as a Keras model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from lmkit.backends.tensorflow.models.layers import ACTIVATIONS
from lmkit.specs.models.base import EPSILON, Layer
from lmkit.specs.models.transformer import Transformer, turns
from lmkit.specs.signature import Shape, Signature

ops = keras.ops


@keras.saving.register_keras_serializable("lmkit")
class Patches(keras.layers.Layer):
    """Flat rows (rows, features) → (rows, patches, numbers): every patch's numbers beside each other."""

    def __init__(self, shape: Shape, side: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape, self.side = tuple(shape), side
        self.split = [n for length in shape[:-1] for n in (length // side, side)] + [shape[-1]]
        axes = range(1, len(self.split))
        self.order = [0, *axes[::2], *axes[1::2], len(self.split)]

    def call(self, x: Any) -> Any:
        """Cuts along every side, and brings what is one patch together."""
        patches = int(np.prod(self.split[:-1:2]))
        x = ops.transpose(ops.reshape(x, (-1, *self.split)), self.order)
        return ops.reshape(x, (-1, patches, int(np.prod(self.split)) // patches))

    def get_config(self) -> dict[str, Any]:
        """What it is made of."""
        return {**super().get_config(), "shape": self.shape, "side": self.side}


@keras.saving.register_keras_serializable("lmkit")
class Positions(keras.layers.Layer):
    """Adds to each place, (rows, places, width), the vector of its number."""

    def __init__(self, context: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.context = context

    def build(self, shape: Any) -> None:
        """Makes the table."""
        self.embeddings = self.add_weight(shape=(self.context, shape[-1]), name="embeddings")

    def call(self, x: Any) -> Any:
        """Adds the first vectors of the table."""
        return x + self.embeddings[: x.shape[1]]

    def get_config(self) -> dict[str, Any]:
        """What it is made of."""
        return {**super().get_config(), "context": self.context}


@keras.saving.register_keras_serializable("lmkit")
class Attention(keras.layers.Layer):
    """Self-attention of (rows, places, queries, keys and values beside each other), softmax(QKᵀ/√d)V a head."""

    def __init__(self, heads: int, groups: int, causal: bool, rotary: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.groups, self.causal, self.rotary = heads, groups, causal, rotary

    def call(self, x: Any) -> Any:
        """Every place's mixture of the values that it attends to, (rows, places, width)."""
        heads, groups = self.heads, self.groups
        places, size = x.shape[1], x.shape[2] // (heads + 2 * groups)
        x = ops.reshape(x, (-1, places, heads + 2 * groups, size))
        q, k, v = ops.split(x, [heads, heads + groups], axis=2)
        if self.rotary:
            cos, sin = (ops.convert_to_tensor(t[:, None], self.compute_dtype) for t in turns(places, size))
            q, k = (_turned(part, cos, sin) for part in (q, k))
        if groups != heads:
            k, v = (ops.repeat(part, heads // groups, axis=2) for part in (k, v))
        # left to itself, Keras takes 1/√d in float32, whatever the precision
        x = ops.dot_product_attention(
            q, k, v, scale=np.dtype(self.compute_dtype).type(size**-0.5), is_causal=self.causal
        )
        return ops.reshape(x, (-1, places, heads * size))

    def get_config(self) -> dict[str, Any]:
        """What it is made of."""
        own = {"heads": self.heads, "groups": self.groups, "causal": self.causal, "rotary": self.rotary}
        return {**super().get_config(), **own}


def _turned(x: Any, cos: Any, sin: Any) -> Any:
    a, b = ops.split(x, 2, axis=-1)
    return ops.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


@keras.saving.register_keras_serializable("lmkit")
class SwiGLU(keras.layers.Layer):
    """silu(a)·b of two halves."""

    def call(self, x: Any) -> Any:
        """(…, 2 · width) → (…, width)."""
        a, b = ops.split(x, 2, axis=-1)
        return ops.silu(a) * b


def build(spec: Transformer, signature: Signature, precision: str) -> keras.Model:
    """Tokens (rows, length) → logits (rows, length, vocabulary) of a language; else rows → logits (rows, outputs)."""
    L = keras.layers
    language, text = signature.task == "language", signature.vocabulary > 0
    inputs = x = keras.Input((signature.features,), dtype="int32" if text else precision)
    if not text:
        x = Patches(signature.shape, spec.patch, name="patches", dtype=precision)(x)
    made: dict[str, keras.layers.Layer] = {}

    def make(layer: Layer) -> keras.layers.Layer:
        named = {"name": layer.name, "dtype": precision}
        if layer.kernel:
            return L.Dense(layer.kernel[-1], use_bias="bias" in layer.weights, **named)
        match layer.kind:
            case "embedding":
                return L.ReversibleEmbedding(*layer.weights["embeddings"], **named)
            case "positions":
                return Positions(layer.weights["embeddings"][0], **named)
            case "layer norm":
                return L.LayerNormalization(epsilon=EPSILON, center="beta" in layer.weights, **named)
            case "rms norm":
                return L.RMSNormalization(epsilon=EPSILON, **named)
            case "attention":
                return Attention(spec.heads, spec.groups, language, spec.positions == "rotary", **named)
            case "swiglu":
                return SwiGLU(**named)
            case "dropout":
                return L.Dropout(spec.dropout, **named)
            case "average":
                return L.GlobalAveragePooling1D(**named)
            case activation:
                return L.Activation(ACTIVATIONS[activation], **named)

    before = x
    for layer in spec.layers(signature):
        if layer.kind == "add":
            before = x = L.Add(name=layer.name, dtype=precision)([before, x])
        elif layer.kind == "tied dense":
            x = made["embed"](x, reverse=True)
        else:
            made[layer.name] = make(layer)
            x = made[layer.name](x)
            if layer.block is None:
                before = x
    return keras.Model(inputs, x)
