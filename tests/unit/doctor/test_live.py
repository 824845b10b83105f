"""A run that trains is examined when a reading was written, from what was written since the last time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from written_readings import CHANCE, TOO_LOW, USUAL, write_profile, write_reading, write_steps

import lmkit as lk
from lmkit.doctor import live
from lmkit.doctor.examine import examine
from lmkit.doctor.live import LiveDiagnosis
from lmkit.doctor.reader import EvidenceReader
from lmkit.runfolder.folder import RunFolder
from lmkit.system.files import JsonLines


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run of a thousand steps, none of which is taken yet."""
    experiment = lk.Experiment(data="digits", training={"optimizer": {"name": "sgd", "lr": 1e-6}, "epochs": 10})
    folder = RunFolder.create(experiment, tmp_path)
    folder.write_status(replace(folder.status(), state="running", steps=1000))
    write_profile(folder)
    return folder


@pytest.fixture
def diagnosis(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> LiveDiagnosis:
    monkeypatch.setattr(live, "MAX_SHARE", 1.0)
    return LiveDiagnosis(folder)


def checks(diagnosis: LiveDiagnosis) -> list[str]:
    return [finding.check for finding in diagnosis.diagnosis.findings if finding.confidence != "hint"]


def stuck(folder: RunFolder, steps: int = 128) -> None:
    """The learning rate is too low: the weights hardly change, and the loss stays at chance."""
    write_steps(folder, 1, [CHANCE] * steps)
    for step in (0, 1, 2, 4, 8, 16, 32, 64, 128):
        if step <= steps:
            write_reading(folder, step, CHANCE, TOO_LOW)


def test_a_finding_comes_with_a_reading_and_goes_with_one(folder: RunFolder, diagnosis: LiveDiagnosis) -> None:
    assert not diagnosis.poll()
    stuck(folder)
    assert diagnosis.poll()
    assert checks(diagnosis) == ["rate-low"]
    assert not diagnosis.poll()
    write_steps(folder, 129, np.linspace(CHANCE, 0.1, 300).tolist())
    for step in (256, 300, 350, 428):
        write_reading(folder, step, 0.1, USUAL)
    assert diagnosis.poll()
    assert checks(diagnosis) == []


def test_without_a_new_reading_nothing_is_read(
    folder: RunFolder, diagnosis: LiveDiagnosis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck(folder)
    diagnosis.poll()
    monkeypatch.setattr(EvidenceReader, "read", lambda _: pytest.fail("the folder was read"))
    write_steps(folder, 129, [CHANCE] * 100)
    assert not diagnosis.poll()


def test_what_a_run_learns_is_not_judged_at_its_beginning(folder: RunFolder, diagnosis: LiveDiagnosis) -> None:
    stuck(folder, 32)
    diagnosis.poll()
    assert diagnosis.diagnosis.findings == []
    folder.write_status(replace(folder.status(), state="stopped"))
    assert [finding.check for finding in examine(EvidenceReader(folder).read())] == ["rate-low"]


def test_a_low_rate_is_right_while_it_warms_up(folder: RunFolder) -> None:
    stuck(folder)
    evidence = EvidenceReader(folder).read()
    assert examine(evidence)[0].check == "rate-low"
    schedule = {"training.schedule": {"name": "cosine", "warmup": 100}}
    warming = replace(evidence, experiment=evidence.experiment.override(schedule))
    assert "rate-low" not in [finding.check for finding in examine(warming)]


def test_the_time_between_two_examinations_is_bounded(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = LiveDiagnosis(folder)
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    read = EvidenceReader.read

    def slow(reader: EvidenceReader) -> object:
        now[0] += 0.04
        return read(reader)

    monkeypatch.setattr(EvidenceReader, "read", slow)
    stuck(folder)
    assert diagnosis.poll()
    write_reading(folder, 128, 0.1, USUAL)
    now[0] = 100.7
    assert not diagnosis.poll()
    now[0] = 100.9
    assert diagnosis.poll()


def test_a_damaged_file_leaves_the_last_diagnosis(folder: RunFolder, diagnosis: LiveDiagnosis) -> None:
    stuck(folder)
    diagnosis.poll()
    (folder.path / "profile.json").write_text("[]")
    write_reading(folder, 200, CHANCE, TOO_LOW)
    diagnosis.poll()
    assert checks(diagnosis) == ["rate-low"]


def test_a_long_run_costs_what_was_written_since_the_last_time(folder: RunFolder, diagnosis: LiveDiagnosis) -> None:
    losses = np.random.default_rng(0).uniform(2, 3, 10_000).round(5).tolist()
    for first in range(1, 300_001, 10_000):
        write_steps(folder, first, losses)
    for step in range(0, 300_000, 3_000):
        write_reading(folder, step, 2.3, TOO_LOW)
    while not diagnosis.diagnosis.findings:
        diagnosis.poll()
    seconds = []
    for step in (300_001, 301_001, 302_001):
        write_steps(folder, step, losses[:1000])
        write_reading(folder, step, 2.3, TOO_LOW)
        begin = time.process_time()
        diagnosis._examine()
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 0.05


def test_evidence_that_is_read_in_pieces_is_what_is_read_at_once(folder: RunFolder) -> None:
    reader = EvidenceReader(folder)
    write_steps(folder, 1, [3.0, 2.0, 1.0])
    write_reading(folder, 0, 3.0, USUAL)
    write_reading(folder, 3, 1.0, USUAL)
    folder.events.append("epoch", epoch=1, step=3, loss=2.0)
    reader.read()
    folder.metrics.append({"resumed": 2})
    folder.events.append("resumed", step=2, epoch=0)
    JsonLines(folder.path / "readings.jsonl").append({"resumed": 2})
    write_steps(folder, 3, [0.5, float("nan")])
    write_reading(folder, 4, 0.4, USUAL)
    folder.events.append("epoch", epoch=1, step=4, loss=1.5)
    pieces, whole = reader.read(), EvidenceReader(folder).read()
    np.testing.assert_array_equal(pieces.losses, [3.0, 2.0, 0.5, np.nan])
    np.testing.assert_array_equal(pieces.losses, whole.losses)
    np.testing.assert_array_equal(pieces.rates, whole.rates)
    assert [reading.step for reading in pieces.readings] == [0, 4]
    assert (pieces.readings, pieces.epochs) == (whole.readings, whole.epochs)
    assert [epoch["loss"] for epoch in pieces.epochs] == [1.5]
