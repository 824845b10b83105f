"""What every engine does: trials are executed notebooks, and whatever is killed, each ends once."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from written_notebook import printed, write_notebook

import lmkit as lk
from lmkit.commands import cli
from lmkit.commands.output import DONE, INTERRUPTED
from lmkit.executors.clusters import VERSION, Machine, check_versions
from lmkit.sweeping import trial
from lmkit.sweeping.engines import ENGINES, connect
from lmkit.sweeping.engines.ray import gpus_per_trial, threads_per_trial
from lmkit.sweeping.folder import SweepFolder, TrialFolder, sweeps_root
from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import Job, run_trial
from lmkit.system.cores import available_cores

PARAMETERS = "x: int = 0\nwhere: str = ''"


def notebook(tmp_path: Path, *cells: str) -> Path:
    """A notebook that takes x and a folder to leave things in, and tells x²."""
    return write_notebook(
        tmp_path / "own.ipynb",
        "import os\nfrom pathlib import Path",
        *cells,
        "print(x)\nimport lmkit as lk\nlk.record(square=x * x)\nPath(where)",
        parameters=PARAMETERS,
    )


def sweep(own: Path, tmp_path: Path, xs: list[int], **options: Any) -> lk.Sweep:
    given = {"where": str(tmp_path)}
    options = {"workers": 2, "inline": True, "objective": "minimize square", "name": "x", **options}
    return lk.sweep(own, given, grid={"x": xs}, **options)


def markers(made: lk.Sweep) -> list[Path]:
    return sorted(made.path.glob("trials/*/done*"))


def test_the_engines_are_found() -> None:
    assert ENGINES.names() == ["dask", "ray", "threads"]


def test_every_trial_is_an_executed_notebook(tmp_path: Path, engine: str) -> None:
    made = sweep(notebook(tmp_path), tmp_path, [3, 1, 2], engine=engine)
    assert (made.state, made.best().parameters) == ("completed", {"x": 1})
    assert [printed(t.notebook) for t in made.trials if t.notebook] == ["3\n", "1\n", "2\n"]
    assert made.table["square"].tolist() == [9, 1, 4]
    told = json.loads((made.trials[0].path / "done.json").read_text())
    assert (told["attempt"], told["threads"]) == ("attempt-1", max(1, available_cores() // 2))
    assert len(markers(made)) == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "Ctrl-C ends a driver as without the engine"


def test_a_worker_has_its_share_of_threads(tmp_path: Path, engine: str) -> None:
    own = notebook(
        tmp_path, "lines = [os.environ[k] for k in ('OMP_NUM_THREADS', 'TF_NUM_INTRAOP_THREADS')]\nprint(*lines)"
    )
    folder = SweepFolder(tmp_path / "sweeps" / "x").new_trial(1, {"x": 1}, {})
    pool = connect(engine, 1)
    given = {"x": 1, "where": str(tmp_path)}
    outcome = pool.submit(Job(str(folder.path), str(own), given, str(tmp_path / "runs"), threads=7)).result(60)
    pool.close()
    assert outcome.state == "completed"
    assert (folder.attempts()[0] / "log.txt").read_text() == "7 7\n1\n"


@pytest.mark.parametrize("engine", ["threads", "dask"], indirect=True)
def test_a_killed_kernel_and_a_failing_cell(tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    once = "mark = Path(where) / 'killed'\nif x == 1 and not mark.exists():\n  mark.touch()\n  os.kill(os.getpid(), 9)"
    own = notebook(tmp_path, once, "print(1 / x)")
    command = ["sweep", str(own), "-p", "where", str(tmp_path), "--grid", "x=0,1,2", "--objective", "minimize square"]
    command += ["--name", "x", "--workers", "2", "--engine", engine]
    assert cli.main([*command, "--json"]) == DONE  # two of three trials completed
    out, err = capsys.readouterr()
    told = json.loads(out.splitlines()[-1])
    assert (told["state"], told["best"]) == ("completed", 2)
    assert [t["state"] for t in told["trials"]] == ["failed", "completed", "completed"]
    assert told["trials"][0]["error"] == "cell [5] failed: ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in Path(told["trials"][0]["notebook"]).read_text(), "its partial notebook is kept"
    assert "trial 2: its kernel died while a cell ran; retrying" in err
    trials = sweeps_root() / "x" / "trials"
    assert [len(TrialFolder(p).attempts()) for p in sorted(trials.iterdir())] == [1, 2, 1]
    assert cli.main(command) == DONE
    out, err = capsys.readouterr()
    assert [len(TrialFolder(p).attempts()) for p in sorted(trials.iterdir())] == [1, 2, 1], "nothing is repeated"
    assert "failed    trial 1: cell [5] failed: ZeroDivisionError" in out
    assert "3/3 trials finished (2 completed, 1 failed), best square 1 (trial 2)" in err


def test_a_trial_that_runs_for_ever_is_ended(tmp_path: Path) -> None:  # by itself, on whichever engine it runs
    own = notebook(tmp_path, "import time\nif x == 1: time.sleep(600)")
    made = sweep(own, tmp_path, [1, 2], time_limit=6)
    assert [t.state for t in made.trials] == ["failed", "completed"]
    assert made.failed[0].error == "exceeded its time limit of 6 seconds"


def test_a_parameter_that_is_never_read_fails_its_trial(tmp_path: Path) -> None:
    own = write_notebook(
        tmp_path / "own.ipynb", "import lmkit as lk\nx = 5", "lk.record(square=x * x)", parameters="x: int = 0"
    )
    notebook_after = json.loads(own.read_text())
    notebook_after["cells"].insert(0, notebook_after["cells"].pop(1))  # the parameters first, then x is another
    own.write_text(json.dumps(notebook_after))
    made = lk.sweep(own, grid={"x": [1]}, objective="minimize square", name="x", inline=True)
    assert [t.error for t in made.failed] == ["x: set, but never read by the notebook, so without effect"]


def test_an_objective_that_is_never_told_fails_its_trial(tmp_path: Path) -> None:
    made = sweep(notebook(tmp_path), tmp_path, [1], objective="minimize cost")
    assert [t.error for t in made.failed] == ["no value for the objective 'cost'; values: square"]


# -- the driver -----------------------------------------------------------------------------------


def drive(own: Path, tmp_path: Path, engine: str = "threads") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lmkit.commands.cli",
            "sweep",
            str(own),
            "-p",
            "where",
            str(tmp_path),
            "--grid",
            "x=1,2,3",
            "--objective",
            "minimize square",
            "--name",
            "x",
            "--workers",
            "1",
            "--engine",
            engine,
            "--json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def awaited(path: Path, seconds: float = 60) -> Path:
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} never came"
        time.sleep(0.05)
    return path


SLOW = (
    "import time\n(Path(where) / f'at-{x}').touch()\nif x == 2 and not (Path(where) / 'go').exists(): time.sleep(600)"
)


@pytest.mark.parametrize("engine", ["threads", "dask"], indirect=True)
def test_a_driver_that_is_killed_or_interrupted_is_gone_on_from(tmp_path: Path, engine: str) -> None:
    own = notebook(tmp_path, SLOW)
    for number in (signal.SIGKILL, signal.SIGINT):
        driver = drive(own, tmp_path, engine)
        awaited(tmp_path / "at-2").unlink()
        with pytest.raises(lk.SweepError, match=f"is already running in process {driver.pid}"):
            sweep(own, tmp_path, [1, 2, 3])
        driver.send_signal(number)
        out, err = driver.communicate(timeout=60)
        found = lk.attach_sweep("x")
        assert found.state == "interrupted"
        assert [t.state for t in found.trials] == ["completed", "interrupted"]
    assert driver.returncode == INTERRUPTED
    assert "Interrupted. Stopping 1 trial; run the same command to continue." in err
    assert "Traceback" not in err
    assert json.loads(out.splitlines()[-1])["state"] == "interrupted"
    (tmp_path / "go").touch()
    last = drive(own, tmp_path, engine)
    out, err = last.communicate(timeout=120)
    assert last.returncode == DONE, err
    assert [len(TrialFolder(t.path).attempts()) for t in found.trials] == [1, 3, 1]
    assert [t.state for t in found.trials] == ["completed"] * 3
    assert len(markers(found)) == 3


def test_a_detached_sweep_is_waited_for_and_ended(tmp_path: Path) -> None:
    own = notebook(tmp_path, SLOW)
    made = sweep(own, tmp_path, [1, 2], inline=False, workers=1)
    assert made.state == "running"
    with pytest.raises(TimeoutError, match="sweep 'x' is still running after 0 seconds"):
        made.wait(0)
    awaited(tmp_path / "at-2")
    assert [t.state for t in made.trials] == ["completed", "running"]
    assert lk.stop_sweep("x").wait(60).state == "interrupted"
    (tmp_path / "go").touch()
    assert sweep(own, tmp_path, [1, 2], inline=False, wait=True).state == "completed"


@pytest.mark.parametrize("engine", ["dask", "ray"], indirect=True)
def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path, engine: str) -> None:
    once = (
        "import psutil, time\n"
        "mark = Path(where) / 'killed'\n"
        "if x == 1 and not mark.exists():\n"
        "    mark.touch()\n"
        "    worker = next(p for p in psutil.Process().parents() if 'kernel_server' not in ' '.join(p.cmdline()))\n"
        "    worker.kill()\n"
        "    time.sleep(600)"
    )
    lines: list[str] = []
    made = sweep(notebook(tmp_path, once), tmp_path, [1, 2], engine=engine, tell=lines.append)
    assert made.state == "completed"
    assert "trial 1: the worker that executed it died; retrying" in lines
    assert len(TrialFolder(made.trials[0].path).attempts()) == 2
    assert [m.parent.name for m in markers(made)] == ["0001", "0002"]


def test_a_cluster_that_is_lost_ends_the_sweep_and_another_engine_goes_on(
    tmp_path: Path, dask_of_its_own: tuple[str, int]
) -> None:
    name, scheduler = dask_of_its_own
    own = notebook(tmp_path, SLOW)
    lines: list[str] = []
    driving = threading.Thread(
        target=lambda: sweep(own, tmp_path, [2, 1], engine=name, workers=1, tell=lines.append), daemon=True
    )
    driving.start()
    awaited(tmp_path / "at-2")
    os.kill(scheduler, signal.SIGKILL)
    driving.join(90)
    assert not driving.is_alive()
    assert any(f"the scheduler of '{name}' is lost" in line for line in lines)
    found = lk.attach_sweep("x")
    assert (found.state, [t.state for t in found.trials]) == ("interrupted", ["interrupted"])
    (tmp_path / "go").touch()
    made = sweep(own, tmp_path, [2, 1], workers=1)
    assert (made.state, len(markers(made))) == ("completed", 2)


def test_a_trial_ends_where_nobody_drives_its_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "ORPHAN_SECONDS", 0.5)
    made = sweep(notebook(tmp_path, SLOW), tmp_path, [1])
    folder = made.folder.new_trial(2, {"x": 2}, {})
    given = {"x": 2, "where": str(tmp_path)}
    job = Job(str(folder.path), str(tmp_path / "own.ipynb"), given, str(tmp_path / "runs"), 1, driver="gone")
    assert run_trial(job).state == "interrupted"
    assert folder.read().state == "interrupted"
    with made.folder.lock.acquire():
        assert run_trial(job) == TrialOutcome("interrupted", "interrupted")
    assert len(folder.attempts()) == 1, "where another drives it nothing is begun"


# -- clusters that cannot be had ------------------------------------------------------------------


REFUSED = """
import importlib, socket, sys
from lmkit.sweeping.engines import connect

scheme = sys.argv[1]
importlib.import_module(f"lmkit.sweeping.engines.{scheme}").TIMEOUT = 0.5

def refused(address):
    try:
        connect(f"{scheme}://{address}", 1)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)

refused("127.0.0.1:1")
refused("cluster")
with socket.create_server(("127.0.0.1", 0)) as silent:
    refused(f"127.0.0.1:{silent.getsockname()[1]}")
"""


@pytest.mark.parametrize("scheme", ["dask", "ray"])
def test_what_is_wrong_with_a_cluster_is_told(scheme: str) -> None:
    # in a process of its own: what gRPC leaves running does not bear that the tests after it fork
    done = subprocess.run([sys.executable, "-c", REFUSED, scheme], capture_output=True, text=True, timeout=120)
    nobody, no_port, silent = done.stdout.splitlines()
    assert nobody.startswith(
        f"SweepError: engine: '{scheme}://127.0.0.1:1' does not answer (Connection refused); start one: {scheme} "
    )
    assert "expected HOST:PORT after '://'" in no_port
    assert "does not answer (" in silent


@pytest.mark.parametrize(("scheme", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_package_and_a_cluster_that_is_not_there_are_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str
) -> None:
    with pytest.raises(lk.SweepError, match="Connection refused"):
        sweep(notebook(tmp_path), tmp_path, [1], engine=f"{scheme}://127.0.0.1:1")
    assert not sweeps_root().exists()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else found(name, *a))
    with pytest.raises(lk.MissingPackage, match=rf"{scheme}:// needs {package}, .*install 'jupyter-lmkit\[{scheme}\]'"):
        connect(f"{scheme}://127.0.0.1:1", 1)


def test_workers_without_lmkit_or_with_another_are_refused() -> None:
    check_versions("dask://a:1", {"b:2": Machine("b", VERSION, 2)})
    with pytest.raises(lk.SweepError, match=rf"b:2 of 'dask://a:1' has lmkit 0.0.9, and this is {VERSION}"):
        check_versions("dask://a:1", {"b:2": Machine("b", "0.0.9", 2)})
    with pytest.raises(lk.SweepError, match=r"b:2 .* cannot execute lmkit .*No module named 'lmkit'.*install it there"):
        check_versions("dask://a:1", {"b:2": ModuleNotFoundError("No module named 'lmkit'")})


@pytest.mark.parametrize(
    ("cpus", "workers", "each"), [([2], 2, 1), ([8, 8], 3, 4), ([8, 8], 2, 8), ([8, 8], 1, 8), ([4], 9, 1), ([], 1, 1)]
)
def test_threads_are_not_divided_between_machines(cpus: list[int], workers: int, each: int) -> None:
    assert threads_per_trial(cpus, workers) == each


@pytest.mark.parametrize(("gpus", "workers", "each"), [(0, 4, 0), (8, 4, 2), (8, 3, 2), (2, 4, 0.5), (2, 5, 1 / 3)])
def test_each_trial_has_its_share_of_gpus(gpus: int, workers: int, each: float) -> None:
    assert gpus_per_trial(gpus, workers) == each


# -- trials that train ----------------------------------------------------------------------------


def test_a_trial_resumes_in_the_middle_of_its_run(tmp_path: Path) -> None:
    cut = (
        "while x == 1 and not list(run.folder.checkpoints.glob('last')): time.sleep(0.02)\n"
        "if x == 1 and run.status.live and not run.path.joinpath('cut').exists():\n"
        "    run.path.joinpath('cut').touch()\n"
        "    os.kill(run.status.pid, 9)\n"
        "    os.kill(os.getpid(), 9)"
    )
    own = write_notebook(
        tmp_path / "own.ipynb",
        "import lmkit as lk, os, time",
        "run = lk.train(data='wine', model='mlp:tiny', epochs=400, checkpoint_seconds=0.05, early_stopping=None)",
        cut,
        "run.wait()",
        parameters="x: int = 0",
    )
    made = lk.sweep(own, grid={"x": [1]}, objective="val_loss", name="x", inline=True)
    (trial,) = made.trials
    assert (made.state, trial.error) == ("completed", "")
    assert [len(j.runs) for j in TrialFolder(trial.path).journals()] == [1, 1]
    assert len(list((tmp_path / "runs").glob("*/experiment.yaml"))) == 1, "one trial, one run"
    run = made.run()
    (resumed,) = [e.data for e in run.events if e.type == "resumed"]
    assert resumed["step"] > 0
    assert trial.values["val_loss"] == run.history["val_loss"].iloc[-1]
    assert made.runs[0].path == run.path


def test_the_train_template_is_swept_as_an_experiment(tmp_path: Path) -> None:
    experiment = lk.Experiment(data="wine", training={"epochs": 2})
    made = lk.sweep(experiment, grid={"lr": [0.1]}, name="x", inline=True)
    assert made.state == "completed", made.table["error"].tolist()
    assert made.run().experiment == experiment.override({"lr": 0.1})
    values = made.best().values
    assert values["val_loss"] == made.run().history["val_loss"].iloc[-1]
    assert values["test_accuracy"] == made.run().metrics["accuracy"]
