"""The monitor in a real JupyterLab: watched, steered, reloaded, attached to again, saved."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from lmkit.run.run import Run
from lmkit.runfolder.find import run_folders
from lmkit.runfolder.folder import RunFolder

pytestmark = pytest.mark.usefixtures("ended")

LONG = """import lmkit as lk
settings = {{"data": "digits", "model": "mlp:small", "epochs": 100_000, "lr": 0.003, "early_stopping": None}}
run = lk.train(**settings, framework="{framework}", name="{name}")
run"""
ANOTHER_SHELL = """async () => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel, own = kernel.subshellId
  kernel.subshellId = (await kernel.requestCreateSubshell({}).done).content.subshell_id
  await kernel.requestCommInfo({})
  await new Promise((resolve) => setTimeout(resolve, 1000)) // the monitor tells news meanwhile
  await kernel.requestDeleteSubshell({subshell_id: kernel.subshellId}).done
  kernel.subshellId = own
}"""
"""What JupyterLab does when a page is loaded again: a shell of the kernel answers for a moment, and is gone."""

ZOOM_AND_RESET = """d => {
  d.emit("plotly_relayout", {"xaxis.range[0]": 10, "xaxis.range[1]": 40})
  const buttons = d.closest(".lmkit-monitor").querySelectorAll("button")
  Array.from(buttons).find((b) => b.textContent === "Reset zoom").click()
}"""

STATIC = ".js-plotly-plot .main-svg, .jp-RenderedPlotly img, .jp-RenderedImage img"
"""A figure: plotly's own once it is pointed at, its picture until then."""


def long(framework: str = "torch", name: str = "long") -> str:
    """A cell that trains for longer than any test."""
    return LONG.format(framework=framework, name=name)


def only_run(notebook: Any) -> Run:
    """The run that the notebook made last."""
    folders: list[RunFolder] = run_folders(notebook.runs)
    return Run(folders[-1])


def points(notebook: Any, chart: str = "loss", nth: int = 0) -> int:
    """The last step that a chart shows; 0 while it shows none."""
    script = "d => Math.max(0, ...(d.data ?? []).flatMap(t => t.x ?? []).filter(Number.isFinite))"
    return int(notebook.page.locator(f".lmkit-{chart} .lmkit-chart").nth(nth).evaluate(script))


def button(notebook: Any, name: str) -> Any:
    """A button of the monitor."""
    return notebook.page.locator(".lmkit-monitor").get_by_role("button", name=re.compile(f"^{name}"))


def happened(run: Run, kind: str) -> list[dict[str, Any]]:
    """The events of one kind in a run's log."""
    return [e.data for e in run.events if e.type == kind]


def shows(notebook: Any, state: str) -> Callable[[], bool]:
    """Whether the monitor shows this state."""
    return lambda: notebook.page.locator(".lmkit-state").first.inner_text() == state


def points_arrive(shown: Any) -> Run:
    """Run the first cell; return the run, whose charts grow while it trains."""
    shown.run(0)
    shown.wait_until(lambda: points(shown) > 0, "a first point", 90)
    seen = points(shown)
    shown.wait_until(lambda: points(shown) > seen, "more points")
    run = only_run(shown)
    assert run.state == "running"
    shown.wait_until(lambda: points(shown, "metric") > 0, "an epoch's accuracy")
    assert points(shown, "lr") > 0
    assert points(shown, "norm") > 0
    return run


def test_points_arrive_and_steering_takes_effect_and_is_recorded(notebook: Any) -> None:
    shown = notebook(long())
    run = points_arrive(shown)
    button(shown, "Pause").click()
    shown.wait_until(shows(shown, "paused"), "paused")
    assert run.state == "paused"
    assert happened(run, "paused")
    button(shown, "Resume").click()
    shown.wait_until(shows(shown, "running"), "running again")
    rate = shown.page.get_by_label("new learning rate")
    rate.fill("0.02")
    rate.press("Enter")
    shown.wait_until(lambda: happened(run, "learning_rate"), "the learning rate changed")
    assert happened(run, "learning_rate")[0]["value"] == 0.02
    shown.page.get_by_label("note", exact=True).fill("doubtful from here")
    button(shown, "Add").click()
    shown.wait_until(lambda: happened(run, "note"), "the note is written")
    assert happened(run, "note")[0]["text"] == "doubtful from here"
    before = len(happened(run, "checkpoint"))
    button(shown, "Checkpoint now").click()
    shown.wait_until(lambda: len(happened(run, "checkpoint")) > before, "a checkpoint")
    # each is a mark on the chart
    texts = "d => d.data.at(-1).text ?? []"
    shown.wait_until(
        lambda: any("doubtful" in t for t in shown.page.locator(".lmkit-loss .lmkit-chart").evaluate(texts)), "a mark"
    )
    shown.page.locator(".lmkit-loss .lmkit-chart").hover()
    shown.wait_until(lambda: shown.page.locator(".lmkit-norm .hoverlayer *").count(), "one cursor over all charts")
    button(shown, "Stop").click()
    shown.wait_until(lambda: run.state == "stopped", "stopped")
    assert run.folder.load_checkpoint("last") is not None


def test_a_closed_tab_and_a_reloaded_page_show_the_run_again_and_end_as_a_picture(notebook: Any) -> None:
    shown = notebook(long())
    shown.run(0)
    shown.wait_until(lambda: points(shown) > 0, "a first point", 90)
    shown.save()
    for again in (reopen_tab, lambda page: page.open()):
        seen = points(shown)
        again(shown)
        shown.wait_until(lambda: shown.page.locator(".lmkit-monitor").count() == 1, "the monitor is back")
        shown.wait_until(lambda seen=seen: points(shown) > seen, "the chart continues")
    shown.page.evaluate(ANOTHER_SHELL)  # takes no messages along
    button(shown, "Stop").click()
    shown.wait_until(lambda: shown.page.locator(".lmkit-monitor").count() == 0, "the picture took its place")
    assert only_run(shown).state == "stopped"
    headline, chart, _ = shown.save().cells[0].outputs
    assert "stopped" in headline.data["text/html"]
    assert "image/png" in chart.data


def reopen_tab(shown: Any) -> None:
    """Close the tab of the notebook, and open it again."""
    shown.command("application:close-all")
    shown.wait_until(lambda: shown.page.locator(".lmkit-monitor").count() == 0, "the tab is closed")
    shown.command("docmanager:open", path=shown.path.name)


def test_after_a_restart_of_the_kernel_attach_finds_the_run(notebook: Any) -> None:
    alone = "import os\nos.environ.pop('LMKIT_FORKSERVER', None)\n"  # its worker comes from the kernel itself
    shown = notebook(alone + long(name="survivor"), "import lmkit as lk\nlk.attach('survivor')")
    shown.run(0)
    shown.wait_until(lambda: points(shown) > 0, "a first point", 90)
    run = only_run(shown)
    shown.restart()
    assert run.state == "running"
    shown.theme("JupyterLab Dark")
    colour = "document.querySelector('.lmkit-loss .lmkit-chart').data.at(-1).line.color"
    shown.wait_until(lambda: shown.page.evaluate(colour) == "#F08A3C", "a dead monitor follows the theme", 20)
    shown.theme("JupyterLab Light")
    step = run.status.step
    shown.run(1)
    chart = shown.output(1).locator(".lmkit-loss .lmkit-chart")
    chart.wait_for()
    script = "d => Math.max(0, ...(d.data ?? []).flatMap(t => t.x ?? []).filter(Number.isFinite))"
    shown.wait_until(lambda: chart.evaluate(script) > step, "the attached chart goes beyond where it was")
    shown.output(1).get_by_role("button", name=re.compile("^Stop")).click()
    shown.wait_until(lambda: run.state == "stopped", "stopped")


def test_a_blocking_cell_blocks_neither_the_chart_nor_the_command_line(notebook: Any) -> None:
    from lmkit.commands.cli import main

    shown = notebook(long(), "import time\ntime.sleep(600)")
    shown.run(0)
    shown.wait_until(lambda: points(shown) > 0, "a first point", 90)
    shown.run(1, wait=False)
    shown.page.wait_for_selector('[data-status="busy"]')
    seen = points(shown)
    shown.wait_until(lambda: points(shown) > seen, "points arrive while the kernel is busy")
    run = only_run(shown)
    assert main(["stop", run.name, "--runs", str(shown.runs)]) == 0
    assert run.state == "stopped"
    shown.command("notebook:interrupt-kernel")
    shown.idle()


def test_all_cells_from_top_to_bottom_and_shown_without_a_kernel(notebook: Any) -> None:
    shown = notebook(
        'import lmkit as lk\nrun = lk.train(data="wine", epochs=20)\nrun',
        "run.metrics['accuracy'] > 0.8",
        "lk.charts.learning_curves(run)",
        "lk.tables.metrics(run)",
    )
    shown.run_all()
    assert "True" in shown.output(1).inner_text()
    shown.wait_until(lambda: shown.output(0).locator(STATIC).count() > 0, "the first cell ends as a picture")
    shown.cell(3).scroll_into_view_if_needed()  # only what is in sight is rendered
    shown.wait_until(lambda: "accuracy" in shown.output(3).inner_text(), "the table of metrics")
    saved = shown.save()
    headline, chart, _ = saved.cells[0].outputs
    assert set(headline.data) == {"text/html", "text/plain"}
    kinds = set(chart.data)
    assert kinds >= {"image/png", "application/vnd.plotly.v1+json", "text/plain"}
    assert "text/html" not in kinds
    assert "application/vnd.jupyter.widget-view+json" not in kinds
    assert len(str(chart.data)) <= 60_000
    shown.page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    shown.command("application:close-all")
    preference = {"autoStartDefault": False, "shouldStart": False, "canStart": True}
    shown.command("docmanager:open", path=shown.path.name, kernelPreference=preference)
    picture = shown.page.locator(STATIC).locator("visible=true").first
    picture.wait_for()
    box = picture.bounding_box()
    assert box["width"] > 300
    assert box["height"] > 150
    assert shown.page.evaluate("() => [...window.jupyterapp.serviceManager.sessions.running()].length") == 0


def test_plotly_reaches_a_page_once_and_ten_monitors_leave_it_responsive(notebook: Any) -> None:
    counting = """import lmkit as lk, lmkit.widgets.monitor as m
served, original = [], m.plotly_js
m.plotly_js = lambda: served.append(1) or original()
run = lk.train(data="digits", model="mlp:small", epochs=100_000, lr=0.003, early_stopping=None, name="watched")
for _ in range(10):
    display(lk.monitor(run))"""
    shown = notebook(counting, "len(served)")
    shown.run(0)
    shown.wait_until(lambda: shown.page.locator(".lmkit-monitor").count() == 10, "ten monitors")
    shown.wait_until(lambda: points(shown) > 0, "the first draws", 90)
    last = shown.page.locator(".lmkit-monitor").nth(9)
    last.scroll_into_view_if_needed()
    shown.wait_until(lambda: points(shown, nth=9) > 0, "the last draws")
    shown.run(1)
    assert shown.output(1).locator("pre").inner_text().strip() == "1"


def test_runs_are_laid_over_each_other(notebook: Any) -> None:
    shown = notebook(long(name="first"), long(name="second"), 'lk.attach("first", "second")')
    shown.run_all()
    shown.wait_until(
        lambda: shown.output(2).locator(".lmkit-state").all_inner_texts() == ["running", "running"], "both run", 90
    )
    chart = shown.output(2).locator(".lmkit-loss .lmkit-chart")
    chart.scroll_into_view_if_needed()  # only what is seen is drawn
    names = "d => (d.data ?? []).filter(t => t.x.length).map(t => t.name)"
    shown.wait_until(
        lambda: all(any(n in name for name in chart.evaluate(names)) for n in ("first", "second")), "both drawn"
    )
    shown.output(2).get_by_role("button", name=re.compile("^Pause .*second")).click()
    second = Run(run_folders(shown.runs)[-1])
    shown.wait_until(lambda: second.state == "paused", "only the second is paused")
    assert Run(run_folders(shown.runs)[-2]).state == "running"


def test_a_finding_shows_while_a_run_trains_and_is_applied_to_a_new_experiment(notebook: Any) -> None:
    low = """import lmkit as lk
lk.train(data="digits", model="mlp:small", optimizer="sgd", lr=1e-6, epochs=3000, early_stopping=None)"""
    shown = notebook(low)
    shown.run(0)
    doctor = shown.page.locator(".lmkit-doctor")
    doctor.get_by_text("the learning rate 1e-06 is too low").wait_for(timeout=90_000)
    assert doctor.locator(".lmkit-count").inner_text() == "1 finding"
    doctor.locator("summary").click()
    assert "median change of a layer" in doctor.inner_text()
    doctor.get_by_role("button", name="Apply to a new experiment").click()
    code = shown.output(0).locator(".lmkit-configurator .lkc-code pre").first
    shown.wait_until(lambda: code.count() and "lr" in code.inner_text(), "a form below")
    run = only_run(shown)
    rate = re.search(r'"lr": ([\d.e-]+)', code.inner_text())
    assert rate is not None
    assert float(rate[1]) > run.experiment.training.optimizer.lr
    button(shown, "Stop").click()
    shown.wait_until(lambda: shown.page.locator(".lmkit-monitor").count() == 0, "the picture took its place")
    assert code.count() == 1  # the form stays
    assert "the learning rate 1e-06 is too low" in shown.output(0).inner_text()


def test_points_arrive_and_a_zoom_fetches_the_detail(notebook: Any) -> None:
    shown = notebook(long("tensorflow"))
    run = points_arrive(shown)
    shown.wait_until(lambda: points(shown) > 2000, "two thousand steps", 120)
    axis = shown.page.get_by_label("x axis")
    axis.select_option("epoch")
    shown.wait_until(lambda: 0 < points(shown) <= run.status.epoch + 1, "epochs along the x axis")
    axis.select_option("time")
    shown.wait_until(lambda: 0 < points(shown) <= run.status.seconds + 5, "time along the x axis")
    axis.select_option("step")
    shown.wait_until(lambda: points(shown) > 2000, "steps again")
    box = shown.page.locator(".lmkit-loss .lmkit-chart").bounding_box()
    mouse = shown.page.mouse
    mouse.move(box["x"] + 100, box["y"] + 60)
    mouse.down()
    mouse.move(box["x"] + 130, box["y"] + 62, steps=4)
    mouse.up()
    chart = shown.page.locator(".lmkit-loss .lmkit-chart")
    gap = "d => { const x = d.data[1].x.filter(Number.isFinite); return x.length > 3 ? x[2] - x[1] : 1e9 }"
    shown.wait_until(lambda: chart.evaluate(gap) <= 4, "steps in detail")
    button(shown, "Reset zoom").click()
    shown.wait_until(lambda: chart.evaluate(gap) > 4, "the whole run again")
    # the answer to a zoom that was reset meanwhile comes too late, and is not shown
    chart.evaluate(ZOOM_AND_RESET)
    shown.page.wait_for_timeout(1500)
    assert chart.evaluate(gap) > 4
    assert points(shown) > 2000


def test_a_run_that_failed_says_so_above_its_curves(notebook: Any) -> None:
    shown = notebook('import lmkit as lk\nlk.train(data="diabetes", epochs=500, optimizer="sgd", lr=1e6)')
    shown.run(0)
    shown.wait_for("failed", 90)
    headline = shown.output(0).locator(".jp-RenderedHTML")
    headline.wait_for()
    text = headline.inner_text()
    assert re.search(r"failed · the loss is (inf|nan) at step \d+.* · to continue: lk\.attach", text)
    shown.output(0).locator(STATIC).locator("visible=true").first.wait_for()
    assert any("the loss is" in str(o.data.get("text/html")) for o in shown.save().cells[0].outputs)
