"""The model families: their shape and their first weights, free of any framework."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, Strict

from lmkit.errors import nearest
from lmkit.specs.base import Spec, several

if TYPE_CHECKING:
    import numpy as np

Weights = dict[str, "np.ndarray"]
"""Name of a weight → its values. A dense layer's kernel is (inputs, outputs) in every framework."""


class Layer(NamedTuple):
    """One layer, as plain data.

    Attributes:
        name: what both frameworks call it.
        kind: dense, an activation, dropout …
        shape: of what comes out for one row.
        parameters: how many numbers it learns.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int = 0


class MLP(Spec):
    """A multilayer perceptron: dense layers, one activation, a linear output."""

    family: Literal["mlp"] = "mlp"
    """Dense layers, one after the other."""
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Strict(False), BeforeValidator(several)] = (10,)
    """Width of each hidden layer; none makes the model linear."""
    activation: Literal["relu", "tanh", "gelu", "sigmoid"] = "relu"
    """Applied after every hidden layer; gelu is the tanh approximation (Hendrycks and Gimpel, 2016)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the hidden activations that is zeroed while training."""

    def widths(self, inputs: int, outputs: int) -> list[int]:
        """Width of every layer, from the input to the output."""
        return [inputs, *self.hidden, outputs]

    def layers(self, inputs: int, outputs: int) -> list[Layer]:
        """The layers in order, as both frameworks build them.

        >>> [tuple(layer) for layer in MLP(hidden=[10]).layers(30, 1)]
        [('dense_0', 'dense', (10,), 310), ('relu_0', 'relu', (10,), 0), ('dense_1', 'dense', (1,), 11)]
        """
        found = []
        for i, (fan_in, fan_out) in enumerate(pairwise(self.widths(inputs, outputs))):
            found.append(Layer(f"dense_{i}", "dense", (fan_out,), (fan_in + 1) * fan_out))
            if i < len(self.hidden):
                found.append(Layer(f"{self.activation}_{i}", self.activation, (fan_out,)))
                if self.dropout:
                    found.append(Layer(f"dropout_{i}", "dropout", (fan_out,)))
        return found

    def multiplications(self, inputs: int, outputs: int) -> int:
        """Multiplications that the output of one row takes.

        >>> MLP(hidden=[10]).multiplications(30, 1)
        310
        """
        return sum(a * b for a, b in pairwise(self.widths(inputs, outputs)))

    def initial_weights(self, inputs: int, outputs: int, seed: int) -> Weights:
        """The first weights, float64, drawn by NumPy so that every framework starts at the same point.

        Kernels (fan_in, fan_out) are uniform in ±√(6/fan_in) before a relu or gelu (He et al., 2015) and in
        ±√(6/(fan_in + fan_out)) elsewhere (Glorot and Bengio, 2010); biases are zero.

        >>> {k: v.shape for k, v in MLP(hidden=[10]).initial_weights(30, 1, seed=0).items()}
        {'dense_0.kernel': (30, 10), 'dense_0.bias': (10,), 'dense_1.kernel': (10, 1), 'dense_1.bias': (1,)}
        """
        import numpy as np

        draw = np.random.default_rng([seed, 0])
        widths = self.widths(inputs, outputs)
        weights: Weights = {}
        for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
            rectified = i < len(self.hidden) and self.activation in ("relu", "gelu")
            limit = math.sqrt(6 / fan_in if rectified else 6 / (fan_in + fan_out))
            weights[f"dense_{i}.kernel"] = draw.uniform(-limit, limit, (fan_in, fan_out))
            weights[f"dense_{i}.bias"] = np.zeros(fan_out)
        return weights


PRESETS: dict[str, dict[str, Any]] = {
    "mlp:textbook": {"family": "mlp", "hidden": [10], "activation": "relu"},
    "mlp:small": {"family": "mlp", "hidden": [64, 64], "activation": "relu"},
    "mlp:wide": {"family": "mlp", "hidden": [256, 256], "activation": "relu"},
}
"""Ready-made shapes; ``mlp:textbook`` is the teaching text's 10 → 10 → 1 on ten features (``data: diabetes``)."""


def _expand(value: Any) -> Any:
    """``mlp``, ``mlp:textbook`` and ``{family: mlp, preset: textbook, …}`` become the fields they stand for."""
    if isinstance(value, str):
        value = {"family": value}
    if isinstance(value, dict) and isinstance(value.get("family"), str):
        family, _, preset = value["family"].partition(":")
        value = {**value, "family": family, **({"preset": preset} if preset else {})}
    if isinstance(value, dict) and "preset" in value:
        given = dict(value)
        name = f"{given.get('family', 'mlp')}:{given.pop('preset')}"
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}; {nearest(name, PRESETS)}")
        value = {**PRESETS[name], **given}
    return value


Model = Annotated[MLP, BeforeValidator(_expand)]
