"""Code from elsewhere in the notebook: it is shown before it may run, next to a button that trusts it."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lmkit as lk
from lmkit.custom import objects
from lmkit.run.run import Run
from lmkit.runfolder.folder import RunFolder
from lmkit.widgets import display
from lmkit.widgets.elements import FormView, Row
from lmkit.widgets.monitor import Monitor
from lmkit.widgets.trust import run_trust_button

pytestmark = pytest.mark.usefixtures("unwatched")

SHOWN = "model.builder: subprocess:getoutput with cmd='touch PWNED'"
SHOWN_HTML = html.escape(SHOWN)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "data"))
    for name in ("_passed", "_permitted"):
        monkeypatch.setattr(objects, name, set())
    yield tmp_path
    assert not (tmp_path / "PWNED").exists()


def planted() -> dict[str, Any]:
    return {"family": "own", "builder": "subprocess:getoutput", "arguments": {"cmd": "touch PWNED"}}


@pytest.fixture
def received(here: Path) -> Run:
    """A run from elsewhere that was stopped, whose model is a command."""
    folder = RunFolder.create(lk.Experiment(data="wine", model=planted()), here / "mail")
    status = json.loads((folder.path / "status.json").read_text())
    (folder.path / "status.json").write_text(json.dumps({**status, "state": "stopped"}))
    return lk.attach(folder.path)


def text_of(row: Row) -> str:
    return str(row.children[0].value)


def test_the_display_of_a_run_shows_what_would_run_and_trusts_it_at_a_click(
    received: Run, outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "has_widgets", lambda: True)
    boxes: list[Any] = []

    def record(*items: Any, **_: Any) -> None:
        boxes.extend(item._root for item in items if isinstance(item, FormView))

    monkeypatch.setattr("IPython.display.display", record)
    display.show(received)
    (box,) = boxes
    assert f"{received.name} names code that you have not run on this machine: {SHOWN}".replace(
        "'", "&#x27;"
    ) in text_of(box)
    with pytest.raises(lk.UntrustedCode):
        received.require_trust()
    box.children[1].click()
    received.require_trust()
    assert "is trusted on this machine" in text_of(box)
    assert not box.children[1].visible
    display.show(received)
    assert len(boxes) == 1  # it is asked once


def test_a_run_of_ones_own_is_not_asked_about(here: Path) -> None:
    folder = RunFolder.create(lk.Experiment(data="wine"), here / "runs")
    assert run_trust_button(lk.attach(folder.path)) is None
    (folder.path / "experiment.yaml").write_text("[")
    assert run_trust_button(Run(folder)) is None


class Page:
    """Record what a monitor sends, and send what its page would."""

    def __init__(self, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monitor, self.messages = monitor, list[dict[str, Any]]()
        monkeypatch.setattr(monitor.widget, "send", lambda content, _=None: self.messages.append(content))

    def ask(self, kind: str) -> dict[str, Any]:
        self.monitor._handle_message(None, {"type": kind, "run": 0})
        return self.messages[-1]


def test_the_monitor_offers_to_trust_a_run_that_it_may_not_resume(
    received: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(Monitor([received]), monkeypatch)
    answer = page.ask("resume")
    assert SHOWN in answer["text"]
    assert answer["trust"] == 0
    assert page.ask("trust")["text"] == f"{received.name} is trusted on this machine."
    received.require_trust()


def test_the_monitor_packs_a_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = lk.Experiment(data="wine", model={"family": "own", "builder": "kept:Net-0123456789ab"})
    run = lk.attach(RunFolder.create(experiment, here / "runs").path)
    page = Page(Monitor([run]), monkeypatch)
    answer = page.ask("pack")
    assert "cannot be packed: model.builder: there is no file" in answer["text"]
    assert answer["is_error"]
    file = objects.pickle_path("kept:Net-0123456789ab", run.path.parent)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"pickle")
    answer = page.ask("pack")
    assert answer["text"] == f"{run.name}: packed; its folder can be copied alone."
    assert (run.path / "objects" / file.name).read_bytes() == b"pickle"


def test_the_form_shows_what_would_run_and_trains_it_once_it_is_trusted(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mail.yaml").write_text(lk.Experiment(data="wine", model=planted()).to_yaml())
    form = lk.configure("mail.yaml")
    assert form.train() is None
    box = form._actions.trust.widget
    assert box.visible
    assert SHOWN_HTML in text_of(box)
    calls: list[bool] = []

    def train(_: lk.Experiment, *, trust: bool = False, runs: Any = None) -> Run:
        calls.append(trust)
        return Run(RunFolder.create(lk.Experiment(data="wine"), here / "runs"))

    monkeypatch.setattr("lmkit.widgets.configurator.train", train)
    monkeypatch.setattr(form, "_display", lambda _: None)
    box.children[1].click()
    assert calls == [True]
    assert "Started" in form._actions.status.value
    assert not box.visible
