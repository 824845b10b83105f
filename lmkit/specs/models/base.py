"""What the model families share: a family says which layers it has, and counts and first weights follow from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, Strict

from lmkit.errors import ConfigError
from lmkit.specs.base import Spec, several
from lmkit.specs.data import Shape

if TYPE_CHECKING:
    import numpy as np

Weights = dict[str, "np.ndarray"]
"""Name of a weight → its values, in one layout for every framework: a dense layer's kernel is (inputs, outputs), a
convolution's (length, inputs, outputs) or (height, width, inputs, outputs); a bias, and the ``gamma`` and ``beta`` of a
normalization, are vectors."""

EPSILON = 1e-5
"""Is added to the variance by which a normalization divides."""

Activation = Literal["relu", "tanh", "gelu", "sigmoid"]

Widths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Strict(False), BeforeValidator(several)]


class Layer(NamedTuple):
    """One layer, as plain data.

    Attributes:
        name: what both frameworks call it.
        kind: dense, convolution, an activation, dropout …
        shape: of what comes out for one row.
        parameters: how many numbers it learns.
        kernel: the shape of its kernel, where it has one.
    """

    name: str
    kind: str
    shape: Shape
    parameters: int = 0
    kernel: Shape = ()

    @classmethod
    def linear(cls, name: str, kind: str, shape: Shape, kernel: Shape) -> Layer:
        """A layer with a kernel and a bias."""
        return cls(name, kind, shape, math.prod(kernel) + kernel[-1], kernel)


class ModelSpec(Spec):
    """What every model family answers."""

    def check(self, shape: Shape) -> None:
        """Checks that rows of ``shape`` can be taken.

        Raises:
            ConfigError: they cannot; the message says why and what to write.
        """

    def layers(self, shape: Shape, outputs: int) -> list[Layer]:
        """The layers in order, as both frameworks build them, for rows of ``shape``."""
        raise NotImplementedError

    def multiplications(self, shape: Shape, outputs: int) -> int:
        """Multiplications by a weight that the output of one row takes: of a kernel, once a position."""
        return sum(
            math.prod(layer.shape[:-1]) * math.prod(layer.kernel)
            for layer in self.layers(shape, outputs)
            if layer.kernel
        )

    def initial_weights(self, shape: Shape, outputs: int, seed: int) -> Weights:
        """The first weights, float64, drawn by NumPy so that every framework starts at the same point.

        Kernels are uniform in ±√(6/fan_in) before a relu or gelu (He et al., 2015) and in ±√(6/(fan_in + fan_out))
        elsewhere (Glorot and Bengio, 2010), where a convolution's fans count every place of its window; biases are
        zero. A normalization starts with gamma one and beta zero.
        """
        import numpy as np

        draw = np.random.default_rng([seed, 0])
        weights: Weights = {}
        for layer, follows in _followed(self.layers(shape, outputs)):
            if layer.kernel:
                fan_in, fan_out = math.prod(layer.kernel[:-1]), math.prod((*layer.kernel[:-2], layer.kernel[-1]))
                limit = math.sqrt(6 / fan_in if follows in ("relu", "gelu") else 6 / (fan_in + fan_out))
                weights[f"{layer.name}.kernel"] = draw.uniform(-limit, limit, layer.kernel)
                weights[f"{layer.name}.bias"] = np.zeros(layer.kernel[-1])
            elif layer.parameters:
                weights[f"{layer.name}.gamma"] = np.ones(layer.shape[-1])
                weights[f"{layer.name}.beta"] = np.zeros(layer.shape[-1])
        return weights


def _followed(layers: list[Layer]) -> Iterator[tuple[Layer, str]]:
    """Each layer with the kind of the one that follows, whatever normalizes in between left out."""
    kinds = [(layer.kind, bool(layer.parameters and not layer.kernel)) for layer in layers]
    for i, layer in enumerate(layers):
        yield layer, next((kind for kind, normalizes in kinds[i + 1 :] if not normalizes), "")


def equal_neighbours(widths: tuple[int, ...]) -> list[bool]:
    """For each hidden layer, whether one as wide comes before it.

    >>> equal_neighbours((8, 8, 4))
    [False, True, False]
    """
    return [False, *(a == b for a, b in pairwise(widths))][: len(widths)]


def refuse(path: str, sentence: str) -> ConfigError:
    """The error that tells of a model that does not fit its data."""
    return ConfigError([f"{path}: {sentence}"])
