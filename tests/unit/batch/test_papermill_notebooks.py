"""Notebooks such as papermill tests itself with: their parameters are injected as by papermill, or are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lmkit.batch.kernels import check_kernel
from lmkit.batch.runner import prepare
from lmkit.batch.templates import check_parameters, read_template
from lmkit.exceptions import TemplateError

PYTHON = {"name": "python3", "language": "python"}


class Case(NamedTuple):
    """A notebook with typed parameters, and the code that they become.

    Attributes:
        cells: its cells; the ``parameters`` one begins with a mark.
        typed: the parameters of the command line.
        code: the injected code; None without an injected cell.
        number: the number of the injected cell.
        kernelspec: the kernel in its metadata.
    """

    cells: list[str]
    typed: dict[str, str]
    code: str | None
    number: int = 1
    kernelspec: dict[str, str] = PYTHON


MARK = "# [parameters]\n"
CASES = {
    "simple": Case([f"{MARK}msg = None", "print(msg)"], {"msg": "Hello"}, "msg = 'Hello'"),
    "without values": Case([f"{MARK}msg = None", "print(msg)"], {}, None),
    "without a parameters cell": Case(["print(1)"], {}, None),
    "types in annotations and comments": Case(
        [
            f"{MARK}from typing import List\na: float = 1.0\nb = 3  # type: int  # count\nc: List[str] = []",
            "a, b, c",
        ],
        {"a": "2", "b": "4", "c": "[x]"},
        "a = 2\nb = 4\nc = ['x']",
    ),
    "multi-line values": Case([f"{MARK}a = [\n    1,\n    2,\n]\nb = '''x\ny'''", "a, b"], {"a": "[3]"}, "a = [3]"),
    "computed values": Case(
        [f"{MARK}import os\nhome = os.environ['HOME']\nn = 60 * 60\nt = f'{{n}}'", "home, n, t"],
        {"n": "5", "home": "/x"},
        "n = 5\nhome = '/x'",
    ),
    "magics": Case([f"{MARK}%matplotlib inline\nx = 1\n!echo hi", "x"], {"x": "2"}, "x = 2"),
    "unpacked values": Case([f"{MARK}x, y = 1, 2\na = b = 0", "x, y, a, b"], {"y": "9", "b": "8"}, "y = 9\nb = 8"),
    "a later cell": Case(["import math", f"{MARK}x = 1", "x"], {"x": "2"}, "x = 2", 2),
    "two tagged cells": Case([f"{MARK}x = 1", f"{MARK}x = 5", "x"], {"x": "2"}, "x = 2"),
    "already injected": Case([f"{MARK}x = 1", "# [injected-parameters]\nx = 7", "x"], {"x": "2"}, "x = 2"),
    "special values": Case(
        [f"{MARK}a = None\nb = True\nc = 1.0\nd = {{}}", "a, b, c, d"],
        {"a": "null", "b": "false", "c": "nan", "d": "{k: [1, null]}"},
        "a = None\nb = False\nc = float('nan')\nd = {'k': [1, None]}",
    ),
    "without a kernel": Case([f"{MARK}msg = ''", "msg"], {"msg": "x"}, "msg = 'x'", 1, {}),
}


def written(path: Path, case: Case) -> Path:
    cells = []
    for source in case.cells:
        tags = [tag for tag in ("parameters", "injected-parameters") if source.startswith(f"# [{tag}]")]
        cells.append(new_code_cell(source, metadata={"tags": tags}))
    metadata = {"kernelspec": {"display_name": "x", **case.kernelspec}} if case.kernelspec else {}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
    return path


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_injected_where_papermill_injects_them(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    template = read_template(written(tmp_path / "x.ipynb", case))
    assert check_kernel(template.notebook, "x.ipynb") == []
    prepare(template, check_parameters(template, {}, case.typed), tmp_path / "out.ipynb")
    cells = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    injected = [i for i, c in enumerate(cells) if "injected-parameters" in c["metadata"].get("tags", [])]
    sources = ["".join(c["source"]) for c in cells]
    if case.code is None:
        assert (injected, sources) == ([], case.cells)
    else:
        assert injected == [case.number]
        assert sources[case.number] == f"# Parameters\n{case.code}\n"


REFUSED: dict[str, tuple[Case, str]] = {
    "no parameters cell": (Case(["print(1)"], {"x": "1"}, None), "has no parameters: none of its cells is tagged"),
    "an unknown name": (Case([f"{MARK}x = 1", "x"], {"y": "1"}, None), "y: no such parameter"),
    "a value without effect": (Case([f"{MARK}x = 1", "print()"], {"x": "1"}, None), "x: no cell of the template"),
    "a value of another type": (Case([f"{MARK}x: int = 1", "x"], {"x": "a"}, None), "x: given 'a', expected int"),
}
"""Where papermill warns, or says nothing, and executes the notebook as if nothing had been set."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_papermill_lets_pass_is_refused(tmp_path: Path, name: str) -> None:
    case, problem = REFUSED[name]
    template = read_template(written(tmp_path / "x.ipynb", case))
    with pytest.raises(TemplateError, match=problem):
        check_parameters(template, {}, case.typed)


@pytest.mark.parametrize(
    "kernelspec", [{"name": "ir", "language": "R"}, {"name": "julia-1.9"}, {"name": ".net-csharp", "language": "C#"}]
)
def test_other_languages_are_refused(tmp_path: Path, kernelspec: dict[str, Any]) -> None:
    template = read_template(written(tmp_path / "x.ipynb", Case(["cat('hi')"], {}, None, 0, kernelspec)))
    with pytest.raises(TemplateError, match="expected one in Python"):
        check_kernel(template.notebook, "x.ipynb")
