"""The monitor's side of the kernel: what it tells the page, what it does when the page asks, what a notebook keeps."""

from __future__ import annotations

import gzip
import importlib.resources
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython import get_ipython
from IPython.testing.globalipapp import start_ipython

import lmkit as lk
from lmkit.feed import STEP_LINES
from lmkit.run import Run, Runs
from lmkit.runfolder import RunFolder
from lmkit.widgets import display as display_module
from lmkit.widgets import monitor as monitor_module
from lmkit.widgets.mirroring import TRACKERS
from lmkit.widgets.monitor import Monitor
from lmkit.widgets.output import static_output


class Page:
    """Keeps what a monitor sends, and asks as a page would."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.heard: list[tuple[dict[str, Any], list[bytes]]] = []
        monitor.widget.send = lambda content, buffers=None: self.heard.append((content, list(buffers or [])))

    def ask(self, **message: Any) -> None:
        self.monitor._hear(None, message, [])

    def take(self, kind: str) -> tuple[dict[str, Any], list[bytes]]:
        found = [h for h in self.heard if h[0]["type"] == kind]
        self.heard.clear()
        assert len(found) == 1, [h[0]["type"] for h in found]
        return found[0]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks but the test itself."""
    monkeypatch.setattr(monitor_module.watcher, "add", lambda monitor: None)


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
    page.monitor.look()
    page.heard.clear()
    page.ask(type="hello")
    content, buffers = page.take("news")
    (told,) = content["runs"]
    assert told["status"]["state"] == "running" and told["steps"] == {"first": 0, "width": 1, "n": 3, "count": 3}
    values = np.frombuffer(buffers[0], dtype=np.float32).reshape(len(STEP_LINES), 3)
    assert values[0].tolist() == [3.0, 2.0, 1.0]


def test_only_news_are_told(page: Page, folder: RunFolder) -> None:
    page.monitor.look()
    page.heard.clear()
    page.monitor.look()
    assert page.heard == []
    folder.metrics.append({"step": 4, "loss": [0.5], "lr": 0.1})
    page.monitor.look()
    content, buffers = page.take("news")
    assert content["runs"][0]["steps"] == {"first": 3, "width": 1, "n": 1, "count": 4}
    assert len(buffers[0]) == 4 * len(STEP_LINES)


def test_an_update_of_a_million_steps_is_small(page: Page, folder: RunFolder) -> None:
    draw = np.random.default_rng(0)
    for first in range(4, 1_000_000, 100_000):
        folder.metrics.append({"step": first, "loss": draw.uniform(size=100_000).round(4).tolist(), "lr": 0.1})
    while page.monitor.look():
        pass
    assert page.monitor.feeds[0].steps.count == 1_000_003
    page.heard.clear()
    folder.metrics.append({"step": 1_000_004, "loss": draw.uniform(size=1000).tolist(), "lr": 0.1})
    page.monitor.look()
    content, buffers = page.take("news")
    assert len(json.dumps(content)) + sum(map(len, buffers)) < 1000
    page.ask(type="hello")
    content, buffers = page.take("news")
    assert len(json.dumps(content)) + sum(map(len, buffers)) < 8000


def test_a_zoom_shows_every_step(page: Page, folder: RunFolder) -> None:
    folder.metrics.append({"step": 4, "loss": np.arange(5000.0).tolist(), "lr": 0.1})
    page.monitor.look()
    page.heard.clear()
    page.ask(type="zoom", **{"from": 1000, "to": 1100}, ticket=7)
    content, buffers = page.take("detail")
    told = content["runs"][0]["steps"]
    assert content["ticket"] == 7 and told["width"] == 1
    lowest = np.frombuffer(buffers[0], dtype=np.float32).reshape(len(STEP_LINES), told["n"])[0]
    assert lowest[1000 - told["start"] - 1] == 996.0  # the 1000th step is the 997th of those


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
def test_what_the_page_asks_is_written_to_the_run(page: Page, folder: RunFolder, asked: dict, written: dict) -> None:
    page.ask(run=0, **asked)
    (line,) = folder.control.read()[0]
    assert written.items() <= line.items()


def test_what_cannot_be_done_is_told(page: Page, folder: RunFolder) -> None:
    page.ask(type="set_learning_rate", run=0, arguments=[-1])
    assert "greater than 0" in page.take("refused")[0]["text"]
    folder.write_status(replace(folder.status(), state="completed"))
    page.ask(type="pause", run=0)
    assert "has completed" in page.take("refused")[0]["text"]


def test_a_page_may_ask_nothing_else(page: Page, folder: RunFolder) -> None:
    page.ask(type="wait", run=0)
    page.ask(type="__class__", run=0)
    assert page.heard == [] and folder.control.read()[0] == []


def test_the_page_gets_the_installed_plotly(page: Page) -> None:
    page.ask(type="plotly")
    _, (packed,) = page.take("plotly")
    installed = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
    assert gzip.decompress(packed) == installed.read_bytes()


@pytest.fixture(scope="module")
def shell() -> Any:
    return start_ipython() or get_ipython()  # there is one a process


@pytest.fixture
def outputs(shell: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What is displayed, as the messages that a front end would get."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(shell.display_pub, "publish", lambda **message: found.append(message))
    lk.teach_ipython()
    yield found


def trained(tmp_path: Path, **changes: Any) -> Run:
    return lk.train(data="wine", epochs=40, inline=True, runs=tmp_path, **changes)


def test_a_run_that_has_ended_is_shown_by_figure_picture_and_text(
    shell: Any, outputs: list[dict[str, Any]], tmp_path: Path
) -> None:
    shell.display_formatter.format(trained(tmp_path))
    (message,) = outputs
    assert set(message["data"]) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert len(json.dumps(message["data"])) <= 60_000


def test_without_widgets_a_run_prints_lines(
    shell: Any, outputs: list[dict[str, Any]], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "off")
    run = lk.train(data="wine", epochs=3, runs=tmp_path)
    shell.display_formatter.format(run)
    assert "epoch 3/3" in capsys.readouterr().out
    assert "image/png" in outputs[-1]["data"] and run.state == "completed"


def test_with_widgets_a_live_run_shows_its_monitor_and_in_the_end_a_picture_in_its_place(
    shell: Any, outputs: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: RunFolder
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "on")
    made: list[Monitor] = []
    monkeypatch.setattr(monitor_module.watcher, "add", made.append)
    shell.display_formatter.format(Run(folder))
    assert "application/vnd.jupyter.widget-view+json" in outputs[0]["data"]
    page = Page(made[0])
    folder.write_status(replace(folder.status(), state="stopped"))
    made[0].look()
    assert outputs[1]["update"] and outputs[1]["transient"] == outputs[0]["transient"]
    assert "application/vnd.jupyter.widget-view+json" not in outputs[1]["data"] and "image/png" in outputs[1]["data"]
    assert page.take("ended")[0]["output"]["data"].keys() == outputs[1]["data"].keys()


def test_several_runs_are_one_output(tmp_path: Path) -> None:
    runs = Runs([trained(tmp_path, name="one"), trained(tmp_path, name="two", lr=0.1)])
    data, _ = static_output(runs)
    names = {t["name"] for t in data["application/vnd.plotly.v1+json"]["data"]}
    assert any("one" in n for n in names) and any("two" in n for n in names)
    assert len(json.dumps(data)) <= 60_000


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
    said, _ = page.take("said")
    assert not said["bad"] and f"{folder.name} " in said["text"] and str(folder.path.parent) in said["text"]
    page.ask(type="mirror", to="wandb")
    said, _ = page.take("said")
    assert said["bad"] and f"known: {', '.join(sorted(TRACKERS))})" in said["text"], "what is offered is what there is"
