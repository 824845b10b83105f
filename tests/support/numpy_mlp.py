"""A multilayer perceptron and its training in plain NumPy: the reference that the frameworks are held to.

Written from the formulas, it knows nothing of lmkit: losses from probabilities, backpropagation layer by layer
(Rumelhart, Hinton and Williams, 1986), and the update rules as published.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Weights = dict[str, np.ndarray]


def _gelu(z: np.ndarray) -> np.ndarray:
    values: np.ndarray = 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    return values


def _gelu_slope(z: np.ndarray) -> np.ndarray:
    t = np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
    slopes: np.ndarray = 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z**2)
    return slopes


def _sigmoid(z: np.ndarray) -> np.ndarray:
    shares: np.ndarray = 1 / (1 + np.exp(-z))
    return shares


ACTIVATIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "relu": (lambda z: z * (z > 0), lambda z: (z > 0).astype(z.dtype)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "gelu": (_gelu, _gelu_slope),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z))),
}


def first_weights(widths: list[int], activation: str, seed: int) -> Weights:
    """Kernels uniform in ±√(6/fan_in) before relu and gelu, in ±√(6/(fan_in+fan_out)) elsewhere; biases zero."""
    draw = np.random.default_rng([seed, 0])
    weights = {}
    for i in range(len(widths) - 1):
        rectified = activation in ("relu", "gelu") and i < len(widths) - 2
        limit = math.sqrt(6 / (widths[i] if rectified else widths[i] + widths[i + 1]))
        weights[f"dense_{i}.kernel"] = draw.uniform(-limit, limit, (widths[i], widths[i + 1]))
        weights[f"dense_{i}.bias"] = np.zeros(widths[i + 1])
    return weights


def forward(weights: Weights, X: np.ndarray, activation: str) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Logits (rows, outputs), each layer's input, and each hidden layer's sums before the activation."""
    inputs = [X]
    sums: list[np.ndarray] = []
    last = len(weights) // 2 - 1
    for i in range(last + 1):
        z = inputs[-1] @ weights[f"dense_{i}.kernel"] + weights[f"dense_{i}.bias"]
        if i == last:
            return z, inputs, sums
        sums.append(z)
        inputs.append(ACTIVATIONS[activation][0](z))
    raise AssertionError


def loss_and_slope(loss: str, z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean loss over rows, and its derivative by the logits."""
    n = len(z)
    if loss == "binary_crossentropy":
        p = _sigmoid(z)
        return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))), (p - y) / n
    if loss == "categorical_crossentropy":
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        hot = np.eye(z.shape[1], dtype=z.dtype)[y]
        return float(-np.mean(np.log(p[np.arange(n), y]))), (p - hot) / n
    return float(np.mean((z - y) ** 2)), 2 * (z - y) / z.size


def gradients(weights: Weights, X: np.ndarray, y: np.ndarray, activation: str, loss: str) -> tuple[float, Weights]:
    """The loss, and its gradient for every weight, by backpropagation."""
    z, inputs, sums = forward(weights, X, activation)
    value, delta = loss_and_slope(loss, z, y)
    found = {}
    for i in reversed(range(len(inputs))):
        found[f"dense_{i}.kernel"] = inputs[i].T @ delta
        found[f"dense_{i}.bias"] = delta.sum(axis=0)
        if i:
            delta = (delta @ weights[f"dense_{i}.kernel"].T) * ACTIVATIONS[activation][1](sums[i - 1])
    return value, found


def norm(values: Weights) -> float:
    """The Euclidean length of all values together."""
    return math.sqrt(sum(float(np.sum(v**2)) for v in values.values()))


def train(
    weights: Weights,
    X: np.ndarray,
    y: np.ndarray,
    *,
    batches: list[np.ndarray],
    rates: list[float],
    activation: str,
    loss: str,
    rule: dict[str, Any],
    clip_norm: float | None = None,
) -> tuple[np.ndarray, np.ndarray, Weights]:
    """One step θ ← θ − α∇J a batch of rows: the losses, the gradients' norms before clipping, the last weights.

    ``rule`` is an optimizer with all its numbers: sgd (momentum, nesterov), adam or adamw.
    """
    theta = {k: v.copy() for k, v in weights.items()}
    first = {k: np.zeros_like(v) for k, v in theta.items()}  # velocity, or mean of gradients
    second = {k: np.zeros_like(v) for k, v in theta.items()}  # mean of squared gradients
    losses, norms = [], []
    for t, (rows, rate) in enumerate(zip(batches, rates, strict=True), start=1):
        value, g = gradients(theta, X[rows], y[rows], activation, loss)
        losses.append(value)
        norms.append(norm(g))
        if clip_norm is not None:  # as PyTorch publishes it, with its 1e-6
            g = {k: v * min(1.0, clip_norm / (norms[-1] + 1e-6)) for k, v in g.items()}
        for k in theta:
            if rule["name"] == "sgd":
                mu = rule["momentum"]
                first[k] = mu * first[k] + g[k]
                theta[k] = theta[k] - rate * (g[k] + mu * first[k] if rule["nesterov"] else first[k])
                continue
            if rule["name"] == "adamw":
                theta[k] = theta[k] - rate * rule["weight_decay"] * theta[k]
            b1, b2 = rule["beta1"], rule["beta2"]
            first[k] = b1 * first[k] + (1 - b1) * g[k]
            second[k] = b2 * second[k] + (1 - b2) * g[k] ** 2
            m, v = first[k] / (1 - b1**t), second[k] / (1 - b2**t)
            theta[k] = theta[k] - rate * m / (np.sqrt(v) + rule["epsilon"])
    return np.array(losses), np.array(norms), theta
