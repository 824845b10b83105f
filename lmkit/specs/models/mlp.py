"""The multilayer perceptron."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmkit.specs.models.base import (
    Activation,
    Initializer,
    Layer,
    ModelSpec,
    Units,
    Widths,
    consumers_of,
    equal_neighbours,
    joined,
    producers_of,
    refuse,
)
from lmkit.specs.signature import Signature


class MLP(ModelSpec):
    """A multilayer perceptron: dense layers, one activation, a linear output."""

    family: Literal["mlp"] = "mlp"
    """Dense layers in sequence."""
    hidden: Widths = (128, 128)
    """Width of each hidden layer; none makes the model linear."""
    activation: Activation = "relu"
    """Applied after every hidden layer; gelu is the tanh approximation (Hendrycks and Gimpel, 2016)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout rate of the hidden layers."""
    residual: bool = False
    """Add a hidden layer's input to its output, x + f(x), where both are equally wide (He et al., 2016)."""
    normalization: Literal["none", "layer"] = "none"
    """Before each activation; layer: over the units of a row (Ba et al., 2016)."""
    initializer: Initializer = "pytorch"
    """Distribution of the first weights: PyTorch's default, or that of Glorot (Keras's default), LeCun or He."""

    @property
    def skips(self) -> list[bool]:
        """For each hidden layer, whether its input is added to its output."""
        return [self.residual and equal for equal in equal_neighbours(self.hidden)]

    def check(self, signature: Signature) -> None:
        """Raise an error for tokens and for the nodes of a graph."""
        if signature.vocabulary or signature.graph:
            what, family = ("text", "transformer") if signature.vocabulary else ("the nodes of a graph", "gcn")
            raise refuse("model.family", f"'mlp' needs rows of numbers, and the data is {what}; write model: {family}")

    def widths(self, signature: Signature) -> list[int]:
        """Width of every layer, from the input to the output."""
        return [signature.features, *self.hidden, signature.outputs]

    def describe(self, signature: Signature) -> str:
        """Return the family and the widths, such as ``mlp 30-128-128-1``."""
        return f"{self.family} {'-'.join(map(str, self.widths(signature)))}"

    def layers(self, signature: Signature) -> list[Layer]:
        """The layers in order, as both frameworks build them; it does not see the axes of a row.

        >>> [(layer.name, layer.shape, layer.parameters) for layer in MLP(hidden=[10]).layers(Signature((30,), 1))]
        [('dense_0', (10,), 310), ('relu_0', (10,), 0), ('dense_1', (1,), 11)]
        """
        layers = []
        widths = self.widths(signature)
        for i, skips in enumerate(self.skips):
            out = (widths[i + 1],)
            layers.append(Layer.linear(f"dense_{i}", "dense", out, (widths[i], *out)))
            if self.normalization == "layer":
                layers.append(Layer.norm(f"norm_{i}", "layer norm", out))
            layers.append(Layer(f"{self.activation}_{i}", self.activation, out))
            if self.dropout:
                layers.append(Layer(f"dropout_{i}", "dropout", out))
            if skips:
                layers.append(Layer(f"add_{i}", "add", out))
        return [*layers, Layer.linear(f"dense_{len(self.hidden)}", "dense", (widths[-1],), (widths[-2], widths[-1]))]

    def units(self, signature: Signature) -> list[Units]:
        """Those of each hidden layer; layers that are added to each other share theirs."""
        layers = self.layers(signature)
        return [
            Units(
                tuple(f"hidden.{i}" for i in shared),
                self.hidden[shared[0]],
                producers_of(layers, *(f"{kind}_{i}" for i in shared for kind in ("dense", "norm"))),
                consumers_of(layers, *(f"dense_{i + 1}" for i in shared)),
            )
            for shared in joined(self.skips)
        ]
