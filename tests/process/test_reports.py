"""A report says what there is of a run, whatever became of it."""

from __future__ import annotations

import io
import os
import re
import signal
import time
from pathlib import Path

import nbformat
import pytest
from written_notebook import write_notebook
from written_run import falling, written_run

import lmkit as lk
from lmkit.commands import cli
from lmkit.commands.output import DONE

pytestmark = pytest.mark.usefixtures("experiment_kernels")

EPOCHS = [
    {"loss": 1 / i, "accuracy": 1 - 0.5 / i, "val_loss": 1.5 / i, "val_accuracy": 0.9 - 0.5 / i} for i in (1, 2, 3)
]
TEST = {"loss": 0.5, "accuracy": 0.75}


def text_of(page: Path) -> str:
    """The words of a page, without its pictures."""
    return re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8"))


def pictures(page: Path) -> int:
    return page.read_text(encoding="utf-8").count("<img ")


def test_a_private_report_names_no_folder_and_no_command(tmp_path: Path) -> None:
    run = written_run(tmp_path, state="failed", prepared=False, status={"reason": "no file 'gone.csv'"})
    run.folder.write_json("environment.json", {"python": "3.11.7", "command": "lmkit train secret-plan.yaml"})
    page = lk.report(run, tmp_path / "x.html", private=True).read_text(encoding="utf-8")
    assert "3.11.7" in page
    assert run.name in page
    for text in (str(tmp_path), str(Path.home()) + "/", str(Path.cwd()), "secret-plan"):
        assert text not in page
    assert "LMKIT_PRIVATE" not in os.environ


# -- of runs in every state -----------------------------------------------------------------------


def test_of_a_run_that_failed_before_its_first_step(tmp_path: Path) -> None:
    status = {"reason": "no file 'gone.csv'"}
    run = written_run(tmp_path, state="failed", prepared=False, status=status)
    page = lk.report(run)
    assert page == run.path / "report.html"
    text = text_of(page)
    assert "failed: no file &#x27;gone.csv&#x27;" in text or "failed: no file 'gone.csv'" in text
    assert "No training steps yet." in text
    assert "No predictions: the run is failed." in text
    assert "Traceback" not in text
    assert pictures(page) == 0


def test_of_a_run_that_diverged(tmp_path: Path) -> None:
    status = {"reason": "the loss is nan at step 24"}
    run = written_run(tmp_path, state="failed", losses=[*falling(23), float("nan")], epochs=EPOCHS[:2], status=status)
    page = lk.report(run, tmp_path / "new folder" / "x.html")
    text = text_of(page)
    assert "failed: the loss is nan at step 24" in text
    assert "No predictions: the run is failed." in text
    assert "Traceback" not in text
    assert pictures(page) == 1


def test_of_a_run_that_was_stopped(tmp_path: Path) -> None:
    status = {"reason": "on request", "metrics": TEST}
    made = {"losses": falling(24), "epochs": EPOCHS, "predictions": ([0, 1, 1, 1], [0, 1, 1, 0]), "status": status}
    page = lk.report(written_run(tmp_path, state="stopped", **made))
    text = text_of(page)
    assert "stopped: on request" in text
    assert "loss 0.5, accuracy 0.75" in text
    assert "Traceback" not in text
    assert pictures(page) == 2
    assert "3 of 4 rows correct" in page.read_text(encoding="utf-8")


def test_of_a_run_without_validation_and_test_part(tmp_path: Path) -> None:
    epochs = [{"loss": e["loss"], "accuracy": e["accuracy"]} for e in EPOCHS]
    run = written_run(tmp_path, losses=falling(24), epochs=epochs, data={"test": 0, "validation": 0})
    page = lk.report(run)
    text = text_of(page)
    assert "No predictions: data.test is 0." in text
    assert "Traceback" not in text
    assert pictures(page) == 1


def test_of_a_living_run_and_of_the_same_once_it_is_lost() -> None:
    run = lk.train(epochs=1_000_000, early_stopping=None)
    try:
        while run.status.step < 100:
            assert run.status.live
            time.sleep(0.02)
        page = lk.report(run)  # it does not wait for the end
        assert run.state == "running"
        assert "No predictions: the run is running." in text_of(page)
        assert pictures(page) >= 1, "its curves, and a chart of what the doctor says, if it has trained for long"
    finally:
        os.kill(run.status.pid, signal.SIGKILL)
    run.wait(timeout=20)
    assert run.state == "lost"
    text = text_of(lk.report(run))
    assert "lost: its worker ended without a final status" in text
    assert "No predictions: the run is lost." in text
    assert "Traceback" not in text


# -- where it goes --------------------------------------------------------------------------------


def test_what_the_model_looks_at_is_in_it_on_demand(tmp_path: Path) -> None:
    run = lk.train(data="wine", model={"hidden": [4]}, epochs=1, inline=True, runs=tmp_path)
    page = lk.report(run, tmp_path / "x.html", explain=True)
    text = text_of(page)
    assert "What the model looks at" in text
    assert "Permutation importance: increase of the cross-entropy" in text
    assert pictures(page) == 6, "curves, confusion; attributions, importance, dependence, neighbours"


def test_the_command_line_says_where_the_report_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = written_run(tmp_path / "kept", state="failed", prepared=False, name="mine")
    assert cli.main(["report", "mine", "--runs", str(tmp_path / "kept"), "-o", str(tmp_path / "x.html")]) == DONE
    out, err = capsys.readouterr()
    assert out.split() == ["report", str(tmp_path / "x.html")]
    assert err == ""
    assert run.name in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_a_report_can_be_a_notebook_and_disturbs_no_file_beside_it(tmp_path: Path) -> None:
    run = written_run(tmp_path, state="failed", prepared=False)
    for name in ("x.ipynb", "x.html"):
        (tmp_path / name).write_text("somebody's work")
    log = io.StringIO()
    assert lk.report(run, tmp_path / "x.ipynb", log=log) == tmp_path / "x.ipynb"
    assert (tmp_path / "x.html").read_text() == "somebody's work"
    assert "No training steps yet." in log.getvalue()
    cells = nbformat.read(tmp_path / "x.ipynb", as_version=4).cells
    assert any(run.name in str(c.get("outputs")) for c in cells)
    (tmp_path / "x.ipynb").write_text("somebody's work")
    assert lk.report(run, tmp_path / "x.html") == tmp_path / "x.html"
    assert (tmp_path / "x.ipynb").read_text() == "somebody's work"


def test_of_an_executed_notebook(tmp_path: Path) -> None:
    own = write_notebook(tmp_path / "own.ipynb", "1 + 1", heading="Mine")
    assert lk.report(own) == tmp_path / "own.html"
    assert lk.report(str(own), tmp_path / "y.html") == tmp_path / "y.html"
    assert "<h1" in (tmp_path / "y.html").read_text()
    before = own.read_bytes()
    with pytest.raises(lk.TemplateError, match=r"expected a file that ends in \.html or \.pdf$"):
        lk.report(own, own)
    assert own.read_bytes() == before


def test_as_a_pdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write_notebook(tmp_path / "own.ipynb", "1 + 1", heading="Mine")
    assert lk.report(own, tmp_path / "new" / "x.pdf").read_bytes().startswith(b"%PDF-")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(lk.MissingPackage, match="a PDF needs Chromium or Chrome"):
        lk.report(own, tmp_path / "y.pdf")


def test_of_several_runs(tmp_path: Path) -> None:
    a = written_run(tmp_path, losses=falling(24), epochs=EPOCHS, status={"metrics": TEST})
    b = written_run(tmp_path, losses=falling(24), epochs=EPOCHS, seed=1)
    page = lk.report([a, b])
    assert page == tmp_path / "report.html"
    text = text_of(page)
    assert "2 runs" in text
    assert all(run.name.split("-", 2)[-1] in text for run in (a, b))
    assert re.search(r"seed\s+0\s+1\s", text), "where they differ"
    assert pictures(page) == 1
    assert len(page.read_bytes()) < 300_000
    with pytest.raises(lk.RunNotFound, match="given an empty list, expected at least one run"):
        lk.report([])


def test_of_a_comparison_nothing_is_measured_again(tmp_path: Path) -> None:
    run = written_run(tmp_path, losses=falling(24), epochs=EPOCHS, status={"metrics": TEST})
    with pytest.raises(lk.DataError, match="was measured yet"):
        lk.report(lk.comparison(run))


def test_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(lk.RunNotFound, match="given an int, expected a run: its name, its folder"):
        lk.report(3)


def test_what_cannot_be_reported(tmp_path: Path) -> None:
    run = written_run(tmp_path, state="failed", prepared=False)
    with pytest.raises(lk.TemplateError, match=r"given .*x\.doc', expected a file that ends in \.html or \.ipynb"):
        lk.report(run, tmp_path / "x.doc")
    with pytest.raises(lk.TemplateError, match="no notebook"):
        lk.report(tmp_path / "none.ipynb")
    with pytest.raises(lk.RunNotFound, match="no run 'none'"):
        lk.report("none", runs=tmp_path)
    with pytest.raises(lk.TemplateError, match="cannot write the page to"):
        lk.report(run, run.path / "status.json" / "x.html")
