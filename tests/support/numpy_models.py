"""Residual perceptrons and convolutional networks in plain NumPy and SciPy: the reference for the outputs.

Written from the definitions, it knows nothing of lmkit: a convolution is ``scipy.signal.correlate`` of each channel
with its window. Slopes are taken by central differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy_mlp import ACTIVATIONS, Weights
from scipy.signal import correlate


def _normalized(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    values: np.ndarray = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    return values


def _norm(weights: Weights, name: str, x: np.ndarray, kind: str, groups: int) -> np.ndarray:
    """(rows, …, channels): over the channels of a place, or over a group of channels at all places."""
    if kind == "layer":
        x = _normalized(x, (-1,))
    else:
        apart = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
        x = _normalized(apart, (1, 3)).reshape(x.shape)
    return x * weights[f"{name}.gamma"] + weights[f"{name}.beta"]


def _convolution(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """(rows, …, inputs) → (rows, …, outputs) with zeros around; a kernel is (…, inputs, outputs)."""
    kernel = weights[f"{name}.kernel"]
    out = np.zeros((*x.shape[:-1], kernel.shape[-1]))
    for row, o, i in np.ndindex(len(x), kernel.shape[-1], kernel.shape[-2]):
        out[row, ..., o] += correlate(x[row, ..., i], kernel[..., i, o], mode="same", method="direct")
    return out + weights[f"{name}.bias"]


def _pool(x: np.ndarray, kind: str) -> np.ndarray:
    """Halves every side; what is left over at the end of an odd one is dropped."""
    for axis in range(1, x.ndim - 1):
        half = x.shape[axis] // 2
        pair = np.stack([x.take(range(start, 2 * half, 2), axis) for start in (0, 1)])
        x = pair.max(0) if kind == "max" else pair.mean(0)
    return x


def mlp(weights: Weights, X: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """Logits of a perceptron with normalization and residual layers."""
    act, x = ACTIVATIONS[spec["activation"]][0], X
    for i in range(len(spec["hidden"])):
        z = x @ weights[f"dense_{i}.kernel"] + weights[f"dense_{i}.bias"]
        if spec["normalization"] == "layer":
            z = _norm(weights, f"norm_{i}", z, "layer", 1)
        skips = spec["residual"] and i > 0 and spec["hidden"][i] == spec["hidden"][i - 1]
        x = x + act(z) if skips else act(z)
    last = len(spec["hidden"])
    return x @ weights[f"dense_{last}.kernel"] + weights[f"dense_{last}.bias"]


def cnn(weights: Weights, X: np.ndarray, spec: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """Logits of a convolutional network over flat rows of ``shape``."""
    act, x, n = ACTIVATIONS[spec["activation"]][0], X.reshape(len(X), *shape), 0
    for i in range(len(spec["channels"])):
        before = x
        for _ in range(spec["convolutions"]):
            x = _convolution(weights, f"conv_{n}", x)
            if spec["normalization"] != "none":
                x = _norm(weights, f"norm_{n}", x, spec["normalization"], spec["groups"])
            x, n = act(x), n + 1
        if spec["residual"]:
            x = x + (_convolution(weights, f"shortcut_{i}", before) if f"shortcut_{i}.kernel" in weights else before)
        if spec["pooling"] != "none":
            x = _pool(x, spec["pooling"])
    x = x.reshape(len(x), -1) if spec["gather"] == "flatten" else x.reshape(len(x), -1, x.shape[-1]).mean(1)
    for j in range(len(spec["dense"])):
        x = act(x @ weights[f"dense_{j}.kernel"] + weights[f"dense_{j}.bias"])
    last = len(spec["dense"])
    return x @ weights[f"dense_{last}.kernel"] + weights[f"dense_{last}.bias"]


def slope(
    f: Callable[[Weights], float], weights: Weights, name: str, direction: np.ndarray, step: float = 1e-5
) -> float:
    """The derivative of ``f`` as one weight moves along ``direction``, by central differences of fourth order."""

    def at(t: float) -> float:
        return f({**weights, name: weights[name] + t * direction})

    return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
