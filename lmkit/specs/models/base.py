"""The base class of model families: counts and initial weights follow from a family's layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import BeforeValidator, Field, Strict

from lmkit.exceptions import ConfigError
from lmkit.specs.base import Spec, as_tuple
from lmkit.specs.signature import Shape, Signature

if TYPE_CHECKING:
    import numpy as np

Weights = dict[str, "np.ndarray"]
"""Name of a weight → its values, in one layout for every framework: a dense layer's kernel is (inputs, outputs), a
convolution's (length, inputs, outputs) or (height, width, inputs, outputs); a bias, and the ``gamma`` and ``beta`` of a
normalization, are vectors; the ``embeddings`` of a table are (entries, width)."""

EPSILON = 1e-5
"""Constant that a normalization adds to the variance."""

Activation = Literal["relu", "tanh", "gelu", "sigmoid"]

Initializer = Literal["pytorch", "glorot", "lecun", "he"]
"""A distribution of the first weights; see ``bounds``."""

MAX_WIDTH, MAX_DEPTH = 2**20, 1000
"""Units of a layer, and layers, at most: more is no model but a mistake, or an attempt to exhaust the memory."""

Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]

Widths = Annotated[tuple[Width, ...], Strict(False), BeforeValidator(as_tuple), Field(max_length=MAX_DEPTH)]


class Layer(NamedTuple):
    """One layer, as plain data.

    Attributes:
        name: the name in both frameworks.
        kind: dense, convolution, an activation, dropout …
        shape: of the output for one row.
        weights: the name of each weight, without the layer's name, and its shape.
        multiplications: in products of matrices for one row; in a graph for all nodes, which every step computes.
        block: the index of its block, if blocks are repeated.
    """

    name: str
    kind: str
    shape: Shape
    weights: Mapping[str, Shape] = {}
    multiplications: int = 0
    block: int | None = None

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(math.prod(shape) for shape in self.weights.values())

    @property
    def kernel(self) -> Shape:
        """The shape of the kernel; empty without one."""
        return self.weights.get("kernel", ())

    @classmethod
    def linear(cls, name: str, kind: str, shape: Shape, kernel: Shape, bias: bool = True) -> Layer:
        """Return a layer whose kernel is applied at every position, with or without bias."""
        weights = {"kernel": kernel, **({"bias": kernel[-1:]} if bias else {})}
        return cls(name, kind, shape, weights, math.prod(shape[:-1]) * math.prod(kernel))

    @classmethod
    def norm(cls, name: str, kind: str, shape: Shape) -> Layer:
        """Return a normalization over the last axis, with scale and shift."""
        return cls(name, kind, shape, {"gamma": shape[-1:], "beta": shape[-1:]})


class Slice(NamedTuple):
    """The indices of units in one weight.

    Attributes:
        weight: the name of the weight.
        axis: the axis of the units; None: all axes, flattened in C order; the length of the first axis stays.
        rounds: the number of times that all units repeat along the axis.
        size: the number of adjacent indices per unit.
    """

    weight: str
    axis: int | None = 0
    rounds: int = 1
    size: int = 1

    def places(self, width: int) -> np.ndarray:
        """Return the indices of each of ``width`` units along the axis: (width, rounds · size).

        >>> Slice("qkv_0.kernel", 1, rounds=3, size=2).places(4)[1].tolist()
        [2, 3, 10, 11, 18, 19]
        """
        import numpy as np

        first = self.size * (np.arange(width)[:, None] + width * np.arange(self.rounds))
        return np.asarray((first[..., None] + np.arange(self.size)).reshape(width, -1))


class Units(NamedTuple):
    """Hidden units that can be pruned from all weights that hold them.

    Attributes:
        fields: the fields of the specification that set the number of units, such as ``hidden.0``.
        width: the number of units.
        producers: the weights that compute the units.
        consumers: the weights that take the units as inputs.
        groups: groups of adjacent units, which a normalization handles separately and which must stay equally large.
    """

    fields: tuple[str, ...]
    width: int
    producers: tuple[Slice, ...]
    consumers: tuple[Slice, ...]
    groups: int = 1


class ModelSpec(Spec):
    """The base class of model families.

    Attributes:
        is_custom: whether the user's code builds it, so that its layers are unknown before.
    """

    is_custom: ClassVar[bool] = False

    def check(self, signature: Signature) -> None:
        """Check that the model suits the inputs and outputs.

        Raises:
            ConfigError: it does not; the message says why and what to use.
        """

    def describe(self, signature: Signature) -> str:  # noqa: ARG002 (part of the interface)
        """Return the model in some words: its family, where that has no shorter picture of its layers."""
        return str(getattr(self, "family", type(self).__name__))

    def layers(self, signature: Signature) -> list[Layer]:
        """Return the layers in order, as both frameworks build them."""
        raise NotImplementedError

    def weight_shapes(self, signature: Signature) -> dict[str, Shape]:
        """Return the name of each weight and its shape; empty where the user's code builds the model."""
        layers = [] if self.is_custom else self.layers(signature)
        return {f"{layer.name}.{name}": shape for layer in layers for name, shape in layer.weights.items()}

    def units(self, signature: Signature) -> list[Units]:  # noqa: ARG002 (part of the interface)
        """Return the hidden units that can be pruned; empty by default."""
        return []

    def follows(self, widths: Mapping[str, int]) -> dict[str, Any]:  # noqa: ARG002 (part of the interface)
        """Return the fields that must be set with new widths since their defaults depended on the old ones."""
        return {}

    def smaller(self, signature: Signature) -> ModelSpec:
        """Return a student for distillation: half of every width; the model itself if none can be halved."""
        return resized(self, pruned_widths(self, signature, self.units(signature), 0.5))

    def multiplications(self, signature: Signature) -> int:
        """Return the multiplications in products of matrices for one row."""
        return sum(layer.multiplications for layer in self.layers(signature))

    def initial_weights(self, signature: Signature, seed: int) -> Weights:
        """Return the initial weights, float64, drawn by NumPy, so that all frameworks start equally.

        Kernels and biases are uniform within the bounds of the family's initializer, where a convolution's fans include
        the size of its window. A normalization starts with gamma one and beta zero.
        """
        import numpy as np

        draw = np.random.default_rng([seed, 0])
        initializer: Initializer = getattr(self, "initializer", "he")
        weights: Weights = {}
        for layer, follows in _followed(self.layers(signature)):
            if layer.kernel:
                fan_in, fan_out = math.prod(layer.kernel[:-1]), math.prod((*layer.kernel[:-2], layer.kernel[-1]))
                bound, bias = bounds(initializer, fan_in, fan_out, follows in ("relu", "gelu"))
                weights[f"{layer.name}.kernel"] = draw.uniform(-bound, bound, layer.kernel)
                if bias and "bias" in layer.weights:
                    weights[f"{layer.name}.bias"] = draw.uniform(-bias, bias, layer.weights["bias"])
            for name, shape in layer.weights.items():
                weights.setdefault(f"{layer.name}.{name}", np.full(shape, float(name == "gamma")))
        return weights


def bounds(initializer: Initializer, fan_in: int, fan_out: int, rectified: bool) -> tuple[float, float]:
    """Return the bounds of the uniform distributions of a layer's kernel and of its bias; 0: the biases are zero.

    * pytorch: ±1/√fan_in for both, the default of ``torch.nn.Linear`` and ``torch.nn.Conv2d``
    * glorot: ±√(6/(fan_in + fan_out)) (Glorot and Bengio, 2010), the default of Keras
    * lecun: ±√(3/fan_in) (LeCun et al., 1998)
    * he: ±√(6/fan_in) before a relu or gelu (He et al., 2015), elsewhere that of glorot

    Args:
        initializer: the distribution.
        fan_in: the number of inputs of a unit.
        fan_out: the number of units that take an input.
        rectified: whether a relu or gelu follows.

    >>> bounds("pytorch", 25, 10, True), bounds("he", 24, 10, True)
    ((0.2, 0.2), (0.5, 0.0))
    """
    glorot = math.sqrt(6 / (fan_in + fan_out))
    return {
        "pytorch": (1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in)),
        "glorot": (glorot, 0.0),
        "lecun": (math.sqrt(3 / fan_in), 0.0),
        "he": (math.sqrt(6 / fan_in) if rectified else glorot, 0.0),
    }[initializer]


Model = TypeVar("Model", bound=ModelSpec)


def pruned_widths(spec: ModelSpec, signature: Signature, sets: Sequence[Units], share: float) -> dict[str, int]:
    """Return the field of each width that can be pruned, such as ``hidden.0`` → the remaining number of units.

    Where blocks are added to their input, equal widths stay equal and different ones stay different, so that no skip or
    shortcut appears or vanishes.
    """
    widths: dict[str, int] = {}
    strict = bool(getattr(spec, "residual", False))
    entering = signature.shape[-1] if strict and signature.shape else 0
    for units in sorted(sets, key=lambda units: units.width):
        below = [
            smaller_width
            for other in sets
            if other.width < units.width and (smaller_width := widths.get(other.fields[0]))
        ]
        width = max(1, round((1 - share) * units.width / units.groups)) * units.groups
        while strict and width < units.width and (width in below or width < max(below, default=0) or width == entering):
            width += units.groups
        widths |= dict.fromkeys(units.fields, width)
    return widths


def resized(spec: Model, widths: Mapping[str, int]) -> Model:
    """Return the model with other widths.

    >>> from lmkit.specs.models import MLP
    >>> resized(MLP(hidden=[8, 8]), {"hidden.1": 4}).hidden
    (8, 4)
    """
    values = spec.model_dump() | spec.follows(widths)
    for path, width in widths.items():
        name, _, index = path.partition(".")
        values[name] = (
            tuple(width if i == int(index) else old for i, old in enumerate(values[name])) if index else width
        )
    return type(spec)(**values)


def _followed(layers: list[Layer]) -> Iterator[tuple[Layer, str]]:
    """Iterate over the layers, each with the kind of the next one that is not a normalization."""
    kinds = [(layer.kind, bool(layer.parameters and not layer.kernel)) for layer in layers]
    for i, layer in enumerate(layers):
        yield layer, next((kind for kind, normalizes in kinds[i + 1 :] if not normalizes), "")


def producers_of(layers: list[Layer], *names: str) -> tuple[Slice, ...]:
    """Return the slices that compute the outputs of the named layers: the last axis of each weight."""
    return tuple(
        Slice(f"{layer.name}.{weight}", len(shape) - 1)
        for layer in layers
        if layer.name in names
        for weight, shape in layer.weights.items()
    )


def consumers_of(layers: list[Layer], *names: str, rounds: int = 1) -> tuple[Slice, ...]:
    """Return the slices that take the inputs of the named layers: the second to last axis of each kernel."""
    return tuple(
        Slice(f"{layer.name}.kernel", len(layer.kernel) - 2, rounds) for layer in layers if layer.name in names
    )


def equal_neighbours(widths: tuple[int, ...]) -> list[bool]:
    """Return for each hidden layer whether the previous one has the same width.

    >>> equal_neighbours((8, 8, 4))
    [False, True, False]
    """
    return [False, *(a == b for a, b in pairwise(widths))][: len(widths)]


def joined(skips: Sequence[bool]) -> list[list[int]]:
    """Return the hidden layers in groups that are added to each other.

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
    """Return the error for a model that does not suit its data."""
    return ConfigError([f"{path}: {sentence}"])
