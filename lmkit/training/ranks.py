"""What the processes of one run share: their number, one clock, and what the first of them reads and decides.

A process of a run that several train together has a *rank*, counted from 0. The loop decides nothing by its own clock:
each decision is a collective on some strategy, so processes that disagree would wait for each other for ever.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import LmkitError
from lmkit.system.process_group import PeerLost
from lmkit.system.processes import process

if TYPE_CHECKING:
    from lmkit.system.process_group import ProcessGroup


class RankFailed(LmkitError):
    """One of several processes of a run failed; its record says why."""


class Ranks:
    """The processes of a run: by default this one alone, at no cost.

    Attributes:
        rank: of this process, from 0.
        world: number of processes.
        group: their connections; None for one process.
        launcher: process that started this one, holds the run and reports its failures; 0 without one.
        local_world: number of processes on this machine.
    """

    def __init__(
        self, group: ProcessGroup | None = None, *, launcher: int = 0, owner: Mapping[str, Any] | None = None
    ) -> None:
        self.group, self.launcher, self._owner = group, launcher, owner
        self.rank, self.world = (group.rank, group.world) if group else (0, 1)
        self.local_world = group.local_world if group else 1

    @property
    def owner(self) -> dict[str, Any]:
        """The process that holds the run, as a status names it: the launcher, or this one."""
        return dict(self._owner or {"host": socket.gethostname(), **process(self.launcher)})

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.rank == 0

    def clock(self) -> float:
        """Return the seconds on the clock of the first process."""
        return time.monotonic() if self.group is None else float(self.share(time.monotonic()))

    def share(self, value: Any) -> Any:
        """Return the first process's value, which JSON can hold, in every process."""
        if self.group is None:
            return value
        return json.loads(self.group.broadcast(json.dumps(value).encode() if self.is_first else b""))

    def consult(self, value: Any, decide: Callable[[list[Any]], Any]) -> Any:
        """Return what the first process decides on the values of all, in every process.

        Args:
            value: of this process; JSON can hold it, and what is decided.
            decide: called in the first process alone, with the values in the order of the ranks.
        """
        if self.group is None:
            return decide([value])
        values = self.group.gather(json.dumps(value).encode())
        return self.share(decide([json.loads(text) for text in values]) if self.is_first else None)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, which JSON can hold, in the order of their ranks, in every process."""
        return list(self.consult(value, list))

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.group is not None:
            self.group.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Run a block in the first process, and only then in the others: what it downloads is there for them.

        Where it raises, the others learn that the first process is gone.
        """
        if not self.is_first:
            self.share(None)
        yield
        if self.is_first:
            self.share(None)

    def is_neighbours(self, error: BaseException) -> bool:
        """Return whether an error only tells that another process is gone."""
        if self.group is None or isinstance(error, PeerLost):
            return self.group is not None
        return not isinstance(error, LmkitError) and self.group.find_lost() is not None

    def close(self) -> None:
        """End the connections."""
        if self.group is not None:
            self.group.close()


ALONE = Ranks()
"""One process."""
