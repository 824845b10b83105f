"""Which notebooks can be executed, and by which kernel, is known before anything starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lmkit.batch.kernels import check_kernel
from lmkit.exceptions import TemplateError


def notebook(name: str = "", language: str = "", info: str = "") -> dict[str, object]:
    kernelspec = {k: v for k, v in (("name", name), ("language", language)) if v}
    return {"cells": [], "metadata": {"kernelspec": kernelspec, "language_info": {"name": info} if info else {}}}


@pytest.fixture(autouse=True)
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three registered kernels: this Python, another one, and one for R."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    for name, language, program in (
        ("here", "python", sys.executable),
        ("there", "python", "/opt/there/bin/python"),
        ("ir", "R", "R"),
    ):
        folder = tmp_path / "kernels" / name
        folder.mkdir(parents=True)
        spec = {"argv": [program, "{connection_file}"], "display_name": name, "language": language}
        (folder / "kernel.json").write_text(json.dumps(spec))


@pytest.mark.parametrize(
    ("content", "language"),
    [
        (notebook("ir", "R"), "r"),
        (notebook("ir"), "r"),
        (notebook("julia-1.9"), "julia"),
        (notebook("julia-1.9", "julia"), "julia"),
        (notebook("bash"), "bash"),
        (notebook(info="R"), "r"),
        (notebook("xcpp17", "C++17"), r"c\+\+17"),
    ],
)
def test_another_language_is_refused(content: dict[str, object], language: str) -> None:
    with pytest.raises(TemplateError, match=f"x.ipynb: a notebook in {language}.*expected one in Python"):
        check_kernel(content, "x.ipynb")


@pytest.mark.parametrize(
    "content",
    [
        {"cells": []},
        notebook(),
        notebook("python3", "python"),
        notebook(info="python"),
        notebook("here", "python"),
        notebook("python3", "Python 3"),
    ],
)
def test_a_notebook_of_this_python_needs_no_remark(content: dict[str, object]) -> None:
    assert check_kernel(content, "x.ipynb") == []


def test_another_python_is_reported_and_used_by_its_name() -> None:
    (text,) = check_kernel(notebook("there", "python"), "x.ipynb")
    assert text.endswith("instead of its kernel 'there' (/opt/there/bin/python); use that: -k there")
    (text,) = check_kernel(notebook("conda-env-project-py", "python"), "x.ipynb")
    assert text.endswith("instead of its kernel 'conda-env-project-py', which is not registered here")
    assert check_kernel(notebook("there", "python"), "x.ipynb", "there") == []


def test_a_kernel_that_cannot_execute_it_is_refused() -> None:
    with pytest.raises(TemplateError, match="kernel: no kernel 'ther' is registered; did you mean 'there'"):
        check_kernel(notebook(), "x.ipynb", "ther")
    with pytest.raises(TemplateError, match="kernel: given 'ir', a kernel for R, expected one for Python"):
        check_kernel(notebook(), "x.ipynb", "ir")
