"""Training rows as batches in the memory of the host: for data too large for the device, or changed anew each epoch.

Data that is small and stays as it is needs none of this: a backend keeps it on its device and gathers batches there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np


class Part(NamedTuple):
    """One part of the data.

    Attributes:
        X: (rows, …), prepared: an array, or what has a shape and a dtype and gives an array for a slice or for numbers
            of rows, such as an array mapped from a file.
        y: the target of each row: (rows, 1) for binary and regression, (rows,) numbers of classes for multiclass,
            (rows, tokens) numbers of tokens for language.
    """

    X: np.ndarray
    y: np.ndarray


EVALUATED = 2**19
"""Numbers in the rows that are evaluated at once, at most, where a batch is not more already."""


def evaluated_rows(X: np.ndarray, batch_size: int) -> int:
    """Rows of ``X`` to evaluate at once: many where they are small; fewer of tokens, each of which becomes a vector."""
    numbers = math.prod(X.shape[1:]) * (64 if X.dtype.kind in "iu" else 1)
    return max(batch_size, min(8192, EVALUATED // max(1, numbers)))


class Batches(Protocol):
    """What gives the training rows, batch by batch.

    Attributes:
        rows: of an epoch.
        count: batches of an epoch.
    """

    rows: int
    count: int

    def epoch(self, number: int, order: np.ndarray) -> None:
        """Begins the epoch ``number``, counted from 0, in which the rows come in ``order``."""

    def take(self, first: int) -> Iterator[Part]:
        """The epoch's batches from ``first`` on, each the same wherever one begins."""


Change = Callable[[Part, "np.random.Generator"], Part]
"""Makes something else of a batch, with draws from a generator: the same of the same, in every framework."""


class Gathered:
    """Batches gathered from a part that may be mapped from a file, and changed if so wished.

    Args:
        part: the training part.
        batch_size: rows a batch; the last of an epoch may have fewer.
        change: what is made of each batch.
        seed: decides what ``change`` draws.
    """

    def __init__(self, part: Part, batch_size: int, change: Change | None = None, seed: int = 0) -> None:
        self.part, self.batch_size, self.change, self.seed = part, batch_size, change, seed
        self.rows = len(part.X)
        self.count = math.ceil(self.rows / batch_size)

    def epoch(self, number: int, order: np.ndarray) -> None:
        """Begins an epoch."""
        self.number, self.order = number, order

    def take(self, first: int) -> Iterator[Part]:
        """The epoch's batches from ``first`` on."""
        import numpy as np

        for batch in range(first, self.count):
            rows = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
            part = Part(self.part.X[rows], self.part.y[rows])
            if self.change:
                part = self.change(part, np.random.default_rng([self.seed, 3, self.number, batch]))
            yield part
