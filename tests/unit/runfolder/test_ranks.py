"""The records of a run's processes, the folder of those that only read, and the devices that a resume names."""

from __future__ import annotations

import time

import pytest

import lmkit as lk
from lmkit.exceptions import ConfigError
from lmkit.runfolder.commands import Pause, Resume
from lmkit.runfolder.events import Note
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.ranks import (
    RankRecord,
    SilenceWatch,
    describe_failure,
    describe_silence,
    first_failure,
    read_ranks,
    remove_ranks,
    write_rank,
)


@pytest.fixture
def folder() -> RunFolder:
    return RunFolder.create(lk.Experiment())


def test_each_process_has_a_record(folder: RunFolder) -> None:
    assert read_ranks(folder) == []
    records = [RankRecord(rank=rank, pid=7 + rank, heartbeat=time.time(), step=3) for rank in range(2)]
    for record in reversed(records):
        write_rank(folder, record)
    assert read_ranks(folder) == records
    assert not records[0].is_silent
    assert RankRecord(heartbeat=time.time() - 60).is_silent
    remove_ranks(folder, 1)
    assert read_ranks(folder) == records[:1]


def test_records_after_a_missing_one_are_removed_too(folder: RunFolder) -> None:
    for rank in (0, 2):
        write_rank(folder, RankRecord(rank=rank, error="of an earlier launch"))
    remove_ranks(folder)
    assert not list((folder.path / "ranks").iterdir())
    remove_ranks(RunFolder(folder.path / "nothing"))


def test_a_damaged_record_ends_the_list(folder: RunFolder) -> None:
    write_rank(folder, RankRecord(rank=0))
    (folder.path / "ranks" / "1.json").write_text('{"rank": -1}', encoding="utf-8")
    assert len(read_ranks(folder)) == 1


def test_the_first_failure_is_the_earliest_of_a_processs_own() -> None:
    records = [
        RankRecord(rank=0, error="gone", failed_at=1.0, neighbour=True),
        RankRecord(rank=1, error="late", failed_at=3.0),
        RankRecord(rank=2, error="early", failed_at=2.0),
    ]
    failure = first_failure(records)
    assert failure is not None
    assert describe_failure(failure) == "process 2 of the run: early"
    assert first_failure(records[:1]) is None


def test_a_process_that_does_not_write_reads_the_folder(folder: RunFolder) -> None:
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    silent = RunFolder(folder.path, writes=False)
    silent.write_json("status.json", {})
    silent.write_text("own.py", "x")
    silent.events.record(Note(text="x"))
    silent.metrics.append({"step": 1})
    silent.readings.append({"step": 1})
    silent.save_checkpoint("last", {}, {}, {})
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
    assert silent.experiment == folder.experiment


def test_a_resume_may_name_other_devices(folder: RunFolder) -> None:
    folder.send(Resume(devices=2, strategy="fsdp"))
    folder.send(Pause())
    training = folder.resumed_experiment.training
    assert (training.devices, training.strategy) == (2, "fsdp")
    folder.send(Resume(devices=1))
    assert (folder.resumed_experiment.training.devices, folder.resumed_experiment.training.strategy) == (1, "auto")
    folder.send(Resume())
    assert folder.resumed_experiment == folder.experiment
    folder.control.append({"command": "resume", "devices": "many"})
    with pytest.raises(ConfigError):
        folder.resumed_experiment  # noqa: B018


def test_of_the_same_error_in_all_processes_the_first_ones_is_reported() -> None:
    records = [RankRecord(rank=rank, error="no rows", failed_at=2.0 - rank) for rank in range(2)]
    failure = first_failure(records)
    assert failure is not None
    assert describe_failure(failure) == "no rows"


def test_a_process_whose_record_does_not_change_is_silent() -> None:
    watch = SilenceWatch()
    start = watch.last
    beats = [RankRecord(rank=0, heartbeat=1.0), RankRecord(rank=1, pid=7, heartbeat=1.0)]
    silent = None
    for second in range(1, 25):
        silent = watch.find([RankRecord(rank=0, heartbeat=1.0 + second), beats[1]], start + second)
        assert silent is None or second > 20
    assert silent is not None
    assert describe_silence(silent) == "process 1 hung: no sign of life for 20 seconds (pid 7)"
    assert watch.find(beats, start + 60) is None  # the watcher itself got no time
