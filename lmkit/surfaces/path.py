"""The path of an optimizer on a surface, by NumPy or by a backend's own optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lmkit.backends import get_backend
from lmkit.specs.optimizers import SGD, Adam, AdamW
from lmkit.surfaces.base import Surface
from lmkit.surfaces.rules import update_rule

TOLERANCE, TOLERANCE_TEXT = 1e-6, "1e-6"
"""A path ends where ‖∇J‖ is at most this."""

MAX_STEPS = 10_000
"""Maximum number of steps of a path."""

MODULUS, MULTIPLIER = 2**31 - 1, 48_271
"""The generator of Park and Miller (1993), which is the same in Python and in JavaScript."""

UNIFORMS = 12
"""Uniform numbers whose sum, less half their number, stands for a normal one: mean 0, variance 1."""


@dataclass(frozen=True)
class DescentSettings:
    """What the paths of all optimizers on a surface have in common.

    Attributes:
        lr: α.
        start: θ of step 0.
        steps: maximum number of steps.
        momentum: μ of SGD, β₁ of Adam.
        noise: standard deviation of the noise that is added to each component of a step's gradient.
        batch: rows per step, where the surface has data; 0 for all of them.
        seed: of the noise and of the order of the rows.
    """

    lr: float
    start: tuple[float, float]
    steps: int
    momentum: float = 0.9
    noise: float = 0.0
    batch: int = 0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class DescentPath:
    """The path of one optimizer.

    Attributes:
        optimizer: its name.
        points: θ (steps + 1, 2), the start first.
        losses: J (steps + 1,).
        gradient_norms: ‖∇J‖₂ (steps + 1,), without noise.
        state: how it ended: at a minimum, at a saddle point, diverged, or after all steps.
        reason: the same in words.
    """

    optimizer: str
    points: np.ndarray
    losses: np.ndarray
    gradient_norms: np.ndarray
    state: Literal["converged", "saddle", "diverged", "steps"]
    reason: str

    def __repr__(self) -> str:
        return f"{self.optimizer}: J {self.losses[0]:.4g} → {self.losses[-1]:.4g}, {self.reason}"


TITLES = {"sgd": "SGD", "momentum": "momentum", "nesterov": "Nesterov", "adam": "Adam", "adamw": "AdamW"}
"""The optimizers by name, with their titles."""


def make_optimizer(name: str, lr: float, momentum: float) -> SGD | Adam | AdamW:
    """Return the specification of an optimizer of ``TITLES``; ``momentum`` is μ of SGD or β₁ of Adam.

    >>> make_optimizer("nesterov", 0.1, 0.9)
    SGD(name='sgd', lr=0.1, momentum=0.9, nesterov=True)
    """
    if name in ("adam", "adamw"):
        return (Adam if name == "adam" else AdamW)(lr=lr, beta1=momentum)
    momentum = 0.0 if name == "sgd" else momentum
    return SGD(lr=lr, momentum=momentum, nesterov=name == "nesterov" and momentum > 0)


def largest_stable_rate(name: str, curvature: float | None, momentum: float) -> float | None:
    """Return the largest α with which an optimizer converges in a direction of curvature L.

    2/L; with momentum μ, 2(1 + μ)/L; with Nesterov's, 2(1 + μ)/((1 + 2μ) L): there a root of the recurrence of the
    steps, z² = (1 + μ − αL) z − μ or z² = (1 − αL)((1 + μ) z − μ), is −1 (Polyak, 1964). None for Adam, whose steps
    do not scale with the gradient.

    >>> largest_stable_rate("momentum", 10, 0.9)
    0.38
    """
    if not curvature or name in ("adam", "adamw"):
        return None
    factor = {"sgd": 1.0, "momentum": 1 + momentum, "nesterov": (1 + momentum) / (1 + 2 * momentum)}[name]
    return 2 * factor / curvature


def descend(surface: Surface, name: str, settings: DescentSettings, *, framework: str | None = None) -> DescentPath:
    """Return the path of an optimizer.

    Args:
        surface: the surface.
        name: the optimizer's name, one of ``TITLES``.
        settings: its learning rate, start and so on.
        framework: whose own optimizer takes the steps; None for the same rule in NumPy.

    Raises:
        MissingPackage: the framework is not installed.

    >>> from lmkit.surfaces.catalogue import bowl
    >>> descend(bowl(), "sgd", DescentSettings(lr=0.5, start=(2, 1), steps=2)).points[:, 0]
    array([2. , 1. , 0.5])
    """
    point = np.array(settings.start, dtype=np.float64)
    optimizer = make_optimizer(name, settings.lr, settings.momentum)
    make_rule: Callable[..., Any] = get_backend(framework).update_rule if framework else update_rule
    rule = make_rule(optimizer, point)
    draws = uniforms(settings.seed)
    has_batches = 0 < settings.batch < surface.rows
    batches = row_batches(surface.rows, settings.batch, draws) if has_batches else None
    points, losses, norms = [], [], []
    state, reason = "", ""
    while not state:
        gradient = surface.gradient(point)
        points.append(point)
        losses.append(float(surface.loss(point)))
        with np.errstate(over="ignore", invalid="ignore"):
            norms.append(float(np.hypot(*gradient)))
        state, reason = _end(surface, points, losses[-1], norms[-1], settings.steps)
        if not state:
            if batches:
                gradient = surface.gradient(point, next(batches))
            if settings.noise:
                gradient = gradient + settings.noise * np.array([_normal(draws), _normal(draws)])
            with np.errstate(over="ignore", invalid="ignore"):
                point = rule(gradient, settings.lr)
    return DescentPath(name, np.array(points), np.array(losses), np.array(norms), state, reason)  # type: ignore[arg-type]


def _end(surface: Surface, points: list[np.ndarray], loss: float, norm: float, steps: int) -> tuple[str, str]:
    """Return the state and the reason with which a path ends at its last point; empty where it continues."""
    t, point = len(points) - 1, points[-1]
    after = f"after {t} step{'s' * (t != 1)}"
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return "diverged", f"diverged {after}: J overflows"
    for value, (low, high) in zip(point, surface.info.window, strict=True):
        if abs(value - (low + high) / 2) > surface.info.escape * (high - low) / 2:
            if surface.info.escape == 1:
                return "diverged", f"left the window {after}: what lies beyond is unknown"
            return "diverged", f"diverged {after}: θ is outside {surface.info.escape:g} times the window"
    if norm <= TOLERANCE:
        if surface.curvatures(point)[0] < 0:
            return "saddle", f"stopped {after} at a saddle point: ‖∇J‖ ≤ {TOLERANCE_TEXT}"
        return "converged", f"converged {after}: ‖∇J‖ ≤ {TOLERANCE_TEXT}"
    return ("steps", f"all {t} steps taken") if t >= steps else ("", "")


def uniforms(seed: int) -> Iterator[float]:
    """Yield numbers between 0 and 1, the same as ``descent.js`` does."""
    state = (seed % (MODULUS - 1) + 1) * MULTIPLIER % MODULUS
    while True:
        state = state * MULTIPLIER % MODULUS
        yield state / MODULUS


def _normal(draws: Iterator[float]) -> float:
    return sum(next(draws) for _ in range(UNIFORMS)) - UNIFORMS / 2


def row_batches(rows: int, size: int, draws: Iterator[float]) -> Iterator[list[int]]:
    """Yield batches of rows without end: every epoch all rows in a new order (Fisher and Yates, 1938)."""
    order = list(range(rows))
    while True:
        for last in range(rows - 1, 0, -1):
            other = math.floor(next(draws) * (last + 1))
            order[last], order[other] = order[other], order[last]
        for first in range(0, rows, size):
            yield order[first : first + size]
