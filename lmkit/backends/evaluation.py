"""The evaluation of many rows, some at a time, divided over the processes of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Arrays = tuple[np.ndarray, ...]


class Processes(Protocol):
    """The processes that evaluate together, as the strategies know them.

    Attributes:
        rank, processes: number of this process, and of processes.
    """

    rank: int
    processes: int

    def reduce(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of an array over all processes."""


def evaluate_rows(
    rows: int, size: int, compute: Callable[[int, int], Arrays], group: Processes, *, divisible: bool = True
) -> Arrays:
    """Return arrays (rows, …) of rows in every process, of which each computes its share.

    All processes call ``compute`` equally often, for it may be a collective.

    Args:
        rows: that there are, at least one.
        size: of a slice that is computed at once, at most.
        compute: returns the arrays of the rows from one row to another.
        group: the processes.
        divisible: whether slices may be smaller; else the rows of a slice are computed with each other.
    """
    count = group.processes
    if divisible and count > 1:
        size = math.ceil(rows / (count * math.ceil(rows / (count * size))))
    pieces: list[tuple[int, Arrays]] = []
    for number in range(math.ceil(rows / (count * size))):
        begin = min((number * count + group.rank) * size, rows)
        end = min(begin + size, rows)
        arrays = compute(begin, end) if begin < end else tuple(array[:0] for array in compute(0, 1))
        pieces.append((begin, arrays))
    if count == 1:
        return tuple(np.concatenate(arrays) for arrays in zip(*(values for _, values in pieces), strict=True))
    wholes = tuple(np.zeros((rows, *array.shape[1:]), array.dtype) for array in pieces[0][1])
    for begin, arrays in pieces:
        for whole, array in zip(wholes, arrays, strict=True):
            whole[begin : begin + len(array)] = array
    return tuple(group.reduce(whole) for whole in wholes)
