"""The live sweep in a real JupyterLab: it fills, is sorted, a trial is looked at, it is cancelled, saved, closed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from narrowing import require_value
from written_sweep import driven, written_sweep, written_trial

import lmkit as lk

LIVE = ".lmkit-sweep"
CELL = 'import lmkit as lk\nlk.attach_sweep("{name}")'
REAL = """import lmkit as lk
lk.sweep(lk.Experiment(data="wine", model={{"hidden": [4]}}, training={{"epochs": {epochs}, "early_stopping": None}}),
         grid={{"lr": [0.1, 0.01], "seed": [0, 1, 2]}}, workers=2, name="{name}")"""


def picture(shown: Any, name: str) -> None:
    """A screenshot for whoever wants to look: LMKIT_SHOTS names the folder."""
    if folder := os.environ.get("LMKIT_SHOTS"):
        shown.page.wait_for_timeout(700)
        shown.page.screenshot(path=Path(folder) / f"{name}.png")


def state(shown: Any) -> str:
    return str(shown.page.locator(f"{LIVE} .lmkit-state").inner_text())


def trials(shown: Any) -> list[str]:
    """The numbers in the table, from top to bottom."""
    found = shown.page.locator(f"{LIVE} tbody tr:not(.lmkit-remark) td.lmkit-first").all_inner_texts()
    return [text.split()[0].removesuffix("best") for text in found]


@pytest.fixture
def written(lab: Any) -> Iterator[lk.Sweep]:
    """Twenty trials that have ended, of a sweep that another process drives: JupyterLab's kernel is told so."""
    made = written_sweep(
        lab.runs.parent, grid={"model.hidden": [[32], [64]]}, search={"lr": "1e-4..1e-1:log"}, trials=24, name="written"
    )
    for i in range(20):
        given = made.space.draw(i, 0)
        if i == 5:
            written_trial(made, given, state="failed", error="the loss is nan: training diverged; lower the rate")
        else:
            written_trial(
                made, given, {"val_loss": 0.2 + given["lr"] * 3}, state="pruned" if i % 6 == 4 else "completed"
            )

    lock = driven(made)
    yield made
    lock.unlink(missing_ok=True)


def test_a_table_and_charts(notebook: Any, written: lk.Sweep) -> None:
    shown = notebook(CELL.format(name="written"), width=1400, height=1500)
    shown.run(0)
    shown.page.locator(LIVE).wait_for()
    shown.wait_until(lambda: len(trials(shown)) == 20, "all trials are in the table")
    charts = shown.page.locator(f"{LIVE} .lmkit-chart .main-svg")
    shown.wait_until(lambda: charts.count() >= 3, "the charts are drawn")
    assert state(shown) == "running"
    shown.wait_for("the loss is nan: training diverged")
    assert "20 of 24 trials finished" in shown.page.locator(".lmkit-activity").inner_text()
    picture(shown, "sweep-light")
    # sorted by the objective: what has none last
    shown.page.locator(f"{LIVE} th button", has_text="val_loss").click()
    losses = {str(t.number): t.values.get("val_loss") for t in written.trials}
    order = trials(shown)
    assert order[-1] == "6"
    assert order[:-1] == sorted(order[:-1], key=lambda n: require_value(losses[n]))
    # one is looked at
    shown.page.locator(f'{LIVE} tr[data-name="6"]').first.click()
    detail = shown.page.locator(f"{LIVE} .lmkit-detail")
    assert "lower the rate" in detail.inner_text()
    assert "train.ipynb" in detail.inner_text()
    shown.theme("JupyterLab Dark")
    colour = "document.querySelector('.lmkit-sweep_history .lmkit-chart').data.at(-1).line.color"
    shown.wait_until(lambda: shown.page.evaluate(colour) == "#F08A3C", "lines are lighter in the dark", 10)
    picture(shown, "sweep-dark")
    shown.theme("JupyterLab Light")
    shown.page.locator(f"{LIVE} input[type=search]").fill("diverged")
    assert trials(shown) == ["6"]
    # its driver is gone; it stays until it is closed, and is then saved without a widget
    written.folder.lock.path.unlink()
    shown.wait_until(lambda: state(shown) == "interrupted", "the end is told")
    shown.page.locator(f"{LIVE} button", has_text="Close").click()
    shown.page.locator(LIVE).wait_for(state="detached")
    outputs = shown.save().cells[0].outputs
    assert [sorted(o.data) for o in outputs] == [
        ["text/html", "text/plain"],
        *[["application/vnd.plotly.v1+json", "image/png", "text/plain"]] * 3,
    ]
    picture(shown, "sweep-saved")


@pytest.mark.usefixtures("ended")
def test_a_real_one_is_cancelled(notebook: Any, lab: Any) -> None:
    shown = notebook(REAL.format(name="real", epochs=100_000), "21 * 2")
    shown.run(0)
    shown.page.locator(LIVE).wait_for()
    shown.run(1)
    assert "42" in shown.output(1).inner_text(), "the kernel is free"
    shown.wait_until(lambda: "epoch" in shown.page.locator(LIVE).inner_text(), "trials are running", 90)
    picture(shown, "sweep-running")
    shown.page.locator(f"{LIVE} button", has_text="Cancel").click()
    shown.wait_until(lambda: state(shown) == "interrupted", "it has ended", 90)
    assert lk.attach_sweep("real", runs=lab.runs).state == "interrupted"
    shown.page.locator(f"{LIVE} button", has_text="Resume").click()
    shown.wait_until(lambda: state(shown) == "running", "it goes on", 90)
    shown.page.locator(f"{LIVE} button", has_text="Cancel").click()
    shown.wait_until(lambda: state(shown) == "interrupted", "it has ended again", 90)
