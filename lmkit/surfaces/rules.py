"""The update rules of ``lmkit.specs.optimizers`` in NumPy, without a framework."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import numpy as np

from lmkit.exceptions import ConfigError
from lmkit.specs.optimizers import SGD, Adam, AdamW

Rule = Callable[[np.ndarray, float], np.ndarray]
"""A gradient and a learning rate → the next weights."""


@singledispatch
def update_rule(optimizer: Any, weights: np.ndarray) -> Rule:  # noqa: ARG001 (part of the interface)
    """Return the update rule of an optimizer, starting at ``weights`` (n,).

    Raises:
        ConfigError: it has no rule in NumPy.
    """
    raise ConfigError([f"optimizer: given {optimizer!r}, expected SGD, Adam or AdamW"])


@update_rule.register
def _sgd(optimizer: SGD, weights: np.ndarray) -> Rule:
    velocity = np.zeros_like(weights)

    def step(gradient: np.ndarray, rate: float) -> np.ndarray:
        nonlocal weights, velocity
        velocity = optimizer.momentum * velocity + gradient
        weights = weights - rate * (gradient + optimizer.momentum * velocity if optimizer.nesterov else velocity)
        return weights

    return step


@update_rule.register
def _adam(optimizer: Adam | AdamW, weights: np.ndarray) -> Rule:
    mean, square, t = np.zeros_like(weights), np.zeros_like(weights), 0
    decay = getattr(optimizer, "weight_decay", 0.0)

    def step(gradient: np.ndarray, rate: float) -> np.ndarray:
        nonlocal weights, mean, square, t
        t += 1
        weights = weights - rate * decay * weights
        mean = optimizer.beta1 * mean + (1 - optimizer.beta1) * gradient
        square = optimizer.beta2 * square + (1 - optimizer.beta2) * gradient**2
        root = np.sqrt(square / (1 - optimizer.beta2**t))
        weights = weights - rate * (mean / (1 - optimizer.beta1**t)) / (root + optimizer.epsilon)
        return weights

    return step
