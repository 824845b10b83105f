"""Notebooks are executed with parameters, and however that ends, what there is of them is kept."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import io
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import papermill
import pytest
from written_notebook import printed, write_notebook
from written_run import written_run

import lmkit as lk
from lmkit.batch import runner
from lmkit.batch.execute import run_template
from lmkit.batch.kernels import kernel_manager
from lmkit.batch.runner import MAX_KERNEL_STARTS
from lmkit.commands import cli
from lmkit.commands.output import DONE, INTERRUPTED, NOT_COMPLETED
from lmkit.runfolder.folder import runs_root

pytestmark = pytest.mark.usefixtures("kernels")

# -- what arrives in the notebook -----------------------------------------------------------------

TYPES = """
rate: float = 0.1
flag: bool = False
sizes: list = []
table: dict = {}
maybe: int | None = 3
odd: float = 0.0
big: float = 0.0
colour: str = "#000"
text: str = ""
where: str = ""
typed: str = ""
choice: Literal["a", "b"] = "a"
"""
TEXT = """it's "quoted" \\ {braces} $HOME %time #5 — ü
and a second line"""


def test_parameters_arrive_as_what_they_are(tmp_path: Path) -> None:
    names = [line.split(":")[0] for line in TYPES.split("\n") if line]
    folder = tmp_path / "x y"
    given = {"sizes": (1, 2.5), "table": {"a": {"b": [None, True]}}, "maybe": None, "odd": math.nan, "where": folder}
    typed = {
        "rate": "1e-3",
        "flag": "true",
        "big": "-inf",
        "colour": "#fff",
        "text": TEXT,
        "typed": "010",
        "choice": "b",
    }
    own = write_notebook(
        tmp_path / "own.ipynb",
        "from typing import Literal",
        f"import json\nprint(json.dumps([{', '.join(names)}]))",
        parameters=TYPES,
    )
    done = run_template(own, given, typed=typed, output=tmp_path / "out {x}.ipynb", log=io.StringIO())
    assert (done.state, done.error, done.runs) == ("completed", "", [])
    assert done.notebook == tmp_path / "out {x}.ipynb"
    assert done.report == tmp_path / "out {x}.html"
    arrived = dict(zip(names, json.loads(printed(done.notebook)), strict=True))
    assert math.isnan(arrived.pop("odd"))
    assert arrived == {
        "rate": 0.001,
        "flag": True,
        "sizes": [1, 2.5],
        "table": {"a": {"b": [None, True]}},
        "maybe": None,
        "big": -math.inf,
        "colour": "#fff",
        "text": TEXT,
        "where": str(folder),
        "typed": "010",
        "choice": "b",
    }
    # the template itself is as it was
    assert printed(own) == ""


# -- how it ends ----------------------------------------------------------------------------------


def test_a_failing_cell_keeps_the_notebook_up_to_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = write_notebook(tmp_path / "own.ipynb", "print('before')", "1 / 0", "print('unreached')")
    assert cli.main(["run", str(own), "--json"]) == NOT_COMPLETED
    out, err = capsys.readouterr()
    told = json.loads(out.splitlines()[-1])
    assert (told["run"], told["state"], told["metrics"]) == (None, "failed", {})
    assert told["error"] == "cell [2] failed: ZeroDivisionError: division by zero"
    assert told["error"] in err
    assert printed(Path(told["notebook"])) == "before\n"
    page = Path(told["report"]).read_text()
    assert "before" in page
    assert "ZeroDivisionError" in page
    assert page.count("unreached") == 1, "in its code alone"


def test_a_killed_kernel_does_not_claim_success(tmp_path: Path) -> None:
    own = write_notebook(
        tmp_path / "own.ipynb", "print('before')", "import os\nos.kill(os.getpid(), 9)", "print('after')"
    )
    done = run_template(own, log=io.StringIO())
    assert done.state == "failed"
    assert done.error == "its kernel died while a cell ran"
    assert printed(done.notebook) == "before\n"


@pytest.mark.parametrize("stillborn", [MAX_KERNEL_STARTS - 1, MAX_KERNEL_STARTS])
def test_a_kernel_that_never_starts_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stillborn: int
) -> None:
    starts = []

    @contextlib.contextmanager
    def faulty(environment: Mapping[str, str], started: list[int], _name: str) -> Iterator[type]:
        with kernel_manager(environment, started) as manager:

            class Faulty(manager):  # type: ignore[misc, valid-type]
                def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
                    starts.append(1)
                    good: list[str] = super().format_kernel_cmd(extra_arguments)
                    return [sys.executable, "-c", ""] if len(starts) <= stillborn else good

            yield Faulty

    monkeypatch.setattr(runner, "kernel_manager", faulty)
    done = run_template(write_notebook(tmp_path / "own.ipynb", "print('ran')"), log=io.StringIO())
    if stillborn < MAX_KERNEL_STARTS:
        assert (done.state, len(starts), printed(done.notebook)) == ("completed", stillborn + 1, "ran\n")
    else:
        assert (done.state, len(starts), printed(done.notebook)) == ("failed", MAX_KERNEL_STARTS, "")
        assert f"did not start, {MAX_KERNEL_STARTS} times" in done.error


CAPTURING = """
import ipywidgets
capture = ipywidgets.Output()
with capture:
    print("captured")
ipywidgets.VBox([capture])
"""


def test_a_notebook_with_widgets_runs_in_its_own_folder_and_keeps_what_they_captured(tmp_path: Path) -> None:
    own = write_notebook(
        tmp_path / "x y" / "own.ipynb",
        CAPTURING,
        "from ipywidgets import interact\ninteract(lambda x=4: print('x is', x))",
        "import beside, os\nprint(beside.VALUE, os.getcwd())",
        "def check(value):\n    assert value == 3\ncheck(2)",
    )
    (tmp_path / "x y" / "beside.py").write_text("VALUE = 41")
    done = run_template(own, output=tmp_path / "out.ipynb", log=io.StringIO())
    assert printed(done.notebook) == f"captured\nx is 4\n41 {tmp_path / 'x y'}\n"
    assert "widgets" not in json.loads(done.notebook.read_text())["metadata"]
    assert (done.state, done.error) == ("failed", "cell [4] failed: AssertionError: assert value == 3")


def test_an_error_that_is_only_printed_keeps_its_text_and_another_folder_may_be_chosen(tmp_path: Path) -> None:
    own = write_notebook(tmp_path / "own.ipynb", "import os\nprint(os.getcwd())", "%not_a_magic 3")
    (tmp_path / "data").mkdir()
    done = run_template(own, cwd=tmp_path / "data", log=io.StringIO())
    assert printed(done.notebook).startswith(f"{tmp_path / 'data'}\n")
    assert done.error == "cell [2] failed: UsageError: Line magic function `%not_a_magic` not found."
    with pytest.raises(lk.TemplateError, match=r"cwd: given .*, expected an existing folder"):
        run_template(own, cwd=tmp_path / "missing")


def test_an_exception_below_is_a_sentence_and_the_notebook_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("975be0e2")

    monkeypatch.setattr(papermill, "execute_notebook", fail)
    own = write_notebook(tmp_path / "own.ipynb", "1")
    assert cli.main(["run", str(own), "-o", str(tmp_path / "out.ipynb")]) == NOT_COMPLETED
    assert (
        "lmkit: the execution was aborted: KeyError: '975be0e2' (batch/test_execute.py, line "
        in capsys.readouterr().err
    )
    assert (tmp_path / "out.ipynb").exists()


def test_a_notebook_is_prepared_from_and_to_the_standard_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = write_notebook(tmp_path / "own.ipynb", "import math", "print(shape)", parameters="shape: tuple = (1, 2)")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(own.read_bytes())))
    assert cli.main(["run", "-", "-o", "-", "-p", "shape=(3, 4)", "--prepare-only"]) == DONE
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert "".join(cells[2]["source"]) == "# Parameters\nshape = (3, 4)\n"
    assert all(not c["outputs"] for c in cells)


# -- where things are -----------------------------------------------------------------------------


def test_the_notebook_knows_where_runs_are_kept_and_who_asked(tmp_path: Path) -> None:
    own = write_notebook(
        tmp_path / "own.ipynb", "import os\nprint(os.environ['LMKIT_RUNS'], os.environ['LMKIT_COMMAND'])"
    )
    log = io.StringIO()
    done = run_template(own, runs=tmp_path / "elsewhere", log=log)
    assert log.getvalue().startswith(f"{tmp_path / 'elsewhere'} ")
    assert Path(sys.argv[0]).name in log.getvalue()
    assert done.notebook.parent == tmp_path / "elsewhere" / ".notebooks"
    assert lk.runs(tmp_path / "elsewhere").empty


def test_a_notebook_answers_for_the_runs_that_it_starts_not_for_those_that_it_looks_at(tmp_path: Path) -> None:
    looked_at = written_run(tmp_path / "runs", state="failed", prepared=False)
    own = write_notebook(
        tmp_path / "own.ipynb",
        "import lmkit as lk\nlk.attach()",
        "started = lk.train(epochs=1, inline=True)",
    )
    done = run_template(own, log=io.StringIO())
    (started,) = done.runs
    assert (done.state, done.error) == ("completed", "")
    assert started != looked_at.path
    assert done.notebook == started / "own.ipynb"
    assert done.report == started / "report.html"


@pytest.mark.parametrize("name", ["out.html", "out", "folder/"])
def test_an_output_that_is_no_notebook_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(lk.TemplateError, match=r"output: given .*, expected a file that ends in \.ipynb"):
        run_template("train", output=tmp_path / name)
    assert not list(runs_root().glob("*-*"))


def test_a_folder_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for where in ({"output": tmp_path / "file" / "out.ipynb"}, {"runs": tmp_path / "file"}):
        with pytest.raises(lk.TemplateError, match="cannot write a notebook to"):
            run_template("train", **where)
    assert not list(runs_root().glob("*-*"))


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "cannot write a notebook to .*: No space left on device; choose another folder"
    with tempfile.TemporaryFile(dir=tmp_path) as small:
        monkeypatch.setattr(small, "write", full)
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: small)
        with pytest.raises(lk.TemplateError, match=said):
            run_template("train", output=tmp_path / "out.ipynb")
    assert not list(tmp_path.glob("*.ipynb"))


def test_a_disk_that_gets_full_fails_the_notebook_and_tells_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = write_notebook(
        tmp_path / "own.ipynb", "import lmkit as lk\nlk.train(epochs=1, inline=True)", "print('unreached')"
    )
    save = papermill.engines.NotebookExecutionManager.save

    def saves(self: Any, **options: Any) -> None:
        (full if list(runs_root().glob("*-*")) else save)(self, **options)

    monkeypatch.setattr(papermill.engines.NotebookExecutionManager, "save", saves)
    assert cli.main(["run", str(own), "--json"]) == NOT_COMPLETED
    out, err = capsys.readouterr()
    told = json.loads(out.splitlines()[-1])
    assert told["state"] == "failed"
    assert told["error"].startswith("the execution was aborted: No space left on device: '")
    assert Path(told["run"]).is_dir()
    assert Path(told["notebook"]).parent == Path(told["run"])
    assert "Traceback" not in err


def test_a_missing_package_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "papermill" else find(n, *a))
    with pytest.raises(lk.MissingPackage, match=r"papermill, which is not .*pip install 'jupyter-lmkit\[batch\]'"):
        run_template("train")


# -- the kernel's sockets -------------------------------------------------------------------------


def test_a_kernel_listens_where_nobody_else_can_reach_it() -> None:
    with kernel_manager({}) as manager:
        kernel = manager(kernel_name="python3")
        folder = Path(kernel.connection_file).parent
        assert kernel.transport == "ipc"
        assert Path(kernel.ip).parent == folder
        assert folder.stat().st_mode & 0o077 == 0
        with kernel_manager({}) as other:
            assert Path(other(kernel_name="python3").connection_file).parent != folder
    assert not folder.exists()


def test_a_path_too_long_for_a_socket_means_tcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    own = write_notebook(tmp_path / "own.ipynb", "print('ran')")
    with kernel_manager({}) as manager:
        assert manager(kernel_name="python3").transport == "tcp"
    assert printed(run_template(own, log=io.StringIO()).notebook) == "ran\n"


# -- Ctrl-C ---------------------------------------------------------------------------------------


def interrupted(arguments: list[str], *after: str) -> tuple[int, dict[str, Any], str]:
    """``lmkit run`` with a Ctrl-C once it has printed each of ``after``: exit status, result, what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lmkit.commands.cli", "run", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    lines: list[str] = []
    for awaited in after:
        for line in process.stderr:
            lines.append(line)
            if awaited in line:
                break
        os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return process.returncode, json.loads(out.splitlines()[-1]), "".join([*lines, err])


def test_ctrl_c_stops_the_run_and_lets_the_notebook_show_it() -> None:
    status, told, said = interrupted(
        ["train", "-p", "epochs", "1000000", "-p", "training.early_stopping", "null"], "training on"
    )
    assert (status, told["state"]) == (INTERRUPTED, "stopped")
    run = lk.attach()
    assert told["run"] == str(run.path)
    assert (run.state, run.status.reason) == ("stopped", "on request")
    assert "Stopping the run; press Ctrl-C again to stop the notebook." in said
    assert said.rstrip().endswith(f"continue: lmkit resume {run.name}")
    assert "WARNING" not in said
    assert "Traceback" not in said
    notebook = json.loads(Path(told["notebook"]).read_text())
    assert Path(told["notebook"]).parent == run.path
    assert notebook["cells"][-1]["outputs"], "the last cell ran too"
    assert told["metrics"] == run.metrics
    assert "stopped" in Path(told["report"]).read_text()


def test_ctrl_c_ends_a_notebook_without_a_run(tmp_path: Path) -> None:
    own = write_notebook(tmp_path / "own.ipynb", "print('at work')\nimport time\ntime.sleep(600)", "print('after')")
    status, told, said = interrupted([str(own)], "at work")
    assert (status, told["state"], told["run"], told["error"]) == (130, "stopped", None, "interrupted")
    assert printed(Path(told["notebook"])) == "at work\n"
    assert "Traceback" not in said


def test_a_second_ctrl_c_ends_the_notebook_but_never_leaves_the_run_behind(tmp_path: Path) -> None:
    own = write_notebook(
        tmp_path / "own.ipynb",
        "import lmkit as lk, time\nlk.train(epochs=10**6, early_stopping=None)\nprint('at work')\ntime.sleep(600)",
        "print('after')",
    )
    status, told, _ = interrupted([str(own)], "at work", "Stopping the run")
    run = lk.attach()
    assert (status, told["state"], told["run"]) == (130, "stopped", str(run.path))
    assert run.state == "stopped"
    assert told["error"].startswith("interrupted; run ")
    assert printed(Path(told["notebook"])) == "at work\n"
