"""Notebooks that are executed in a process of their own, and what an output may not replace."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import until
from written_notebook import printed, write_notebook

import lmkit as lk
from lmkit.batch.execute import Execution, run_template

PARAMETERS = 'text: str = ""\nsizes: list = []\nwhere: str = ""\nodd: float = 0.0\n'
CELL = "print(json.dumps([text, sizes, where, str(odd), os.getcwd()]))"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return write_notebook(tmp_path / "own.ipynb", "import json, os", CELL, parameters=PARAMETERS)


def ended(execution: Execution) -> None:
    """Wait until the process of its own has ended."""
    pid = execution.pid
    assert pid is not None
    with contextlib.suppress(ChildProcessError):  # it is waited for elsewhere
        until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)


def test_it_is_executed_with_its_parameters_and_outlives_the_call(own: Path, tmp_path: Path) -> None:
    text = 'it\'s "quoted" — ü\nand a second line'
    values = {"text": text, "sizes": [1, 2.5], "where": tmp_path / "x y", "odd": math.nan}
    execution = run_template(own, values, detach=True, output=tmp_path / "out.ipynb", cwd=tmp_path)
    assert (execution.state, execution.runs, execution.log) == ("running", [], tmp_path / "out.log")
    ended(execution)
    arrived = json.loads(printed(tmp_path / "out.ipynb"))
    assert arrived == [text, [1, 2.5], str(tmp_path / "x y"), "nan", str(tmp_path)]
    assert (tmp_path / "out.html").exists()


def test_the_command_line_returns_at_once_and_a_signal_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write_notebook(tmp_path / "slow.ipynb", "import time\nfor _ in range(600): time.sleep(0.1)")
    words = [sys.executable, "-m", "lmkit.commands.cli", "run", str(own), "--detach", "--runs", str(tmp_path), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    result = json.loads(done.stdout)
    log = Path(result["log"])
    assert log.parent == tmp_path / ".notebooks"
    until(Path(result["notebook"]).exists)
    os.kill(result["pid"], signal.SIGTERM)
    until(lambda: "interrupted" in log.read_text())


def test_what_is_wrong_is_said_before_a_process_starts(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmkit.batch.execute.start_detached", lambda *_, **__: pytest.fail("it was started"))
    with pytest.raises(lk.TemplateError, match="sizes"):
        run_template(own, {"sizes": 3}, detach=True)


SPELLINGS: dict[str, Callable[[Path], str]] = {
    "itself": str,
    "relative": lambda own: own.name,
    "around": lambda own: f"{own.parent}/../{own.parent.name}/./{own.name}",
    "link": lambda own: _link(own, own.with_name("link.ipynb")),
    "folder": lambda own: f"{_link(own.parent, own.parent / 'folder')}/{own.name}",
    "hard link": lambda own: _hard_link(own, own.with_name("same.ipynb")),
    "address": lambda own: f"file://{own}",
}


def _link(target: Path, path: Path) -> str:
    path.symlink_to(target)
    return str(path)


def _hard_link(target: Path, path: Path) -> str:
    path.hardlink_to(target)
    return str(path)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_output_never_replaces_its_template(own: Path, spelling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent)
    before = own.read_bytes()
    with pytest.raises(lk.TemplateError, match=r"is the notebook .* itself, .* such as '.*own-out\.ipynb'"):
        run_template(own.name, output=SPELLINGS[spelling](own), log=io.StringIO())
    assert own.read_bytes() == before
