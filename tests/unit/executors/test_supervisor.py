"""Which failure of several processes was the first, and what is said of it."""

from __future__ import annotations

import pytest

import lmkit as lk
from lmkit.executors.supervisor import Failure, Supervisor, find_failure, supervise
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.ranks import RankRecord
from lmkit.training.control import Signals

SYMPTOM = RankRecord(rank=0, error="process 1 of the run is gone", failed_at=10.2, neighbour=True)
KILLED = "process 1 was killed by SIGKILL: by a person, or by the system for want of memory"
OWN = RankRecord(rank=1, error="DataError: no rows", cause="error", failed_at=10.0)


@pytest.mark.parametrize(
    ("ends", "records", "failure"),
    [
        ({0: 1, 1: -9}, [SYMPTOM], Failure(1, KILLED)),
        ({1: -7}, [], Failure(1, "process 1 was killed by SIGBUS: /dev/shm or a disk may be full")),
        ({0: 1, 1: 1}, [SYMPTOM, OWN], Failure(1, "process 1 of the run: DataError: no rows", "error", restart=False)),
        ({0: 1}, [SYMPTOM], Failure(0, "process 1 of the run is gone")),
        ({1: 3}, [], Failure(1, "process 1 ended with code 3")),
    ],
    ids=["killed", "no shared memory", "own error", "neighbour only", "no record"],
)  # fmt: skip
def test_the_reason_is_the_first_failure(ends: dict[int, int], records: list[RankRecord], failure: Failure) -> None:
    assert find_failure(ends, records) == failure


def test_a_run_that_is_trained_is_not_launched_again() -> None:
    folder = RunFolder.create(lk.Experiment())
    with folder.lock.hold(), pytest.raises(lk.RunStateError, match="is already being trained by another process"):
        supervise(RunFolder(folder.path), 2)


class Scripted(Supervisor):
    """A supervisor whose processes fail as its script says, and of which none exists."""

    def __init__(self, folder: RunFolder, script: list[Failure | OSError], signals: Signals) -> None:
        super().__init__(folder, 2, signals)
        self.script, self.ended = script, 0

    def start(self) -> None:
        if isinstance(self.script[0], OSError):
            raise self.script[0]

    def watch(self) -> Failure | None:
        failure = self.script.pop(0)
        assert isinstance(failure, Failure)
        return failure

    def end(self) -> None:
        self.ended += 1


def test_a_signal_ends_a_run_instead_of_a_restart() -> None:
    folder, signals = RunFolder.create(lk.Experiment()), Signals()
    signals.name = "SIGTERM"
    Scripted(folder, [Failure(1, KILLED)], signals).run()
    status = folder.status()
    assert (status.state, status.reason, status.cause) == ("stopped", "SIGTERM", "signal")
    assert folder.events.read()[0][-1].type == "finished"


def test_processes_are_ended_where_not_all_of_them_start() -> None:
    supervisor = Scripted(RunFolder.create(lk.Experiment()), [OSError("no more processes")], Signals())
    with pytest.raises(OSError, match="no more processes"):
        supervisor.run()
    assert supervisor.ended == 1
