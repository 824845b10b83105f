"""The table of a sweep says what was trained on what, and links to a page of each trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from written_run import falling, written_run
from written_sweep import written_sweep, written_trial

import lmkit as lk
from lmkit.display.table import Link

TARGETS = np.arange(40) % 2


def test_a_sweep_of_experiments_says_what_its_trials_have_in_common(tmp_path: Path) -> None:
    sweep = written_sweep(tmp_path, grid={"lr": [0.1, 0.01]}, trials=2)
    for i, rate in enumerate([0.1, 0.01]):
        run = written_run(
            tmp_path / "runs",
            losses=falling(8),
            predictions=(TARGETS, TARGETS),
            status={"metrics": {"accuracy": 1.0}},
            data="wine",
            training={"epochs": 7, "optimizer": {"name": "sgd", "lr": rate, "momentum": 0.5}},
        )
        written_trial(sweep, {"lr": rate}, {"val_loss": 1.0 - i}, run=run.path)
    rows = dict(lk.tables.sweep_summary(sweep).rows)
    assert list(rows)[:4] == ["data", "model", "epochs", "optimizer"]
    assert (rows["data"], rows["epochs"], rows["optimizer"]) == ("wine", "7", "sgd")
    assert rows["model"].startswith("mlp, hidden [128, 128]")
    assert "training.optimizer.momentum 0.5" in rows["other settings"]
    assert "training.optimizer.lr" not in rows["other settings"], "it varies"
    assert rows["best run"].startswith("test accuracy 1, 95 % interval 0.9")
    assert rows["started"].endswith("UTC")


def test_a_sweep_of_a_notebook_says_its_parameters(tmp_path: Path) -> None:
    sweep = written_sweep(tmp_path, grid={"x": [1, 2]})
    text = (sweep.path / "sweep.yaml").read_text()
    (sweep.path / "sweep.yaml").write_text(text.replace("parameters: {}", "parameters: {depth: 3, name: deep}"))
    rows = dict(lk.tables.sweep_summary(lk.Sweep(sweep.folder)).rows)
    assert rows["parameters"] == "depth 3, name 'deep'"
    assert "data" not in rows


def test_trials_link_to_their_pages_where_there_are_any(tmp_path: Path) -> None:
    sweep = written_sweep(tmp_path, grid={"x": [1, 2]})
    for x in (1, 2):
        written_trial(sweep, {"x": x}, {"val_loss": x})
    notebook = sweep.trials[0].notebook
    assert notebook is not None
    notebook.with_suffix(".html").write_text("page")
    first, second = (row[0] for row in lk.tables.trials(sweep).rows)
    assert isinstance(first, Link)
    assert isinstance(second, Link)
    assert (first.href, second.href) == ("trials/0001/attempt-1/train.html", "trials/0002/attempt-1/train.ipynb")
