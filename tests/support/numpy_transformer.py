"""Transformers in plain NumPy: the reference for the outputs.

Written from the definitions, place by place and head by head, it knows nothing of lmkit: rotary positions are
multiplications of complex numbers, patches are cut out one by one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy_mlp import Weights


def _dense(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    return x @ weights[f"{name}.kernel"] + weights.get(f"{name}.bias", 0.0)


def _norm(weights: Weights, name: str, x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "layer":
        x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
    return x * weights[f"{name}.gamma"] + weights.get(f"{name}.beta", 0.0)


def _turned(x: np.ndarray) -> np.ndarray:
    """(places, size): numbers j and size/2 + j of place t are one complex number, times e^(i t 10000^(−2j/size))."""
    places, size = x.shape
    z = x[:, : size // 2] + 1j * x[:, size // 2 :]
    rates = np.array([10000.0 ** (-2 * j / size) for j in range(size // 2)])
    z = z * np.exp(1j * np.arange(places)[:, None] * rates)
    return np.concatenate([z.real, z.imag], axis=1)


def _attention(x: np.ndarray, heads: int, groups: int, causal: bool, rotary: bool) -> np.ndarray:
    """(places, queries | keys | values) → (places, width)."""
    size = x.shape[1] // (heads + 2 * groups)
    parts = [x[:, i * size : (i + 1) * size] for i in range(heads + 2 * groups)]
    out = []
    for h in range(heads):
        group = h // (heads // groups)
        q, k, v = parts[h], parts[heads + group], parts[heads + groups + group]
        if rotary:
            q, k = _turned(q), _turned(k)
        mixed = np.empty_like(v)
        for t in range(len(x)):
            seen = t + 1 if causal else len(x)
            shares = np.exp(k[:seen] @ q[t] / math.sqrt(size))
            mixed[t] = (shares / shares.sum()) @ v[:seen]
        out.append(mixed)
    return np.concatenate(out, axis=1)


def _patches(image: np.ndarray, side: int) -> np.ndarray:
    """(height, width, channels) or (length, channels) → (patches, numbers)."""
    starts = [range(0, n, side) for n in image.shape[:-1]]
    if image.ndim == 2:
        return np.array([image[i : i + side].ravel() for i in starts[0]])
    return np.array([image[i : i + side, j : j + side].ravel() for i in starts[0] for j in starts[1]])


def _gelu(x: np.ndarray) -> np.ndarray:
    values: np.ndarray = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return values


def transformer(
    weights: Weights, X: np.ndarray, spec: dict[str, Any], shape: tuple[int, ...], language: bool = False
) -> np.ndarray:
    """Logits: of tokens (rows, length), or of flat rows of ``shape``; (rows, outputs), for a language at each place."""
    heads, rows = spec["heads"], []
    for row in X:
        if X.dtype.kind == "i":
            x = weights["embed.embeddings"][row]
        else:
            x = _dense(weights, "embed", _patches(row.reshape(shape), spec["patch"]))
        if spec["positions"] == "learned":
            x = x + weights["positions.embeddings"][: len(x)]
        for i in range(spec["depth"]):
            z = _dense(weights, f"qkv_{i}", _norm(weights, f"norm_{2 * i}", x, spec["normalization"]))
            z = _attention(z, heads, spec["kv_heads"] or heads, language, spec["positions"] == "rotary")
            x = x + _dense(weights, f"project_{i}", z)
            z = _dense(weights, f"up_{i}", _norm(weights, f"norm_{2 * i + 1}", x, spec["normalization"]))
            if spec["activation"] == "swiglu":
                a, b = z[:, : z.shape[1] // 2], z[:, z.shape[1] // 2 :]
                z = a / (1 + np.exp(-a)) * b
            else:
                z = _gelu(z)
            x = x + _dense(weights, f"down_{i}", z)
        x = _norm(weights, f"norm_{2 * spec['depth']}", x, spec["normalization"])
        if language and spec["tied"]:
            rows.append(x @ weights["embed.embeddings"].T)
        else:
            rows.append(_dense(weights, "output", x if language else x.mean(0)))
    return np.array(rows)
