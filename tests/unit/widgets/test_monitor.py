"""The monitor's side of the kernel: what it tells the page, what it does when the page asks, what a notebook keeps."""

from __future__ import annotations

import gzip
import html
import importlib.resources
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_readings import CHANCE, TOO_LOW, USUAL, write_profile, write_reading, write_steps

import lmkit as lk
from lmkit.run.run import Run
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.live import EPOCH_LINES, STEP_LINES
from lmkit.widgets import display as display_module
from lmkit.widgets.monitor import Monitor
from lmkit.widgets.output import run_outputs
from lmkit.widgets.tracking import TRACKERS
from lmkit.widgets.watcher import watcher


class Page:
    """Record what a monitor sends, and send messages of the page."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.heard: list[tuple[dict[str, Any], list[bytes]]] = []
        monitor.widget.send = lambda content, buffers=None: self.heard.append((content, list(buffers or [])))

    def ask(self, **message: Any) -> None:
        self.monitor._handle_message(None, message, [])

    def take(self, kind: str) -> tuple[dict[str, Any], list[bytes]]:
        found = [h for h in self.heard if h[0]["type"] == kind]
        self.heard.clear()
        assert len(found) == 1, [h[0]["type"] for h in found]
        return found[0]


pytestmark = pytest.mark.usefixtures("unwatched")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(lk.Experiment(training={"epochs": 3}), tmp_path)
    folder.write_status(replace(folder.status(), state="running", epoch=1, epochs=3, step=3, steps=9))
    folder.metrics.append({"step": 1, "loss": [3.0, 2.0, 1.0], "lr": 0.1})
    return folder


@pytest.fixture
def page(folder: RunFolder) -> Page:
    return Page(Monitor([Run(folder)]))


def test_a_page_that_opens_is_told_everything(page: Page) -> None:
    page.monitor.poll()
    page.heard.clear()
    page.ask(type="ready")
    content, buffers = page.take("update")
    (told,) = content["runs"]
    assert told["status"]["state"] == "running"
    assert told["steps"] == {"first": 0, "width": 1, "n": 3, "count": 3}
    values = np.frombuffer(buffers[0], dtype=np.float32).reshape(len(STEP_LINES), 3)
    assert values[0].tolist() == [3.0, 2.0, 1.0]


def test_only_news_are_told(page: Page, folder: RunFolder) -> None:
    page.monitor.poll()
    page.heard.clear()
    page.monitor.poll()
    assert page.heard == []
    folder.metrics.append({"step": 4, "loss": [0.5], "lr": 0.1})
    page.monitor.poll()
    content, buffers = page.take("update")
    assert content["runs"][0]["steps"] == {"first": 3, "width": 1, "n": 1, "count": 4}
    assert len(buffers[0]) == 4 * len(STEP_LINES)


def test_an_update_of_a_million_steps_is_small(page: Page, folder: RunFolder) -> None:
    draw = np.random.default_rng(0)
    for first in range(4, 1_000_000, 100_000):
        folder.metrics.append({"step": first, "loss": draw.uniform(size=100_000).round(4).tolist(), "lr": 0.1})
    while page.monitor.poll():
        pass
    assert page.monitor.views[0].steps.count == 1_000_003
    page.heard.clear()
    folder.metrics.append({"step": 1_000_004, "loss": draw.uniform(size=1000).tolist(), "lr": 0.1})
    page.monitor.poll()
    content, buffers = page.take("update")
    assert len(json.dumps(content)) + sum(map(len, buffers)) < 1000
    page.ask(type="ready")
    content, buffers = page.take("update")
    assert len(json.dumps(content)) + sum(map(len, buffers)) < 8000


def test_a_zoom_shows_every_step(page: Page, folder: RunFolder) -> None:
    folder.metrics.append({"step": 4, "loss": np.arange(5000.0).tolist(), "lr": 0.1})
    page.monitor.poll()
    page.heard.clear()
    page.ask(type="zoom", **{"from": 1000, "to": 1100}, ticket=7)
    content, buffers = page.take("detail")
    told = content["runs"][0]["steps"]
    assert content["ticket"] == 7
    assert len(buffers) == 2  # the steps, and the epochs
    assert told["width"] == 1
    lowest = np.frombuffer(buffers[0], dtype=np.float32).reshape(len(STEP_LINES), told["n"])[0]
    assert lowest[1000 - told["start"] - 1] == 996.0  # the 1000th step is the 997th of those


def test_a_zoom_shows_the_epochs_that_end_in_it_one_by_one(page: Page, folder: RunFolder) -> None:
    losses = np.linspace(2.0, 1.0, 1000)
    for epoch, loss in enumerate(losses.tolist(), start=1):
        folder.events.append("epoch", epoch=epoch, step=10 * epoch, loss=loss, val_loss=loss)
    folder.metrics.append({"step": 4, "loss": [0.5] * 10_000, "lr": 0.1})
    while page.monitor.poll():
        pass
    page.heard.clear()
    page.ask(type="zoom", **{"from": 5000, "to": 5100}, ticket=1)
    content, buffers = page.take("detail")
    epochs = content["runs"][0]["epochs"]
    assert epochs["width"] == 1  # not several in one, whose lowest and highest value would be drawn as a jump
    rows = np.frombuffer(buffers[1], dtype=np.float32).reshape(len(EPOCH_LINES), epochs["n"])
    steps, lowest, highest = rows[0].tolist(), rows[2], rows[3]
    assert steps[0] < 5000
    assert steps[-1] >= 5100
    assert len(steps) <= 13
    assert (lowest == highest).all()
    np.testing.assert_allclose(lowest, losses[[int(s) // 10 - 1 for s in steps]].astype(np.float32))


def ill(page: Page, folder: RunFolder) -> dict[str, Any]:
    """The update after readings of a learning rate that is too low."""
    page.monitor.poll()
    page.heard.clear()
    write_profile(folder)
    write_steps(folder, 4, [CHANCE] * 125)
    for step in (0, 1, 2, 4, 8, 16, 32, 64, 128):
        write_reading(folder, step, CHANCE, TOO_LOW)
    page.monitor.poll()
    content, _ = page.take("update")
    update: dict[str, Any] = content["runs"][0]
    return update


def test_findings_are_sent_when_they_change(page: Page, folder: RunFolder) -> None:
    (finding,) = ill(page, folder)["findings"]
    assert (finding["check"], finding["confidence"], finding["apply"]) == ("rate-low", "sure", True)
    write_steps(folder, 129, [CHANCE])
    page.monitor.poll()
    assert "findings" not in page.take("update")[0]["runs"][0]
    page.ask(type="ready")
    assert page.take("update")[0]["runs"][0]["findings"] == [finding]
    page.monitor.doctors[0]._next = 0.0
    for step in (129, 130, 131):
        write_reading(folder, step, 0.1, USUAL)
    page.monitor.poll()
    assert page.take("update")[0]["runs"][0]["findings"] == []


def test_a_change_is_applied_to_a_new_experiment(page: Page, folder: RunFolder) -> None:
    ill(page, folder)
    page.ask(type="apply", run=0, check="rate-low")
    content, _ = page.take("form")
    assert page.monitor.form is not None
    assert page.monitor.form.experiment.training.optimizer.lr > folder.experiment.training.optimizer.lr
    assert content["output"]["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert folder.name in content["command"]
    page.ask(type="apply", run=0, check="overfit")  # a finding that is no more
    assert "expected one with a finding" in page.take("message")[0]["text"]


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("failed", "the loss is nan at <step> 41", ["failed", "the loss is nan at &lt;step&gt; 41", ".resume()"]),
        ("stopped", "on request", ["stopped", ".resume()"]),
        ("completed", "", ["completed", "test: accuracy 0.9312"]),
    ],
)
def test_the_saved_output_says_how_a_run_ended(folder: RunFolder, state: str, reason: str, expected: list[str]) -> None:
    metrics = {"accuracy": 0.93123} if state == "completed" else None
    folder.write_status(replace(folder.status(), state=state, reason=reason, metrics=metrics))
    (headline, _), (chart, _), (rates, _) = run_outputs([Run(folder)])
    assert all(text in headline["text/html"] for text in [folder.name, *expected])
    assert ("resume" in headline["text/html"]) == (state != "completed")
    assert state in headline["text/plain"]
    assert "image/png" in chart
    assert rates == {"text/plain": ""}, "the rate is the same at each step, and there is no norm"


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ({"type": "pause"}, {"command": "pause"}),
        ({"type": "stop"}, {"command": "stop"}),
        ({"type": "checkpoint"}, {"command": "checkpoint"}),
        ({"type": "note", "arguments": ["so far so good"]}, {"command": "note", "text": "so far so good"}),
        ({"type": "set_learning_rate", "arguments": [0.5]}, {"command": "learning_rate", "value": 0.5}),
    ],
)
def test_what_the_page_asks_is_written_to_the_run(
    page: Page, folder: RunFolder, asked: dict[str, Any], written: dict[str, Any]
) -> None:
    page.ask(run=0, **asked)
    (line,) = folder.control.read()[0]
    assert written.items() <= line.items()


def test_what_cannot_be_done_is_told(page: Page, folder: RunFolder) -> None:
    page.ask(type="set_learning_rate", run=0, arguments=[-1])
    assert "greater than 0" in page.take("message")[0]["text"]
    folder.write_status(replace(folder.status(), state="completed"))
    page.ask(type="pause", run=0)
    assert "is not running (completed)" in page.take("message")[0]["text"]


def test_a_page_may_ask_nothing_else(page: Page, folder: RunFolder) -> None:
    page.ask(type="wait", run=0)
    page.ask(type="__class__", run=0)
    assert page.heard == []
    assert folder.control.read()[0] == []


def test_the_page_gets_the_installed_plotly(page: Page) -> None:
    page.ask(type="plotly")
    _, (packed,) = page.take("plotly")
    installed = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
    assert gzip.decompress(packed) == installed.read_bytes()


def trained(tmp_path: Path, **changes: Any) -> Run:
    return lk.train(data="wine", epochs=40, inline=True, runs=tmp_path, **changes)


def test_with_widgets_a_live_run_shows_its_monitor_and_in_the_end_a_picture_in_its_place(
    global_shell: Any, outputs: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: RunFolder
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "on")
    made: list[Monitor] = []
    monkeypatch.setattr(watcher, "add", made.append)
    global_shell.display_formatter.format(Run(folder))
    assert "application/vnd.jupyter.widget-view+json" in outputs[0]["data"]
    page = Page(made[0])
    folder.write_status(replace(folder.status(), state="stopped"))
    made[0].poll()
    _, _, _, headline, chart, _ = outputs
    assert headline["update"]
    assert [output["transient"] for output in outputs[3:]] == [output["transient"] for output in outputs[:3]]
    assert "stopped" in headline["data"]["text/html"]
    assert not any("application/vnd.jupyter.widget-view+json" in output["data"] for output in outputs[3:])
    assert "image/png" in chart["data"]
    assert [o["data"].keys() for o in page.take("ended")[0]["outputs"]] == [o["data"].keys() for o in outputs[3:]]


def test_a_command_as_the_last_line_of_a_cell_shows_a_line_and_no_second_monitor(
    global_shell: Any,
    outputs: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    folder: RunFolder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "on")
    run = Run(folder)
    for handle in (run.set_learning_rate(0.003), run.note("doubtful"), run.pause(), run.stop()):
        global_shell.display_formatter.format(handle)
    assert outputs == []
    assert capsys.readouterr().out.splitlines() == [
        f"{run.name}: setting the learning rate to 0.003",
        f"{run.name}: saving a note",
        f"{run.name}: pausing after the next checkpoint",
        f"{run.name}: stopping after a checkpoint",
    ]
    global_shell.display_formatter.format(run)
    assert "application/vnd.jupyter.widget-view+json" in outputs[0]["data"]


def test_who_looks_is_known_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*display_module.INTERACTIVE, "LMKIT_WIDGETS"):
        monkeypatch.delenv(name, raising=False)
    assert not display_module.has_widgets()
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    assert display_module.has_widgets()
    monkeypatch.setenv("LMKIT_WIDGETS", "off")
    assert not display_module.has_widgets()


def test_monitor_finds_runs_by_name(tmp_path: Path) -> None:
    run = trained(tmp_path, name="mine")
    assert lk.monitor("mine", root=tmp_path).runs[0].path == run.path
    assert len(lk.monitor([run, "mine"], root=tmp_path).runs) == 2
    with pytest.raises(lk.RunNotFound):
        lk.monitor([])


def test_runs_are_mirrored_from_the_page(page: Page, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_status(replace(folder.status(), state="completed"))
    page.ask(type="mirror", to="tensorboard")
    said, _ = page.take("message")
    assert not said["is_error"]
    assert f"{folder.name} " in said["text"]
    assert str(folder.path.parent) in said["text"]
    page.ask(type="mirror", to="wandb")
    said, _ = page.take("message")
    assert said["is_error"]
    assert f"expected one of {', '.join(sorted(TRACKERS))}" in said["text"], "what is offered is what there is"


def test_a_command_that_cannot_be_written_is_said(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "send", fail)
    page.ask(type="pause", run=0)
    message, _ = page.take("message")
    assert message["is_error"]
    assert "No space left" in message["text"]


def test_the_code_beside_a_run_names_it_whatever_its_name(tmp_path: Path) -> None:
    run = Run(RunFolder.create(lk.Experiment(), tmp_path))
    path = run.path.rename(tmp_path / 'x") or print("y')
    folder = RunFolder(path)
    folder.write_status(replace(folder.status(), state="completed"))
    shown = html.unescape(str(run_outputs([Run(folder)])[0][0]["text/html"]))
    assert r'lk.explain("x\") or print(\"y")' in shown
