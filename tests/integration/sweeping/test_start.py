"""A notebook that is executed again goes on with the runs that it began before."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

import lmkit as lk
from lmkit.runfolder import journal
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.journal import EARLIER, JOURNAL, find_earlier_run
from lmkit.system.files import JsonLines

HOW = {"data": "wine", "epochs": 4, "inline": True}


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> lk.Run:
    """A run that an earlier attempt made, in a process that is gone."""
    monkeypatch.setenv(JOURNAL, str(tmp_path / "a.jsonl"))
    run = lk.train(**HOW)
    monkeypatch.setattr(journal, "_recorded", set())
    monkeypatch.setenv(JOURNAL, str(tmp_path / "b.jsonl"))
    monkeypatch.setenv(EARLIER, os.pathsep.join([str(tmp_path / "none.jsonl"), str(tmp_path / "a.jsonl")]))
    return run


def made(tmp_path: Path) -> list[str]:
    return [line["run"] for line in JsonLines(tmp_path / "b.jsonl").read()[0]]


def test_a_completed_run_is_not_trained_again(tmp_path: Path, first: lk.Run) -> None:
    assert lk.train(**HOW).path == first.path
    assert made(tmp_path) == [str(first.path)], "it is told of as this attempt's"
    assert lk.train(**HOW).path != first.path, "each is gone on with once"
    assert lk.train(**{**HOW, "lr": 0.5}).path != first.path


@pytest.mark.parametrize("state", ["stopped", "lost", "full"])
def test_a_run_that_was_cut_off_goes_on(first: lk.Run, state: str) -> None:
    status = first.status
    reason = f"cannot write to {str(first.path)!r}: no room" if state == "full" else ""
    cause = {"stopped": "requested", "lost": "vanished", "full": "unwritable"}[state]
    ended = "failed" if state == "full" else state
    first.folder.write_status(replace(status, state=ended, reason=reason, cause=cause))
    assert lk.train(**HOW).path == first.path
    assert first.state == "completed"
    assert [e.type for e in first.events].count("resumed") == 1


def test_a_run_that_failed_by_itself_is_begun_anew(first: lk.Run) -> None:
    why = "the loss is nan: training diverged"
    first.folder.write_status(replace(first.status, state="failed", reason=why, cause="diverged"))
    again = lk.train(**HOW)
    assert again.path != first.path
    assert again.state == "completed"


def test_nobody_else_finds_them(first: lk.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(EARLIER)
    assert find_earlier_run(first.experiment) is None
    assert RunFolder(first.path).experiment == first.experiment
