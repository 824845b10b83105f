"""The processes of a run that several train: ``ranks/<n>.json``, one file a process, with its heartbeat."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lmkit.exceptions import DamagedFile
from lmkit.system.files import make_directory, write_json
from lmkit.system.records import Count, Seconds, read_record

if TYPE_CHECKING:
    from pathlib import Path

    from lmkit.runfolder.folder import RunFolder

FOLDER = "ranks"

MAX_RANKS = 4096
"""Files that are read, at most."""

SILENT_AFTER = 20.0
"""Seconds without a heartbeat after which a process counts as hung: its threads get no time, or its machine is gone."""

STALLED_SECONDS = 5.0
"""Seconds between two looks after which the watcher itself got no time."""


@dataclass(frozen=True, kw_only=True)
class RankRecord:
    """One process of a run.

    Attributes:
        rank: from 0.
        pid, pid_started, host: the process, when it started (in seconds since boot), and its machine.
        step: steps taken.
        heartbeat: in seconds since 1970.
        memory, device_memory: resident memory, and that of its device, in bytes.
        error: what it raised; empty while it trains.
        cause: kind of the error, as in ``Status``.
        failed_at: when it raised, in seconds since 1970.
        neighbour: whether the error only tells that another process is gone.
    """

    rank: Count = 0
    pid: Count = 0
    pid_started: float = 0.0
    host: str = ""
    step: Count = 0
    heartbeat: Seconds = 0.0
    memory: Count = 0
    device_memory: Count = 0
    error: str = ""
    cause: str = ""
    failed_at: Seconds = 0.0
    neighbour: bool = False

    @property
    def is_silent(self) -> bool:
        """Whether its last heartbeat is too long ago."""
        return time.time() - self.heartbeat > SILENT_AFTER


class SilenceWatch:
    """Finds processes whose record does not change, by the clock of the process that watches.

    That clock stops while the machine sleeps, and a watcher that got no time itself gives all of them time again.
    """

    def __init__(self) -> None:
        self.beats: dict[int, tuple[float, float]] = {}
        self.last = time.monotonic()

    def find(self, records: Iterable[RankRecord], now: float) -> RankRecord | None:
        """Return a record that has not changed for too long; None without one.

        Args:
            records: of processes that should be alive.
            now: seconds on the clock of the watcher.
        """
        if now - self.last > STALLED_SECONDS:
            self.beats = {}
        self.last = now
        for record in records:
            beat, since = self.beats.get(record.rank, (0.0, now))
            if beat != record.heartbeat:
                self.beats[record.rank] = (record.heartbeat, now)
            elif now - since > SILENT_AFTER:
                return record
        return None


def describe_silence(record: RankRecord) -> str:
    """Return that a process gives no sign of life, as a sentence."""
    return f"process {record.rank} hung: no sign of life for {SILENT_AFTER:g} seconds (pid {record.pid})"


def write_rank(folder: RunFolder, record: RankRecord) -> None:
    """Replace the file of one process."""
    make_directory(folder.path, FOLDER)
    write_json(rank_path(folder, record.rank), asdict(record))


def read_rank(folder: RunFolder, rank: int) -> RankRecord | None:
    """Return the record of one process; None where it has none, or a damaged one."""
    with contextlib.suppress(DamagedFile):
        return read_record(RankRecord, rank_path(folder, rank))
    return None


def read_ranks(folder: RunFolder) -> list[RankRecord]:
    """Return the records of a run's processes, in the order of their ranks; empty for a run of one process."""
    records = []
    for rank in range(MAX_RANKS):
        record = read_rank(folder, rank)
        if record is None:
            break
        records.append(record)
    return records


def first_failure(records: Iterable[RankRecord]) -> RankRecord | None:
    """Return the process that raised first, of those whose error does not only tell that another one is gone.

    Of several with the same error it is the one of the lowest rank.
    """
    failed = [record for record in records if record.error and not record.neighbour]
    first = min(failed, key=lambda record: record.failed_at, default=None)
    return next((record for record in failed if first and record.error == first.error), None)


def describe_failure(record: RankRecord) -> str:
    """Return the error of a process, with its rank where that is not the first."""
    return f"process {record.rank} of the run: {record.error}" if record.rank else record.error


def remove_ranks(folder: RunFolder, first: int = 0) -> None:
    """Delete the files of the processes from ``first`` on, which an earlier launch left."""
    for path in rank_path(folder, 0).parent.glob("*.json"):  # one may be missing between others
        if path.stem.isdecimal() and int(path.stem) >= first:
            path.unlink(missing_ok=True)


def rank_path(folder: RunFolder, rank: int) -> Path:
    """Return the file of a process."""
    return folder.inside(FOLDER, f"{rank}.json")


def rank_log(folder: RunFolder, rank: int) -> Path:
    """Return the file of what a process prints; that of the first one is the log of the run."""
    return folder.inside(FOLDER, f"{rank}.txt") if rank else folder.log
