"""Outputs at an address: written there, or refused in a sentence before anything is executed."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

import lmkit as lk
from lmkit.batch.execute import Execution
from lmkit.batch.remote import remote_output


@pytest.fixture
def execution(tmp_path: Path) -> Execution:
    (tmp_path / "a.ipynb").write_text("the notebook")
    (tmp_path / "a.html").write_text("the page")
    return Execution(tmp_path / "a.ipynb", tmp_path / "a.html", [], "completed")


@pytest.mark.parametrize("output", ["memory://bucket/new/out.ipynb", Path("memory://bucket/new/out.ipynb")])
def test_the_notebook_and_its_page_are_copied(execution: Execution, output: str | Path) -> None:
    remote = remote_output(output)
    assert remote is not None
    result = execution.copy_to(remote)
    assert result.copies == ["memory://bucket/new/out.ipynb", "memory://bucket/new/out.html"]
    files = fsspec.filesystem("memory")
    assert [files.cat(url) for url in result.copies] == [b"the notebook", b"the page"]
    assert result.notebook.exists()


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("https://example.org/out.ipynb", "https addresses are read only; or use a local path"),
        ("nowhere://bucket/out.ipynb", "cannot write to 'nowhere://bucket/out.ipynb': Protocol not known: nowhere"),
        ("memory://bucket/out.html", "expected an address that ends in .ipynb"),
    ],
)
def test_an_address_that_cannot_be_written_is_refused_before_anything_starts(
    output: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(lk.TemplateError, match=text):
        lk.run_template("train", output=output)
    assert not list(tmp_path.iterdir())


def test_a_copy_that_fails_leaves_the_notebook_and_says_where(execution: Execution) -> None:
    remote = remote_output("memory://bucket/out.ipynb")
    assert remote is not None
    remote._write = lambda *_: (_ for _ in ()).throw(OSError("no such bucket"))  # type: ignore[method-assign]
    result = execution.copy_to(remote)
    assert (result.state, result.copies) == ("failed", [])
    assert result.error.startswith("cannot write to 'memory://bucket/out.ipynb': no such bucket; it is in '")


@pytest.mark.parametrize("output", ["out.ipynb", "C:/out.ipynb", "C:\\out.ipynb", "a:b/out.ipynb", None])
def test_paths_are_no_addresses(output: str | None) -> None:
    assert remote_output(output) is None
