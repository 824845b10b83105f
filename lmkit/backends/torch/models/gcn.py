"""The graph convolutional network as an ``nn.Module``."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lmkit.backends.torch.models.layers import Modules, Residual, chain, following
from lmkit.specs.models.gcn import GCN
from lmkit.specs.signature import Graph, Signature


class Neighbours(nn.Module):
    """Who hears whom, each node itself too. Constants: they follow the model to its device, and are no weights."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        for name, values in zip(("senders", "receivers", "weights"), graph.with_loops(), strict=True):
            self.register_buffer(name, torch.as_tensor(values), persistent=False)

    def gathered(self, messages: torch.Tensor, nodes: int) -> torch.Tensor:
        """The sum of the messages (edges, …) that each node receives: (nodes, …)."""
        return messages.new_zeros((nodes, *messages.shape[1:])).index_add(0, self.receivers, messages)


class Convolution(nn.Linear):
    """D^−½ (A+I) D^−½ X W + b."""

    def __init__(self, neighbours: Neighbours, fan_in: int, fan_out: int) -> None:
        super().__init__(fan_in, fan_out)
        self.neighbours = neighbours

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(nodes, inputs) → (nodes, outputs)."""
        near = self.neighbours
        x = F.linear(x, self.weight)
        return near.gathered(x[near.senders] * near.weights[:, None], len(x)) + self.bias


class Attention(Convolution):
    """The same with weights that are learnt: the softmax, over those heard, of LeakyReLU(a·Wxᵢ + a'·Wxⱼ)."""

    def __init__(self, neighbours: Neighbours, fan_in: int, fan_out: int, heads: int) -> None:
        super().__init__(neighbours, fan_in, fan_out)
        self.sender, self.receiver = (nn.Parameter(torch.empty(heads, fan_out // heads)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(nodes, inputs) → (nodes, outputs), the heads beside each other."""
        near = self.neighbours
        x = F.linear(x, self.weight).unflatten(1, self.sender.shape)
        said, heard = (x * self.sender).sum(2), (x * self.receiver).sum(2)
        scores = F.leaky_relu(said[near.senders] + heard[near.receivers], 0.2)
        top = torch.zeros_like(said).scatter_reduce(  # the softmax is the same, and no exponential overflows
            0, near.receivers[:, None].expand_as(scores), scores.detach(), "amax", include_self=False
        )
        powers = torch.exp(scores - top[near.receivers])
        shares = powers / near.gathered(powers, len(x))[near.receivers]
        return near.gathered(x[near.senders] * shares[..., None], len(x)).flatten(1) + self.bias


class OfNodes(nn.Module):
    """Numbers of nodes (rows, 1) → logits (rows, outputs): all nodes are computed, those asked for gathered."""

    def __init__(self, features: np.ndarray, inside: Modules) -> None:
        super().__init__()
        self.register_buffer("features", torch.as_tensor(features), persistent=False)
        self.inside = chain(inside)

    def forward(self, nodes: torch.Tensor) -> torch.Tensor:
        """The logits of the nodes asked for."""
        return self.inside(self.features).index_select(0, nodes.flatten().long())


def build(spec: GCN, signature: Signature) -> nn.Module:
    """Graph convolutions with a normalization, an activation, and dropout between them."""
    assert signature.graph is not None
    neighbours = Neighbours(signature.graph)
    modules: Modules = {}
    widths = [signature.features, *spec.hidden, signature.outputs]
    for i, ((fan_in, fan_out), skips) in enumerate(zip(pairwise(widths), [*spec.skips, False], strict=True)):
        hidden = i < len(spec.hidden)
        if spec.weighting == "attention":
            convolution: nn.Module = Attention(neighbours, fan_in, fan_out, spec.heads if hidden else 1)
        else:
            convolution = Convolution(neighbours, fan_in, fan_out)
        own: Modules = {f"conv_{i}": convolution}
        if hidden:
            own |= following(spec, i, fan_out)
        modules |= {f"add_{i}": Residual(own)} if skips else own
    return OfNodes(signature.graph.features, modules)
