"""The interface of a surface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lmkit.exceptions import ConfigError, shorten

Interval = tuple[float, float]


@dataclass(frozen=True)
class SurfaceInfo:
    """What is said of a surface, and where a path on it begins.

    Attributes:
        name: by which it is selected.
        title: its heading.
        lesson: what it shows, in a sentence or two.
        window: the drawn interval of each weight.
        start: the default start.
        lr: the default learning rate.
        steps: the default number of steps.
        axes: the names of the weights.
        call: the code that returns it; empty for a surface that is selected by its name.
        escape: a path has diverged once it is outside the window enlarged by this factor.
    """

    name: str
    title: str
    lesson: str
    window: tuple[Interval, Interval]
    start: tuple[float, float]
    lr: float
    steps: int = 200
    axes: tuple[str, str] = ("θ₁", "θ₂")
    escape: float = 10.0
    call: str = ""


class Surface(ABC):
    """A loss J over two weights θ.

    Attributes:
        info: its name, window and defaults.
        rows: number of rows of which the loss is the mean; 0 where it has no data.
        minimum: the weights of a minimum; None where it is unknown.
    """

    def __init__(self, info: SurfaceInfo, rows: int = 0, minimum: tuple[float, float] | None = None) -> None:
        self.info, self.rows, self.minimum = info, rows, minimum

    @abstractmethod
    def loss(self, points: np.ndarray) -> np.ndarray:
        """Return J (…,) at points (…, 2)."""

    @abstractmethod
    def gradient(self, point: np.ndarray, batch: list[int] | None = None) -> np.ndarray:
        """Return ∇J (2,) at a point (2,); over the rows ``batch`` only, where the surface has data."""

    @abstractmethod
    def curvatures(self, point: np.ndarray) -> np.ndarray:
        """Return the eigenvalues (2,) of the Hessian at a stationary point (2,), ascending."""

    @property
    @abstractmethod
    def largest_curvature(self) -> float | None:
        """L, the largest eigenvalue of the Hessian at the minimum; None where it is unknown."""

    @abstractmethod
    def coefficients(self) -> dict[str, Any]:
        """Return plain data from which a page computes the same surface."""

    def to_page(self) -> dict[str, Any]:
        """Return everything that a page needs, as plain data."""
        return asdict(self.info) | {"rows": self.rows} | self.coefficients()

    def check_start(self, start: Any) -> tuple[float, float]:
        """Return a start as two numbers inside the window; None stands for the default.

        Raises:
            ConfigError: it is not two numbers, or outside.
        """
        (left, right), (bottom, top) = self.info.window
        first, second = self.info.axes
        limits = f"{left:g} ≤ {first} ≤ {right:g} and {bottom:g} ≤ {second} ≤ {top:g}"
        try:
            x, y = map(float, self.info.start if start is None else start)
        except (TypeError, ValueError):
            raise ConfigError([f"start: given {shorten(start)}, expected two numbers, {limits}"]) from None
        if not (left <= x <= right and bottom <= y <= top):
            raise ConfigError([f"start: given ({x:g}, {y:g}), expected a point of {self.info.name}: {limits}"])
        return x, y

    def grid(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return n values of each weight over the window, and J (n, n), with a row per value of the second weight."""
        x, y = (np.linspace(*interval, n) for interval in self.info.window)
        return x, y, self.loss(np.stack(np.meshgrid(x, y), axis=-1))
