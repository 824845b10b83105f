"""The transformer as an ``nn.Module``."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from lmkit.backends.torch.models.layers import ACTIVATIONS, Modules, Residual, chain
from lmkit.specs.models.base import EPSILON, Layer
from lmkit.specs.models.transformer import Transformer, turns
from lmkit.specs.signature import Shape, Signature


class Patches(nn.Module):
    """Flat rows (rows, features) → (rows, patches, numbers): every patch's numbers beside each other."""

    def __init__(self, shape: Shape, side: int) -> None:
        super().__init__()
        self.split = [n for length in shape[:-1] for n in (length // side, side)] + [shape[-1]]
        axes = range(1, len(self.split))
        self.order = [0, *axes[::2], *axes[1::2], len(self.split)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Cuts along every side, and brings what is one patch together."""
        x = x.unflatten(1, self.split).permute(self.order)
        return x.flatten(1, len(self.split) // 2).flatten(2)


class Positions(nn.Embedding):
    """Adds to each place, (rows, places, width), the vector of its number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the first vectors of the table."""
        return x + self.weight[: x.shape[1]]


class Attention(nn.Module):
    """Self-attention of (rows, places, queries, keys and values beside each other), softmax(QKᵀ/√d)V a head."""

    def __init__(self, spec: Transformer, places: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.groups, self.size, self.causal = spec.heads, spec.groups, spec.head, causal
        self.rotary = spec.positions == "rotary"
        if self.rotary:
            for name, table in zip(("cos", "sin"), turns(places, spec.head), strict=True):
                self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Every place's mixture of the values that it attends to, (rows, places, width)."""
        heads, groups, size = self.heads, self.groups, self.size
        parts = zip(x.split((heads * size, groups * size, groups * size), dim=2), (heads, groups, groups), strict=True)
        q, k, v = (part.unflatten(2, (number, size)).transpose(1, 2) for part, number in parts)
        if self.rotary:
            q, k = self._turned(q), self._turned(k)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, enable_gqa=groups != heads)
        return x.transpose(1, 2).flatten(2)

    def _turned(self, x: torch.Tensor) -> torch.Tensor:
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
        """The mean over the places."""
        return x.mean(1)


class Tied(nn.Module):
    """Logits by the table of an embedding: xEᵀ."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, width) → (…, vocabulary)."""
        return F.linear(x, self.embedding.weight)


def build(spec: Transformer, signature: Signature) -> nn.Module:
    """Tokens (rows, length) → logits (rows, length, vocabulary) of a language; else rows → logits (rows, outputs)."""
    language, places = signature.task == "language", spec.places(signature)
    modules: Modules = {} if signature.vocabulary else {"patches": Patches(signature.shape, spec.patch)}
    part: Modules = {}

    def make(layer: Layer) -> nn.Module:
        if layer.kernel:
            return nn.Linear(*layer.kernel, bias="bias" in layer.weights)
        match layer.kind:
            case "embedding":
                return nn.Embedding(*layer.weights["embeddings"])
            case "positions":
                return Positions(*layer.weights["embeddings"])
            case "layer norm":
                return nn.LayerNorm(layer.shape[-1], EPSILON, bias="beta" in layer.weights)
            case "rms norm":
                return nn.RMSNorm(layer.shape[-1], EPSILON)
            case "attention":
                return Attention(spec, places, causal=language)
            case "swiglu":
                return SwiGLU()
            case "dropout":
                return nn.Dropout(spec.dropout)
            case "average":
                return Average()
            case "tied dense":
                return Tied(modules["embed"])
            case activation:
                return ACTIVATIONS[activation]()

    for layer in spec.layers(signature):
        if layer.kind == "add":
            modules[layer.name], part = Residual(part), {}
        else:
            (modules if layer.block is None else part)[layer.name] = make(layer)
    return chain(modules)
