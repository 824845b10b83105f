"""Training batches in host memory: for data too large for the device, or augmented in each epoch.

Small, unchanging data needs no batches of this module: a backend holds it on the device and gathers batches there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np


class Part(NamedTuple):
    """One part of the data.

    Attributes:
        X: (rows, …), prepared: an array, or an object with a shape and a dtype that returns an array for a slice or for
            row indices, such as an array mapped from a file.
        y: the target of each row: (rows, 1) for binary and regression, (rows,) class indices for multiclass,
            (rows, tokens) tokens for language.
    """

    X: np.ndarray
    y: np.ndarray


EVALUATION_NUMBERS = 2**19
"""Numbers in a batch of evaluation at most, unless a training batch has more."""


def evaluation_batch_size(row_shape: Sequence[int], batch_size: int, *, has_tokens: bool) -> int:
    """Return the rows to evaluate at once: many small rows; fewer rows of tokens, each of which becomes a vector.

    Args:
        row_shape: of a row.
        batch_size: of training, which is the minimum.
        has_tokens: whether rows are integers.
    """
    numbers = math.prod(row_shape) * (64 if has_tokens else 1)
    return max(batch_size, min(8192, EVALUATION_NUMBERS // max(1, numbers)))


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Steps that take every row once.

    >>> steps_per_epoch(100, 32)
    4
    """
    return math.ceil(rows / batch_size)


class Batches(Protocol):
    """A source of training batches.

    Attributes:
        rows: rows per epoch.
        count: batches per epoch.
    """

    rows: int
    count: int

    def epoch(self, number: int, order: np.ndarray) -> None:
        """Begin the epoch ``number``, counted from 0, with the rows in ``order``."""

    def take(self, first: int) -> Iterator[Part]:
        """Iterate over the batches of the epoch from ``first`` on; a batch does not depend on ``first``."""


class TimedBatches:
    """Batches, and how long their taker waits for them; every other attribute is that of the batches themselves.

    Attributes:
        seconds: waited so far.
        count_taken: batches so far.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.seconds, self.count_taken = 0.0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)

    def take(self, first: int) -> Iterator[Part]:
        """Iterate over the batches of the epoch from ``first`` on."""
        batches = self.batches.take(first)
        while True:
            begin = time.perf_counter()
            batch = next(batches, None)
            self.seconds += time.perf_counter() - begin
            if batch is None:
                return
            self.count_taken += 1
            yield batch


Change = Callable[[Part, "np.random.Generator"], Part]
"""A function that changes a batch, with a generator that determines its draws; the same in every framework."""


class GatheredBatches:
    """Batches gathered from a part, which may be mapped from a file, and optionally changed.

    Args:
        part: the training part.
        batch_size: rows per batch; the last batch of an epoch may have fewer.
        change: applied to each batch.
        seed: the seed of the draws of ``change``.
    """

    def __init__(self, part: Part, batch_size: int, change: Change | None = None, seed: int = 0) -> None:
        self.part, self.batch_size, self.change, self.seed = part, batch_size, change, seed
        self.rows = len(part.X)
        self.count = steps_per_epoch(self.rows, batch_size)

    def epoch(self, number: int, order: np.ndarray) -> None:
        """Begin an epoch."""
        self.number, self.order = number, order

    def take(self, first: int) -> Iterator[Part]:
        """Iterate over the batches of the epoch from ``first`` on."""
        import numpy as np

        for batch in range(first, self.count):
            rows = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
            part = Part(self.part.X[rows], self.part.y[rows])
            if self.change:
                part = self.change(part, np.random.default_rng([self.seed, 3, self.number, batch]))
            yield part
