"""The live comparison in a real JupyterLab: it fills, is sorted, filtered, questioned, cancelled, goes on, is saved."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

import lmkit as lk
from lmkit.run.run import Run

pytestmark = pytest.mark.usefixtures("ended")

CELL = """import lmkit as lk
compared = lk.compare("{name}", {techniques}, batches=(1,), rounds=3)
compared"""
LIVE = ".lmkit-comparison"
STATIC = ".js-plotly-plot .main-svg, .jp-RenderedPlotly img, .jp-RenderedImage img"


@pytest.fixture(scope="module")
def run(lab: Any) -> Run:
    return lk.train(
        data="digits", model={"hidden": [256, 128]}, epochs=2, inline=True, runs=lab.runs, name="digits-small"
    )


def cell(run: Run, *techniques: str) -> str:
    return CELL.format(name=run.name, techniques=list(techniques))


def rows(shown: Any) -> list[str]:
    """The techniques in the table, from top to bottom."""
    return shown.page.locator(f"{LIVE} tr:not(.lmkit-remark) .lmkit-technique").all_inner_texts()


def state(shown: Any) -> str:
    return str(shown.page.locator(f"{LIVE} .lmkit-state").inner_text())


def measured(shown: Any) -> int:
    """How many rows have numbers."""
    return int(shown.page.locator(f"{LIVE} .lmkit-ratio").count())


def picture(shown: Any, name: str) -> None:
    """A screenshot for whoever wants to look: LMKIT_SHOTS names the folder."""
    if folder := os.environ.get("LMKIT_SHOTS"):
        shown.page.wait_for_timeout(500)
        shown.page.screenshot(path=Path(folder) / f"{name}.png")


def test_it_fills_and_is_used(notebook: Any, run: Run) -> None:
    names = ("onnx-int8-dynamic", "saved-model")
    shown = notebook(cell(run, *names), "21 * 2", width=1600)
    shown.run(0)
    shown.page.locator(LIVE).wait_for()
    shown.run(1)
    assert "42" in shown.output(1).inner_text(), "the kernel is free"
    assert rows(shown) == ["baseline", *names]
    shown.wait_until(lambda: measured(shown) == 1, "the baseline is measured", 180)
    assert state(shown) == "running"
    assert "remaining" in shown.page.locator(".lmkit-activity").inner_text()
    picture(shown, "running")
    shown.page.locator(f"{LIVE} tr[data-name$='/baseline']").first.click()  # from now on it stays
    shown.wait_until(lambda: state(shown) == "completed", "all is measured", 240)
    assert measured(shown) == 2
    # what does not apply says why, without hovering
    shown.wait_for("not applicable: PyTorch does not write saved_model")
    # sorted by numbers, what has none last; a second click turns it, a third gives the first order
    size = shown.page.locator(f"{LIVE} th button", has_text="size")
    size.click()
    assert rows(shown)[0] == "onnx-int8-dynamic"
    assert rows(shown)[-1] == "saved-model"
    size.click()
    assert rows(shown)[-2:] == ["onnx-int8-dynamic", "saved-model"]
    size.click()
    assert rows(shown) == ["baseline", *names]
    # filtered by words and by chips
    shown.page.get_by_role("searchbox", name="filter").fill("int8")
    assert rows(shown) == ["onnx-int8-dynamic"]
    shown.page.get_by_role("searchbox", name="filter").fill("")
    shown.page.locator(".lmkit-filters .lmkit-chip", has_text="convert").click()
    assert rows(shown) == ["baseline", "onnx-int8-dynamic"]
    shown.page.locator(".lmkit-filters .lmkit-chip", has_text="convert").click()
    # what to ship
    field = shown.page.get_by_label("what to ship")
    field.fill("smallest")
    shown.wait_until(lambda: "is the smallest" in shown.page.locator(".lmkit-reason").inner_text(), "the smallest")
    assert shown.page.locator(".lmkit-best .lmkit-technique").first.inner_text() == "onnx-int8-dynamic"
    field.fill("prettiest")
    shown.wait_until(lambda: "given 'prettiest'" in shown.page.locator(".lmkit-reason").inner_text(), "a message")
    shown.page.locator(".lmkit-ship .lmkit-chip", has_text="fastest within").click()
    shown.wait_until(lambda: "is the fastest" in shown.page.locator(".lmkit-reason").inner_text(), "the fastest")
    # the chart
    points = "d => (d.data ?? []).flatMap(t => t.customdata ?? [])"
    chart = shown.page.locator(f"{LIVE} .lmkit-chart")
    chart.scroll_into_view_if_needed()
    shown.wait_until(lambda: set(chart.evaluate(points)) == {"baseline", names[0]}, "a point a variant")
    # a further technique
    shown.page.get_by_text("Measure further techniques").click()
    shown.page.get_by_label("another technique").fill("onxx")
    shown.page.get_by_role("button", name="Measure", exact=True).click()
    shown.wait_for("techniques: given 'onxx'")
    shown.page.get_by_label("another technique").fill("")
    shown.page.locator(".lmkit-boxes input[value='onnx']").check()
    shown.page.get_by_role("button", name="Measure", exact=True).click()
    shown.wait_until(lambda: rows(shown)[-1] == "onnx", "it is in the table")
    shown.wait_until(lambda: measured(shown) == 3 and state(shown) == "completed", "it is measured", 90)
    # a bundle of the row that is selected
    shown.page.locator(f"{LIVE} tr[data-name$='/onnx']").first.click()
    shown.page.get_by_label("folder of the bundle").fill("shipped")
    shown.page.get_by_role("button", name="Write", exact=True).click()
    shown.wait_for(re.compile("Bundle of onnx: .*shipped"), 90)
    assert (shown.path.parent / "shipped" / "checksums.txt").is_file()
    looks(shown)
    # closed: what is saved shows the words, the table, the chart
    shown.page.get_by_role("button", name="Close", exact=True).click()
    shown.wait_until(lambda: shown.page.locator(LIVE).count() == 0, "static outputs took its place")
    saved_static(shown)


def looks(shown: Any) -> None:
    """Pictures in both themes, wide and narrow; nothing reaches beyond the widget."""
    for width in (1600, 700):
        shown.page.set_viewport_size({"width": width, "height": 1300})
        for theme in ("Light", "Dark"):
            shown.theme(f"JupyterLab {theme}")
            shown.page.locator(LIVE).scroll_into_view_if_needed()
            picture(shown, f"{theme.lower()}-{width}")
        beyond = "d => d.scrollWidth - d.clientWidth"
        assert shown.page.locator(LIVE).evaluate(beyond) <= 0
    shown.theme("JupyterLab Light")
    shown.page.set_viewport_size({"width": 1600, "height": 1200})


def saved_static(shown: Any) -> None:
    """The first cell, saved: a table without scripts, a chart with its picture, and no widget; small."""
    shown.wait_until(lambda: "image/png" in shown.save().cells[0].outputs[-1].data, "the chart took its place, too")
    outputs = shown.save().cells[0].outputs
    *words, table, chart = [o.data for o in outputs]
    assert all(set(said) == {"text/plain"} for said in words)
    assert set(table) == {"text/html", "text/plain"}
    assert set(chart) == {"image/png", "application/vnd.plotly.v1+json", "text/plain"}
    assert "<script" not in table["text/html"]
    assert "onnx" in table["text/html"]
    assert len(str(outputs)) <= 60_000


def test_cancelled_and_resumed_and_reloaded(notebook: Any, run: Run) -> None:
    """Variants that the test before has measured are there at once; what is new is cancelled and goes on."""
    shown = notebook(cell(run, "onnx", "torch-export"), "[v.technique for v in compared.measured]")
    shown.run(0)
    shown.wait_until(lambda: measured(shown) >= 1, "the baseline is measured", 180)
    shown.page.get_by_role("button", name="Cancel", exact=True).click()
    shown.wait_until(lambda: state(shown) == "cancelled", "cancelled at once", 10)
    assert "cancelled" in shown.page.locator(f"{LIVE} tr[data-name$='/torch-export']").inner_text()
    picture(shown, "cancelled")
    shown.page.get_by_role("button", name="Resume", exact=True).click()
    shown.wait_until(lambda: state(shown) == "running", "it goes on")
    shown.save()
    shown.open()
    shown.wait_until(lambda: shown.page.locator(LIVE).count() == 1, "it is back after a reload")
    shown.wait_until(lambda: state(shown) == "completed" and measured(shown) == 3, "it goes on to the end", 120)
    shown.page.get_by_role("button", name="Close", exact=True).click()
    shown.wait_until(lambda: shown.page.locator(LIVE).count() == 0, "static outputs took its place")
    saved_static(shown)
    shown.run(1)
    assert "['baseline', 'onnx', 'torch-export']" in shown.output(1).inner_text()


def test_all_cells_from_top_to_bottom_and_shown_without_a_kernel(notebook: Any, run: Run) -> None:
    shown = notebook(cell(run, "onnx"), "print(compared.recommend('smallest'))")
    shown.run_all()
    assert "is the smallest" in shown.output(1).inner_text()
    shown.wait_until(lambda: shown.page.locator(LIVE).count() == 0, "nobody used it: static at once")
    saved_static(shown)
    shown.page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    shown.command("application:close-all")
    preference = {"autoStartDefault": False, "shouldStart": False, "canStart": True}
    shown.command("docmanager:open", path=shown.path.name, kernelPreference=preference)
    shown.page.locator(STATIC).locator("visible=true").first.wait_for()
    assert shown.output(0).locator("td", has_text="onnx").count() > 0
    picture(shown, "static")
