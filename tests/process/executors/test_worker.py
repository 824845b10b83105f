"""Workers in processes of their own: steered, killed, resumed, outliving whoever started them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from narrowing import require_value
from waiting import PATIENCE, until

import lmkit as lk
from lmkit.executors import forkserver, worker
from lmkit.runfolder.folder import RunFolder
from lmkit.system import processes
from lmkit.system.environment import command

LONG: dict[str, Any] = {
    "data": {"source": "digits", "batch_size": 32},
    "model": {"hidden": [256, 256], "dropout": 0.2},
    "training": {
        "epochs": 10**6,
        "checkpoint_seconds": 1e6,
        "compile": "off",
        "early_stopping": None,
        "readings": "off",
    },
}
PER_EPOCH = 34  # 1077 of the digits' 1797 rows, in batches of 32


def events(run: lk.Run, kind: str) -> list[dict[str, Any]]:
    return [e.data for e in run.events if e.type == kind]


def last_step(run: lk.Run) -> int:
    """The last step recorded; cheaper than ``run.steps``, for asking again and again."""
    with contextlib.suppress(FileNotFoundError):
        for line in reversed((run.path / "metrics.jsonl").read_bytes().splitlines()):
            with contextlib.suppress(ValueError):  # a torn line
                block = json.loads(line)
                return block["step"] + len(block["loss"]) - 1 if "step" in block else block["resumed"]
    return 0


@pytest.fixture
def start() -> Iterator[Callable[..., lk.Run]]:
    """Starts a long run in a worker; it is stopped in the end."""
    started: list[lk.Run] = []

    def begin(**changes: Any) -> lk.Run:
        started.append(lk.train(LONG, **changes))
        return started[-1]

    yield begin
    for run in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            if run.status.live and run.status.pid != os.getpid():
                psutil.Process(run.status.pid).kill()
        until(lambda run=run: not run.status.live)


# -- steering -------------------------------------------------------------------------------------


def test_train_returns_while_the_worker_works(start: Callable[..., lk.Run]) -> None:
    run = start()
    assert run.state in ("pending", "running")  # it has a million epochs before it
    assert run.wait_for("running").status.pid != os.getpid()
    until(lambda: last_step(run) > 0)
    run.stop().wait()
    assert (run.state, run.status.reason) == ("stopped", "on request")


def test_a_run_in_a_worker_is_the_run_in_this_process() -> None:
    settings = {**LONG, "training": {"epochs": 2, "optimizer": "adam"}}
    detached = lk.train(settings, wait=True)
    here = lk.train(settings, inline=True)
    assert detached.state == here.state == "completed"
    np.testing.assert_array_equal(detached.steps["loss"], here.steps["loss"])
    assert detached.metrics == here.metrics


def test_pause_resume_and_stop(start: Callable[..., lk.Run]) -> None:
    run = start()
    until(lambda: last_step(run) > 50)
    run.pause().wait_for("paused")
    paused = last_step(run)
    assert require_value(run.folder.load_checkpoint("last"))[2]["step"] == paused
    assert events(run, "paused") == [{"step": paused}]
    with pytest.raises(TimeoutError, match="is still paused"):
        run.wait(timeout=0.3)
    assert last_step(run) == paused
    run.resume().wait_for("running")
    until(lambda: last_step(run) > paused)
    assert events(run, "continued") == [{"step": paused}]
    run.stop().wait()
    assert run.state == "stopped"
    assert events(run, "checkpoint")[-1]["step"] == run.status.step == last_step(run)


def test_a_paused_run_obeys(start: Callable[..., lk.Run]) -> None:
    run = start()
    run.pause().wait_for("paused")
    run.set_learning_rate(0.5).note("while it waits").checkpoint()
    until(lambda: events(run, "note"))
    assert events(run, "learning_rate")[0]["value"] == 0.5
    assert run.state == "paused"
    run.stop().wait()
    assert run.state == "stopped"


def test_a_command_to_a_run_that_has_not_begun_is_not_lost(start: Callable[..., lk.Run]) -> None:
    run = start()
    run.note("early").pause()
    run.wait_for("paused")
    assert events(run, "note") == [{"step": 0, "text": "early"}]
    assert last_step(run) == 0


def test_steering_is_recorded(start: Callable[..., lk.Run]) -> None:
    run = start()
    until(lambda: last_step(run) > 10)
    run.set_learning_rate(0.125).note("slower").checkpoint()
    changed = until(lambda: events(run, "learning_rate"))[0]
    assert (changed["old"], changed["value"]) == (0.001, 0.125)
    until(lambda: last_step(run) > changed["step"])
    rates = run.steps.set_index("step")["lr"]
    assert (rates[: changed["step"]] == 0.001).all()
    assert (rates[changed["step"] + 1 :] == 0.125).all()
    note = until(lambda: events(run, "note"))[0]
    assert note["text"] == "slower"
    assert note["step"] >= changed["step"]  # the worker may read the file between the two


WRITE = """
import sys
from lmkit.runfolder.commands import AddNote
from lmkit.runfolder.folder import RunFolder
folder = RunFolder(sys.argv[1])
for i in range(100):
    folder.send(AddNote(text=f"{sys.argv[2]} {i} " + "x" * 500))
"""


def test_processes_that_steer_the_same_run_are_all_heard(start: Callable[..., lk.Run]) -> None:
    run = start()
    until(lambda: last_step(run) > 0)
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(run.path), name]) for name in ("one", "two")]
    assert [w.wait(PATIENCE) for w in writers] == [0, 0]
    until(lambda: len(events(run, "note")) == 200)
    heard = [e["text"].split()[:2] for e in events(run, "note")]
    for name in ("one", "two"):
        assert [int(i) for who, i in heard if who == name] == list(range(100))


def test_a_run_that_is_running_is_not_resumed(start: Callable[..., lk.Run]) -> None:
    run = start()
    with pytest.raises(lk.RunStateError, match=r"is already (pending|running); watch it: lmkit watch"):
        run.resume()
    until(lambda: last_step(run) > 0)
    with pytest.raises(lk.RunStateError, match="is already running"):
        lk.resume(run.name)
    assert events(run, "resumed") == []


def test_of_many_who_resume_at_once_one_does(start: Callable[..., lk.Run]) -> None:
    run = start()
    until(lambda: last_step(run) > 0)
    run.stop().wait()
    together, told = threading.Barrier(8), []

    def resume() -> None:
        mine = lk.attach(run.name)
        together.wait()
        try:
            mine.resume()
            told.append("resumed")
        except lk.RunStateError as error:
            told.append(str(error))

    threads = [threading.Thread(target=resume) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert told.count("resumed") == 1
    assert all("already" in t or "by another process" in t for t in told if t != "resumed")
    step = run.status.step
    until(lambda: last_step(run) > step)
    assert len(events(run, "resumed")) == 1


# -- death ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framework", "optimizer", "compiled", "kills"),
    [("torch", {"name": "sgd", "momentum": 0.9}, "off", 2), ("tensorflow", {"name": "adam"}, "on", 1)],
    ids=["torch-momentum", "tensorflow-adam-compiled"],
)
def test_a_killed_run_resumes_to_the_same_curve(
    framework: str, optimizer: dict[str, Any], compiled: str, kills: int, start: Callable[..., lk.Run]
) -> None:
    schedule = {"name": "step", "every": 2, "factor": 0.7}
    changes = {"framework": framework, "optimizer": optimizer, "schedule": schedule, "compile": compiled}
    run = start(**changes)
    for _ in range(kills):
        saved = checkpoint_within_an_epoch(run)
        until(lambda saved=saved: last_step(run) > saved + 10)
        os.kill(run.status.pid, signal.SIGKILL)
        until(lambda: run.state == "lost")
        killed = last_step(run)
        assert killed > saved
        assert run.steps["step"].tolist() == list(range(1, killed + 1))
        with pytest.raises(lk.RunFailed, match=r"was lost.*lmkit resume"):
            _ = run.metrics
        run.resume()
        until(lambda killed=killed: last_step(run) > killed + 2 * PER_EPOCH)
    assert len(events(run, "resumed")) == kills
    run.stop().wait()
    steps = run.steps
    whole = lk.train(LONG, **changes, steps=len(steps), wait=True)  # never interrupted
    assert whole.state == "completed"
    np.testing.assert_array_equal(steps["step"], whole.steps["step"])
    np.testing.assert_array_equal(steps["loss"], whole.steps["loss"])
    np.testing.assert_array_equal(steps["lr"], whole.steps["lr"])
    for column in set(whole.history.columns) - {"seconds", "gradient_norm"}:
        np.testing.assert_array_equal(run.history[column], whole.history[column])
    ours, theirs = (require_value(r.folder.load_checkpoint("last")) for r in (run, whole))
    for mine, its in zip(ours[:2], theirs[:2], strict=True):  # weights; the optimizer's memory and random states
        assert mine.keys() == its.keys()
        assert all(np.array_equal(mine[k], its[k]) for k in its)


def checkpoint_within_an_epoch(run: lk.Run) -> int:
    """Has a checkpoint written, anew a few times if it happens to lie at the end of an epoch; its step."""
    until(lambda: last_step(run) > PER_EPOCH)
    step = 0
    for _ in range(8):  # a quick machine takes an epoch at a time, and there is no within
        known = len(events(run, "checkpoint"))
        run.checkpoint()
        until(lambda known=known: len(events(run, "checkpoint")) > known)
        step = events(run, "checkpoint")[-1]["step"]
        if step % PER_EPOCH:
            break
    return step


def test_a_run_killed_before_its_first_checkpoint_begins_anew(start: Callable[..., lk.Run]) -> None:
    run = start()
    until(lambda: last_step(run) > 10)
    os.kill(run.status.pid, signal.SIGKILL)
    until(lambda: run.state == "lost")
    first = run.steps["loss"].to_numpy()
    run.resume()
    until(lambda: events(run, "resumed") and last_step(run) > len(first))
    assert events(run, "resumed")[0]["step"] == 0
    np.testing.assert_array_equal(run.steps["loss"][: len(first)], first)


def test_early_stopping_survives_a_stop(start: Callable[..., lk.Run]) -> None:
    changes = {
        "data.source": "wine",
        "optimizer": {"name": "sgd", "momentum": 0.9, "lr": 0.02},
        "epochs": 3000,
        "training.early_stopping": {"patience": 40, "min_delta": 0.001},
    }
    run = start(**changes)
    until(lambda: len(run.history) > 20)
    run.stop().wait()
    assert run.state == "stopped"
    run.resume().wait()
    whole = lk.train(LONG, **changes, inline=True)
    assert run.state == whole.state == "completed"
    assert run.status.reason == whole.status.reason != ""
    np.testing.assert_array_equal(run.history["val_loss"], whole.history["val_loss"])
    ours, theirs = (require_value(r.folder.load_checkpoint("last"))[0] for r in (run, whole))
    assert all(np.array_equal(ours[k], theirs[k]) for k in theirs)


def test_a_changed_learning_rate_survives_a_kill(start: Callable[..., lk.Run]) -> None:
    run = start()
    until(lambda: last_step(run) > 10)
    run.set_learning_rate(0.125)
    changed = until(lambda: events(run, "learning_rate"))[0]["step"]
    until(lambda: last_step(run) > changed + 10)
    os.kill(run.status.pid, signal.SIGKILL)
    until(lambda: run.state == "lost")
    run.resume()
    until(lambda: events(run, "resumed"))
    assert events(run, "resumed")[0]["step"] == changed
    until(lambda: last_step(run) > changed)
    assert (run.steps["lr"][changed:] == 0.125).all()


def test_what_was_asked_of_the_worker_before_is_not_asked_of_the_next(start: Callable[..., lk.Run]) -> None:
    run = start()
    until(lambda: last_step(run) > 0)
    run.stop().wait()
    stopped = last_step(run)
    run.resume()
    until(lambda: last_step(run) > stopped)
    assert run.state == "running"


def test_a_folder_that_nothing_can_be_written_into_loses_its_worker_and_no_more(start: Callable[..., lk.Run]) -> None:
    run = start()
    until(lambda: last_step(run) > PER_EPOCH)
    aside = run.path.with_name("aside")
    run.path.rename(aside)  # the worker finds no folder at all, not even to say so
    moved = lk.attach(aside)
    until(lambda: moved.state == "lost")
    assert moved.steps["step"].tolist() == list(range(1, last_step(moved) + 1))
    assert "was deleted or moved: its training ends" in (aside / "log.txt").read_text()
    aside.rename(run.path)
    before = last_step(run)
    run.resume()
    until(lambda: events(run, "resumed") and last_step(run) > before)


# -- where workers come from ----------------------------------------------------------------------

ORPHAN = """
import json, os, signal, sys, lmkit as lk
from lmkit.executors import worker
run = lk.train(json.loads(sys.argv[1]))
run.wait_for("running")
print(json.dumps({"run": str(run.path), "server": worker._servers["torch"].process.pid}), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_goes_on_when_the_process_that_started_it_is_killed() -> None:
    kernel = subprocess.run([sys.executable, "-c", ORPHAN, json.dumps(LONG)], capture_output=True, timeout=PATIENCE)
    assert kernel.returncode == -signal.SIGKILL, kernel.stderr
    told = json.loads(kernel.stdout)
    run = lk.attach(told["run"])
    step = last_step(run)
    until(lambda: last_step(run) > step)
    assert run.state == "running"
    until(lambda: not alive(told["server"]))  # the server serves nobody any more
    run.stop().wait()
    assert run.state == "stopped"


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_when_the_server_is_killed_runs_go_on_and_the_next_starts(start: Callable[..., lk.Run]) -> None:
    first = start()
    until(lambda: last_step(first) > 0)
    server = worker._servers["torch"]
    server.process.kill()
    server.process.wait(PATIENCE)
    second = start()
    until(lambda: last_step(second) > 0)
    assert worker._servers["torch"] is not server
    step = last_step(first)
    until(lambda: last_step(first) > step)


def test_a_job_that_was_not_taken_up_is_lost_and_can_be_resumed(
    start: Callable[..., lk.Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    idle = tmp_path / "idle"
    idle.write_text("#!/bin/sh\nexec sleep 1000\n")
    idle.chmod(0o755)
    monkeypatch.setattr(worker, "_servers", {})
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", str(idle))
        run = start()
        server = worker._servers["torch"].process
        assert run.state == "pending"
        server.kill()
        until(lambda: run.state == "lost")
        server.wait()
    monkeypatch.undo()
    run.resume()
    until(lambda: last_step(run) > 0)


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_servers", {})
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    run = lk.train(LONG).wait(PATIENCE)
    worker._servers["torch"].process.wait(PATIENCE)
    assert run.state == "lost"
    assert "encodings" in (run.path / "log.txt").read_text()


def forked(folder: RunFolder, work: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> int:
    """Forks a worker that does ``work`` out of this process, as the server would; its pid."""
    monkeypatch.setattr(forkserver, "_work", work)
    forkserver._fork({"folder": str(folder.path)})
    return folder.status().pid


def test_a_worker_that_dies_before_its_first_word_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(lk.Experiment(), tmp_path)
    pid = forked(folder, lambda job: os.kill(os.getpid(), signal.SIGKILL), monkeypatch)
    assert pid != os.getpid()
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert folder.status().state == "lost"


@pytest.mark.parametrize("last", ["Z", "X"])
def test_a_worker_that_is_just_dying_is_lost(last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(lk.Experiment(), tmp_path)
    assert folder.status().state == "pending"
    entry = processes._read_entry(os.getpid())
    assert entry is not None
    monkeypatch.setattr(processes, "_read_entry", lambda _: entry._replace(state=last))
    assert folder.status().state == "lost"


def test_a_worker_begins_once_the_status_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(lk.Experiment(), tmp_path)
    told = tmp_path / "told"
    pid = forked(folder, lambda job: told.write_text(str(folder.read_json("status.json")["pid"])), monkeypatch)
    os.waitpid(pid, 0)
    assert told.read_text() == str(pid)


def test_a_worker_that_the_status_cannot_name_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, told = RunFolder.create(lk.Experiment(), tmp_path), tmp_path / "told"

    def full(self: RunFolder, status: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(RunFolder, "write_status", full)
    with pytest.raises(OSError, match="no room"):
        forked(folder, lambda job: told.touch(), monkeypatch)
    os.wait()
    assert not told.exists()


def test_a_server_is_left_when_what_a_framework_reads_at_import_changes(
    start: Callable[..., lk.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    start().stop().wait()
    server = worker._servers["torch"]
    assert server.serves
    monkeypatch.setenv("SOMETHING_ELSE", "1")
    assert server.serves
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert not server.serves


def test_a_worker_sees_the_environment_and_the_folder_of_today(
    start: Callable[..., lk.Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start().stop().wait()  # the server is older than what follows
    monkeypatch.setenv("LMKIT_COMMAND", "a command of its own")
    monkeypatch.chdir(tmp_path)
    run = start()
    until(lambda: last_step(run) > 0)
    assert run.environment["command"] == "a command of its own"
    assert run.environment["folder"] == str(tmp_path)


def test_a_kernel_is_no_command_to_repeat_a_run_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/lmkit", "train", "a file.yaml"])
    assert command() == "lmkit train 'a file.yaml'"
    monkeypatch.setattr(sys, "argv", ["/lib/ipykernel_launcher.py", "-f", "kernel.json"])
    assert command() == ""


def test_a_fork_of_this_process_does_not_hold_the_server(start: Callable[..., lk.Run]) -> None:
    start().stop().wait()
    server = worker._servers["torch"].process
    child = os.fork()
    if child == 0:
        os._exit(len(worker._servers))
    assert os.waitpid(child, 0)[1] == 0
    assert worker._servers["torch"].process is server
    assert server.poll() is None


PRELOADED = """
import sys, psutil
import numpy, scipy.linalg, pandas, pyarrow.parquet
before = psutil.Process().num_threads()
from lmkit.executors.forkserver import preload
preload(sys.argv[1])
assert sys.argv[1] in sys.modules
print(psutil.Process().num_threads() - before)
if sys.argv[1] == "torch":
    assert not sys.modules["torch"].cuda.is_initialized()
else:
    from tensorflow.python.eager import context
    assert context.context_safe() is None
"""


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_what_is_forked_holds_neither_a_thread_nor_a_device_of_the_framework(framework: str) -> None:
    single = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PRELOADED, framework]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=single)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


WITHOUT_FORK = "from lmkit.executors import forkserver; forkserver.FORKS = False; forkserver.main('torch')"


def test_where_nothing_is_forked_the_server_becomes_the_worker(
    start: Callable[..., lk.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen
    monkeypatch.setattr(worker, "_servers", {})
    monkeypatch.setattr(worker, "FORKS", False)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(subprocess, "Popen", lambda command, **k: popen([command[0], "-c", WITHOUT_FORK], **k))
        run = start(epochs=3)
    server = worker._servers["torch"]
    assert run.status.pid == server.process.pid
    assert not server.serves  # the next run needs another
    assert run.wait(PATIENCE).state == "completed"
    assert server.process.wait(PATIENCE) == 0
    assert run.steps["step"].tolist() == list(range(1, 3 * PER_EPOCH + 1))
