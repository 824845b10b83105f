"""The train template, executed on all four data sets, one in TensorFlow: what the notebook and its page hold."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
from nbconvert import HTMLExporter
from sklearn import metrics

import lmkit as lk
from lmkit.batch.templates import template_paths
from lmkit.commands import cli
from lmkit.commands.output import DONE

EXECUTED = (("torch", "breast_cancer"), ("torch", "digits"), ("torch", "diabetes"), ("tensorflow", "wine"))
EPOCHS = 3
PLOTLY = "application/vnd.plotly.v1+json"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


class Executed(NamedTuple):
    """An executed train template."""

    run: lk.Run
    told: dict[str, Any]
    cells: list[Any]

    @property
    def outputs(self) -> list[Any]:
        return [o for c in self.cells if c.cell_type == "code" for o in c.outputs]

    @property
    def pictures(self) -> int:
        """Three charts, and of images some of them."""
        return 4 if self.run.experiment.data.source == "digits" else 3

    @property
    def page(self) -> str:
        return Path(self.told["report"]).read_text(encoding="utf-8")


made: dict[tuple[str, str], Executed] = {}


@pytest.fixture(scope="module", params=EXECUTED, ids="-".join)
def executed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, experiment_kernels: None
) -> Executed:
    """``lmkit run train`` for one framework and one data set, with parameters of a file and of the line."""
    if request.param not in made:
        framework, data = request.param
        root = tmp_path_factory.mktemp("runs")
        (root / "given.yaml").write_text("epochs: 7\ntraining: {optimizer: {lr: 0.0008}}\n")
        parameters = ["-p", "framework", framework, "-p", "data", data, "-p", "epochs", str(EPOCHS)]
        parameters += ["-f", str(root / "given.yaml")]
        said, log = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(log):
            status = cli.main(["run", "train", *parameters, "--runs", str(root), "--json"])
        assert status == DONE, log.getvalue()
        assert f"epoch {EPOCHS}/{EPOCHS}" in log.getvalue()
        told = json.loads(said.getvalue().splitlines()[-1])
        cells = nbformat.read(told["notebook"], as_version=4).cells
        made[request.param] = Executed(lk.attach(told["run"]), told, cells)
    return made[request.param]


# -- the notebook ---------------------------------------------------------------------------------


def test_it_completes_and_says_where_everything_is(executed: Executed) -> None:
    run, told = executed.run, executed.told
    assert told["state"] == run.state == "completed"
    assert told["metrics"] == run.metrics
    assert (told["notebook"], told["report"]) == (str(run.path / "train.ipynb"), str(run.path / "report.html"))
    assert len(run.history) == run.experiment.training.epochs == EPOCHS
    assert run.experiment.training.optimizer.lr == 0.0008
    table = run.predictions
    if run.experiment.data.source == "diabetes":
        assert told["metrics"]["mae"] == pytest.approx(metrics.mean_absolute_error(table.target, table.prediction))
        assert told["metrics"]["r2"] == pytest.approx(metrics.r2_score(table.target, table.prediction))
    else:
        assert told["metrics"]["accuracy"] == pytest.approx(metrics.accuracy_score(table.target, table.prediction))


def test_the_notebook_is_small_and_shows_anywhere(executed: Executed) -> None:
    assert Path(executed.told["notebook"]).stat().st_size < 300_000
    assert not [o for o in executed.outputs if o.output_type == "error"]
    charts = [o.data for o in executed.outputs if "image/png" in o.get("data", {})]
    assert len(charts) == 3, "learning curves, gradient norms, and a confusion matrix or residuals"
    for data in charts:
        assert {PLOTLY, "image/png", "text/plain"} <= set(data)
        assert "text/html" not in data, "it would hide the picture"
        assert sum(len(json.dumps(v)) for v in data.values()) < 60_000
    assert not [o for o in executed.outputs if any("widget" in kind for kind in o.get("data", {}))]


def test_the_notebook_says_what_was_done(executed: Executed) -> None:
    run = executed.run
    words = "\n".join(str(v) for o in executed.outputs for v in (o.get("data") or {"text": o.text}).values())
    for expected in (
        f"source: {run.experiment.data.source}",
        f"framework: {run.experiment.framework}",
        f"epoch {EPOCHS}/{EPOCHS} ━",
        f"completed after {EPOCHS * len(run.steps) // EPOCHS} steps",
        f"Metrics of {run.name}, after epoch {EPOCHS} (training: mean over its steps)",
        f"numpy {run.environment['packages']['numpy']}",
        str(run.path / "experiment.yaml"),
        *(f"{value:.4g}" for value in run.metrics.values()),
    ):
        assert expected in words
    assert ("Residuals of the test split" if "mae" in run.metrics else "Confusion matrix of the test split") in words


# -- the page -------------------------------------------------------------------------------------


def test_the_page_is_whole_in_itself(executed: Executed) -> None:
    page = executed.page
    assert len(page) < 300_000
    assert "<script" not in page
    assert "<link" not in page
    assert page.count("<img ") == page.count('src="data:image/png;base64,') == page.count("src=") == executed.pictures
    assert page.index("<details") < page.index("import lmkit"), "its code is folded"
    assert "Change the parameters" not in page
    assert "Traceback" not in page


def test_nbconvert_shows_the_pictures(executed: Executed) -> None:
    page, _ = HTMLExporter().from_filename(executed.told["notebook"])
    assert len(re.findall(r'<img [^>]*src="data:image/png;base64,', page)) == page.count("<img ") == executed.pictures


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine; Debian's package is called chromium")
@pytest.mark.parametrize("executed", EXECUTED[1:3], indirect=True, ids="-".join)
def test_a_browser_shows_every_picture_and_asks_nobody(executed: Executed, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    default, _ = HTMLExporter().from_filename(executed.told["notebook"])
    (tmp_path / "default.html").write_text(default, encoding="utf-8")
    with sync_playwright() as play, play.chromium.launch(executable_path=BROWSER, args=FLAGS) as chrome:
        for scheme, width in (("light", 1000), ("dark", 420)):
            context = chrome.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
            context.set_offline(True)
            page = context.new_page()
            asked: list[str] = []

            def append_url(request: Any, urls: list[str] = asked) -> None:
                urls.append(request.url)

            page.on("request", append_url)
            page.goto(Path(executed.told["report"]).as_uri())
            sizes = page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth])")
            assert len(sizes) == executed.pictures
            assert all(complete and natural > 300 and shown > 250 for complete, natural, shown in sizes)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
            page.goto((tmp_path / "default.html").as_uri())
            natural = page.evaluate("[...document.images].map(i => i.naturalWidth)")
            assert len(natural) == executed.pictures
            assert min(natural) > 300


# -- without lmkit's own command ------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LMKIT_RUNS")
    return tmp_path


def test_papermill_alone_executes_the_template(elsewhere: Path) -> None:
    command = [sys.executable, "-m", "papermill", str(template_paths()["train"]), "out.ipynb", "-p", "epochs", "3"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=200)
    assert done.returncode == 0, done.stderr
    run = lk.attach(runs=elsewhere / "runs")
    assert (run.state, run.experiment.training.epochs) == ("completed", 3)
    assert Path("out.ipynb").stat().st_size < 300_000
