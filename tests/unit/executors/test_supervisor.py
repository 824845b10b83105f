"""Which failure of several processes was the first, and what is said of it."""

from __future__ import annotations

import pytest

import lmkit as lk
from lmkit.executors.supervisor import Failure, find_failure, supervise
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.ranks import RankRecord

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
