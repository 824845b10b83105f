"""The graph convolutional network as an ``nn.Module``."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lmkit.backends.torch.models.base import FAMILIES
from lmkit.backends.torch.models.layers import Modules, Residual, chain, hidden_tail
from lmkit.specs.models.gcn import GCN
from lmkit.specs.signature import Graph, Signature


class Edges(nn.Module):
    """The edges of the graph, with a loop at each node. Buffers: they move with the model, and are no weights."""

    senders: torch.Tensor
    receivers: torch.Tensor
    weights: torch.Tensor

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        for name, values in zip(("senders", "receivers", "weights"), graph.with_loops(), strict=True):
            self.register_buffer(name, torch.as_tensor(values), persistent=False)

    def sum_messages(self, messages: torch.Tensor, nodes: int) -> torch.Tensor:
        """Return the sum of the messages (edges, …) that each node receives: (nodes, …)."""
        return messages.new_zeros((nodes, *messages.shape[1:])).index_add(0, self.receivers, messages)


class Convolution(nn.Linear):
    """D^−½ (A+I) D^−½ X W + b."""

    def __init__(self, edges: Edges, fan_in: int, fan_out: int) -> None:
        super().__init__(fan_in, fan_out)
        self.edges = edges

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(nodes, inputs) → (nodes, outputs)."""
        edges = self.edges
        x = F.linear(x, self.weight)
        return edges.sum_messages(x[edges.senders] * edges.weights[:, None], len(x)) + self.bias


class Attention(Convolution):
    """The same with learned edge weights: the softmax, over the senders, of LeakyReLU(a·Wxᵢ + a'·Wxⱼ)."""

    def __init__(self, edges: Edges, fan_in: int, fan_out: int, heads: int) -> None:
        super().__init__(edges, fan_in, fan_out)
        self.sender, self.receiver = (nn.Parameter(torch.empty(heads, fan_out // heads)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(nodes, inputs) → (nodes, outputs), heads side by side."""
        edges = self.edges
        x = F.linear(x, self.weight).unflatten(1, self.sender.shape)
        sent, received = (x * self.sender).sum(2), (x * self.receiver).sum(2)
        scores = F.leaky_relu(sent[edges.senders] + received[edges.receivers], 0.2)
        top = torch.zeros_like(sent).scatter_reduce(  # the softmax is the same, and no exponential overflows
            0, edges.receivers[:, None].expand_as(scores), scores.detach(), "amax", include_self=False
        )
        powers = torch.exp(scores - top[edges.receivers])
        shares = powers / edges.sum_messages(powers, len(x))[edges.receivers]
        return edges.sum_messages(x[edges.senders] * shares[..., None], len(x)).flatten(1) + self.bias


class NodeModel(nn.Module):
    """Numbers of nodes (rows, 1) → logits (rows, outputs): all nodes are computed, those of the rows gathered."""

    features: torch.Tensor

    def __init__(self, features: np.ndarray, inside: Modules) -> None:
        super().__init__()
        self.register_buffer("features", torch.as_tensor(features), persistent=False)
        self.inside = chain(inside)

    def forward(self, nodes: torch.Tensor) -> torch.Tensor:
        """Return the logits of the nodes."""
        return self.inside(self.features).index_select(0, nodes.flatten().long())


@FAMILIES.register(GCN)
def build(spec: GCN, signature: Signature) -> nn.Module:
    """Graph convolutions with a normalization, an activation, and dropout between them."""
    assert signature.graph is not None
    edges = Edges(signature.graph)
    modules: Modules = {}
    widths = [signature.features, *spec.hidden, signature.outputs]
    for i, ((fan_in, fan_out), skips) in enumerate(zip(pairwise(widths), [*spec.skips, False], strict=True)):
        hidden = i < len(spec.hidden)
        if spec.weighting == "attention":
            convolution: nn.Module = Attention(edges, fan_in, fan_out, spec.heads if hidden else 1)
        else:
            convolution = Convolution(edges, fan_in, fan_out)
        part: Modules = {f"conv_{i}": convolution}
        if hidden:
            part |= hidden_tail(spec, i, fan_out)
        modules |= {f"add_{i}": Residual(part)} if skips else part
    return NodeModel(signature.graph.features, modules)
