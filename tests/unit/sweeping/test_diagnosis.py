"""What is wrong with the trials of a sweep: a column of its tables, and a sentence about what they have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from written_readings import CHANCE, TOO_LOW, USUAL, write_profile, write_reading, write_steps
from written_run import written_run
from written_sweep import written_sweep, written_trial

import lmkit as lk
from lmkit.doctor.diagnose import diagnose
from lmkit.sweeping import diagnosis
from lmkit.sweeping.sweep import Sweep
from lmkit.widgets.sweep import sweep_state


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Three trials that have ended, of two of which the learning rate was too low, and one without readings."""
    sweep = written_sweep(tmp_path, grid={"lr": [1e-6, 1e-5, 1e-2, 1e-1]})
    for lr, update, loss in ((1e-6, TOO_LOW, CHANCE), (1e-5, TOO_LOW, CHANCE), (1e-2, USUAL, 0.1)):
        folder = written_run(tmp_path / "runs", prepared=False, lr=lr).folder
        write_profile(folder)
        write_steps(folder, 1, [loss] * 128)
        for step in (0, 1, 2, 4, 8, 16, 32, 64, 128):
            write_reading(folder, step, loss, update)
        written_trial(sweep, {"lr": lr}, {"val_loss": loss}, run=folder.path)
    run = written_run(tmp_path / "runs", prepared=False, lr=0.1)
    written_trial(sweep, {"lr": 0.1}, {"val_loss": 1.0}, run=run.path)
    written_trial(sweep, {"lr": 0.1}, state="waiting")
    return sweep


def test_what_trials_have_in_common_is_a_sentence(sweep: Sweep) -> None:
    result = sweep.doctor()
    assert result.text == "2 of 3 trials: learning rate too low"
    assert list(result.findings) == [1, 2]
    assert [row[:3] for row in result.table.rows] == [(1, "lr: 1e-06", "sure"), (2, "lr: 1e-05", "sure")]
    assert "training.optimizer.lr" in str(result)
    assert "2 of 3 trials" in result._repr_html_()
    changed = result[1].apply()
    assert changed.training.optimizer.lr > 1e-6


def test_a_sweep_in_which_nothing_is_wrong_is_a_sentence(tmp_path: Path) -> None:
    sweep = written_sweep(tmp_path, grid={"lr": [1.0]})
    assert sweep.doctor().text == "no trial that has ended has readings"
    assert str(sweep.doctor()) == "night-1: no trial that has ended has readings"


def test_the_tables_have_a_column(sweep: Sweep) -> None:
    expected = {1: "learning rate too low", 2: "learning rate too low", 3: None, 4: None}
    assert sweep.table["doctor"].tolist() == ["learning rate too low", "learning rate too low", "", "", ""]
    for table in (sweep.to_table(), lk.tables.trials(sweep)):
        assert table.columns[-1] == "doctor"
        assert {int(row[0]): row[-1] for row in table.rows} == {**expected, 5: None}
    assert ("doctor", "2 of 3 trials: learning rate too low") in lk.tables.sweep_summary(sweep).rows


def test_the_live_table_has_a_column_once_a_trial_has_a_finding(sweep: Sweep) -> None:
    state = sweep_state(sweep, sweep.trials)
    assert state["columns"][-1] == "doctor"
    assert [(row["cells"][-1] or {}).get("text") for row in state["rows"]][:3] == [*["learning rate too low"] * 2, None]
    assert "doctor" not in sweep_state(sweep, sweep.trials[2:])["columns"]


def test_a_run_is_examined_once_and_some_per_second(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[str] = []
    now = [0.0]

    def count(folder: Any) -> Any:
        examined.append(folder.name)
        now[0] += 0.7
        return diagnose(folder)

    monkeypatch.setattr(diagnosis, "diagnose", count)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    trials = sweep.trials
    assert list(diagnosis.examine_trials(trials, 1.0)) == [1, 2]
    assert list(diagnosis.examine_trials(trials, 1.0)) == [1, 2, 3]
    assert list(diagnosis.examine_trials(trials)) == [1, 2, 3]
    assert len(examined) == len(set(examined)) == 3


def test_a_trial_whose_run_was_removed_or_damaged_has_no_finding(sweep: Sweep) -> None:
    first, second, _ = sweep.trials[:3]
    assert first.run is not None
    assert second.run is not None
    (first.run / "profile.json").write_text("[]")
    (second.run / "readings.jsonl").unlink()
    assert sweep.doctor().text == "nothing wrong was recognized in 1 trial"
