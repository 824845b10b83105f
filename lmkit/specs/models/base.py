"""What the model families share: a family says which layers it has, and counts and first weights follow from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, Strict

from lmkit.errors import ConfigError
from lmkit.specs.base import Spec, several
from lmkit.specs.signature import Shape, Signature

if TYPE_CHECKING:
    import numpy as np

Weights = dict[str, "np.ndarray"]
"""Name of a weight → its values, in one layout for every framework: a dense layer's kernel is (inputs, outputs), a
convolution's (length, inputs, outputs) or (height, width, inputs, outputs); a bias, and the ``gamma`` and ``beta`` of a
normalization, are vectors; the ``embeddings`` of a table are (entries, width)."""

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
        weights: what it learns: the name of each weight, after the layer's own, and its shape.
        multiplications: that it takes for one row, of which only those of matrices count; in a graph, of which every
            step computes all nodes, for the whole of it.
        block: which of several alike blocks it belongs to, counted from 0.
    """

    name: str
    kind: str
    shape: Shape
    weights: Mapping[str, Shape] = {}
    multiplications: int = 0
    block: int | None = None

    @property
    def parameters(self) -> int:
        """How many numbers it learns."""
        return sum(math.prod(shape) for shape in self.weights.values())

    @property
    def kernel(self) -> Shape:
        """The shape of its kernel, where it has one."""
        return self.weights.get("kernel", ())

    @classmethod
    def linear(cls, name: str, kind: str, shape: Shape, kernel: Shape, bias: bool = True) -> Layer:
        """A layer whose kernel is applied at every place, and which may have a bias."""
        weights = {"kernel": kernel, **({"bias": kernel[-1:]} if bias else {})}
        return cls(name, kind, shape, weights, math.prod(shape[:-1]) * math.prod(kernel))

    @classmethod
    def norm(cls, name: str, kind: str, shape: Shape) -> Layer:
        """A normalization over the last axis, with its scale and shift."""
        return cls(name, kind, shape, {"gamma": shape[-1:], "beta": shape[-1:]})


class Slice(NamedTuple):
    """Where units lie in one weight.

    Attributes:
        weight: its name.
        axis: along which they lie; None: along all of them, the last running fastest, and the first stays as long.
        rounds: how often the units come there, one round after the other.
        size: places that one unit takes there, beside each other.
    """

    weight: str
    axis: int | None = 0
    rounds: int = 1
    size: int = 1

    def places(self, width: int) -> np.ndarray:
        """Where each of ``width`` units lies along the axis: (width, rounds · size).

        >>> Slice("qkv_0.kernel", 1, rounds=3, size=2).places(4)[1].tolist()
        [2, 3, 10, 11, 18, 19]
        """
        import numpy as np

        first = self.size * (np.arange(width)[:, None] + width * np.arange(self.rounds))
        return np.asarray((first[..., None] + np.arange(self.size)).reshape(width, -1))


class Units(NamedTuple):
    """Hidden units that can be taken out, each wherever it appears.

    Attributes:
        fields: of the specification, which say how many there are, such as ``hidden.0``.
        width: how many there are.
        made: the weights that make them.
        used: the weights that read them.
        groups: of neighbours that must stay equally many, for a normalization takes each by itself.
    """

    fields: tuple[str, ...]
    width: int
    made: tuple[Slice, ...]
    used: tuple[Slice, ...]
    groups: int = 1


class ModelSpec(Spec):
    """What every model family answers."""

    def check(self, signature: Signature) -> None:
        """Checks that such rows can be taken, and such outputs given.

        Raises:
            ConfigError: they cannot; the message says why and what to write.
        """

    def layers(self, signature: Signature) -> list[Layer]:
        """The layers in order, as both frameworks build them."""
        raise NotImplementedError

    def units(self, signature: Signature) -> list[Units]:
        """The hidden units that can be taken out; none where the family does not say."""
        return []

    def follows(self, widths: Mapping[str, int]) -> dict[str, Any]:
        """What must be said beside new widths, for it followed from the old ones: field → value."""
        return {}

    def smaller(self, signature: Signature) -> ModelSpec:
        """A model of the same family to be taught by this one: half of every width; itself where none can be halved."""
        from lmkit.specs.models.narrowing import kept_widths, resized

        return resized(self, kept_widths(self, signature, self.units(signature), 0.5))

    def multiplications(self, signature: Signature) -> int:
        """Multiplications in products of matrices that the output of one row takes."""
        return sum(layer.multiplications for layer in self.layers(signature))

    def initial_weights(self, signature: Signature, seed: int) -> Weights:
        """The first weights, float64, drawn by NumPy so that every framework starts at the same point.

        Kernels are uniform in ±√(6/fan_in) before a relu or gelu (He et al., 2015) and in ±√(6/(fan_in + fan_out))
        elsewhere (Glorot and Bengio, 2010), where a convolution's fans count every place of its window; biases are
        zero. A normalization starts with gamma one and beta zero.
        """
        import numpy as np

        draw = np.random.default_rng([seed, 0])
        weights: Weights = {}
        for layer, follows in _followed(self.layers(signature)):
            if layer.kernel:
                fan_in, fan_out = math.prod(layer.kernel[:-1]), math.prod((*layer.kernel[:-2], layer.kernel[-1]))
                limit = math.sqrt(6 / fan_in if follows in ("relu", "gelu") else 6 / (fan_in + fan_out))
                weights[f"{layer.name}.kernel"] = draw.uniform(-limit, limit, layer.kernel)
            for name, shape in layer.weights.items():
                if name != "kernel":
                    weights[f"{layer.name}.{name}"] = np.full(shape, float(name == "gamma"))
        return weights


def _followed(layers: list[Layer]) -> Iterator[tuple[Layer, str]]:
    """Each layer with the kind of the one that follows, whatever normalizes in between left out."""
    kinds = [(layer.kind, bool(layer.parameters and not layer.kernel)) for layer in layers]
    for i, layer in enumerate(layers):
        yield layer, next((kind for kind, normalizes in kinds[i + 1 :] if not normalizes), "")


def made_by(layers: list[Layer], *names: str) -> tuple[Slice, ...]:
    """The slices that make the outputs of the layers called so, of those that there are: each weight's last axis."""
    return tuple(
        Slice(f"{layer.name}.{weight}", len(shape) - 1)
        for layer in layers
        if layer.name in names
        for weight, shape in layer.weights.items()
    )


def used_by(layers: list[Layer], *names: str, rounds: int = 1) -> tuple[Slice, ...]:
    """The slices that read the inputs of the layers called so, if there are any: a kernel's last axis but one."""
    return tuple(
        Slice(f"{layer.name}.kernel", len(layer.kernel) - 2, rounds) for layer in layers if layer.name in names
    )


def equal_neighbours(widths: tuple[int, ...]) -> list[bool]:
    """For each hidden layer, whether one as wide comes before it.

    >>> equal_neighbours((8, 8, 4))
    [False, True, False]
    """
    return [False, *(a == b for a, b in pairwise(widths))][: len(widths)]


def joined(skips: Sequence[bool]) -> list[list[int]]:
    """The hidden layers that are added to each other, together.

    >>> joined([False, True, False])
    [[0, 1], [2]]
    """
    sets: list[list[int]] = []
    for i, skipped in enumerate(skips):
        if skipped:
            sets[-1].append(i)
        else:
            sets.append([i])
    return sets


def refuse(path: str, sentence: str) -> ConfigError:
    """The error that tells of a model that does not fit its data."""
    return ConfigError([f"{path}: {sentence}"])
