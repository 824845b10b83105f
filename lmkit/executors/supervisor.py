"""The launcher of a run that several processes of this machine train: it starts them, watches them, restarts them.

It holds the run: the status names it, and it writes the state while no process trains. A process that was killed, or
gives no sign of life, is restarted with all others from the last checkpoint; an error that a process raised ends the
run. The reason that is reported is the first failure's, not that of a neighbour who only saw its connection close.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

from lmkit.exceptions import LmkitError
from lmkit.executors.worker import FORKS
from lmkit.runfolder.events import Failed, Finished, Restarting
from lmkit.runfolder.ranks import (
    RankRecord,
    SilenceWatch,
    describe_failure,
    describe_silence,
    first_failure,
    rank_log,
    read_ranks,
    remove_ranks,
)
from lmkit.system.files import make_directory, open_log
from lmkit.system.process_group import ProcessGroup, connect_pairs
from lmkit.system.processes import end_with_parent
from lmkit.training.control import ENDING, Signals

if TYPE_CHECKING:
    from lmkit.runfolder.folder import RunFolder
    from lmkit.runfolder.status import Cause

RANK_VARIABLE = "LMKIT_RANK"
"""The environment variable that tells a process which is not forked what it is: rank, world, launcher and sockets."""

OWNER_VARIABLE = "LMKIT_OWNER"
"""The environment variable that names the launcher on another machine, as a status does."""

POLL_SECONDS, RECORD_SECONDS = 0.05, 1.0
"""Intervals at which processes, and their heartbeats, are looked at."""

GRACE_SECONDS = 3.0
"""Seconds in which the others of a process that ended may end too, so that the first failure is known."""

END_SECONDS = 30.0
"""Seconds in which the others end once the first process has written the outcome."""

MAX_RESTARTS = 5
"""Restarts in a row without a further step, at most."""


class Failure(NamedTuple):
    """Why the processes of a run do not train any more.

    Attributes:
        rank: of the process that failed first.
        reason: as a sentence.
        cause: as in ``Status``.
        restart: whether they are to be started again: nothing in the run itself failed.
    """

    rank: int
    reason: str
    cause: Cause = ""
    restart: bool = True


def find_failure(ends: Mapping[int, int], records: list[RankRecord]) -> Failure:
    """Return the first failure.

    Args:
        ends: return code of each process that has ended, in the order in which they did; −n after signal n.
        records: what the processes wrote of themselves.
    """
    for rank, code in ends.items():
        if code < 0:
            name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
            return Failure(rank, f"process {rank} was killed by {name}{_HINTS.get(name, '')}")
    if record := first_failure(records):
        return Failure(record.rank, describe_failure(record), cast("Cause", record.cause), restart=False)
    errors = {record.rank: record.error for record in records if record.error}
    rank = next(rank for rank, code in ends.items() if code)
    return Failure(rank, errors.get(rank) or f"process {rank} ended with code {ends[rank]}")


_HINTS = {
    "SIGKILL": ": by a person, or by the system for want of memory",
    "SIGBUS": ": /dev/shm or a disk may be full",
}


class Supervisor:
    """The processes of one run on this machine.

    Args:
        folder: of the run, whose lock this process holds.
        world: number of processes.
        signals: that this process receives, and passes on.
    """

    def __init__(self, folder: RunFolder, world: int, signals: Signals) -> None:
        self.folder, self.world, self.signals = folder, world, signals
        self.pids: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.silence = SilenceWatch()
        self.signalled = False
        self.furthest, self.vain = 0, 0

    def run(self) -> None:
        """Start the processes, until the run has ended."""
        while True:
            try:
                self.start()
                failure = self.watch()
            finally:
                self.end()
            if failure is None:
                return
            if failure.restart and self.signals.name:
                end_stopped(self.folder, self.signals.name, "signal")
                return
            step = max((record.step for record in read_ranks(self.folder)), default=0)
            self.vain = 0 if step > self.furthest else self.vain + 1
            self.furthest = max(self.furthest, step)
            if failure.restart and self.vain > MAX_RESTARTS:
                reason = f"{failure.reason}; {MAX_RESTARTS} restarts led no further than step {self.furthest}"
                failure = failure._replace(reason=reason, cause="error", restart=False)
            status = self.folder.status()
            status = replace(status, reason=failure.reason, heartbeat=time.time(), seconds_left=None)
            if not failure.restart:
                self.folder.write_status(replace(status, state="failed", cause=failure.cause or "error"))
                self.folder.events.record(Failed(reason=failure.reason, step=status.step))
                return
            self.folder.write_status(replace(status, state="restarting"))
            self.folder.events.record(Restarting(step=step, rank=failure.rank, reason=failure.reason))

    def start(self) -> None:
        """Start all processes, connected with each other."""
        remove_ranks(self.folder)
        make_directory(self.folder.path, "ranks")
        self.pids, self.ends, self.silence = {}, {}, SilenceWatch()
        sockets = connect_pairs(self.world)
        try:
            for rank in range(self.world):
                self.pids[rank] = (self._fork if FORKS else self._spawn)(rank, sockets)
        finally:
            for connection in (connection for group in sockets for connection in group):
                connection.close()

    def watch(self) -> Failure | None:
        """Wait until the run has ended, or a process failed; None: it has ended."""
        read = time.monotonic()
        until = 0.0
        while True:
            time.sleep(POLL_SECONDS)
            now = time.monotonic()
            self._pass_signal()
            self._reap()
            if not until and (any(self.ends.values()) or 0 in self.ends):  # the first process ends last: it writes
                until = now + (GRACE_SECONDS if any(self.ends.values()) else END_SECONDS)
            if any(self.ends.values()) and not self.folder.status().live:
                return None
            if len(self.ends) == self.world or (until and now > until):
                failed = any(self.ends.values()) or self.folder.status().live
                return find_failure(self.ends, read_ranks(self.folder)) if failed and any(self.ends.values()) else None
            if now - read > RECORD_SECONDS:
                read = now
                if not self.folder.status().live:  # the outcome is written, and the processes are about to end
                    until = until or now + END_SECONDS
                elif (record := self._find_silent(now)) is not None:
                    return Failure(record.rank, describe_silence(record))

    def end(self) -> None:
        """Kill the processes that are left."""
        for rank in self.pids.keys() - self.ends.keys():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pids[rank], signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pids[rank], 0)

    def _pass_signal(self) -> None:
        if self.signals.name and not self.signalled:
            self.signalled = True
            for rank in self.pids.keys() - self.ends.keys():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pids[rank], signal.SIGTERM)

    def _reap(self) -> None:
        for rank in self.pids.keys() - self.ends.keys():
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pids[rank], os.WNOHANG)
                if pid:
                    self.ends[rank] = os.waitstatus_to_exitcode(status)

    def _find_silent(self, now: float) -> RankRecord | None:
        """Return the record of a process that gives no sign of life."""
        records = read_ranks(self.folder)[: self.world]
        alive = [r for r in records if r.pid == self.pids.get(r.rank) and r.rank not in self.ends]
        return self.silence.find(alive, now)

    def _fork(self, rank: int, sockets: list[list[socket.socket]]) -> int:
        launcher = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            end_with_parent(launcher)
            for number in (*ENDING, signal.SIGINT):
                if signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, signal.SIG_DFL)
            for other, group in enumerate(sockets):
                if other != rank:
                    for connection in group:
                        connection.close()
            code = train_rank(self.folder.path, ProcessGroup(rank, self.world, sockets[rank]), launcher)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _spawn(self, rank: int, sockets: list[list[socket.socket]]) -> int:
        """Start a process that imports everything itself, where processes do not fork."""
        numbers = [connection.fileno() for connection in sockets[rank]]
        record = {"rank": rank, "world": self.world, "launcher": os.getpid(), "sockets": numbers}
        command = [sys.executable, "-m", "lmkit.worker", str(self.folder.path)]
        environment = {**os.environ, RANK_VARIABLE: json.dumps(record)}
        process = subprocess.Popen(command, env=environment, pass_fds=numbers)
        process.returncode = 0  # it is waited for by its id
        return process.pid


def end_stopped(folder: RunFolder, reason: str, cause: Cause) -> None:
    """Write that a run was stopped while no process trained it; it is resumed from its last checkpoint."""
    status = replace(folder.status(), state="stopped", reason=reason, cause=cause, heartbeat=time.time())
    folder.write_status(replace(status, seconds_left=None))
    folder.events.record(Finished(state="stopped", reason=reason, step=status.step, epoch=status.epoch, metrics={}))


def supervise(folder: RunFolder, world: int) -> None:
    """Train a run in ``world`` processes of this machine, to its end.

    SIGTERM and SIGHUP stop the run with a checkpoint, and then end this process.

    Raises:
        RunStateError: another process trains the run.
    """
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else the processes could not be waited for
    signals = Signals()
    with folder.train_lock(), signals.noted():
        Supervisor(folder, world, signals).run()
    signals.follow()


def train_rank(path: str | os.PathLike[str], group: ProcessGroup, launcher: int) -> int:
    """Train a run as one of the processes of a launcher on this machine; return the code to exit with."""
    from lmkit.runfolder.folder import RunFolder
    from lmkit.training.ranks import RankFailed, Ranks
    from lmkit.training.train import train

    folder = RunFolder(os.fspath(path), writes=group.rank == 0)
    if not folder.writes:
        log = open_log(rank_log(folder, group.rank))
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
    ranks = Ranks(group, launcher=launcher)
    try:
        train(folder, ranks)
    except RankFailed:
        return 1
    except LmkitError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def read_rank_variable(launcher: int) -> ProcessGroup | None:
    """Return the connections of a process that a launcher started with ``_spawn``; None for another process."""
    record = json.loads(os.environ.pop(RANK_VARIABLE, "null"))
    if record is None or record["launcher"] != launcher:
        return None
    sockets = [socket.socket(fileno=number) for number in record["sockets"]]
    return ProcessGroup(record["rank"], record["world"], sockets)
