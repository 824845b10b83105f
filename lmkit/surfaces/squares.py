"""Surfaces that are sums of squared residuals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lmkit.surfaces.base import Surface, SurfaceInfo

Term = tuple[float, int, int]
"""A coefficient c and the powers i and j of c xⁱ yʲ."""


class Residual(NamedTuple):
    """A polynomial of the two weights.

    Attributes:
        terms: its terms.
        stretched: whether it is multiplied by √κ, where κ is the condition number of the surface.
    """

    terms: tuple[Term, ...]
    stretched: bool = False


class SquaresSurface(Surface):
    """J = φ(s Σ rᵢ²), where every residual rᵢ is a polynomial of the two weights.

    The gradient is 2 s φ′ Σ rᵢ ∇rᵢ, and the Hessian at a stationary point 2 s φ′ Σ (∇rᵢ ∇rᵢᵀ + rᵢ ∇²rᵢ).

    Args:
        info: its name, window and defaults.
        residuals: rᵢ.
        scale: s; with ``rows`` it is 1 by the number of residuals.
        minimum: the weights of a minimum.
        condition: the condition number κ, where it can be set.
        flat: whether φ(q) = q / (1 + q), which tends to 1 far from the minimum; otherwise φ(q) = q.
        rows: whether each residual is a row of data.
    """

    def __init__(
        self,
        info: SurfaceInfo,
        residuals: Sequence[Residual],
        *,
        minimum: tuple[float, float],
        scale: float = 1.0,
        condition: float | None = None,
        flat: bool = False,
        rows: bool = False,
    ) -> None:
        super().__init__(info, len(residuals) if rows else 0, minimum)
        self.minimum: tuple[float, float] = minimum
        self.residuals = tuple(residuals)
        self.scale = 1 / len(residuals) if rows else scale
        self.condition, self.flat = condition, flat
        terms = [term for residual in residuals for term in residual.terms]
        powers = (1 + max(i for _, i, _ in terms), 1 + max(j for _, _, j in terms))
        values = np.zeros((len(residuals), *powers))  # coefficients of xⁱ yʲ
        for table, residual in zip(values, residuals, strict=True):
            for coefficient, i, j in residual.terms:
                table[i, j] += coefficient * (math.sqrt(condition) if residual.stretched and condition else 1.0)
        # the residuals and their derivatives: r, ∂₁r, ∂₂r, ∂₁∂₁r, ∂₁∂₂r, ∂₂∂₂r
        first = [_derivative(values, axis) for axis in (1, 2)]
        second = [_derivative(first[0], 1), _derivative(first[0], 2), _derivative(first[1], 2)]
        self._tables = np.stack([values, *first, *second]).reshape(6, len(residuals), -1)
        self._powers = powers

    def loss(self, points: np.ndarray) -> np.ndarray:
        """Return J (…,) at points (…, 2)."""
        x, y = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
        with np.errstate(over="ignore", invalid="ignore"):
            r = np.tensordot(self._tables[0], self._monomials(x, y), 1)  # (residuals, …)
            q = self.scale * (r * r).sum(axis=0)
            return np.asarray(q / (1 + q) if self.flat else q)

    def gradient(self, point: np.ndarray, batch: list[int] | None = None) -> np.ndarray:
        """Return ∇J (2,) at a point (2,); over the rows ``batch`` only, where the surface has data."""
        tables = self._tables[:3] if batch is None else self._tables[:3, batch]
        scale = self.scale if batch is None else 1 / len(batch)
        with np.errstate(over="ignore", invalid="ignore"):
            r, *slopes = tables @ self._monomials(*point.tolist())
            outer = 2 * scale * self._outer_slope(scale * float(r @ r))
            return np.array([outer * float(r @ slope) for slope in slopes])

    def curvatures(self, point: np.ndarray) -> np.ndarray:
        """Return the eigenvalues (2,) of the Hessian at a stationary point (2,), ascending."""
        r, r1, r2, r11, r12, r22 = self._tables @ self._monomials(*point.tolist())
        off = r1 @ r2 + r @ r12
        hessian = np.array([[r1 @ r1 + r @ r11, off], [off, r2 @ r2 + r @ r22]])
        return np.asarray(np.linalg.eigvalsh(2 * self.scale * self._outer_slope(self.scale * float(r @ r)) * hessian))

    def _monomials(self, x: Any, y: Any) -> np.ndarray:
        """Return xⁱ yʲ (i · j, …) for all powers, by multiplication, as the page does."""
        xs, ys = ([base * 0 + 1.0] for base in (x, y))
        for powers, base, size in zip((xs, ys), (x, y), self._powers, strict=True):
            while len(powers) < size:
                powers.append(powers[-1] * base)
        return np.array([a * b for a in xs for b in ys])

    def _outer_slope(self, q: float) -> float:
        """Return φ′."""
        return 1 / (1 + q) ** 2 if self.flat else 1.0

    @property
    def largest_curvature(self) -> float:
        """L, the largest eigenvalue of the Hessian at the minimum."""
        return float(self.curvatures(np.array(self.minimum, dtype=np.float64))[-1])

    def coefficients(self) -> dict[str, Any]:
        """Return plain data from which a page computes the same surface."""
        return {
            "kind": "squares",
            "residuals": [{"terms": [list(t) for t in r.terms], "stretched": r.stretched} for r in self.residuals],
            "scale": self.scale,
            "minimum": list(self.minimum),
            "condition": self.condition,
            "flat": self.flat,
        }


def _derivative(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the coefficients (n, i, j) of the derivatives by x (axis 1) or y (axis 2)."""
    moved = np.moveaxis(values, axis, -1)
    derivative = np.zeros_like(moved)
    derivative[..., :-1] = moved[..., 1:] * np.arange(1, moved.shape[-1])
    return np.moveaxis(derivative, -1, axis)
