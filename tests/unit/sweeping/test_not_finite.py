"""A trial whose objective is NaN is never the best, wherever trials are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from narrowing import require_type
from written_sweep import written_sweep, written_trial

import lmkit as lk
from lmkit.commands import cli
from lmkit.commands.output import DONE
from lmkit.display.panels import Parallel
from lmkit.sweeping.objectives import NotFinite, Objective, objective_values

NAN = float("nan")


@pytest.fixture
def sweep(tmp_path: Path) -> lk.Sweep:
    """Two objectives; the first trial, and the third, are not finite in one of them."""
    objectives = (("val_loss", "minimize"), ("f1", "maximize"))
    sweep = written_sweep(tmp_path, grid={"lr": [1.0, 0.1, 0.01, 0.001]}, objectives=objectives)
    for rate, loss, f1 in ((1.0, NAN, 0.1), (0.1, 0.3, 0.9), (0.01, 0.1, NAN), (0.001, 0.2, 0.8)):
        written_trial(sweep, {"lr": rate}, {"val_loss": loss, "f1": f1})
    return sweep


def test_it_is_never_the_best(sweep: lk.Sweep) -> None:
    assert [sweep.best(name).number for name in ("val_loss", "f1")] == [3, 2]
    assert [t.number for t in sweep.ranked()] == [3, 4, 2, 1]
    assert [t.number for t in sweep.front()] == [2, 4], "trials that are finite in both objectives"
    assert "nan" not in sweep.summary()


def test_charts_and_tables_agree(sweep: lk.Sweep) -> None:
    assert require_type(lk.charts.parallel_coordinates(sweep).panels[0], Parallel).lines[-1].numbers == (4,)
    assert [row[3] for row in lk.tables.trials(sweep).rows][:3] == [0.1, 0.2, 0.3]


def test_files_and_output_are_strict_json(sweep: lk.Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    texts = [path.read_text() for path in sweep.path.glob("trials/*/*.json")]
    assert cli.main(["sweeps", str(sweep.path), "--json"]) == DONE
    *_, result = [json.loads(text, parse_constant=refuse) for text in [*texts, capsys.readouterr().out]]
    assert [t["values"]["val_loss"] for t in result["trials"]] == [None, 0.3, 0.1, 0.2]


def test_a_sweep_of_trials_that_all_diverged_has_failed_and_no_best(tmp_path: Path) -> None:
    sweep = written_sweep(tmp_path, grid={"lr": [1.0, 0.1]}, trials=2)
    for rate in (1.0, 0.1):
        written_trial(sweep, {"lr": rate}, {"val_loss": NAN}, state="diverged", error="the objective 'val_loss' is nan")
    assert (sweep.state, len(sweep.failed)) == ("failed", 2)
    assert "2 diverged" in sweep.summary()
    with pytest.raises(lk.SweepError, match="no completed trial"):
        sweep.best()


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_an_objective_that_is_not_finite_is_named_with_its_value(value: Any) -> None:
    with pytest.raises(NotFinite, match=f"^the objective 'loss' is {value}$"):
        objective_values([Objective("loss", "minimize")], {"loss": value})
