"""A notebook that does not do as it was asked: it says so, and what there is of it is kept."""

from __future__ import annotations

import io
import json
import math
import time
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest
from written_notebook import printed, write_notebook

import lmkit as lk
from lmkit.batch import runner
from lmkit.batch.execute import Execution, run_template
from lmkit.batch.templates import template_paths
from lmkit.commands import cli
from lmkit.commands.output import NOT_COMPLETED

pytestmark = pytest.mark.usefixtures("kernels")


def run(notebook: Path, given: dict[str, object] | None = None, **options: float) -> Execution:
    return run_template(notebook, given, log=io.StringIO(), **options)  # type: ignore[arg-type]


# -- parameters that were never read --------------------------------------------------------------

PARAMETERS = "count: int = 1\nrate: float = 0.5\nname: str = ''"


@pytest.mark.parametrize(
    ("cells", "unread"),
    [
        (["print(count, rate)", "%time name"], ""),
        (["count += 1", "steps = [rate * i for i in range(3)]", "def f(x=name): pass"], ""),
        (["f = lambda: count + rate", "class A:\n    name = name"], ""),
        (["import subprocess", "!echo {count} {rate} $name"], ""),
        (["print(eval('count'), rate, name)"], ""),
        (["if False:\n    print(rate)", "count, name"], "rate"),
        (["count = 9", "rate", "print(count, name)"], "count"),
        (
            [
                "def f(count):\n    rate = 2\n    return count + rate",
                "count if not name else 1",
                "[rate for rate in ()]",
            ],
            "count, rate",
        ),
    ],
)
def test_a_parameter_that_was_never_read_is_an_error_at_the_end(tmp_path: Path, cells: list[str], unread: str) -> None:
    own = write_notebook(tmp_path / "own.ipynb", "import math", *cells, "print('the end')", parameters=PARAMETERS)
    done = run(own, {"count": 2, "rate": 0.25, "name": "x"})
    assert printed(done.notebook).endswith("the end\n"), "what it did is kept"
    if unread:
        assert (done.state, done.error) == (
            "failed",
            f"{unread}: set, but never read by the notebook, so without effect",
        )
    else:
        assert (done.state, done.error) == ("completed", "")


def test_a_function_of_the_notebook_stays_as_it_was_written(tmp_path: Path) -> None:
    own = write_notebook(
        tmp_path / "own.ipynb",
        "import math",
        "def f():\n    return count",
        "print(f.__code__.co_names, f(), 'mark' in repr(dir()))",
        parameters="count: int = 1",
    )
    done = run(own, {"count": 3})
    assert printed(done.notebook) == "('count',) 3 False\n"


def test_a_notebook_holds_its_code_once(tmp_path: Path) -> None:
    own = write_notebook(tmp_path / "own.ipynb", "print('a ' + 'mark')")
    assert run(own).notebook.read_text().count("print('a ' + 'mark')") == 1


# -- what cannot come to an end -------------------------------------------------------------------


def test_a_notebook_that_runs_for_ever_is_ended_at_its_time_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = write_notebook(tmp_path / "own.ipynb", "import os, time\nprint(os.getpid())", "while True: time.sleep(1)")
    assert cli.main(["run", str(own), "--time-limit", "3", "--json"]) == NOT_COMPLETED
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["state"], told["error"]) == ("failed", "exceeded its time limit of 3 seconds")
    kept = printed(Path(told["notebook"]))
    assert not psutil.pid_exists(int(kept))
    assert "KeyboardInterrupt" in Path(told["notebook"]).read_text(), "one sees where it was"


def test_a_kernel_that_cannot_be_interrupted_is_killed_and_the_notebook_owns_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.5)
    own = write_notebook(
        tmp_path / "own.ipynb",
        "import os, signal, time, subprocess\nprint(os.getpid())",
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nchild = subprocess.Popen(['sleep', '600'])\n"
        "print(child.pid, flush=True)\nwhile True:\n    time.sleep(1)",
    )
    done = run(own, time_limit=3)
    assert (done.state, done.error) == ("failed", "exceeded its time limit of 3 seconds")
    kernel, *child = map(int, printed(done.notebook).split())
    assert not psutil.pid_exists(kernel)
    assert not [p for p in child if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
    notebook = nbformat.read(done.notebook, as_version=4)
    assert notebook.metadata.papermill["exception"] is True
    assert "is incomplete: exceeded its time limit" in notebook.cells[0].source


def test_a_time_limit_stops_the_runs_too(tmp_path: Path) -> None:
    own = write_notebook(
        tmp_path / "own.ipynb", "import lmkit as lk\nlk.train(epochs=10**6, early_stopping=None, wait=True)"
    )
    done = run(own, time_limit=10)
    assert done.state == "failed"
    assert [lk.attach(path).state for path in done.runs] == ["stopped"]


@pytest.mark.parametrize("limit", [0, -1, float("inf"), float("nan")])
def test_a_time_limit_that_is_none_is_refused(tmp_path: Path, limit: float) -> None:
    with pytest.raises(lk.TemplateError, match=r"time limit: given .*, expected seconds, more than 0"):
        run(write_notebook(tmp_path / "own.ipynb", "1"), time_limit=limit)


def test_a_notebook_that_asks_somebody_fails_and_says_what_to_do(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run(write_notebook(tmp_path / "own.ipynb", "print('before')", "name = input('who?')"))
    assert done.state == "failed"
    assert "cell [2] failed: StdinNotImplementedError" in done.error
    assert done.error.endswith("use a parameter instead")
    assert printed(done.notebook) == "before\n"
    assert time.monotonic() - began < 60


def test_a_syntax_error_fails_in_its_cell(tmp_path: Path) -> None:
    done = run(write_notebook(tmp_path / "own.ipynb", "print('before')", "def f(:\n  pass", "print('after')"))
    assert done.state == "failed"
    assert done.error.startswith("cell [2] failed: SyntaxError: ")
    assert printed(done.notebook) == "before\n"


def test_a_killed_kernel_makes_the_notebook_say_so(tmp_path: Path) -> None:
    done = run(write_notebook(tmp_path / "own.ipynb", "import os\nos.kill(os.getpid(), 9)"))
    notebook = nbformat.read(done.notebook, as_version=4)
    assert notebook.metadata.papermill["exception"] is True
    assert notebook.cells[0].source == "**This notebook is incomplete: its kernel died while a cell ran.**"


# -- what a notebook records ----------------------------------------------------------------------


def test_what_a_notebook_records_is_told(tmp_path: Path) -> None:
    own = write_notebook(
        tmp_path / "own.ipynb",
        "import numpy as np, lmkit as lk\nlk.record(f1=np.float32(0.5), rows=3)",
        "lk.record(rows=4, best='a', loss=float('nan'), text='nan')",
    )
    values = run(own).values
    loss = values.pop("loss")
    assert isinstance(loss, float)
    assert math.isnan(loss)
    assert values == {"f1": 0.5, "rows": 4, "best": "a", "text": "nan"}
    lk.record(f1=0.5)  # outside of an execution it is nothing
    with pytest.raises(lk.TemplateError, match=r"record: a: given \[1\], expected a number"):
        lk.record(a=[1])  # type: ignore[arg-type]


# -- plain papermill ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": "3"}, "training.epochs: given '3', expected a whole number"),
        ({"overrides": {"training.optimiser.lr": 0.1}}, "did you mean 'optimizer'"),
        ({"framework": "torhc"}, "did you mean 'torch'"),
        # papermill's own command line reads `-y 'lr: 1e-3'` as a text: refused, not trained with
        ({"overrides": {"training.optimizer.lr": "1e-3"}}, "training.optimizer.lr: given '1e-3', expected a number"),
    ],
)
def test_plain_papermill_is_held_to_the_same_experiment(tmp_path: Path, given: dict[str, object], said: str) -> None:
    with pytest.raises(papermill.PapermillExecutionError, match=said):
        papermill.execute_notebook(
            template_paths()["train"], tmp_path / "out.ipynb", given, kernel_name="python3", progress_bar=False
        )
    assert not list((tmp_path / "runs").glob("*-*"))
