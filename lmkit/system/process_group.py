"""A group of processes that exchange bytes over sockets: the first one is connected to each of the others.

On one machine the process that starts the others connects them by pairs of sockets, so that no port is open and no file
exists. On several machines the first process listens on a port, and takes only processes that know the group's key.
Sums are added in the order of the ranks, so that they are the same digits in every process and in every run.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import LmkitError

if TYPE_CHECKING:
    import numpy as np

HEADER = struct.Struct("<Q")
"""The length of a message, before it."""

MAX_MESSAGE = 2**40
"""Bytes of a message, at most."""

MAX_COPIED = 4096
"""Bytes of a message that is sent together with its length, at most: the other process wakes up once."""

TIMEOUT = 1800.0
"""Seconds without a byte of another process after which it counts as lost."""

CONNECT_TIMEOUT = 300.0
"""Seconds in which all processes of a group have to be there."""

RETRY_SECONDS = 0.1

FIND_SECONDS = 1.0
"""Seconds within which the end of another process is noticed."""

NONCE = 32
"""Bytes of the random number that a process has to sign with the group's key."""


class PeerLost(LmkitError):
    """Another process of the group is gone, or silent.

    Attributes:
        rank: of that process.
    """

    def __init__(self, rank: int, problem: str) -> None:
        self.rank, self.problem = rank, problem
        super().__init__(f"process {rank} of the run {problem}")

    def __reduce__(self) -> tuple[type[PeerLost], tuple[int, str]]:
        return type(self), (self.rank, self.problem)


class GroupError(LmkitError):
    """The processes of a group cannot be connected."""


class ProcessGroup:
    """The connections of one process of a group.

    Args:
        rank: number of this process, from 0.
        world: number of processes.
        sockets: of the first process, one to each of the others in their order; of another, one to the first.
        local: number of this process, and of processes, on this machine; None: all of them are on it.
        address: host and port of the first process; None: all of them are on this machine.
        timeout: seconds without a byte after which another process counts as lost.
    """

    def __init__(
        self,
        rank: int,
        world: int,
        sockets: Sequence[socket.socket],
        local: tuple[int, int] | None = None,
        address: tuple[str, int] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.rank, self.world, self.address = rank, world, address
        self.local_rank, self.local_world = local or (rank, world)
        self._sockets = dict(zip(range(1, world) if rank == 0 else [0], sockets, strict=True))
        for connection in sockets:
            connection.settimeout(timeout)
            if connection.family in (socket.AF_INET, socket.AF_INET6):  # short messages, for which another one waits
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def broadcast(self, message: bytes) -> bytes:
        """Return the message of the first process."""
        if self.rank:
            return self._receive(0)
        for rank in self._sockets:
            self._send(rank, message)
        return message

    def gather(self, message: bytes) -> list[bytes]:
        """Return the message of every process to the first one; to the others an empty list."""
        if self.rank:
            self._send(0, message)
            return []
        return [message, *(self._receive(rank) for rank in self._sockets)]

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.gather(b"")
        self.broadcast(b"")

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of the values (n,) of all processes, added in the order of the ranks."""
        import numpy as np

        values = np.ascontiguousarray(values)
        if self.rank:
            self._send(0, _octets(values))
            return self._receive_array(0, values)
        total = values.copy()
        for rank in self._sockets:
            total += self._receive_array(rank, values)
        for rank in self._sockets:
            self._send(rank, _octets(total))
        return total

    def find_lost(self, timeout: float = FIND_SECONDS) -> int | None:
        """Return the rank of a process that closes its connection within ``timeout`` seconds; None without one."""
        ranks = {connection: rank for rank, connection in self._sockets.items()}
        until = time.monotonic() + timeout
        while ranks and (left := until - time.monotonic()) > 0:
            for connection in select.select(list(ranks), [], [], left)[0]:
                try:
                    if not connection.recv(1, socket.MSG_PEEK):
                        return ranks[connection]
                    del ranks[connection]  # it waits for an answer
                except OSError:
                    return ranks[connection]
        return None

    def close(self) -> None:
        """Close the connections."""
        for connection in self._sockets.values():
            connection.close()

    def _send(self, rank: int, message: bytes | memoryview) -> None:
        header = HEADER.pack(len(message))
        try:
            if len(message) <= MAX_COPIED:
                self._sockets[rank].sendall(header + message)
            else:
                self._sockets[rank].sendall(header)
                self._sockets[rank].sendall(message)
        except TimeoutError:
            raise PeerLost(rank, "took nothing that was sent to it") from None
        except OSError as error:
            raise PeerLost(rank, f"is gone ({error.strerror or error})") from None

    def _receive(self, rank: int) -> bytes:
        return bytes(self._receive_into(rank, bytearray(self._receive_length(rank))))

    def _receive_array(self, rank: int, like: np.ndarray) -> np.ndarray:
        import numpy as np

        length = self._receive_length(rank)
        if length != like.nbytes:
            raise PeerLost(rank, f"sent {length:,} bytes, expected {like.nbytes:,}: it does not take the same steps")
        buffer = np.empty(like.shape, like.dtype)
        self._receive_into(rank, _octets(buffer))
        return buffer

    def _receive_length(self, rank: int) -> int:
        (length,) = HEADER.unpack(self._receive_into(rank, bytearray(HEADER.size)))
        if length > MAX_MESSAGE:
            raise PeerLost(rank, "sent what is no message")
        return int(length)

    def _receive_into(self, rank: int, buffer: bytearray | memoryview) -> bytearray | memoryview:
        view = memoryview(buffer)
        try:
            while len(view):
                count = self._sockets[rank].recv_into(view)
                if not count:
                    raise PeerLost(rank, "is gone: its connection was closed")
                view = view[count:]
        except TimeoutError:
            raise PeerLost(rank, f"has been silent for {self._sockets[rank].gettimeout():g} seconds") from None
        except OSError as error:
            raise PeerLost(rank, f"is gone ({error.strerror or error})") from None
        return buffer


def local_part(begin: Any, end: Any, rank: int, world: int) -> tuple[Any, Any]:
    """Return first row and end of a process's share of the rows ``begin:end``, which may be none.

    The shares differ by one row at most. ``begin`` and ``end`` may be numbers or tensors.

    >>> [local_part(10, 15, rank, 2) for rank in range(2)]
    [(10, 12), (12, 15)]
    """
    rows = end - begin
    return begin + rows * rank // world, begin + rows * (rank + 1) // world


def _octets(values: np.ndarray) -> memoryview:
    """Return the memory of a contiguous array, which may be empty."""
    return values.reshape(-1).view("u1").data


def connect_pairs(world: int) -> list[list[socket.socket]]:
    """Return the sockets of each process of a group on this machine, for processes that are forked or inherit them."""
    pairs = [socket.socketpair() for _ in range(world - 1)]
    return [[first for first, _ in pairs], *([other] for _, other in pairs)]


def connect(
    rank: int,
    world: int,
    address: tuple[str, int],
    key: bytes,
    local: tuple[int, int] | None = None,
    timeout: float = CONNECT_TIMEOUT,
) -> ProcessGroup:
    """Return the group of processes that may be on several machines, once all of them are there.

    Args:
        rank, world: number of this process, and of processes.
        local: the same of those on this machine.
        address: host and port at which the first one listens.
        key: known to the processes of the group alone.
        timeout: seconds in which all of them have to be there.

    Raises:
        GroupError: the port is taken, or a process did not come.
    """
    until = time.monotonic() + timeout
    sockets = _accept(world, address, key, until) if rank == 0 else [_join(rank, address, key, until)]
    return ProcessGroup(rank, world, sockets, local, address)


def _accept(world: int, address: tuple[str, int], key: bytes, until: float) -> list[socket.socket]:
    """Return the connections to the other processes, in the order of their ranks."""
    members: dict[int, socket.socket] = {}
    try:
        listener = socket.create_server(address)
    except OSError as error:
        raise GroupError(
            f"port {address[1]} of {address[0]!r} cannot be used: {error.strerror}; "
            "choose another one: MASTER_PORT=…, --master-port … or TF_CONFIG"
        ) from None
    with listener:
        while len(members) < world - 1:
            listener.settimeout(max(0.01, until - time.monotonic()))
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                missing = ", ".join(str(rank) for rank in range(1, world) if rank not in members)
                for member in members.values():
                    member.close()
                raise GroupError(f"process {missing} of {world} did not come; start all of them") from None
            rank = _authenticate(connection, key)
            if 0 < rank < world:
                if rank in members:  # it was restarted meanwhile
                    members[rank].close()
                members[rank] = connection
            else:
                connection.close()
    return [members[rank] for rank in sorted(members)]


def _authenticate(connection: socket.socket, key: bytes) -> int:
    """Return the rank of a process that signs a random number with the group's key; −1 of any other."""
    connection.settimeout(5)
    nonce = os.urandom(NONCE)
    try:
        connection.sendall(nonce)
        answer = bytearray()
        while len(answer) < HEADER.size + NONCE:
            part = connection.recv(HEADER.size + NONCE - len(answer))
            if not part:
                return -1
            answer += part
        number = bytes(answer[: HEADER.size])
        is_member = hmac.compare_digest(bytes(answer[HEADER.size :]), _sign(key, nonce + number))
        if is_member:
            connection.sendall(b"\1")
    except OSError:
        return -1
    return int(HEADER.unpack(number)[0]) if is_member else -1


def _join(rank: int, address: tuple[str, int], key: bytes, until: float) -> socket.socket:
    """Return the connection to the first process, which may not listen yet."""
    while True:
        connection = None
        try:
            connection = socket.create_connection(address, timeout=max(0.01, until - time.monotonic()))
            nonce = connection.recv(NONCE, socket.MSG_WAITALL)
            number = HEADER.pack(rank)
            connection.sendall(number + _sign(key, nonce + number))
            if connection.recv(1) == b"\1":
                return connection
            problem = "it does not take this process"
        except OSError as error:
            problem = error.strerror or str(error)
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()
        if time.monotonic() > until:
            raise GroupError(f"the first process does not answer at {address[0]}:{address[1]}: {problem}")
        time.sleep(RETRY_SECONDS)


def _sign(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()
