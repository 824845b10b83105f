"""A plane through the weights of a model, whose losses are computed point by point, a coarse grid first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lmkit.display.progress_line import describe_progress
from lmkit.surfaces.base import Interval

SIZES = (6, 11, 21, 41)
"""Points per side: each grid has those of the one before, and the points between them."""


@dataclass(kw_only=True)
class Slice:
    """A plane, and the losses in it that were computed so far.

    Attributes:
        plane_text: the plane in words.
        end: (weights,), what lies at (0, 0).
        plane: (2, weights), the two directions.
        window: the interval along each direction.
        start: where a descent begins.
        path: (copies, 2), the path of the run in the plane.
        steps: (copies,), the steps after which the weights were copied.
        path_losses: (copies,), the losses there.
        explained: the share of the path's variance that lies in the plane; None without a path.
        losses: row and column of the finest grid → the loss there.
    """

    plane_text: str
    end: np.ndarray
    plane: np.ndarray
    window: tuple[Interval, Interval]
    start: tuple[float, float]
    path: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    steps: np.ndarray = field(default_factory=lambda: np.zeros(0))
    path_losses: np.ndarray = field(default_factory=lambda: np.zeros(0))
    explained: float | None = None
    losses: dict[tuple[int, int], float] = field(default_factory=dict)

    def compute(
        self,
        size: int,
        loss: Callable[[np.ndarray], float],
        show: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> tuple[np.ndarray, str]:
        """Return losses (n, n), and a note where an interrupt has left a coarser grid than asked for.

        Losses stay, so that the next call goes on with the missing ones.

        Args:
            size: points per side, of ``SIZES``.
            loss: returns the loss at weights (weights,).
            show: shows progress; what it raises ends the computation.
            clock: returns seconds.

        Raises:
            KeyboardInterrupt: it was interrupted before the coarsest grid was complete.
        """
        complete = np.zeros((0, 0))
        x, y = (np.linspace(low, high, SIZES[-1]) for low, high in self.window)
        begin, earlier = clock(), len(self.losses)
        remaining = sum(cell not in self.losses for cell in _cells(size))
        try:
            for n in (s for s in SIZES if s <= size):
                for row, column in _cells(n):
                    if (row, column) in self.losses:
                        continue
                    count = len(self.losses) - earlier
                    show(describe_progress(count, remaining, "losses", clock() - begin))
                    weights = self.end + x[column] * self.plane[0] + y[row] * self.plane[1]
                    self.losses[row, column] = loss(weights)
                complete = np.array([self.losses[cell] for cell in _cells(n)]).reshape(n, n)
        except KeyboardInterrupt:
            if not len(complete):
                raise
            return complete, f"interrupted: {len(complete)} × {len(complete)} points; the same call goes on"
        return complete, ""


def _cells(size: int) -> list[tuple[int, int]]:
    """Return rows and columns of a grid on the finest one."""
    every = (SIZES[-1] - 1) // (size - 1)
    return [(row * every, column * every) for row in range(size) for column in range(size)]
