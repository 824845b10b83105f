"""The graph convolutional network as a Keras model."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from lmkit.backends.tensorflow.models.base import FAMILIES
from lmkit.backends.tensorflow.models.layers import Constants, hidden_tail
from lmkit.specs.models.gcn import GCN
from lmkit.specs.signature import Signature

register = keras.saving.register_keras_serializable("lmkit")


@register
class Nodes(Constants):
    """Holds the graph as constants.

    Args:
        nodes, features, edges: how many, the edges with a loop at each node.
    """

    def __init__(self, nodes: int, features: int, edges: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes = {"nodes": nodes, "features": features, "edges": edges}

        def constant(name: str, shape: tuple[int, ...], dtype: str) -> Any:
            return self.add_weight(name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False)

        self.features = constant("features", (nodes, features), self.variable_dtype)
        self.senders, self.receivers = (constant(name, (edges,), "int64") for name in ("senders", "receivers"))
        self.shares = constant("shares", (edges,), self.variable_dtype)
        self.built = True

    def call(self, rows: Any) -> tuple[Any, ...]:  # noqa: ARG002 (part of the interface)
        """The features (nodes, features), and of each edge its sender, its receiver and its weight (edges,)."""
        return tuple(ops.convert_to_tensor(v) for v in (self.features, self.senders, self.receivers, self.shares))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), **self.sizes}


@register
class Convolution(keras.layers.Layer):
    """D^−½ (A+I) D^−½ X W + b; with heads, learned edge weights: the softmax of LeakyReLU(a·Wxᵢ + a'·Wxⱼ)."""

    def __init__(self, units: int, heads: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.heads = units, heads

    def build(self, shapes: Any) -> None:
        """Make the weights, for features of the first of the ``shapes``."""
        self.kernel = self.add_weight(name="kernel", shape=(shapes[0][-1], self.units))
        self.bias = self.add_weight(name="bias", shape=(self.units,))
        if self.heads:
            vector = (self.heads, self.units // self.heads)
            self.sender, self.receiver = (self.add_weight(name=name, shape=vector) for name in ("sender", "receiver"))

    def call(self, inputs: Any) -> Any:
        """(nodes, inputs) → (nodes, outputs), heads side by side."""
        x, senders, receivers, shares = inputs
        nodes = x.shape[0]
        x = ops.matmul(x, self.kernel)

        def sum_messages(messages: Any) -> Any:
            return ops.segment_sum(messages, receivers, nodes)

        if not self.heads:
            return sum_messages(ops.take(x, senders, axis=0) * shares[:, None]) + self.bias
        x = ops.reshape(x, (nodes, *self.sender.shape))
        sent, received = ops.sum(x * self.sender, axis=2), ops.sum(x * self.receiver, axis=2)
        scores = ops.take(sent, senders, axis=0) + ops.take(received, receivers, axis=0)
        scores = ops.maximum(scores, 0.2 * scores)  # Keras's leaky_relu takes its slope in float32: 1e-9 off
        # the softmax is the same, and no exponential overflows
        top = ops.segment_max(ops.stop_gradient(scores), receivers, nodes)
        powers = ops.exp(scores - ops.take(top, receivers, axis=0))
        shares = powers / ops.take(sum_messages(powers), receivers, axis=0)
        outputs = sum_messages(ops.take(x, senders, axis=0) * shares[..., None])
        return ops.reshape(outputs, (nodes, self.units)) + self.bias

    def compute_output_shape(self, shapes: Any) -> tuple[int, int]:
        """(nodes, outputs)."""
        return shapes[0][0], self.units

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "units": self.units, "heads": self.heads}


@register
class Chosen(keras.layers.Layer):
    """Outputs of all nodes (nodes, outputs), and numbers of nodes (rows, 1) → (rows, outputs)."""

    def call(self, inputs: Any) -> Any:
        """Gather the rows of the nodes."""
        of_all, rows = inputs
        return ops.take(of_all, rows[:, 0], axis=0)


@FAMILIES.register(GCN)
def build(spec: GCN, signature: Signature, precision: str) -> keras.Model:
    """Graph convolutions with a normalization, an activation, and dropout between them."""
    assert signature.graph is not None
    features, (senders, receivers, weights) = signature.graph.features, signature.graph.with_loops()
    rows = keras.Input((1,), dtype="int64")
    graph = Nodes(len(features), features.shape[1], len(senders), name="graph", dtype=precision)
    graph.set_weights([features, senders, receivers, weights])
    x, *joined = graph(rows)
    attends = spec.weighting == "attention"
    for i, (width, skips) in enumerate(zip(spec.hidden, spec.skips, strict=True)):
        before = x
        x = Convolution(width, spec.heads if attends else 0, name=f"conv_{i}", dtype=precision)([x, *joined])
        x = hidden_tail(spec, i, before if skips else None, x, precision)
    x = Convolution(signature.outputs, int(attends), name=f"conv_{len(spec.hidden)}", dtype=precision)([x, *joined])
    return keras.Model(rows, Chosen(name="chosen", dtype=precision)([x, rows]))
