"""Graph convolution and attention in plain NumPy with dense matrices: the reference for the outputs.

Written from the papers, it knows nothing of lmkit: the graph is its adjacency matrix, attention a matrix of weights
between all pairs of nodes, of which those that no edge joins are masked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy_mlp import ACTIVATIONS, Weights
from numpy_models import _norm


def adjacency(pairs: np.ndarray, nodes: int) -> np.ndarray:
    """A (nodes, nodes) of edges (2, edges), whichever way they are written."""
    A = np.zeros((nodes, nodes))
    for i, j in pairs.T:
        if i != j:
            A[i, j] = A[j, i] = 1
    return A


def propagation(A: np.ndarray) -> np.ndarray:
    """D^−½ (A+I) D^−½, D the degrees of A + I (Kipf and Welling, 2017, equation 2)."""
    looped = A + np.eye(len(A))
    root = np.diag(looped.sum(1) ** -0.5)
    return root @ looped @ root


def attention(A: np.ndarray, h: np.ndarray, sender: np.ndarray, receiver: np.ndarray) -> np.ndarray:
    """α (nodes, nodes) of one head: row i says how node i weighs the others (Veličković et al., 2018, equation 3)."""
    e = (h @ receiver)[:, None] + (h @ sender)[None, :]
    e = np.where(e > 0, e, 0.2 * e)
    e = np.where(A + np.eye(len(A)) > 0, e, -np.inf)
    powers = np.exp(e - e.max(1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(1, keepdims=True)
    return shares


def gcn(weights: Weights, X: np.ndarray, A: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """Logits (nodes, outputs) of all nodes with features ``X``."""
    act, P = ACTIVATIONS[spec["activation"]][0], propagation(A)
    for i in range(len(spec["hidden"]) + 1):
        h = X @ weights[f"conv_{i}.kernel"]
        if spec["weighting"] == "attention":
            senders, receivers = weights[f"conv_{i}.sender"], weights[f"conv_{i}.receiver"]
            heads = zip(np.split(h, len(senders), axis=1), senders, receivers, strict=True)
            z = np.hstack([attention(A, part, a, b) @ part for part, a, b in heads])
        else:
            z = P @ h
        z = z + weights[f"conv_{i}.bias"]
        if i == len(spec["hidden"]):
            return z
        if spec["normalization"] == "layer":
            z = _norm(weights, f"norm_{i}", z, "layer", 1)
        X = X + act(z) if spec["residual"] and X.shape == z.shape and i > 0 else act(z)
    raise AssertionError
