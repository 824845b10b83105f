"""Groups of processes, as threads of this one: broadcast, gather, sums in the order of the ranks, and lost members."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pytest

from lmkit.system.process_group import GroupError, PeerLost, ProcessGroup, connect, connect_pairs, local_part

T = TypeVar("T")


def in_all(groups: list[ProcessGroup], call: Callable[[ProcessGroup], T]) -> list[T]:
    """Call a function for every member of a group at once; return what each gives."""
    with ThreadPoolExecutor(len(groups)) as pool:
        return list(pool.map(call, groups))


@pytest.fixture
def groups() -> list[ProcessGroup]:
    return [ProcessGroup(rank, 3, sockets, timeout=5) for rank, sockets in enumerate(connect_pairs(3))]


def test_all_receive_the_message_of_the_first(groups: list[ProcessGroup]) -> None:
    assert in_all(groups, lambda group: group.broadcast(str(group.rank).encode())) == [b"0", b"0", b"0"]


def test_the_first_receives_the_messages_of_all(groups: list[ProcessGroup]) -> None:
    assert in_all(groups, lambda group: group.gather(str(group.rank).encode())) == [[b"0", b"1", b"2"], [], []]
    in_all(groups, ProcessGroup.barrier)


def test_sums_are_added_in_the_order_of_the_ranks(groups: list[ProcessGroup]) -> None:
    values = np.random.default_rng(0).normal(size=(3, 10_000)) * np.array([[1e-8], [1.0], [1e8]])
    sums = in_all(groups, lambda group: group.sum(values[group.rank]))
    expected = (values[0] + values[1]) + values[2]
    assert all(np.array_equal(total, expected) for total in sums)
    assert in_all(groups, lambda group: group.sum(np.zeros((0, 4))).shape) == [(0, 4)] * 3
    matrix = in_all(groups, lambda group: group.sum(np.ones((2, 3), np.float32)))[1]
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, np.full((2, 3), 3))


def test_who_is_gone_is_named(groups: list[ProcessGroup]) -> None:
    assert groups[0].find_lost(0.01) is None
    groups[2].close()
    assert groups[0].find_lost() == 2
    with pytest.raises(PeerLost, match="process 2 of the run is gone") as caught:
        in_all(groups[:2], lambda group: group.gather(b""))
    assert caught.value.rank == 2


def test_who_is_silent_is_named() -> None:
    first, _ = (ProcessGroup(rank, 2, sockets, timeout=0.05) for rank, sockets in enumerate(connect_pairs(2)))
    with pytest.raises(PeerLost, match=r"process 1 of the run has been silent for 0\.05 seconds"):
        first.gather(b"")


def test_arrays_of_other_sizes_are_no_sum() -> None:
    first, second = (ProcessGroup(rank, 2, sockets, timeout=5) for rank, sockets in enumerate(connect_pairs(2)))
    second._send(0, b"abc")
    with pytest.raises(PeerLost, match="sent 3 bytes, expected 16"):
        first.sum(np.zeros(2))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_processes_meet_at_a_port_of_the_first() -> None:
    address = ("127.0.0.1", free_port())
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(connect, rank, 3, address, b"key", (0, 1), 20) for rank in (2, 1, 0)]
        groups = [future.result() for future in reversed(futures)]
    assert [group.rank for group in groups] == [0, 1, 2]
    assert (groups[1].local_rank, groups[1].local_world, groups[1].address) == (0, 1, address)
    assert in_all(groups, lambda group: group.broadcast(b"x")) == [b"x"] * 3
    connections = [connection for group in groups for connection in group._sockets.values()]
    assert len(connections) == 4
    assert all(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for connection in connections)
    for group in groups:
        group.close()


def test_a_process_with_another_key_is_not_taken() -> None:
    address = ("127.0.0.1", free_port())
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(connect, rank, 2, address, key, None, 1) for rank, key in enumerate([b"a", b"b"])]
        with pytest.raises(GroupError, match="process 1 of 2 did not come"):
            futures[0].result()
        with pytest.raises(GroupError, match="the first process does not answer"):
            futures[1].result()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(GroupError, match=rf"port {port} of '127\.0\.0\.1' cannot be used: .*; choose another one"):
            connect(0, 2, ("127.0.0.1", port), b"key", timeout=1)


@pytest.mark.parametrize(("rows", "world"), [(7, 2), (1, 2), (0, 3), (12, 5)])
def test_the_parts_of_all_processes_are_all_rows(rows: int, world: int) -> None:
    parts = [local_part(3, 3 + rows, rank, world) for rank in range(world)]
    assert [row for begin, end in parts for row in range(begin, end)] == list(range(3, 3 + rows))
    assert max(end - begin for begin, end in parts) <= -(-rows // world)
