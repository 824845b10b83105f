"""What a notebook keeps of runs: a figure, its picture and text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lmkit as lk
from lmkit.run.run import Run
from lmkit.run.runs import Runs
from lmkit.widgets.output import run_outputs

pytestmark = pytest.mark.usefixtures("unwatched")


def trained(tmp_path: Path, **changes: Any) -> Run:
    return lk.train(data="wine", epochs=40, inline=True, runs=tmp_path, **changes)


def test_a_run_that_has_ended_is_shown_by_figure_picture_and_text(
    global_shell: Any, outputs: list[dict[str, Any]], tmp_path: Path
) -> None:
    global_shell.display_formatter.format(trained(tmp_path))
    headline, chart, _ = outputs
    assert "completed" in headline["data"]["text/html"]
    assert set(chart["data"]) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert len(json.dumps(chart["data"])) <= 60_000


def test_without_widgets_a_run_prints_lines(
    global_shell: Any, outputs: list[dict[str, Any]], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "off")
    run = lk.train(data="wine", epochs=3, runs=tmp_path)
    global_shell.display_formatter.format(run)
    assert "epoch 3/3" in capsys.readouterr().out
    assert "image/png" in outputs[-1]["data"]
    assert run.state == "completed"


def test_several_runs_are_one_output(tmp_path: Path) -> None:
    runs = Runs([trained(tmp_path, name="one", lr=0.01), trained(tmp_path, name="two", lr=0.1)])
    _, (data, _), _ = run_outputs(runs)
    names = {t["name"] for t in data["application/vnd.plotly.v1+json"]["data"]}
    assert any("lr=0.01" in n for n in names)  # a legend says in what the runs differ
    assert any("lr=0.1" in n for n in names)
    assert len(json.dumps(data)) <= 60_000
