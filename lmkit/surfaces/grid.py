"""A surface that is known at the points of a grid, such as a slice through the loss of a run."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from lmkit.exceptions import DataError
from lmkit.surfaces.base import Surface, SurfaceInfo


class GridSurface(Surface):
    """Losses on an equidistant grid over the window, interpolated by cubic convolution (Keys, 1981).

    The interpolation has a continuous gradient, and reproduces polynomials up to the second degree away from the edge.
    Beyond the edge, J is that of the nearest point of it.

    Args:
        info: its name, window and defaults.
        losses: J (rows, columns), with a row per value of the second weight; at least 2 × 2.
        trace: points (n, 2) that a page shows as a line, such as the path of a run.

    Raises:
        DataError: a loss is not finite.
    """

    def __init__(self, info: SurfaceInfo, losses: np.ndarray, trace: np.ndarray | None = None) -> None:
        if not np.isfinite(losses).all():
            bad = int((~np.isfinite(losses)).sum())
            raise DataError(f"the loss overflows at {bad} of {losses.size} points; draw a smaller slice: span=0.3")
        row, column = np.unravel_index(int(losses.argmin()), losses.shape)
        self.axes = [np.linspace(*interval, n) for interval, n in zip(info.window, reversed(losses.shape), strict=True)]
        super().__init__(info, 0, (float(self.axes[0][column]), float(self.axes[1][row])))
        self.losses = np.asarray(losses, dtype=np.float64)
        self.trace = [] if trace is None else trace.tolist()
        self._padded = _extend(_extend(self.losses).T).T
        self.steps = [float(axis[1] - axis[0]) for axis in self.axes]

    def loss(self, points: np.ndarray) -> np.ndarray:
        """Return J (…,) at points (…, 2)."""
        points = np.asarray(points, dtype=np.float64)
        flat = [self._interpolate(p)[0] for p in points.reshape(-1, 2)]
        return np.array(flat).reshape(points.shape[:-1])

    def gradient(self, point: np.ndarray, batch: list[int] | None = None) -> np.ndarray:  # noqa: ARG002 (part of the interface)
        """Return ∇J (2,) at a point (2,)."""
        return np.array(self._interpolate(point)[1:])

    def _interpolate(self, point: np.ndarray) -> tuple[float, float, float]:
        """Return J and its two derivatives."""
        first, values, slopes = [], [], []
        for position, axis, step in zip(point.tolist(), self.axes, self.steps, strict=True):
            u = (position - float(axis[0])) / step if np.isfinite(position) else 0.0
            u = min(max(u, 0.0), len(axis) - 1.0)
            i = min(int(u), len(axis) - 2)
            value, slope = _cubic(u - i)
            first.append(i)
            values.append(value)
            slopes.append(slope / step)
        patch = self._padded[first[1] : first[1] + 4, first[0] : first[0] + 4]
        by_x, by_y = values[1] @ patch, patch @ values[0]
        return float(by_x @ values[0]), float(by_x @ slopes[0]), float(slopes[1] @ by_y)

    def curvatures(self, point: np.ndarray) -> np.ndarray:
        """Return the eigenvalues (2,) of the Hessian, by differences of the gradient over half a cell."""
        columns = []
        for k, step in enumerate(self.steps):
            shift = np.eye(2)[k] * step / 2
            columns.append((self.gradient(point + shift) - self.gradient(point - shift)) / step)
        hessian = np.array(columns)
        return np.asarray(np.linalg.eigvalsh((hessian + hessian.T) / 2))

    @cached_property
    def largest_curvature(self) -> float | None:
        """L, the largest curvature at a point of the grid; None where it is not positive."""
        points = np.stack(np.meshgrid(*self.axes), axis=-1).reshape(-1, 2)
        curvature = max(float(self.curvatures(point)[-1]) for point in points)
        return curvature if curvature > 0 else None

    def coefficients(self) -> dict[str, Any]:
        """Return plain data from which a page computes the same surface."""
        return {"kind": "grid", "losses": self.losses.tolist(), "minimum": self.minimum, "trace": self.trace}


def _extend(table: np.ndarray) -> np.ndarray:
    """Return a table with a row more at both ends, on the straight line through the last two."""
    return np.concatenate([[2 * table[0] - table[1]], table, [2 * table[-1] - table[-2]]])


def _cubic(t: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights (4,) of four neighbours, at −1, 0, 1 and 2, for a position t, and their derivatives."""
    values = np.array(
        [
            ((-0.5 * t + 1) * t - 0.5) * t,
            (1.5 * t - 2.5) * t * t + 1,
            ((-1.5 * t + 2) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t,
        ]
    )
    slopes = np.array(
        [
            (-1.5 * t + 2) * t - 0.5,
            (4.5 * t - 5) * t,
            (-4.5 * t + 4) * t + 0.5,
            (1.5 * t - 1) * t,
        ]
    )
    return values, slopes
