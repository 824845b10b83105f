"""The transformer: a decoder of language, and an encoder of images, sequences and texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from lmkit.specs.models.base import (
    MAX_DEPTH,
    Layer,
    ModelSpec,
    Slice,
    Units,
    Weights,
    Width,
    consumers_of,
    producers_of,
    refuse,
)
from lmkit.specs.signature import Shape, Signature
from lmkit.specs.tasks import get_task
from lmkit.specs.text import MAX_LENGTH

if TYPE_CHECKING:
    import numpy as np

ROTATION = 10_000.0
"""The base of the angles by which rotary positions turn: pair i of d numbers turns by t·base^(−2i/d) at place t."""


LLAMA = {
    "activation": "swiglu",
    "normalization": "rms",
    "positions": "rotary",
    "context": 4096,
    "bias": False,
    "tied": False,
}

PRESETS: dict[str, dict[str, Any]] = {
    "nano": {"depth": 4, "width": 128, "heads": 4, "context": 128},
    "patches": {"depth": 2, "width": 64, "heads": 4, "patch": 2},
    "gpt2": {"depth": 12, "width": 768, "heads": 12, "context": 1024},
    "gpt2-medium": {"depth": 24, "width": 1024, "heads": 16, "context": 1024},
    "gpt2-large": {"depth": 36, "width": 1280, "heads": 20, "context": 1024},
    "gpt2-xl": {"depth": 48, "width": 1600, "heads": 25, "context": 1024},
    "7b": {"depth": 32, "width": 4096, "heads": 32, "feedforward": 11008, **LLAMA},
    "13b": {"depth": 40, "width": 5120, "heads": 40, "feedforward": 13824, **LLAMA},
    "70b": {"depth": 80, "width": 8192, "heads": 64, "kv_heads": 8, "feedforward": 28672, **LLAMA},
}
"""Ready-made shapes: a small language model and a small reader of images; GPT-2 (Radford et al., 2019), whose counts
are the published ones with its vocabulary of 50257; Llama 2 (Touvron et al., 2023), likewise with its 32000."""


class Transformer(ModelSpec):
    """A transformer: blocks of self-attention and a feedforward part, each normalized first and added to its input.

    Where the task is language it is a decoder: a place attends to itself and to those before it, and every place
    gives logits of what comes next. Elsewhere it is an encoder of the patches of an image, the places of a sequence
    or the tokens of a text, where every place attends to all, and one dense layer reads the mean over the places.
    """

    family: Literal["transformer"] = "transformer"
    """Self-attention over a text, an image's patches or a sequence."""
    depth: int = Field(4, ge=1, le=MAX_DEPTH)
    """Blocks, one after the other, each of attention and a feedforward part (Vaswani et al., 2017)."""
    width: Width = 128
    """Width of the vector of a position."""
    heads: Width = 4
    """Attention heads per block; must divide the width, unless head_size is set."""
    head_size: Width | None = None
    """Width of a head; none: width / heads."""
    kv_heads: Width | None = None
    """Heads of keys and values, each shared by a group of heads (Ainslie et al., 2023); none: as many as heads."""
    feedforward: Width | None = None
    """Width inside the feedforward part; none: four times the width."""
    activation: Literal["gelu", "swiglu"] = "gelu"
    """In the feedforward part; gelu is the tanh approximation; swiglu: silu(xV)·xW, a third matrix (Shazeer, 2020)."""
    normalization: Literal["layer", "rms"] = "layer"
    """Before each part; layer: mean and variance over the width; rms: its root mean square (Zhang, Sennrich, 2019)."""
    positions: Literal["learned", "rotary"] = "learned"
    """Encoding of positions: learned vectors that are added, or rotary queries and keys (Su et al., 2021)."""
    context: int | None = Field(None, ge=1, le=MAX_LENGTH)
    """Number of learned positions, the maximum length of a row; none: the length of the data's rows."""
    patch: Width = 1
    """Side of the square patches of an image, or length of those of a sequence."""
    bias: bool = True
    """Whether the dense layers within blocks, and layer normalizations, have a bias."""
    tied: bool = True
    """Whether a language model's output shares the weights of its embedding (Press and Wolf, 2017)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout rate of the embedding and of the output of each part."""

    @model_validator(mode="after")
    def _check(self) -> Transformer:
        if self.head_size is None and self.width % self.heads:
            raise ValueError(
                f"model.heads: given {self.heads}, which do not divide a width of {self.width}; "
                f"write heads: {_divisors(self.width, self.heads)}"
            )
        if self.heads % self.groups:
            raise ValueError(
                f"model.kv_heads: given {self.groups}, which do not divide {self.heads} heads; "
                f"write kv_heads: {_divisors(self.heads, self.groups)}"
            )
        if self.positions == "rotary" and self.head_size and self.head_size % 2:
            raise ValueError(
                f"model.head_size: given {self.head_size}, and rotary positions turn pairs of numbers; "
                "expected an even number, or positions: learned"
            )
        if self.positions == "rotary" and self.head % 2:
            raise ValueError(
                f"model.heads: given {self.heads}, which leaves each head {self.head} of {self.width} numbers, and "
                "rotary positions turn pairs of them; expected an even number a head, or positions: learned"
            )
        return self

    @property
    def head(self) -> int:
        """Numbers of a place in one head."""
        return self.head_size or self.width // self.heads

    @property
    def groups(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def inner(self) -> int:
        """Width inside the feedforward part."""
        return self.feedforward or 4 * self.width

    def places(self, signature: Signature) -> int:
        """How many places attend to each other: the length of a text, or the number of patches."""
        if signature.vocabulary:
            return math.prod(signature.shape)
        return math.prod(side // self.patch for side in signature.shape[:-1])

    def check(self, signature: Signature) -> None:
        """Refuses rows without places, patches that do not fit, and rows that are longer than the positions."""
        shape, text = signature.shape, signature.vocabulary > 0
        if signature.graph:
            raise refuse(
                "model.family",
                "'transformer' needs texts, images or sequences, and the data is the nodes of a graph; "
                "write model: gcn",
            )
        if not text and len(shape) < 2:
            raise refuse(
                "model.family",
                f"'transformer' needs texts, images or sequences, and a row of the data is {shape[0]} columns; write "
                "model: mlp, or data: digits, or give X as an array (rows, height, width, channels) or "
                "(rows, length, channels)",
            )
        sides = shape if text else shape[:-1]
        if text and self.patch > 1:
            raise refuse("model.patch", f"given {self.patch}, and a text has no patches; write patch: 1")
        if any(side % self.patch for side in sides):
            raise refuse(
                "model.patch",
                f"given {self.patch}, which does not divide {' × '.join(map(str, sides))}; "
                f"write patch: {_divisors(math.gcd(*sides), self.patch)}",
            )
        places = self.places(signature)
        if self.positions == "learned" and self.context and places > self.context:
            raise refuse(
                "model.context",
                f"the sequence is longer than positions: given {self.context} positions, and a row of the data is "
                f"{places} {'tokens' if text else 'patches'} long; write context: {places}, or positions: rotary, or "
                "make the rows shorter",
            )

    def layers(self, signature: Signature) -> list[Layer]:
        """The layers in order, as both frameworks build them.

        Attention counts the products of all pairs of places, scores and weighted sums, as the frameworks compute
        them: a causal mask hides half of what was multiplied. Looking up an embedding multiplies nothing.

        >>> layers = Transformer(depth=12, width=768, heads=12).layers(Signature.of_text(1024, 50257))
        >>> sum(layer.parameters for layer in layers)  # GPT-2
        124439808
        """
        places, width, vocabulary = self.places(signature), self.width, signature.vocabulary
        out = (places, width)
        if vocabulary:
            layers = [Layer("embed", "embedding", out, {"embeddings": (vocabulary, width)})]
        else:
            numbers = signature.features // places
            layers = [Layer.linear("embed", "embedding", out, (numbers, width), self.bias)]
        if self.positions == "learned":
            layers.append(Layer("positions", "positions", out, {"embeddings": (self.context or places, width)}))
        if self.dropout:
            layers.append(Layer("dropout_0", "dropout", out))
        for i in range(self.depth):
            layers += [layer._replace(block=i) for layer in self._block(i, places)]
        layers.append(self._norm(2 * self.depth, out))
        if not get_task(signature.task).per_position:
            return [
                *layers,
                Layer("gather", "average", (width,)),
                Layer.linear("output", "dense", (signature.outputs,), (width, signature.outputs)),
            ]
        kernel = (width, signature.outputs)
        output = Layer.linear("output", "dense", (places, signature.outputs), kernel, bias=False)
        return [*layers, output._replace(kind="tied dense", weights={}) if self.tied else output]

    def _block(self, i: int, places: int) -> list[Layer]:
        """Attention and the feedforward part."""
        width, inner, bias, attended = self.width, self.inner, self.bias, self.heads * self.head
        out, fused = (places, width), (self.heads + 2 * self.groups) * self.head
        up = inner * (2 if self.activation == "swiglu" else 1)

        def added(part: int) -> list[Layer]:
            dropout = [Layer(f"dropout_{2 * i + part + 1}", "dropout", out)] if self.dropout else []
            return [*dropout, Layer(f"add_{2 * i + part}", "add", out)]

        return [
            self._norm(2 * i, out),
            Layer.linear(f"qkv_{i}", "dense", (places, fused), (width, fused), bias),
            Layer(f"attention_{i}", "attention", (places, attended), multiplications=2 * places * places * attended),
            Layer.linear(f"project_{i}", "dense", out, (attended, width), bias),
            *added(0),
            self._norm(2 * i + 1, out),
            Layer.linear(f"up_{i}", "dense", (places, up), (width, up), bias),
            Layer(f"{self.activation}_{i}", self.activation, (places, inner)),
            Layer.linear(f"down_{i}", "dense", out, (inner, width), bias),
            *added(1),
        ]

    def _norm(self, number: int, shape: Shape) -> Layer:
        norm = Layer.norm(f"norm_{number}", f"{self.normalization} norm", shape)
        shifted = self.normalization == "layer" and self.bias
        return norm if shifted else norm._replace(weights={"gamma": norm.weights["gamma"]})

    def units(self, signature: Signature) -> list[Units]:
        """Each block's heads, and what is inside its feedforward part, of which swiglu has two rounds.

        A head goes with its own keys and values; of heads that share these as many of each group go, and keys and
        values stay. The width is every block's, and stays.
        """
        layers, units = self.layers(signature), list[Units]()
        alone, rounds = self.groups == self.heads, 2 if self.activation == "swiglu" else 1
        for i in range(self.depth):
            units.append(
                Units(
                    ("heads", "kv_heads") if alone and self.kv_heads else ("heads",),
                    self.heads,
                    tuple(
                        Slice(m.weight, m.axis, 3 if alone else 1, self.head) for m in producers_of(layers, f"qkv_{i}")
                    ),
                    tuple(Slice(u.weight, u.axis, size=self.head) for u in consumers_of(layers, f"project_{i}")),
                    1 if alone else self.groups,
                )
            )
            units.append(
                Units(
                    ("feedforward",),
                    self.inner,
                    tuple(Slice(piece.weight, piece.axis, rounds) for piece in producers_of(layers, f"up_{i}")),
                    consumers_of(layers, f"down_{i}"),
                )
            )
        return units

    def follows(self, widths: Mapping[str, int]) -> dict[str, Any]:
        """The size of a head, where there are to be others than divide the width."""
        return {"head_size": self.head} if widths.get("heads", self.heads) != self.heads else {}

    def smaller(self, signature: Signature) -> ModelSpec:  # noqa: ARG002 (part of the interface)
        """Half of the blocks, each as it is (Sanh et al., 2019); of a single one half of the feedforward part."""
        if self.depth > 1:
            return self.model_copy(update={"depth": self.depth // 2})
        return self.model_copy(update={"feedforward": max(1, round(self.inner / 2))})

    def initial_weights(self, signature: Signature, seed: int) -> Weights:
        """The first weights, float32 (which float64 holds exactly), drawn by NumPy.

        Kernels and tables are normal with standard deviation √(2/(5 · width)) (Nguyen and Salazar, 2019), which at the
        width of GPT-2 is its 0.02, and grows where a model is narrow: there 0.02 is slow to learn. Those that end a
        residual part are divided by √(2 · depth), for so many parts add up (Radford et al., 2019); biases are zero,
        gammas one.
        """
        import numpy as np

        draw = np.random.default_rng([seed, 0])
        spread = math.sqrt(2 / (5 * self.width))

        def first(layer: Layer, name: str, shape: Shape) -> np.ndarray:
            if name not in ("kernel", "embeddings"):
                return np.full(shape, float(name == "gamma"), np.float32)
            values = draw.standard_normal(shape, np.float32)
            values *= spread / (math.sqrt(2 * self.depth) if layer.name.startswith(("project_", "down_")) else 1)
            return values

        return {
            f"{layer.name}.{name}": first(layer, name, shape)
            for layer in self.layers(signature)
            for name, shape in layer.weights.items()
        }


def _divisors(number: int, near: int) -> str:
    """The two divisors nearest to what was given, by their ratio to it.

    >>> _divisors(128, 5)
    '4 or 8'
    """
    divisors = [n for n in range(1, number + 1) if number % n == 0]
    return " or ".join(map(str, sorted(sorted(divisors, key=lambda n: max(n / near, near / n))[:2])))


def turns(places: int, head: int) -> tuple[np.ndarray, np.ndarray]:
    """The cosines and sines of rotary positions, float64 (places, head / 2): of place t and pair i, of
    t · ``ROTATION`` ^ (−2i / head). A pair is number i of a head's first half with number i of its second.
    """
    import numpy as np

    angles = np.outer(np.arange(places), ROTATION ** (-np.arange(0, head, 2) / head))
    return np.cos(angles), np.sin(angles)
