"""The transformer as an ``nn.Module``."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from lmkit.backends.torch.models.base import FAMILIES
from lmkit.backends.torch.models.layers import LAYERS, Context, Modules, Residual, build_layer, chain, dense
from lmkit.specs.models.base import Layer
from lmkit.specs.models.transformer import Transformer, turns
from lmkit.specs.signature import Shape, Signature
from lmkit.specs.tasks import get_task


class Patches(nn.Module):
    """Flat rows (rows, features) → (rows, patches, numbers): every patch's numbers side by side."""

    def __init__(self, shape: Shape, side: int) -> None:
        super().__init__()
        self.split = [n for length in shape[:-1] for n in (length // side, side)] + [shape[-1]]
        axes = range(1, len(self.split))
        self.order = [0, *axes[::2], *axes[1::2], len(self.split)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Cut along every side and bring the numbers of a patch together."""
        x = x.unflatten(1, self.split).permute(self.order)
        return x.flatten(1, len(self.split) // 2).flatten(2)


class Positions(nn.Embedding):
    """Adds the vector of its position to each place, (rows, places, width)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the first vectors of the table."""
        return x + self.weight[: x.shape[1]]


class Attention(nn.Module):
    """Self-attention of (rows, places, queries, keys and values side by side), softmax(QKᵀ/√d)V per head."""

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, spec: Transformer, places: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.groups, self.size, self.causal = spec.heads, spec.groups, spec.head, causal
        self.rotary = spec.positions == "rotary"
        if self.rotary:
            for name, table in zip(("cos", "sin"), turns(places, spec.head), strict=True):
                self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return every place's mixture of the values that it attends to, (rows, places, width)."""
        heads, groups, size = self.heads, self.groups, self.size
        parts = zip(x.split((heads * size, groups * size, groups * size), dim=2), (heads, groups, groups), strict=True)
        q, k, v = (part.unflatten(2, (number, size)).transpose(1, 2) for part, number in parts)
        if self.rotary:
            q, k = self._rotate(q), self._rotate(k)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, enable_gqa=groups != heads)
        return x.transpose(1, 2).flatten(2)

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, dim=-1)
        cos, sin = self.cos[: x.shape[2]], self.sin[: x.shape[2]]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class SwiGLU(nn.Module):
    """silu(a)·b of two halves."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, 2 · width) → (…, width)."""
        a, b = x.chunk(2, dim=-1)
        return F.silu(a) * b


class Average(nn.Module):
    """(rows, places, width) → (rows, width), the mean over the places."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean over the places."""
        return x.mean(1)


class Tied(nn.Module):
    """Logits by the table of an embedding: xEᵀ."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, width) → (…, vocabulary)."""
        return F.linear(x, self.embedding.weight)


@LAYERS.register("embedding")
def embedding(layer: Layer, context: Context) -> nn.Module:
    """Vectors of tokens, or a linear map of patches."""
    if layer.kernel:
        return dense(layer, context)
    entries, width = layer.weights["embeddings"]
    return nn.Embedding(entries, width)


@LAYERS.register("positions")
def positions(layer: Layer, _context: Context) -> nn.Module:
    """Learned vectors of positions."""
    entries, width = layer.weights["embeddings"]
    return Positions(entries, width)


@LAYERS.register("attention")
def attention(_layer: Layer, context: Context) -> nn.Module:
    """Self-attention, causal for a language."""
    spec, signature = context.spec, context.signature
    return Attention(spec, spec.places(signature), causal=get_task(signature.task).per_position)


@LAYERS.register("tied dense")
def tied_dense(_layer: Layer, context: Context) -> nn.Module:
    """Logits by the table of the embedding."""
    table = context.modules["embed"]
    assert isinstance(table, nn.Embedding)
    return Tied(table)


LAYERS.add("swiglu", lambda _layer, _context: SwiGLU())
LAYERS.add("average", lambda _layer, _context: Average())


@FAMILIES.register(Transformer)
def build(spec: Transformer, signature: Signature) -> nn.Module:
    """Tokens (rows, length) → logits (rows, length, vocabulary) of a language; else rows → logits (rows, outputs)."""
    modules: Modules = {} if signature.vocabulary else {"patches": Patches(signature.shape, spec.patch)}
    context = Context(spec, signature, modules)
    part: Modules = {}
    for layer in spec.layers(signature):
        if layer.kind == "add":
            modules[layer.name], part = Residual(part), {}
        else:
            (modules if layer.block is None else part)[layer.name] = build_layer(layer, context)
    return chain(modules)
