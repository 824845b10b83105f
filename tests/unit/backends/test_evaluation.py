"""The evaluation of rows, divided over processes that are threads here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lmkit.backends.evaluation import evaluate_rows
from lmkit.system.process_group import ProcessGroup, connect_pairs

VALUES = np.arange(44.0).reshape(22, 2)


class Member:
    """One process, which notes the rows that it computes."""

    def __init__(self, group: ProcessGroup | None, rank: int = 0, processes: int = 1) -> None:
        self.group, self.rank, self.processes = group, rank, processes
        self.calls: list[tuple[int, int]] = []

    def reduce(self, values: np.ndarray) -> np.ndarray:
        return self.group.sum(values) if self.group else values

    def compute(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        self.calls.append((begin, end))
        return VALUES[begin:end], VALUES[begin:end, 0].astype(np.float32)


def evaluate(processes: int, rows: int, size: int, *, divisible: bool = True) -> list[list[tuple[int, int]]]:
    """Return the calls of each process; all of them get the whole arrays."""
    members = [
        Member(ProcessGroup(rank, processes, sockets, timeout=10), rank, processes)
        for rank, sockets in enumerate(connect_pairs(processes))
    ]
    with ThreadPoolExecutor(processes) as pool:
        results = list(pool.map(lambda m: evaluate_rows(rows, size, m.compute, m, divisible=divisible), members))
    for first, second in results:
        np.testing.assert_array_equal(first, VALUES[:rows])
        np.testing.assert_array_equal(second, VALUES[:rows, 0])
        assert second.dtype == np.float32
    return [member.calls for member in members]


def test_each_process_computes_its_share() -> None:
    assert evaluate(2, 22, 100) == [[(0, 11)], [(11, 22)]]
    assert evaluate(2, 22, 8) == [[(0, 6), (12, 18)], [(6, 12), (18, 22)]]
    assert evaluate(1, 22, 8) == [[(0, 8), (8, 16), (16, 22)]]


@pytest.mark.parametrize("rows", [1, 2, 7, 13, 22])
def test_all_call_equally_often_though_some_have_no_rows(rows: int) -> None:
    calls = evaluate(3, rows, 4)
    assert len({len(some) for some in calls}) == 1
    assert all(end > begin for some in calls for begin, end in some)


def test_slices_that_belong_together_are_not_divided() -> None:
    assert evaluate(2, 22, 8, divisible=False) == [[(0, 8), (16, 22)], [(8, 16), (0, 1)]]
