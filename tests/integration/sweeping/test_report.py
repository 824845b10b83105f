"""The report of a sweep: one page, small, that leads to a page of each trial."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from written_run import falling, written_run
from written_sweep import written_sweep, written_trial

import lmkit as lk
from lmkit.commands import cli
from lmkit.reports import _resolve
from lmkit.tables.sweeps import sweep_summary, trials

SPACE = {"grid": {"model.hidden": [[32], [64]]}, "search": {"lr": "1e-4..1e-1:log"}}
ERROR = "the run failed: the loss is nan: <training> diverged\nand more"


def filled(root: Path, count: int, **sweep: object) -> lk.Sweep:
    """A sweep of so many trials, of which each tenth failed, and all others have the same run."""
    made = written_sweep(root, trials=count, **SPACE, **sweep)  # type: ignore[arg-type]
    run = written_run(root / "runs", losses=falling(60), epochs=[{"loss": 0.9, "val_loss": 0.8}] * 3, data="wine")
    for i in range(count):
        given = made.space.draw(i, 0)
        if i % 10 == 9:
            written_trial(made, given, state="failed", error=ERROR)
        else:
            written_trial(made, given, {"val_loss": 1 + given["lr"]}, run=run.path)
    return made


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> lk.Sweep:
    return filled(tmp_path_factory.mktemp("sweep"), 20)


@pytest.fixture(scope="module")
def page(sweep: lk.Sweep) -> Path:
    return lk.report(sweep)


def links(page: Path) -> list[Path]:
    """The files that a page leads to."""
    found = re.findall(r'<a href="([^"#][^"]*)"', page.read_text())
    return [page.parent / unquote(html.unescape(href)) for href in found]


def pages(sweep: lk.Sweep) -> list[Path]:
    """A page of each trial, beside its notebook."""
    return [t.notebook.with_suffix(".html") for t in sweep.trials if t.notebook]


def test_it_is_the_index_of_its_trials(sweep: lk.Sweep, page: Path) -> None:
    assert page == sweep.path / "report.html"
    assert page.stat().st_size <= 1_000_000
    assert sorted(path.resolve() for path in links(page)) == pages(sweep)
    text = page.read_text()
    assert "<title>Sweep night-1</title>" in text
    assert "wine" in text, "what was trained on"
    assert "<script" not in text
    assert text.count("<img") == 4, "three charts of the sweep, and the curves of the best"
    best = sweep.leader(sweep.trials)
    assert best
    assert f"Trial {best.number}, with" in text
    assert "lmkit sweep train --name night-1" in text, "how to go on"
    assert best.run
    assert f"lmkit train {best.run / 'experiment.yaml'}" in text, "and how to repeat the best"
    assert "&lt;training&gt; diverged" in text


def test_a_sweep_is_found_by_its_name_where_no_run_is_called_so(sweep: lk.Sweep) -> None:
    runs = sweep.path.parents[1] / "runs"
    for given in ("night-1", sweep.path, str(sweep.path)):
        found = _resolve(given, runs)
        assert (found.template, found.folder, found.parameters["which"]) == ("sweep", sweep.path, str(sweep.path))


def test_by_command(sweep: lk.Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[lk.Sweep] = []

    def report(source: lk.Sweep, *_: Any, **__: Any) -> Path:
        asked.append(source)
        return Path("report.html")

    monkeypatch.setattr(lk, "report", report)
    assert cli.main(["report", "--sweep", "last", "--runs", str(sweep.path.parents[1] / "runs")]) == 0
    assert [s.name for s in asked] == ["night-1"]
    assert "report.html" in capsys.readouterr().out


def test_a_name_of_neither_is_refused_as_that_of_a_run(sweep: lk.Sweep) -> None:
    with pytest.raises(lk.RunNotFound):
        lk.report("night-2", runs=sweep.path.parents[1] / "runs")


def test_of_a_sweep_without_results_it_says_so_and_leads_from_wherever_it_lies(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, **SPACE, trials=3)
    written_trial(made, made.space.draw(0, 0), state="failed", error="no such file")
    out = lk.report(made, tmp_path / "deep" / "deeper" / "out.html")
    assert [path.resolve() for path in links(out)] == pages(made)
    assert all(path.is_file() for path in pages(made))
    text = out.read_text()
    assert re.findall("<h2[^>]*>([^<]*)", text) == ["All trials", "Repeat it"], "no heading without content"
    assert "No completed trial with an objective." in text
    assert "no such file" in text
    assert "interrupted, 1/3 trials finished" in text


def test_tables_of_a_sweep(sweep: lk.Sweep) -> None:
    table = trials(sweep)
    assert table.columns == ("trial", "state", "hidden", "lr", "val_loss", "time", "run", "error")
    losses = [row[4] for row in table.rows if row[1] == "completed"]
    assert losses == sorted(losses)
    assert len(losses) == 18
    assert table.rows[-1][1] == "failed"
    assert table.rows[-1][-1] == " ".join(ERROR.split())
    assert re.search(r'href="trials/0001/attempt-1/train\.(html|ipynb)">1</a>', table.html)
    told = dict(sweep_summary(sweep).rows)
    assert told["search space"] == "model.hidden: [32],[64]; lr: 0.0001..0.1:log"
    assert told["notebook"] == "train.ipynb, 2 at a time, 1 thread each"
    assert told["objective"] == "minimize val_loss"
