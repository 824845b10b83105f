"""The surfaces that are selected by name, each of which teaches one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lmkit.exceptions import ConfigError, DataError, nearest, shorten
from lmkit.surfaces.base import Surface, SurfaceInfo
from lmkit.surfaces.squares import Residual, SquaresSurface

X = Residual(((1.0, 1, 0),))
Y = Residual(((1.0, 0, 1),))

CONDITIONS = (1.0, 1000.0)
"""The range of the condition number κ."""

MAX_ROWS = 500
"""Maximum number of rows of a regression."""


def bowl() -> SquaresSurface:
    """J = ½ (θ₁² + θ₂²)."""
    info = SurfaceInfo(
        "bowl",
        "Round bowl",
        "All directions are equally steep, so −∇J points to the minimum. α = 1 reaches it in a single step; above "
        "α = 2 every step overshoots by more than the last one.",
        ((-3, 3), (-3, 3)),
        (-2.4, 1.6),
        0.1,
    )
    return SquaresSurface(info, (X, Y), scale=0.5, minimum=(0, 0))


def ravine(condition: float = 25.0) -> SquaresSurface:
    """J = ½ (θ₁² + κ θ₂²), with the condition number κ."""
    info = SurfaceInfo(
        "ravine",
        "Ravine",
        "One direction is κ times as steep as the other and limits α; along the floor, steps are then short. "
        "Momentum averages the zigzag away.",
        ((-3, 3), (-3, 3)),
        (-2.5, 1.2),
        0.07,
    )
    return SquaresSurface(
        info, (X, Y._replace(stretched=True)), scale=0.5, minimum=(0, 0), condition=check_condition(condition)
    )


def saddle() -> SquaresSurface:
    """J = ½ θ₁² + ¼ (θ₂² − 1)²: a saddle point at (0, 0) between the minima (0, ±1)."""
    info = SurfaceInfo(
        "saddle",
        "Saddle",
        "Near the saddle point the gradient almost vanishes, and J seems to have converged. A start exactly on the "
        "ridge θ₂ = 0 stays there; noise leaves it.",
        ((-2.5, 2.5), (-2.5, 2.5)),
        (-2.0, 0.01),
        0.1,
    )
    wells = Residual(((0.5, 0, 2), (-0.5, 0, 0)))
    return SquaresSurface(info, (Residual(((np.sqrt(0.5).item(), 1, 0),)), wells), minimum=(0, 1))


def rosenbrock() -> SquaresSurface:
    """J = (1 − θ₁)² + 100 (θ₂ − θ₁²)² (Rosenbrock, 1960)."""
    info = SurfaceInfo(
        "rosenbrock",
        "Rosenbrock's valley",
        "The valley is curved: its floor is reached at once, the minimum (1, 1) only after thousands of steps, as "
        "the steep walls limit α.",
        ((-2, 2), (-1, 3)),
        (-1.2, 1.0),
        0.0008,
        2000,
    )
    curve = Residual(((10.0, 0, 1), (-10.0, 2, 0)))
    return SquaresSurface(info, (Residual(((1.0, 0, 0), (-1.0, 1, 0))), curve), minimum=(1, 1))


def beale() -> SquaresSurface:
    """J = Σ (cₖ − θ₁ + θ₁ θ₂ᵏ)² for k = 1, 2, 3 and c = 1.5, 2.25, 2.625 (Beale, 1958)."""
    info = SurfaceInfo(
        "beale",
        "Beale's surface",
        "Steep walls beside flat ground: an α that suits the one does not suit the other. Adam divides by the size of "
        "recent gradients and keeps its pace.",
        ((-1, 4.5), (-2, 2)),
        (0.5, 1.2),
        0.01,
        500,
    )
    residuals = [Residual(((c, 0, 0), (-1.0, 1, 0), (1.0, 1, k))) for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
    return SquaresSurface(info, residuals, minimum=(3, 0.5))


def plateau() -> SquaresSurface:
    """J = q / (1 + q) with q = ½ (θ₁² + θ₂²)."""
    info = SurfaceInfo(
        "plateau",
        "Plateau",
        "Far from the minimum the gradient vanishes, as behind a saturated activation: plain steps are tiny, and "
        "momentum gathers speed. Adam does not depend on the size of the gradient.",
        ((-7, 7), (-7, 7)),
        (-5.0, 3.0),
        0.5,
    )
    return SquaresSurface(info, (X, Y), scale=0.5, minimum=(0, 0), flat=True)


def regression(data: Any = None) -> SquaresSurface:
    """J = 1/n Σ (w xᵢ + b − yᵢ)², the mean squared error of a line.

    Args:
        data: x and y, of at most ``MAX_ROWS`` values each; none: the body-mass index and the progression of the
            diabetes of 40 patients, both scaled to the range from 0 to 1 (Efron et al., 2004).

    Raises:
        DataError: they are not two columns of finite numbers of the same length, x is constant, or J overflows.
    """
    x, y = _diabetes() if data is None else _columns(data)
    design = np.stack([x, np.ones_like(x)], axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        solution, *_ = np.linalg.lstsq(design, y, rcond=None)
        spread = max(float(np.std(y)), 1e-3 * float(np.abs(y).max()), 1e-12)
        slope = 2.5 * spread / float(np.sqrt(np.mean(x * x)))
    w, b = solution.tolist()
    window = ((w - slope, w + slope), (b - 2.5 * spread, b + 2.5 * spread))
    residuals = [
        Residual(((a, 1, 0), (1.0, 0, 1), (-target, 0, 0))) for a, target in zip(x.tolist(), y.tolist(), strict=True)
    ]
    start = (float(f"{w - 0.8 * slope:.2g}"), float(f"{b + 1.8 * spread:.2g}"))
    info = SurfaceInfo(
        "regression",
        "Linear regression",
        "Each point (w, b) of the surface is a line through the data. Click a row to remove it: the surface and its "
        "minimum move. As x is not centered, w and b depend on each other, and the surface is a tilted ravine.",
        window,
        start,
        0.1,
        500,
        ("w", "b"),
    )
    surface = SquaresSurface(info, residuals, minimum=(w, b), rows=True)
    corners = surface.loss(np.array([(a, c) for a in window[0] for c in window[1]]))
    if not (np.isfinite(corners).all() and np.isfinite(surface.largest_curvature) and slope > 0):
        raise DataError("data: the squared error overflows; standardize x and y to mean 0 and variance 1")
    info = replace(info, lr=float(f"{0.5 / surface.largest_curvature:.1g}"))
    return SquaresSurface(info, residuals, minimum=(w, b), rows=True)


def _diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Return body-mass index and progression of every eleventh patient, scaled to the range from 0 to 1."""
    from sklearn.datasets import load_diabetes

    source = load_diabetes()
    columns = (source.data[::11, 2][:40], source.target[::11][:40])
    x, y = ((c - c.min()) / np.ptp(c) for c in columns)
    return np.round(x, 3), np.round(y, 3)


def _columns(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return two columns of numbers."""
    expected = f"two columns x and y of 2 to {MAX_ROWS} numbers each, such as data=([0, 1, 2], [1, 3, 5])"
    try:
        x, y = (np.asarray(column, dtype=np.float64) for column in data)
    except (TypeError, ValueError):
        raise DataError(f"data: given {shorten(data)}, expected {expected}") from None
    if x.ndim != 1 or x.shape != y.shape or not 2 <= len(x) <= MAX_ROWS:
        raise DataError(f"data: given arrays of shapes {x.shape} and {y.shape}, expected {expected}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError(f"data: given values that are not finite, expected {expected}")
    if not np.ptp(x):
        raise DataError("data: all values of x are equal, so that no line is better than all others; vary x")
    return x, y


SURFACES: dict[str, Callable[..., SquaresSurface]] = {
    f.__name__: f for f in (bowl, ravine, saddle, rosenbrock, beale, plateau, regression)
}
"""Name → the function that returns the surface."""


def check_condition(condition: Any) -> float:
    """Return a condition number κ.

    Raises:
        ConfigError: it is no number in ``CONDITIONS``.
    """
    low, high = CONDITIONS
    if isinstance(condition, bool) or not isinstance(condition, int | float) or not low <= condition <= high:
        raise ConfigError([f"condition: given {shorten(condition)}, expected a number from {low:g} to {high:g}"])
    return float(condition)


def find_surface(surface: Any, *, condition: float | None = None, data: Any = None) -> Surface:
    """Return a surface by its name, or one as it is.

    Args:
        surface: a name of ``SURFACES``; a surface; or what has one, such as the landscape of a run.
        condition: the condition number of the ravine.
        data: x and y of the regression.

    Raises:
        ConfigError: there is none of this name, or it has no condition number or no data.
        DataError: the data cannot be used.

    >>> find_surface("ravine", condition=16).largest_curvature
    16.0
    """
    surface = getattr(surface, "surface", surface)
    options = {"condition": condition, "data": data}
    owners = {"condition": "ravine", "data": "regression"}
    options = {name: value for name, value in options.items() if value is not None}
    name = surface.info.name if isinstance(surface, Surface) else surface
    for option in options:
        if isinstance(surface, Surface) or name != owners[option]:
            raise ConfigError([f"{option}: {name} has none; use it with surface={owners[option]!r}"])
    if isinstance(surface, Surface):
        return surface
    if surface not in SURFACES:
        raise ConfigError([f"surface: given {shorten(surface)}, {nearest(str(surface), SURFACES)}"])
    return SURFACES[surface](**options)
