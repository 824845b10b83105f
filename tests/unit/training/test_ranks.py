"""What the processes of a run share: the clock, decisions, and who goes first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lmkit.exceptions import DataError
from lmkit.system.process_group import PeerLost, ProcessGroup, connect_pairs
from lmkit.training.ranks import ALONE, Ranks


@pytest.fixture
def ranks() -> list[Ranks]:
    return [Ranks(ProcessGroup(rank, 2, sockets, timeout=10)) for rank, sockets in enumerate(connect_pairs(2))]


def test_one_process_decides_alone() -> None:
    assert ALONE.is_first
    assert ALONE.world == 1
    assert ALONE.share({"a": 1}) == {"a": 1}
    assert ALONE.gather("x") == ["x"]
    assert ALONE.consult(2, sum_of) == 2
    with ALONE.first_alone():
        ALONE.barrier()
    assert not ALONE.is_neighbours(RuntimeError())


def sum_of(values: list[int]) -> int:
    return sum(values)


def test_all_have_the_clock_and_the_decision_of_the_first(ranks: list[Ranks]) -> None:
    def ask(one: Ranks) -> tuple[float, int, list[int], str]:
        return one.clock(), one.consult(one.rank + 1, sum_of), one.gather(one.rank), one.share(f"of {one.rank}")

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, ranks)
    assert first == second
    assert first[1:] == (3, [0, 1], "of 0")


def test_the_first_goes_alone(ranks: list[Ranks]) -> None:
    order: list[int] = []
    entered = threading.Event()

    def enter(one: Ranks) -> None:
        if one.is_first:
            entered.wait(10)
        else:
            entered.set()
        with one.first_alone():
            order.append(one.rank)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(enter, ranks))
    assert order == [0, 1]


def test_whose_fault_an_error_is(ranks: list[Ranks]) -> None:
    assert ranks[0].is_neighbours(PeerLost(1, "is gone"))
    assert not ranks[0].is_neighbours(DataError("of this process"))
    ranks[1].close()
    assert ranks[0].is_neighbours(RuntimeError("Connection closed by peer"))
