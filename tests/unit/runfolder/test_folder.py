"""A run's folder: status, names, claims, checkpoints, and what the death of a process leaves of them."""

import contextlib
import errno
import json
import os
import re
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from written_folder import arrays, loaded, save, write

from lmkit import Experiment, RunNotFound, RunStateError
from lmkit.runfolder import folder as runfolder
from lmkit.runfolder.commands import SetLearningRate, Stop
from lmkit.runfolder.find import find_run, run_folders
from lmkit.runfolder.folder import RunFolder, runs_root
from lmkit.runfolder.status import LOST_AFTER, Status, vanished
from lmkit.system.processes import process


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(Experiment(name="here"), tmp_path / "runs")


# -- a new folder ---------------------------------------------------------------------------------


def test_a_new_folder(tmp_path):
    experiment = Experiment(name="my.run_1-x", seed=3)
    folder = RunFolder.create(experiment, tmp_path)
    assert re.fullmatch(r"\d{8}-\d{6}-my\.run_1-x-[0-9a-f]{6}", folder.name)
    assert folder.path.parent == tmp_path
    assert folder.experiment == experiment
    status = folder.status()
    assert (status.state, status.pid, status.host) == ("pending", os.getpid(), socket.gethostname())
    assert RunFolder.create(experiment, tmp_path).path != folder.path
    assert [f.path for f in run_folders(tmp_path)] == sorted(p for p in tmp_path.iterdir())


def test_where_runs_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMKIT_RUNS", "elsewhere")
    assert runs_root("given") == tmp_path / "given"
    assert runs_root() == tmp_path / "elsewhere"
    monkeypatch.delenv("LMKIT_RUNS")
    assert runs_root() == tmp_path / "runs"
    assert RunFolder.create(Experiment()).path.parent == tmp_path / "runs"


def test_a_place_where_nothing_can_be_kept(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunStateError, match=r"cannot create a run in '.*file': Not a directory; choose another folder"):
        RunFolder.create(Experiment(), tmp_path / "file")


def test_a_folder_is_a_run_only_once_it_holds_the_whole_configuration(tmp_path, monkeypatch):
    def torn(experiment, path):
        path.write_text("name: he")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Experiment, "save", torn)
    with pytest.raises(RunStateError, match="No space left on device"):
        RunFolder.create(Experiment(), tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing is left of it"


# -- status ---------------------------------------------------------------------------------------


def test_status_comes_back(folder):
    written = Status(
        state="completed",
        epoch=3,
        epochs=3,
        step=30,
        steps=30,
        seconds=1.25,
        reason="after 30 steps",
        device="cpu",
        steps_per_second=1234.5,
        metrics={"loss": 0.5, "accuracy": 0.75},
        **process(),
    )
    folder.write_status(written)
    assert folder.status() == written
    assert RunFolder(folder.path).status() == written


def test_a_field_of_a_later_version_is_passed_over(folder):
    known = folder.read_json("status.json")
    folder.write_json("status.json", known | {"mood": "good"})
    assert folder.status().state == "pending"


def test_progress():
    assert Status().progress == 0.0
    assert Status(state="running", step=5, steps=20).progress == 0.25
    assert Status(state="completed", step=5, steps=20).progress == 1.0
    assert [
        s for s in ("pending", "running", "paused", "completed", "stopped", "failed", "lost") if Status(state=s).live
    ] == ["pending", "running", "paused"]


def test_who_reads_while_it_is_replaced_reads_all_of_it(folder):
    seen, problems, done = [], [], threading.Event()

    def look():
        while not done.is_set():
            try:
                seen.append(json.loads((folder.path / "status.json").read_text())["step"])
            except Exception as error:
                problems.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    for step in range(1, 301):
        write(folder, state="running", step=step, reason="x" * (step * 31 % 20_000))
    while not seen and not problems:
        time.sleep(0.001)
    done.set()
    reader.join()
    assert problems == []
    assert seen == sorted(seen)
    assert [p.name for p in folder.path.glob(".status*")] == []


@pytest.mark.parametrize(("module", "broken"), [(os, "open"), (Path, "replace")])
def test_a_status_that_cannot_be_written_leaves_the_last_one(folder, monkeypatch, module, broken):
    write(folder, state="running", step=7)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, broken, full)
        with pytest.raises(OSError, match="No space left"):
            write(folder, state="running", step=8)
    assert folder.status().step == 7
    assert list(folder.path.glob(".status*")) == []


# -- lost -----------------------------------------------------------------------------------------


def test_another_process_with_the_same_number_is_not_the_worker(folder):
    write(folder, state="running", pid_started=process()["pid_started"] - 100)
    assert folder.status().state == "lost"


def test_on_another_machine_only_the_heartbeat_tells(folder):
    assert LOST_AFTER <= 15
    write(folder, state="running", host="elsewhere", pid=os.getpid(), heartbeat=time.time() - LOST_AFTER - 1)
    assert folder.status().state == "lost"
    write(folder, state="running", host="elsewhere", pid=os.getpid(), heartbeat=time.time())
    assert folder.status().state == "running"
    write(folder, state="stopped", host="elsewhere")


@pytest.mark.parametrize("state", ["completed", "stopped", "failed"])
def test_a_run_that_has_ended_is_not_lost(folder, state):
    write(folder, state=state, pid_started=0.0)
    assert folder.status().state == state


def test_a_worker_that_ends_while_one_looks_is_not_lost(folder, monkeypatch):
    write(folder, state="running", pid_started=0.0)
    look = vanished

    def ends_meanwhile(status):
        write(folder, state="completed")
        return look(status)

    monkeypatch.setattr(runfolder, "vanished", ends_meanwhile)
    assert folder.status().state == "completed"


# -- names ----------------------------------------------------------------------------------------

NAMES = ["20240101-000000-cancer-mlp-aaaaaa", "20240102-000000-cancer-mlp-bbbbbb", "20240103-000000-digits-mlp-cccccc"]


@pytest.fixture
def three(tmp_path):
    for age, name in enumerate(NAMES):
        (tmp_path / name).mkdir()
        Experiment().save(tmp_path / name / "experiment.yaml")
        os.utime(tmp_path / name / "experiment.yaml", (1000 + age, 1000 + age))
    (tmp_path / "notes").mkdir()  # no run
    return tmp_path


@pytest.mark.parametrize(
    ("text", "which"),
    [
        (NAMES[1], 1),
        ("bbbbbb", 1),
        ("digits-mlp", 2),
        ("digits", 2),
        ("d", 2),
        ("20240103", 2),
        ("20240101-000000-c", 0),
        ("last", 2),
    ],
)
def test_a_run_by_name_short_id_or_beginning(three, text, which):
    assert find_run(text, three).name == NAMES[which]


def test_the_last_run_is_the_one_started_last(three):
    os.utime(three / NAMES[0] / "experiment.yaml", (2000, 2000))
    assert find_run("last", three).name == NAMES[0]


def test_a_run_by_the_path_of_its_folder(three, monkeypatch):
    assert find_run(three / NAMES[0], "nowhere").name == NAMES[0]
    monkeypatch.chdir(three.parent)
    assert find_run(f"{three.name}/{NAMES[0]}", "nowhere").path == three / NAMES[0]
    with pytest.raises(RunNotFound, match=r"'.*notes' is no run's folder: it holds no experiment.yaml"):
        find_run(three / "notes")


@pytest.mark.parametrize("text", ["cancer-mlp", "cancer", "2024", "20240"])
def test_an_ambiguous_name_lists_what_it_may_mean(three, text):
    with pytest.raises(RunNotFound) as caught:
        find_run(text, three)
    count = 3 if text.startswith("2024") else 2
    assert f"'{text}' is {count} runs under '{three}'; write more of the name:" in str(caught.value)
    assert str(caught.value).splitlines()[1:] == [f"  {n}" for n in NAMES[:count]]


def test_a_name_that_does_not_exist_gets_the_nearest(three):
    for text, meant in (("digit5-mlp", "digits-mlp"), (NAMES[2].replace("cccccc", "cccccd"), NAMES[2])):
        with pytest.raises(RunNotFound, match=rf"no run '{text}' under '{three}'; did you mean '{meant}'\?"):
            find_run(text, three)
    with pytest.raises(RunNotFound, match=r"no run 'zzz' .*; expected one of cancer-mlp, digits-mlp, 20240101"):
        find_run("zzz", three)
    with pytest.raises(RunNotFound, match="given an empty name, expected a run's name"):
        find_run("", three)


@pytest.mark.parametrize("text", ["..", "../runs", f"../{NAMES[0]}", f"x/../{NAMES[0]}", f"/tmp/../{NAMES[0]}"])
def test_a_name_does_not_climb(three, text):
    (three / "below").mkdir()
    with pytest.raises(RunNotFound, match=r"expected a run's name, not a path with '\.\.' in it"):
        find_run(text, three / "below")


def test_no_runs_at_all(tmp_path):
    for text in ("last", "x"):
        with pytest.raises(RunNotFound, match=rf"no run '{text}': no runs under '{tmp_path}'; start one"):
            find_run(text, tmp_path)
    assert run_folders(tmp_path / "nowhere") == []


# -- claims ---------------------------------------------------------------------------------------


@pytest.fixture
def ended(folder):
    """A folder whose worker was stopped."""
    folder.events.append("started")
    write(folder, state="stopped", step=5)
    return folder


def test_a_claim_makes_the_run_pending_and_ours(ended):
    ended.claim()
    status = ended.status()
    assert (status.state, status.step, status.pid, status.reason) == ("pending", 5, os.getpid(), "")


def test_of_many_who_claim_at_once_one_gets_it(ended):
    start, got, refused = threading.Barrier(8), [], []

    def claim():
        start.wait()
        try:
            RunFolder(ended.path).claim()
            got.append(1)
        except RunStateError as error:
            refused.append(str(error))

    people = [threading.Thread(target=claim) for _ in range(8)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert (len(got), len(refused)) == (1, 7)
    assert set(refused) == {f"{ended.name} is being resumed by another process"}


@pytest.mark.parametrize("state", ["pending", "running", "paused"])
def test_a_run_that_is_trained_cannot_be_claimed(ended, state):
    write(ended, state=state)
    with pytest.raises(RunStateError, match="is being resumed by another process"):
        ended.claim()
    assert ended.status().state == state
    write(ended, state="stopped")
    ended.claim()  # the refusal left nothing in the way


def test_each_resume_is_claimed_anew(ended):
    for _ in range(3):
        ended.claim()
        ended.events.append("resumed", step=5)
        write(ended, state="stopped")
    assert ended.status().state == "stopped"


def test_after_a_worker_that_failed_early_it_can_be_claimed_at_once(ended):
    ended.claim()
    ended.events.append("failed", reason="no such file")  # before it said that it had resumed
    write(ended, state="failed")
    ended.claim()
    assert ended.status().state == "pending"


def test_a_claim_whose_process_died_is_free_at_once(ended):
    ended.claim()
    write(ended, state="pending", pid_started=0.01)
    assert ended.status().state == "lost"
    ended.claim()
    assert ended.status().state == "pending"


def test_a_run_whose_lock_is_held_is_neither_lost_nor_resumed(ended):
    """The process may be on another machine, or in another container, where its id says nothing."""
    write(ended, state="running", pid_started=0.01)
    with ended.lock.hold():
        assert RunFolder(ended.path).status().state == "running"
        with pytest.raises(RunStateError, match="is being resumed by another process"):
            RunFolder(ended.path).claim()
        write(ended, state="running", host="elsewhere", heartbeat=time.time() - LOST_AFTER - 1)
        assert RunFolder(ended.path).status().state == "running"
    assert ended.status().state == "lost"


def test_a_worker_that_has_written_the_outcome_and_is_about_to_end_is_waited_for(ended):
    """As after SIGTERM: the launcher of several processes holds the run until all of them are gone."""
    with contextlib.ExitStack() as held:
        held.enter_context(ended.lock.hold())
        threading.Timer(0.2, held.pop_all().close).start()
        RunFolder(ended.path).claim()
    assert ended.status().state == "pending"
    with pytest.raises(RunStateError, match="is being resumed by another process"):
        RunFolder(ended.path).claim()


# -- checkpoints ----------------------------------------------------------------------------------


def test_a_checkpoint_comes_back(folder):
    assert folder.load_checkpoint("last") is None
    for step in (1, 2):
        save(folder, step)
        assert loaded(folder) == step
    folder.save_checkpoint("best", arrays(9), {}, {"epoch": 1})
    weights, optimizer, state = folder.load_checkpoint("best")
    assert (weights["dense_0.bias"].tolist(), optimizer, state) == ([9, 9], {}, {"epoch": 1})
    assert loaded(folder) == 2
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == ["best", "last"]


def test_a_full_disk_leaves_the_last_checkpoint(folder, monkeypatch):
    save(folder, 1)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save(folder, 2)
    assert loaded(folder) == 1
    assert [p.name for p in folder.checkpoints.iterdir()] == ["last"]


def test_reading_a_checkpoint_runs_no_code(folder):
    save(folder, 1)
    for file in (folder.checkpoints / "last").iterdir():
        assert file.suffix in (".safetensors", ".json")
        assert b"pickle" not in file.read_bytes()


# -- commands -------------------------------------------------------------------------------------


def test_a_command_is_a_line(folder):
    folder.send(SetLearningRate(value=0.5))
    (line,) = folder.control.read()[0]
    assert line | {"time": 0} == {"time": 0, "by": os.getpid(), "command": "learning_rate", "value": 0.5}


def test_a_folder_that_is_gone_takes_no_command(folder, tmp_path):
    folder.path.rename(tmp_path / "moved")
    with pytest.raises(RunStateError, match=r"cannot be written: No such file or directory"):
        folder.send(Stop())
    with pytest.raises(RunStateError, match=r"cannot be written: No such file or directory"):
        folder.claim()
    moved = RunFolder(tmp_path / "moved")
    write(moved, state="stopped")
    assert replace(moved.status(), heartbeat=0.0).state == "stopped"


def test_a_status_that_a_failing_machine_cut_short_is_a_lost_run(folder):
    whole = (folder.path / "status.json").read_text()
    (folder.path / "status.json").write_text(whole[: len(whole) // 2])
    assert folder.status().state == "lost"


def test_a_run_is_found_by_its_whole_name_without_a_list_of_all(tmp_path, monkeypatch):
    folders = [RunFolder.create(Experiment(), tmp_path) for _ in range(3)]
    monkeypatch.setattr("lmkit.runfolder.find.run_folders", lambda root: pytest.fail("all runs are listed"))
    assert [find_run(folder.name, tmp_path).path for folder in folders] == [folder.path for folder in folders]
