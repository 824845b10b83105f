"""The convolutional network, over images and over sequences."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lmkit.specs.models.base import (
    MAX_DEPTH,
    Activation,
    Initializer,
    Layer,
    ModelSpec,
    Units,
    Width,
    Widths,
    consumers_of,
    producers_of,
    refuse,
)
from lmkit.specs.signature import Shape, Signature


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"given {value}, expected an odd number, so that a window has a middle")
    return value


MAX_KERNEL = 1023
"""Side of a window at most."""


class CNN(ModelSpec):
    """A convolutional network: blocks of convolutions that keep the size, each then pooled; dense layers at the end.

    A row of shape (height, width, channels) is convolved in two dimensions, one of (length, channels) in one.
    """

    family: Literal["cnn"] = "cnn"
    """Convolutions over an image or a sequence, in blocks, and dense layers at the end."""
    channels: Annotated[Widths, Field(min_length=1)] = (16, 32)
    """Channels of each block."""
    convolutions: int = Field(1, ge=1, le=MAX_DEPTH)
    """Convolutions per block, each with an activation."""
    kernel: Annotated[int, Field(ge=1, le=MAX_KERNEL), AfterValidator(_odd)] = 3
    """Side of the window, an odd number; the border is padded with zeros to preserve the size."""
    pooling: Literal["none", "max", "average"] = "max"
    """Pooling that halves each side at the end of a block: the maximum, or the mean, of two (by two) positions."""
    residual: bool = False
    """Add a block's input to its output, x + f(x); through a window of one if channels differ (He et al., 2016)."""
    normalization: Literal["none", "layer", "group"] = "none"
    """Before each convolution's activation; layer: over the channels of a place (Ba et al., 2016); group: over a group
    of channels at all places (Wu and He, 2018). None depends on the other rows of a batch."""
    groups: Width = 4
    """Groups of channels for normalization: group; must divide the channels."""
    activation: Activation = "relu"
    """Applied after every convolution and hidden dense layer."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout rate after each block and each hidden dense layer."""
    gather: Literal["flatten", "average"] = "flatten"
    """Input of the dense layers: all positions, or each channel's mean over the positions (Lin et al., 2014)."""
    dense: Widths = ()
    """Width of each hidden dense layer before the output."""
    initializer: Initializer = "he"
    """Distribution of the first weights: PyTorch's default, or that of Glorot (Keras's default), LeCun or He."""

    @model_validator(mode="after")
    def _check(self) -> CNN:
        odd = [c for c in self.channels if c % self.groups]
        if self.normalization == "group" and odd:
            raise ValueError(
                f"{self.groups} groups do not divide {odd[0]} channels; write groups: and a divisor of all channels"
            )
        return self

    def check(self, signature: Signature) -> None:
        """Raise an error for rows without positions, or too small for the pooling."""
        shape = signature.shape
        if signature.vocabulary or signature.graph:
            what, family = ("text", "transformer") if signature.vocabulary else ("the nodes of a graph", "gcn")
            raise refuse(
                "model.family",
                f"'cnn' needs images or sequences of numbers, and the data is {what}; write model: {family}",
            )
        if len(shape) < 2:
            raise refuse(
                "model.family",
                f"'cnn' needs images or sequences, and a row of the data is {shape[0]} columns; write model: mlp, "
                "or data: digits, or give X as an array (rows, height, width, channels) or (rows, length, channels)",
            )
        most = int(math.log2(min(shape[:-1])))
        if self.pooling != "none" and len(self.channels) > most:
            first = len(shape) == 3 and shape[0] in (1, 3, 4) and shape[-1] > 4
            hint = "; if the channels come first, move them: X.transpose(0, 2, 3, 1)" if first else ""
            raise refuse(
                "model.channels",
                f"given {len(self.channels)} blocks that each halve {' × '.join(map(str, shape[:-1]))}, expected at "
                f"most {most}; or write pooling: none{hint}",
            )

    def layers(self, signature: Signature) -> list[Layer]:
        """The layers in order, as both frameworks build them.

        >>> [layer[1:3] for layer in CNN(channels=[4]).layers(Signature((8, 8, 1), 10))][:3]
        [('convolution', (8, 8, 4)), ('relu', (8, 8, 4)), ('max pool', (4, 4, 4))]
        """
        layers: list[Layer] = []
        shape, outputs = signature.shape, signature.outputs
        places, deep = shape[:-1], shape[-1]
        window = (self.kernel,) * len(places)

        def act(number: int, out: Shape) -> None:
            layers.append(Layer(f"{self.activation}_{number}", self.activation, out))

        for i, width in enumerate(self.channels):
            out, entering = (*places, width), deep
            for n in range(i * self.convolutions, (i + 1) * self.convolutions):
                layers.append(Layer.linear(f"conv_{n}", "convolution", out, (*window, deep, width)))
                if self.normalization != "none":
                    layers.append(Layer.norm(f"norm_{n}", f"{self.normalization} norm", out))
                act(n, out)
                deep = width
            if self.residual:
                if entering != width:
                    one = (1,) * len(places)
                    layers.append(Layer.linear(f"shortcut_{i}", "convolution", out, (*one, entering, width)))
                layers.append(Layer(f"add_{i}", "add", out))
            if self.pooling != "none":
                places = tuple(side // 2 for side in places)
                out = (*places, width)
                layers.append(Layer(f"pool_{i}", f"{self.pooling} pool", out))
            if self.dropout:
                layers.append(Layer(f"dropout_{i}", "dropout", out))
        flat = deep * (math.prod(places) if self.gather == "flatten" else 1)
        layers.append(Layer("gather", self.gather, (flat,)))
        for j, width in enumerate(self.dense):
            layers.append(Layer.linear(f"dense_{j}", "dense", (width,), (flat, width)))
            act(len(self.channels) * self.convolutions + j, (width,))
            if self.dropout:
                layers.append(Layer(f"dropout_{len(self.channels) + j}", "dropout", (width,)))
            flat = width
        return [*layers, Layer.linear(f"dense_{len(self.dense)}", "dense", (outputs,), (flat, outputs))]

    def units(self, signature: Signature) -> list[Units]:
        """The channels of each convolution, and the units of each hidden dense layer.

        What blocks are added to share their channels; those that are added to the rows themselves stay.
        """
        layers, convolutions, last = self.layers(signature), self.convolutions, len(self.channels) - 1
        rounds = next(layer.shape[0] for layer in layers if layer.name == "gather") // self.channels[-1]
        groups = self.groups if self.normalization == "group" else 1
        chains: list[list[int]] = [[-1]]  # blocks whose ends are added to each other; the rows are block -1
        widths = (signature.shape[-1], *self.channels)
        for i, width in enumerate(self.channels):
            if self.residual and width == widths[i]:
                chains[-1].append(i)
            else:
                chains.append([i])
        units = []
        for chain in chains[1:]:
            for i in chain:
                for n in range(i * convolutions, (i + 1) * convolutions - 1):
                    producers, consumers = (
                        producers_of(layers, f"conv_{n}", f"norm_{n}"),
                        consumers_of(layers, f"conv_{n + 1}"),
                    )
                    units.append(Units((f"channels.{i}",), self.channels[i], producers, consumers, groups))
            ends = [(i + 1) * convolutions - 1 for i in chain]
            producers = producers_of(layers, *(f"{kind}_{n}" for n in ends for kind in ("conv", "norm")))
            producers += producers_of(layers, *(f"shortcut_{i}" for i in chain))
            consumers = consumers_of(layers, *(f"conv_{n + 1}" for n in ends), *(f"shortcut_{i + 1}" for i in chain))
            consumers += consumers_of(layers, *["dense_0"] * (last in chain), rounds=rounds)
            units.append(
                Units(tuple(f"channels.{i}" for i in chain), self.channels[chain[0]], producers, consumers, groups)
            )
        for j, width in enumerate(self.dense):
            producers, consumers = producers_of(layers, f"dense_{j}"), consumers_of(layers, f"dense_{j + 1}")
            units.append(Units((f"dense.{j}",), width, producers, consumers))
        return units
