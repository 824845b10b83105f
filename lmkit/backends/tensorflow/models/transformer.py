"""The transformer as a Keras model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from lmkit.backends.tensorflow.models.base import FAMILIES
from lmkit.backends.tensorflow.models.layers import LAYERS, Context, build_layer, dense
from lmkit.specs.models.base import Layer
from lmkit.specs.models.transformer import Transformer, turns
from lmkit.specs.signature import Shape, Signature
from lmkit.specs.tasks import get_task

ops = keras.ops


@keras.saving.register_keras_serializable("lmkit")
class Patches(keras.layers.Layer):
    """Flat rows (rows, features) → (rows, patches, numbers): every patch's numbers side by side."""

    def __init__(self, shape: Shape, side: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape, self.side = tuple(shape), side
        self.split = [n for length in shape[:-1] for n in (length // side, side)] + [shape[-1]]
        axes = range(1, len(self.split))
        self.order = [0, *axes[::2], *axes[1::2], len(self.split)]

    def call(self, x: Any) -> Any:
        """Cut along every side and bring the numbers of a patch together."""
        patches = int(np.prod(self.split[:-1:2]))
        x = ops.transpose(ops.reshape(x, (-1, *self.split)), self.order)
        return ops.reshape(x, (-1, patches, int(np.prod(self.split)) // patches))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "shape": self.shape, "side": self.side}


@keras.saving.register_keras_serializable("lmkit")
class Positions(keras.layers.Layer):
    """Adds the vector of its position to each place, (rows, places, width)."""

    def __init__(self, context: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.context = context

    def build(self, shape: Any) -> None:
        """Make the table."""
        self.embeddings = self.add_weight(shape=(self.context, shape[-1]), name="embeddings")

    def call(self, x: Any) -> Any:
        """Add the first vectors of the table."""
        return x + self.embeddings[: x.shape[1]]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "context": self.context}


@keras.saving.register_keras_serializable("lmkit")
class Attention(keras.layers.Layer):
    """Self-attention of (rows, places, queries, keys and values side by side), softmax(QKᵀ/√d)V per head."""

    def __init__(self, heads: int, groups: int, causal: bool, rotary: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.groups, self.causal, self.rotary = heads, groups, causal, rotary

    def call(self, x: Any) -> Any:
        """Return every place's mixture of the values that it attends to, (rows, places, width)."""
        heads, groups = self.heads, self.groups
        places, size = x.shape[1], x.shape[2] // (heads + 2 * groups)
        x = ops.reshape(x, (-1, places, heads + 2 * groups, size))
        q, k, v = ops.split(x, [heads, heads + groups], axis=2)
        if self.rotary:
            cos, sin = (ops.convert_to_tensor(t[:, None], self.compute_dtype) for t in turns(places, size))
            q, k = (_rotate(part, cos, sin) for part in (q, k))
        if groups != heads:
            k, v = (ops.repeat(part, heads // groups, axis=2) for part in (k, v))
        # left to itself, Keras takes 1/√d in float32, whatever the precision
        x = ops.dot_product_attention(
            q, k, v, scale=np.dtype(self.compute_dtype).type(size**-0.5), is_causal=self.causal
        )
        return ops.reshape(x, (-1, places, heads * size))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        options = {"heads": self.heads, "groups": self.groups, "causal": self.causal, "rotary": self.rotary}
        return {**super().get_config(), **options}


def _rotate(x: Any, cos: Any, sin: Any) -> Any:
    a, b = ops.split(x, 2, axis=-1)
    return ops.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


@keras.saving.register_keras_serializable("lmkit")
class SwiGLU(keras.layers.Layer):
    """silu(a)·b of two halves."""

    def call(self, x: Any) -> Any:
        """(…, 2 · width) → (…, width)."""
        a, b = ops.split(x, 2, axis=-1)
        return ops.silu(a) * b


@LAYERS.register("embedding")
def embedding(layer: Layer, context: Context) -> keras.layers.Layer:
    """Vectors of tokens, or a linear map of patches."""
    if layer.kernel:
        return dense(layer, context)
    return keras.layers.ReversibleEmbedding(*layer.weights["embeddings"], **context.options(layer))


@LAYERS.register("positions")
def positions(layer: Layer, context: Context) -> keras.layers.Layer:
    """Learned vectors of positions."""
    return Positions(layer.weights["embeddings"][0], **context.options(layer))


@LAYERS.register("attention")
def attention(layer: Layer, context: Context) -> keras.layers.Layer:
    """Self-attention, causal for a language."""
    spec, causal = context.spec, get_task(context.signature.task).per_position
    return Attention(spec.heads, spec.groups, causal, spec.positions == "rotary", **context.options(layer))


@LAYERS.register("tied dense")
def tied_dense(_layer: Layer, context: Context) -> Any:
    """Logits by the table of the embedding."""
    table = context.layers["embed"]
    return lambda x: table(x, reverse=True)


LAYERS.add("swiglu", lambda layer, context: SwiGLU(**context.options(layer)))
LAYERS.add("average", lambda layer, context: keras.layers.GlobalAveragePooling1D(**context.options(layer)))


@FAMILIES.register(Transformer)
def build(spec: Transformer, signature: Signature, precision: str) -> keras.Model:
    """Tokens (rows, length) → logits (rows, length, vocabulary) of a language; else rows → logits (rows, outputs)."""
    text = signature.vocabulary > 0
    inputs = x = keras.Input((signature.features,), dtype="int32" if text else precision)
    if not text:
        x = Patches(signature.shape, spec.patch, name="patches", dtype=precision)(x)
    context = Context(spec, signature, precision, {})
    before = x
    for layer in spec.layers(signature):
        if layer.kind == "add":
            before = x = keras.layers.Add(**context.options(layer))([before, x])
            continue
        context.layers[layer.name] = build_layer(layer, context)
        x = context.layers[layer.name](x)
        if layer.block is None:
            before = x
    return keras.Model(inputs, x)
