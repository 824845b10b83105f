"""A series of any length in a bounded number of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

BUCKETS = 256
"""The maximum number of buckets of a series: one for two or three pixels of a chart."""

REDUCERS = {"low": np.fmin, "high": np.fmax, "mean": np.add, "last": None}
"""How the values of a bucket become one; missing values (NaN) do not count."""


class Column(NamedTuple):
    """One line of a chart: the column of the log, and how the values of a bucket become one."""

    name: str
    reducer: str


class DownsampledSeries:
    """Columns that grow together, one row per step or epoch, each seen through buckets of 2ᵏ rows.

    Args:
        columns: the values of a row.
        lines: the lines of a bucket, in order.

    Attributes:
        count: the number of rows.
        width: rows per bucket.
        changed: the first bucket that changed since the last ``drain``.
    """

    def __init__(self, columns: Sequence[str], lines: Sequence[Column]) -> None:
        self.lines = tuple(lines)
        self.rows = {name: np.empty(1024, dtype=np.float32) for name in columns}
        self.count = 0
        self.width = 1
        self.changed = 0

    def extend(self, n: int, values: Mapping[str, Any]) -> None:
        """Append ``n`` rows; one number stands for all of them, and an absent column is NaN."""
        end = self.count + n
        for name, rows in self.rows.items():
            if end > len(rows):
                self.rows[name] = rows = np.resize(rows, max(end, 2 * len(rows)))
            value = values.get(name)
            rows[self.count : end] = np.nan if value is None else value
        self.changed = min(self.changed, self.count // self.width)
        self.count = end
        while self.count > BUCKETS * self.width:
            self.width *= 2
            self.changed = 0

    def truncate(self, count: int) -> None:
        """Remove the rows after the first ``count``."""
        if count < self.count:
            self.count = count
            self.changed = 0

    def drain(self) -> tuple[int, np.ndarray]:
        """Return the first bucket that changed since the last call, and the buckets from it on: (lines, n), float32."""
        first = self.changed
        self.changed = self.count // self.width
        return first, self.buckets(first * self.width, self.count, self.width)

    def buckets(self, start: int, stop: int, width: int) -> np.ndarray:
        """Return the rows from ``start`` to ``stop``, ``width`` per bucket: (lines, buckets), float32."""
        starts = np.arange(start, stop, width) - start
        buckets = np.empty((len(self.lines), len(starts)), dtype=np.float32)
        for line, (name, reducer) in zip(buckets, self.lines, strict=True):
            rows = self.rows[name][start:stop]
            if not len(starts):
                continue
            combine = REDUCERS[reducer]
            if combine is None:
                line[:] = rows[np.append(starts[1:], len(rows)) - 1]
            elif reducer == "mean":
                line[:] = combine.reduceat(rows, starts, dtype=np.float64) / np.diff(np.append(starts, len(rows)))
            else:
                line[:] = combine.reduceat(rows, starts)
        return buckets

    def window(self, start: int, stop: int) -> tuple[int, int, np.ndarray]:
        """Return a range of rows as finely as ``BUCKETS`` allows: its first row, the rows per bucket, the buckets."""
        start, stop = max(0, start), min(self.count, stop)
        width = 1
        while stop - start > BUCKETS * width:
            width *= 2
        start -= start % width
        return start, width, self.buckets(start, stop, width)
