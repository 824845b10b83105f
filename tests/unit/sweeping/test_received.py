"""A sweep from elsewhere: its report holds no picture of the reader's, and its code is not run unasked."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from written_sweep import written_sweep, written_trial

from lmkit.exceptions import UntrustedCode
from lmkit.reports import write_trial_pages
from lmkit.specs.plain import dump_yaml
from lmkit.sweeping.sweep import Sweep
from lmkit.sweeping.target import resolve_target

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63600000000200014826a4"
    "0000000049454e44ae426082"
)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """A sweep whose settings name the folder of a picture, and whose notebook shows the picture."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "x.png").write_bytes(PIXEL)
    sweep = written_sweep(tmp_path, grid={"lr": [0.1]}, trials=1)
    sweep.folder.settings = replace(sweep.folder.settings, cwd=str(tmp_path / "private"))
    written_trial(sweep, {"lr": 0.1}, {"val_loss": 1.0})
    notebook = sweep.trials[0].notebook
    assert notebook is not None
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("![secret](x.png)")]), notebook)
    return sweep


def page_of(sweep: Sweep) -> str:
    write_trial_pages(sweep)
    return next(sweep.path.glob("trials/*/*/train.html")).read_text()


def test_the_page_of_a_received_trial_holds_no_picture_of_the_reader(sweep: Sweep) -> None:
    page = page_of(sweep)
    assert base64.b64encode(PIXEL).decode() not in page
    assert "omitted" in page


def test_the_page_of_a_sweep_that_this_user_started_holds_the_pictures_beside_its_notebook(sweep: Sweep) -> None:
    sweep.folder.remember_start()
    assert base64.b64encode(PIXEL).decode() in page_of(sweep)


def test_a_trial_whose_notebook_is_a_link_has_no_page(sweep: Sweep, tmp_path: Path) -> None:
    notebook = sweep.trials[0].notebook
    assert notebook is not None
    notebook.rename(tmp_path / "secret.ipynb")
    notebook.symlink_to(tmp_path / "secret.ipynb")
    write_trial_pages(sweep)
    assert not list(sweep.path.glob("trials/*/*/train.html"))


def test_code_that_a_file_names_is_swept_with_trust_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "data"))
    (tmp_path / "received.yaml").write_text(dump_yaml({"model": {"builder": "subprocess:getoutput"}}))
    with pytest.raises(UntrustedCode, match="subprocess:getoutput"):
        resolve_target(tmp_path / "received.yaml", None, None)
    target = resolve_target(tmp_path / "received.yaml", None, None, trusted=True)
    assert target.fixed.experiment
    assert target.fixed.experiment["model"]["builder"] == "subprocess:getoutput"
