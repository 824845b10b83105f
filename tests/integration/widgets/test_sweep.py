"""The live sweep's side of the kernel: what it tells the page, what it does when asked, what a notebook keeps."""

from __future__ import annotations

import importlib.util
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from IPython import get_ipython
from live_page import Page
from written_run import written_run
from written_sweep import driven, written_sweep, written_trial

import lmkit as lk
from lmkit.sweeping.records import TrialOutcome
from lmkit.widgets import sweep as sweep_module
from lmkit.widgets.output import SWEEP_CHARTS, sweep_outputs
from lmkit.widgets.sweep import LiveSweep, sweep_state
from lmkit.widgets.watcher import watcher

GRID = {"training.optimizer.lr": [0.1, 0.01], "model.hidden": [[32], [64, 32]]}
PNG = {"application/vnd.plotly.v1+json", "image/png", "text/plain"}


@pytest.fixture(autouse=True)
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """But the test."""
    monkeypatch.setattr(watcher, "add", lambda live: None)
    monkeypatch.setattr(sweep_module, "POLL_SECONDS", 0)
    monkeypatch.setattr(sweep_module, "DUTY_FACTOR", 0)


@pytest.fixture
def sweep(tmp_path: Path) -> lk.Sweep:
    """A sweep that is driven: one trial has completed, one is running, two are still to come."""
    made = written_sweep(tmp_path, grid=GRID)
    driven(made)
    written_trial(made, made.space.combination(0), {"val_loss": 0.5})
    run = written_run(
        tmp_path / "runs",
        state="running",
        losses=[1.0] * 6,
        epochs=[{"val_loss": 0.9}, {"val_loss": 0.7}],
        status={"epoch": 3, "epochs": 20, "seconds": 5.0},
        data="wine",
    )
    written_trial(made, made.space.combination(1), state="running", run=run.path)
    return made


def texts(row: dict[str, Any]) -> list[str | None]:
    return [cell and cell["text"] for cell in row["cells"]]


def test_the_page_is_told_what_is_new(sweep: lk.Sweep) -> None:
    page = Page(LiveSweep(sweep))
    page.ask("ready")
    whole = page.take("update")
    assert whole["reset"]
    assert whole["columns"] == ["trial", "state", "lr", "hidden", "val_loss", "time", "run"]
    first, second = whole["rows"]
    assert texts(first) == ["1", "completed", "0.1", "[32]", "0.5", "2.0 s", None]
    assert first["best"]
    # of one that runs: where it stands, and its newest number
    assert texts(second)[1:6] == ["epoch 3 of 20", "0.1", "[64, 32]", "0.7", "5.0 s"]
    assert second["run"].endswith(texts(second)[6])
    assert second["state"] == "running"
    status = whole["status"]
    assert (status["state"], status["done"], status["total"]) == ("running", 1, 4)
    assert status["seconds_left"] == 2.0 * 3 / 2, "three to come, two at a time, 2 s each"
    assert status["best"] == "best: trial 1, val_loss 0.5"
    assert status["activity"] == "1 running, 1 completed"
    assert set(whole["charts"]) == {"parallel_coordinates", "sweep_history"}, "too few to say what mattered"
    assert whole["charts"]["sweep_history"]["data"]
    page.live.poll()
    assert page.messages == [], "nothing is new"
    written_trial(sweep, sweep.space.combination(2), state="failed", error="the loss is nan\nand more")
    page.live.poll()
    news = page.take("update")
    assert [r["name"] for r in news["rows"]] == ["1", "2", "3"], "more rows are told as a whole"
    assert news["rows"][2]["error"] == "the loss is nan\nand more"
    assert "columns" not in news


def test_what_changes_alone_is_told(sweep: lk.Sweep) -> None:
    page = Page(LiveSweep(sweep))
    page.ask("ready")
    page.messages.clear()
    sweep.folder.trial_folders()[1].finish(
        TrialOutcome("completed", values={"val_loss": 0.3}, attempt="attempt-1", seconds=6.0)
    )
    page.live.poll()
    news = page.take("update")
    assert [(r["name"], r["best"]) for r in news["rows"]] == [("1", False), ("2", True)]
    assert len(news["charts"]["sweep_history"]["data"]) == 2


def test_an_objective_that_is_not_finite_is_an_empty_cell(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, grid=GRID)
    written_trial(made, made.space.combination(0), {"val_loss": float("nan")}, state="pruned")
    (row,) = sweep_state(made, made.trials)["rows"]
    assert texts(row)[4] is None
    json.dumps(row, allow_nan=False)


def test_cancelled_from_the_page(sweep: lk.Sweep) -> None:
    page = Page(LiveSweep(sweep))
    page.ask("cancel")
    (line,) = sweep.folder.control.read()[0]
    assert line["command"] == "stop"
    assert page.live.keep
    sweep.folder.lock.path.unlink()
    page.ask("cancel")
    assert "is not running" in page.take("message")["text"]
    page.live.poll()
    status = page.take("update")["status"]
    assert (status["state"], status["resumable"]) == ("interrupted", False)
    assert page.live.done
    page.ask("resume")  # what another process has started is not executed
    assert "was started elsewhere" in page.take("message")["text"]


def test_a_page_may_ask_nothing_else(sweep: lk.Sweep) -> None:
    page = Page(LiveSweep(sweep))
    for kind in ("poll", "state", "_send_changes", "__class__", "bundle"):
        page.ask(kind, text="x")
    assert page.messages == []


def test_live_it_is_a_widget_and_in_the_end_table_and_charts(
    sweep: lk.Sweep, outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "on")
    seen: list[Any] = []
    monkeypatch.setattr(watcher, "add", seen.append)
    get_ipython().display_formatter.format(sweep)
    assert "application/vnd.jupyter.widget-view+json" in outputs[0]["data"]
    places = [o["transient"]["display_id"] for o in outputs]
    assert len(places) == 1 + len(SWEEP_CHARTS)
    outputs.clear()
    sweep.folder.lock.path.unlink()
    (live,) = seen
    live.poll()
    assert [o["transient"]["display_id"] for o in outputs] == places
    assert all(o["update"] for o in outputs)
    table, parallel, history, importance = [o["data"] for o in outputs]
    assert "<script" not in table["text/html"]
    assert "interrupted" in table["text/html"]
    assert set(parallel) == set(history) == PNG
    assert importance == {"text/plain": ""}, "too few trials"
    assert live.done


def test_whoever_uses_it_keeps_it_until_it_is_closed(sweep: lk.Sweep, outputs: list[dict[str, Any]]) -> None:
    live = LiveSweep(sweep)
    page = Page(live)
    live._ipython_display_()
    page.ask("keep")
    outputs.clear()
    sweep.folder.lock.path.unlink()
    live.poll()
    assert outputs == []
    assert live.done
    page.ask("close")
    assert len(outputs) == len(page.take("ended")["outputs"]) == 1 + len(SWEEP_CHARTS)


def test_without_widgets_it_prints_what_its_driver_tells(
    sweep: lk.Sweep, outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "off")

    def ends(seconds: float) -> None:
        with sweep.folder.log.open("a") as log:
            log.write("trial 2/4  completed  val_loss 0.3\n")
        sweep.folder.lock.path.unlink(missing_ok=True)

    monkeypatch.setattr(time, "sleep", ends)
    get_ipython().display_formatter.format(sweep)
    assert "trial 2/4  completed  val_loss 0.3\n" in capsys.readouterr().out
    assert [set(o["data"]) for o in outputs] == [{"text/html", "text/plain"}, PNG, PNG]


def test_what_a_notebook_keeps_of_a_hundred_trials_is_small(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, search={"lr": "1e-4..1e-1:log", "model.dropout": "0..0.5"}, trials=100)
    for i in range(100):
        given = made.space.draw(i, 0)
        written_trial(made, given, {"val_loss": 1 + given["lr"]}, notebook=False)
    assert len(json.dumps([data for data, _ in sweep_outputs(made)])) <= 150_000


def test_it_is_mirrored_from_the_page(sweep: lk.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(LiveSweep(sweep))
    assert page.live.widget.trackers == ["tensorboard", "mlflow"]
    for run in sweep.runs:
        run.folder.write_status(replace(run.status, state="completed"))
    sweep.folder.lock.path.unlink()
    page.ask("mirror", to="tensorboard")
    place = tmp_path / "runs" / "tensorboard" / sweep.name
    said = page.take("message")
    assert not said["is_error"], said
    assert str(place) in said["text"], said
    written = {str(file.parent.relative_to(place)) for file in tmp_path.rglob("events.out.tfevents.*")}
    assert written == {".", "0001", "0002"}, "the sweep, and each of its trials"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    page.ask("mirror", to="mlflow")
    said = page.take("message")
    assert said["is_error"]
    assert "pip install 'jupyter-lmkit[mlflow]'" in said["text"]
