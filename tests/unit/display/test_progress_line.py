"""A line of progress: silent at first, written over, cleared."""

from __future__ import annotations

import io
from typing import Any

import pytest

from lmkit.display.progress_line import ProgressLine


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_is_written_over_and_cleared() -> None:
    log, clock = io.StringIO(), Clock()
    line = ProgressLine(log, clock)
    for clock.now in (1.0, 2.5, 2.6, 3.1):
        line.show(f"at {clock.now}")
    line.clear()
    assert [text.rstrip() for text in log.getvalue().split("\r")] == ["", "at 2.5", "at 3.1", "", ""]


def test_short_work_writes_nothing() -> None:
    log = io.StringIO()
    line = ProgressLine(log, Clock())
    line.show("soon")
    line.clear()
    assert log.getvalue() == ""


def test_in_a_notebook_an_output_is_replaced(outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "on")
    clock = Clock()
    line = ProgressLine(clock=clock)
    for clock.now in (3.0, 4.0):
        line.show(f"at {clock.now}")
    line.clear()
    assert [message["data"]["text/plain"] for message in outputs] == ["at 3.0", "at 4.0", ""]
    assert len({message["transient"]["display_id"] for message in outputs}) == 1
