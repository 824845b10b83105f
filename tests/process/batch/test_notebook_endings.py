"""Notebooks end as under papermill: with an error, with an exit, or to their end."""

from __future__ import annotations

import io
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from written_notebook import printed

from lmkit.batch.execute import run_template

pytestmark = pytest.mark.usefixtures("experiment_kernels")

ENDINGS: dict[str, tuple[list[str], dict[int, list[str]], str, str, str]] = {
    # cells, tags, state, beginning of the error, what is printed
    "to the end": (["print(1)", "print(2)"], {}, "completed", "", "1\n2\n"),
    "an error": (
        ["print(1)", "assert False", "print(2)"],
        {},
        "failed",
        "cell [2] failed: AssertionError: ",
        "1\n",
    ),
    "an interrupt": (["raise KeyboardInterrupt"], {}, "failed", "cell [1] failed: KeyboardInterrupt", ""),
    "an exit without an error": (["print(1)", "import sys; sys.exit()", "print(2)"], {}, "completed", "", "1\n"),
    "an exit with zero": (["print(1)", "import sys; sys.exit(0)", "print(2)"], {}, "completed", "", "1\n"),
    "an exit with one": (["raise SystemExit(1)", "print(2)"], {}, "failed", "cell [1] failed: SystemExit: 1", ""),
    "an expected error": (
        ["raise ValueError('expected')", "print(2)"],
        {0: ["raises-exception"]},
        "failed",
        "cell [1] failed: ValueError: expected",
        "2\n",
    ),
    "a module that is not installed": (
        ["import not_installed_at_all"],
        {},
        "failed",
        "cell [1] failed: ",
        "",
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_notebook_ends_as_under_papermill(tmp_path: Path, name: str) -> None:
    sources, tags, state, error, output = ENDINGS[name]
    cells = [new_code_cell(s, metadata={"tags": tags.get(i, [])}) for i, s in enumerate(sources)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "x.ipynb")
    execution = run_template(tmp_path / "x.ipynb", output=tmp_path / "out.ipynb", log=io.StringIO())
    assert execution.state == state
    assert execution.error.startswith(error)
    assert bool(execution.error) == bool(error)
    assert printed(execution.notebook).partition("/")[0] == output, "a warning of IPython begins with its path"
