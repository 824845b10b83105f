"""The graph convolutional network, over the nodes of a graph."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from lmkit.specs.models.base import (
    Activation,
    Initializer,
    Layer,
    ModelSpec,
    Slice,
    Units,
    Weights,
    Width,
    Widths,
    consumers_of,
    equal_neighbours,
    joined,
    producers_of,
    refuse,
)
from lmkit.specs.signature import Signature


class GCN(ModelSpec):
    """Graph convolutions, each of which makes a node's numbers of its own and its neighbours'.

    With A the edges, I a loop at each node and D the degrees of A + I, a layer takes X to σ(D^−½ (A+I) D^−½ X W + b)
    (Kipf and Welling, 2017). With attention, the weight of a neighbour j of i is instead the softmax, over i and its
    neighbours, of LeakyReLU(a·Wxᵢ + a'·Wxⱼ), whose slope below zero is 0.2 (Veličković et al., 2018).

    The first layer sees the nodes, the second their neighbours, the third the neighbours' neighbours.
    """

    family: Literal["gcn"] = "gcn"
    """Convolutions over the nodes of a graph and their neighbours."""
    weighting: Literal["degree", "attention"] = "degree"
    """Weight of a neighbour; degree: 1/√(product of both degrees); attention: learned."""
    hidden: Widths = (16,)
    """Width of each hidden layer; one more convolution computes the output."""
    heads: Width = 1
    """Heads of attention in a hidden layer, which share its width; the last layer has one."""
    activation: Activation = "relu"
    """Applied after every hidden layer."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout rate of the hidden layers."""
    residual: bool = False
    """Add a hidden layer's input to its output, x + f(x), where both are equally wide (He et al., 2016)."""
    normalization: Literal["none", "layer"] = "none"
    """Before each activation; layer: over the units of a node (Ba et al., 2016)."""
    initializer: Initializer = "he"
    """Distribution of the first weights: PyTorch's default, or that of Glorot (Keras's default), LeCun or He."""

    @model_validator(mode="after")
    def _check(self) -> GCN:
        if self.heads > 1 and self.weighting != "attention":
            raise ValueError(f"heads: given {self.heads}, but only attention has heads; write weighting: attention")
        odd = [width for width in self.hidden if width % self.heads]
        if odd:
            near = math.ceil(odd[0] / self.heads) * self.heads
            raise ValueError(
                f"heads: {self.heads} heads do not share {odd[0]} units evenly; write such as hidden: [{near}]"
            )
        return self

    @property
    def skips(self) -> list[bool]:
        """For each hidden layer, whether its input is added to its output."""
        return [self.residual and equal for equal in equal_neighbours(self.hidden)]

    def check(self, signature: Signature) -> None:
        """Raise an error for rows that are not the nodes of a graph."""
        if signature.graph is None:
            shape = signature.shape
            what, family = f"a row of the data is {shape[0] if shape else 0} columns", "mlp"
            if signature.vocabulary:
                what, family = "the data is text", "transformer"
            elif len(shape) > 1:
                what, family = f"a row of the data is {' × '.join(map(str, shape))} numbers", "cnn"
            raise refuse(
                "model.family",
                f"'gcn' needs the nodes of a graph, and {what}; write model: {family}, or data: karate_club, or name "
                "the edges between the rows: data: {graph: {edges: edges.csv, node: id}}",
            )

    def layers(self, signature: Signature) -> list[Layer]:
        """The layers in order, as both frameworks build them.

        A step computes all nodes, however many it learns from: multiplications are those of the whole graph, of X W
        (nodes × inputs × outputs), of a product with the sparse A + I (an output a direction of an edge and a loop)
        and, with attention, of both its vectors.

        >>> [layer.name for layer in GCN(hidden=[8]).layers(Signature((34,), 1))]
        ['conv_0', 'relu_0', 'conv_1']
        """
        nodes, joined = (len(signature.graph.features), signature.graph.edges.shape[1]) if signature.graph else (1, 0)
        layers: list[Layer] = []
        widths = [signature.features, *self.hidden, signature.outputs]
        for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
            last = i == len(self.hidden)
            kind, weights, per_node = "graph convolution", {"kernel": (fan_in, fan_out), "bias": (fan_out,)}, fan_in
            if self.weighting == "attention":
                heads = 1 if last else self.heads
                kind, per_node = "graph attention", fan_in + 2
                weights |= dict.fromkeys(("sender", "receiver"), (heads, fan_out // heads))
            multiplications = nodes * per_node * fan_out + (joined + nodes) * fan_out
            layers.append(Layer(f"conv_{i}", kind, (fan_out,), weights, multiplications))
            if last:
                return layers
            if self.normalization == "layer":
                layers.append(Layer.norm(f"norm_{i}", "layer norm", (fan_out,)))
            layers.append(Layer(f"{self.activation}_{i}", self.activation, (fan_out,)))
            if self.dropout:
                layers.append(Layer(f"dropout_{i}", "dropout", (fan_out,)))
            if self.skips[i]:
                layers.append(Layer(f"add_{i}", "add", (fan_out,)))
        return layers

    def units(self, signature: Signature) -> list[Units]:
        """Those of each hidden layer, of each head as many; layers that are added to each other share theirs."""
        layers = self.layers(signature)
        heads = self.heads if self.weighting == "attention" else 1

        def producers(shared: list[int]) -> tuple[Slice, ...]:
            slices = producers_of(layers, *(f"{kind}_{i}" for i in shared for kind in ("conv", "norm")))
            vectors = (".sender", ".receiver")  # (heads, units of a head)
            return tuple(s._replace(axis=None) if s.weight.endswith(vectors) else s for s in slices)

        return [
            Units(
                tuple(f"hidden.{i}" for i in shared),
                self.hidden[shared[0]],
                producers(shared),
                consumers_of(layers, *(f"conv_{i + 1}" for i in shared)),
                heads,
            )
            for shared in joined(self.skips)
        ]

    def initial_weights(self, signature: Signature, seed: int) -> Weights:
        """As elsewhere; both vectors of attention are drawn like a kernel from two nodes to one score."""
        import numpy as np

        weights = super().initial_weights(signature, seed)
        draw = np.random.default_rng([seed, 4])
        for name, values in weights.items():
            if name.endswith((".sender", ".receiver")):
                limit = math.sqrt(6 / (2 * values.shape[1] + 1))
                weights[name] = draw.uniform(-limit, limit, values.shape)
        return weights
