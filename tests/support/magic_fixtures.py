"""An IPython of a module's own, in which each test loads the magics anew."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

Cell = Callable[[str], Any]


@pytest.fixture(scope="module")
def ipython(tmp_path_factory: pytest.TempPathFactory) -> InteractiveShell:
    """An IPython of its own."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})
    folder = str(tmp_path_factory.mktemp("ipython"))
    return InteractiveShell(user_module=types.ModuleType("cells"), ipython_dir=folder, config=config)


@pytest.fixture
def shell(ipython: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """The same without variables, in a folder of its own, with the extension loaded."""
    monkeypatch.chdir(tmp_path)
    ipython.user_ns.clear()  # shell.reset() would do, but takes a second
    ipython.init_user_ns()
    ipython.run_line_magic("load_ext", "lmkit")
    yield ipython
    ipython.run_line_magic("unload_ext", "lmkit")


@pytest.fixture
def run_cell(shell: InteractiveShell) -> Cell:
    """Runs a cell; returns what its last line is, or raises what it raised."""

    def run(source: str) -> Any:
        done = shell.run_cell(source, store_history=False)
        done.raise_error()
        return done.result

    return run
