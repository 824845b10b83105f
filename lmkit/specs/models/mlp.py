"""The multilayer perceptron."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from lmkit.specs.data import Shape
from lmkit.specs.models.base import Activation, Layer, ModelSpec, Widths, equal_neighbours


class MLP(ModelSpec):
    """A multilayer perceptron: dense layers, one activation, a linear output."""

    family: Literal["mlp"] = "mlp"
    """Dense layers, one after the other."""
    hidden: Widths = (10,)
    """Width of each hidden layer; none makes the model linear."""
    activation: Activation = "relu"
    """Applied after every hidden layer; gelu is the tanh approximation (Hendrycks and Gimpel, 2016)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the hidden activations that is zeroed while training."""
    residual: bool = False
    """Add a hidden layer's input to its output, x + f(x), where both are equally wide (He et al., 2016)."""
    normalization: Literal["none", "layer"] = "none"
    """Before each activation; layer: over the units of a row (Ba et al., 2016)."""

    @property
    def skips(self) -> list[bool]:
        """For each hidden layer, whether its input is added to its output."""
        return [self.residual and equal for equal in equal_neighbours(self.hidden)]

    def widths(self, shape: Shape, outputs: int) -> list[int]:
        """Width of every layer, from the input to the output."""
        return [math.prod(shape), *self.hidden, outputs]

    def layers(self, shape: Shape, outputs: int) -> list[Layer]:
        """The layers in order, as both frameworks build them, for rows of ``shape``, whose axes it does not see.

        >>> [layer[:4] for layer in MLP(hidden=[10]).layers((30,), 1)]
        [('dense_0', 'dense', (10,), 310), ('relu_0', 'relu', (10,), 0), ('dense_1', 'dense', (1,), 11)]
        """
        found = []
        widths = self.widths(shape, outputs)
        for i, skips in enumerate(self.skips):
            out = (widths[i + 1],)
            found.append(Layer.linear(f"dense_{i}", "dense", out, (widths[i], *out)))
            if self.normalization == "layer":
                found.append(Layer(f"norm_{i}", "layer norm", out, 2 * out[0]))
            found.append(Layer(f"{self.activation}_{i}", self.activation, out))
            if self.dropout:
                found.append(Layer(f"dropout_{i}", "dropout", out))
            if skips:
                found.append(Layer(f"add_{i}", "add", out))
        return [*found, Layer.linear(f"dense_{len(self.hidden)}", "dense", (outputs,), (widths[-2], outputs))]
