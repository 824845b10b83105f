"""The lines that a run prints."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

import lmkit as lk
from lmkit.runfolder import progress
from lmkit.runfolder.events import Restarting
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.progress import LINES, ConsoleReporter
from lmkit.runfolder.status import Status
from lmkit.system.processes import process


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(lk.Experiment(data="wine", training={"epochs": 40}), tmp_path)
    made.write_status(Status(state="running", epochs=40, steps=160, host=made.status().host, **process()))
    return made


def epoch(folder: RunFolder, number: int, **numbers: float | None) -> None:
    known = {"loss": 1 / number, "accuracy": 0.5, "val_loss": 2 / number, "mae": 7.0}
    folder.events.append("epoch", epoch=number, step=4 * number, seconds=0.02 * number, lr=0.1, **known | numbers)


def lines(reporter: ConsoleReporter, **options: bool) -> list[str]:
    """What a poll prints."""
    reporter.file = io.StringIO()
    reporter.poll(**options)
    return reporter.file.getvalue().splitlines()


def test_an_epoch_is_a_line_with_a_bar_the_numbers_the_rate_and_the_time_left(folder: RunFolder) -> None:
    epoch(folder, 10)
    bar = "━━" + "─" * 8
    # 4 steps in 0.02 s are 200 a second; 120 of 160 are left
    assert lines(ConsoleReporter(folder, io.StringIO())) == [
        f"epoch 10/40 {bar}  loss 0.1000  accuracy 0.5000  val_loss 0.2000  200 steps/s  0.6 s remaining"
    ]
    folder.write_status(replace(folder.status(), steps_per_second=1.5))
    epoch(folder, 40, accuracy=None)
    assert lines(ConsoleReporter(folder, io.StringIO()))[1] == (
        f"epoch 40/40 {'━' * 10}  loss 0.0250  val_loss 0.0500  1.5 steps/s  0.0 s remaining"
    )


def test_each_event_is_told_once_and_in_order(folder: RunFolder) -> None:
    reporter = ConsoleReporter(folder, io.StringIO())
    folder.events.append("started", device="cpu", pid=1, host="here")
    epoch(folder, 1)
    folder.events.append("checkpoint", step=4, epoch=1)
    folder.events.append("paused", step=4)
    folder.events.append("continued", step=4)
    folder.events.record(Restarting(step=4, rank=1, reason="process 1 was killed by SIGKILL"))
    folder.events.append("learning_rate", step=4, old=0.1, value=0.05)
    folder.events.append("note", step=4, text="{by hand}")
    folder.events.append("resumed", step=4, epoch=1, pid=2)
    folder.events.append("of another version", anything=1)
    told = lines(reporter)
    assert told[0] == "training on cpu"
    assert told[1].startswith("epoch  1/40 ")
    assert told[2:] == [
        "paused after step 4",
        "continued after step 4",
        "restarting after step 4: process 1 was killed by SIGKILL",
        "learning rate 0.1 → 0.05 after step 4",
        "note at step 4: {by hand}",
        "resumed after step 4",
    ]
    assert lines(reporter) == []


def test_the_end_says_how_and_what_it_scored(folder: RunFolder) -> None:
    epoch(folder, 1)
    reporter = ConsoleReporter(folder, io.StringIO())
    lines(reporter)
    ended = replace(folder.status(), state="completed", step=160, seconds=75.2, metrics={"loss": 0.123456, "auc": 1.0})
    folder.write_status(ended)
    assert lines(reporter, last=True) == ["completed after 160 steps in 1 min 15 s — test: loss 0.1235  auc 1.0000"]
    folder.write_status(replace(ended, state="failed", reason="no room", metrics=None))
    assert lines(reporter, last=True) == ["failed (no room) after 160 steps in 1 min 15 s"]


def test_a_long_run_prints_some_of_its_epochs_and_always_the_last(tmp_path: Path) -> None:
    epochs = 3 * LINES
    folder = RunFolder.create(lk.Experiment(data="wine", training={"epochs": epochs}), tmp_path)
    reporter = ConsoleReporter(folder, io.StringIO())
    for number in range(1, epochs - 1):
        epoch(folder, number)
    told = [line.split("/")[0].split()[1] for line in lines(reporter)]
    assert told == ["1", *map(str, range(3, epochs - 1, 3))]
    folder.write_status(replace(folder.status(), state="stopped"))
    assert lines(reporter, last=True)[0].startswith(f"epoch {epochs - 2}/{epochs} ")  # skipped till now, and the last


def test_a_sign_of_life_between_long_epochs(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_status(replace(folder.status(), epoch=3, step=11))
    reporter = ConsoleReporter(folder, io.StringIO())
    assert lines(reporter) == []
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.0)
    assert lines(reporter) == ["  … running, epoch 3/40, step 11/160"]
    folder.write_status(replace(folder.status(), state="completed"))
    assert lines(reporter) == []
