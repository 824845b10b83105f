"""Driving: each parameter set ends once, however often somebody had to begin again."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from written_run import written_run

import lmkit as lk
from lmkit.runfolder import RunFolder, Status, process
from lmkit.sweeping import sweep as sweeping
from lmkit.sweeping.folder import SweepFolder, TrialFolder, sweeps_root, write_json
from lmkit.sweeping.trial import Job, run_trial

Use = Callable[[Callable[[Job], dict[str, Any]]], None]


def begin(name: str = "x", **options: Any) -> lk.Sweep:
    given = {"grid": {"lr": [0.1, 0.01, 0.001]}} if not {"grid", "search"} & set(options) else {}
    return lk.sweep("train", name=name, inline=True, workers=options.pop("workers", 1), **given, **options)


def finished(job: Job, state: str = "completed", **told: Any) -> dict[str, Any]:
    """Does what ``run_trial`` does at its end."""
    folder = TrialFolder(Path(job.folder))
    attempt = folder.new_attempt()
    told = {"state": state, "error": "", "values": {}, "seconds": 1.0, **told}
    if state in ("completed", "pruned", "failed"):
        folder.finish(told)
    else:
        write_json(attempt / "ended.json", told)
    return told


def rate(job: Job) -> float:
    return float(job.parameters["lr"])


# -- to the end -----------------------------------------------------------------------------------


def test_every_combination_is_tried_once_and_told(work: Use) -> None:
    seen: list[float] = []

    def do(job: Job) -> dict[str, Any]:
        seen.append(rate(job))
        return finished(job, values={"val_loss": abs(rate(job) - 0.02), "note": "a"})

    work(do)
    lines: list[str] = []
    made = begin(tell=lines.append)
    assert seen == [0.1, 0.01, 0.001]
    assert (made.state, len(made.trials), made.failed) == ("completed", 3, [])
    assert made.best().parameters == {"lr": 0.01}
    table = made.table
    assert list(table.columns) == ["trial", "state", "lr", "val_loss", "note", "seconds", "run", "notebook", "error"]
    assert table["val_loss"].tolist() == pytest.approx([0.08, 0.01, 0.019])
    assert lines[1].startswith("trial 2/3  completed  val_loss 0.01  lr=0.01  (1.0 s, about 1.0 s left)")
    assert lines[2].endswith("(1.0 s)"), "nothing is left"
    assert repr(made) == ("<Sweep x: completed, 3 of 3 trials have ended (3 completed), best val_loss 0.01 (trial 2)>")
    assert [row[0] for row in made.shown().rows] == [2, 3, 1], "the best first"
    assert "<table>" in made._repr_mimebundle_()["text/html"]
    again = begin()
    assert seen == [0.1, 0.01, 0.001], "what is finished is not repeated"
    assert again.state == "completed"
    listed = lk.sweeps()
    assert listed.loc[0, ["name", "state", "ended", "trials", "failed", "best"]].tolist() == [
        "x", "completed", 3, 3, 0, pytest.approx(0.01),
    ]  # fmt: skip


def test_a_trial_that_fails_for_good_is_listed_and_the_others_go_on(work: Use) -> None:
    seen: Counter[float] = Counter()

    def do(job: Job) -> dict[str, Any]:
        seen[rate(job)] += 1
        if rate(job) == 0.01 and seen[0.01] == 1:
            return finished(job, "failed", error="cell [3] failed: ZeroDivisionError")
        return finished(job, values={"val_loss": 1.0})

    work(do)
    made = begin()
    assert made.state == "failed"
    assert [(t.number, t.error) for t in made.failed] == [(2, "cell [3] failed: ZeroDivisionError")]
    assert begin().state == "failed"
    assert seen == {0.1: 1, 0.01: 1, 0.001: 1}, "it is not repeated by itself"
    assert begin(retry_failed=True).state == "completed"
    assert seen == {0.1: 1, 0.01: 2, 0.001: 1}
    assert (made.path / "trials" / "0002" / "failed-1.json").exists()


@pytest.mark.parametrize("deaths", [2, 3])
def test_a_trial_whose_kernel_or_worker_dies_is_begun_again(work: Use, deaths: int) -> None:
    seen: Counter[float] = Counter()

    def do(job: Job) -> dict[str, Any]:
        seen[rate(job)] += 1
        if rate(job) == 0.01 and seen[0.01] <= deaths:
            if seen[0.01] == 1:
                raise RuntimeError("a worker of the engine died")
            return finished(job, "died", error="its kernel died")
        return finished(job, values={"val_loss": 1.0})

    work(do)
    made = begin()
    assert seen == {0.1: 1, 0.01: 3, 0.001: 1}
    assert made.state == ("completed" if deaths == 2 else "failed")
    assert [t.error for t in made.failed] == ([] if deaths == 2 else ["its kernel died, 3 times"])
    assert len(list(made.path.glob("trials/*/done.json"))) == 3


def test_more_trials_may_be_asked_for(work: Use) -> None:
    work(lambda job: finished(job, values={"val_loss": rate(job)}))
    options: dict[str, Any] = {"search": {"lr": "1e-4..1e-1:log"}, "method": "random"}
    first = [t.parameters for t in begin(**options, trials=3).trials]
    more = begin(**options, trials=5)
    assert [t.parameters for t in more.trials][:3] == first
    assert len({t.parameters["lr"] for t in more.trials}) == 5
    assert begin(**options, trials=2).wanted == 5, "what is there is there"


def test_several_objectives_have_a_front(work: Use) -> None:
    values = {0.1: (1.0, 9.0), 0.01: (2.0, 3.0), 0.001: (3.0, 4.0)}
    work(lambda job: finished(job, values=dict(zip(("val_loss", "cost"), values[rate(job)], strict=True))))
    made = begin(objective=["val_loss", "minimize cost"])
    assert [t.number for t in made.front()] == [1, 2]
    assert (made.best().number, made.best("cost").number) == (1, 2)


# -- whose it is ----------------------------------------------------------------------------------


def test_two_sweeps_in_one_folder_are_refused(work: Use) -> None:
    work(lambda job: finished(job, values={"val_loss": 1.0}))
    folder = begin().folder
    with folder.driving(), pytest.raises(lk.SweepError, match=f"is being driven already, by process {os.getpid()} on"):
        begin()
    assert begin().state == "completed", "once it is let go of, it goes on"
    with folder.driving(), pytest.raises(lk.SweepError, match="is being driven already"), folder.driving():
        pass


def test_what_a_dead_driver_left_behind_is_taken_over(work: Use) -> None:
    work(lambda job: finished(job, values={"val_loss": 1.0}))
    folder = begin().folder
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    told = {**process(dead.pid), "host": socket.gethostname(), "since": time.time(), "token": "a"}
    write_json(folder.lock, told)
    with pytest.raises(lk.SweepError, match=f"by process {dead.pid}"):
        begin()
    dead.communicate()
    assert begin().state == "completed"
    assert not folder.lock.exists()
    write_json(folder.lock, {**told, "pid": os.getpid()})  # the number is used again, by us
    assert begin().state == "completed"


def test_of_many_who_would_drive_it_only_one_does(work: Use) -> None:
    work(lambda job: finished(job, values={"val_loss": 1.0}))
    folder = begin().folder
    write_json(folder.lock, {"pid": 2**22 + 1, "pid_started": 0.0, "host": socket.gethostname(), "since": 0.0})
    ready, held, outcomes = threading.Barrier(8), threading.Event(), []

    def drive() -> None:
        ready.wait()
        try:
            with folder.driving():
                outcomes.append("drove")
                held.wait(10)
        except lk.SweepError:
            outcomes.append("refused")

    threads = [threading.Thread(target=drive) for _ in range(8)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 10
    while len(outcomes) < 8 and time.monotonic() < until:
        time.sleep(0.01)
    held.set()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {"drove": 1, "refused": 7}


def test_a_folder_of_another_version_is_refused_in_words(work: Use) -> None:
    work(lambda job: finished(job, values={"val_loss": 1.0}))
    made = begin()
    whole = made.path / "sweep.yaml"
    whole.write_text(whole.read_text().replace("version: 1", "version: 9"))
    for call in (begin, lambda: lk.attach_sweep("x")):
        with pytest.raises(
            lk.SweepError, match="is of version 9 of the folder, and this lmkit knows 1; go on with the"
        ):
            call()
    assert lk.sweeps().loc[0, "state"] == "unknown"


@pytest.mark.parametrize(
    "other", [{"grid": {"lr": [0.1]}}, {"seed": 5}, {"objective": "val_accuracy"}, {"parameters": {"epochs": 2}}]
)
def test_another_sweep_of_the_same_name_is_refused(work: Use, other: dict[str, Any]) -> None:
    work(lambda job: finished(job, values={"val_loss": 1.0}))
    begin()
    with pytest.raises(
        lk.SweepError, match=r"the sweep 'x' is another one: \w+ was .*, and is now .*Give another name"
    ):
        begin(**other)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "../x"}, "name: given '../x', expected letters"),
        ({"workers": 0}, "workers: given 0"),
        ({"trials": 0}, "trials: given 0"),
        ({"search": {"lr": "0.1..1"}}, "trials: say how many"),
        ({"method": "tpe"}, "method: 'tpe' has nothing to draw"),
        ({"method": "gird"}, "method: given 'gird', did you mean 'grid'"),
        ({"search": {"lr": "0.1..1"}, "trials": 2, "method": "grid"}, "'grid' does not draw from the range of lr"),
        ({"engine": "dusk://here"}, "engine: given 'dusk://here', expected one such as 'threads'"),
        ({"prune": "median", "objective": ["loss", "val_loss"]}, "prune: needs runs with one objective"),
        ({"time_limit": 0}, "time limit: given 0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_starts(options: dict[str, Any], said: str) -> None:
    with pytest.raises(lk.SweepError, match=said):
        begin(**options)
    assert not sweeps_root().exists()


def test_a_sweep_that_there_is_not_names_the_nearest(work: Use) -> None:
    with pytest.raises(lk.SweepError, match=r"there is no sweep 'last' under .*known: none"):
        lk.attach_sweep()
    work(lambda job: finished(job, values={"val_loss": 1.0}))
    begin(name="night-1")
    with pytest.raises(lk.SweepError, match="did you mean 'night-1'"):
        lk.attach_sweep("nigth-1")
    assert lk.attach_sweep().name == "night-1"
    with pytest.raises(lk.SweepError, match="nobody drives it"):
        lk.stop_sweep("night-1")


# -- what is given up -----------------------------------------------------------------------------


def trained(job: Job, root: Path, losses: list[float]) -> dict[str, Any]:
    """A run that takes an epoch each time it is looked at, and obeys its control file."""
    run = written_run(root, state="running", prepared=False, status=process()).folder
    attempt = TrialFolder(Path(job.folder)).new_attempt()
    (attempt / "journal.jsonl").write_text(json.dumps({"run": str(run.path)}) + "\n")
    done = 0
    for done, loss in enumerate(losses, start=1):
        run.events.append("epoch", epoch=done, step=done, seconds=1.0, loss=loss, val_loss=loss)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:  # the driver looks more often
            time.sleep(0.02)
            if run.control.read()[0]:
                break
        else:
            continue
        break
    status = run.status()
    stopped = done < len(losses)
    run.write_status(Status(**{**vars(status), "state": "stopped" if stopped else "completed"}))
    told = {"state": "pruned" if stopped else "completed", "values": {"val_loss": losses[done - 1]}, "seconds": done}
    TrialFolder(Path(job.folder)).finish(told | {"run": str(run.path)})
    return told


def test_a_weak_trial_is_given_up_by_its_history(work: Use, tmp_path: Path) -> None:
    curves = {0.1: [3.0, 2.0, 1.0], 0.01: [4.0, 3.0, 2.0], 0.001: [9.0] * 6, 0.2: [2.0, 1.0, 0.5]}
    work(lambda job: trained(job, tmp_path / "runs", curves[rate(job)]))
    made = begin(grid={"lr": list(curves)}, prune={"rule": "median", "trials": 2}, workers=1)
    assert [t.state for t in made.trials] == ["completed", "completed", "pruned", "completed"]
    assert made.state == "completed", "to be given up is no failure"
    told = json.loads((made.trials[2].path / "pruned.json").read_text())
    assert told == {"reason": "after epoch 2 worse than the median of 2 others", "epoch": 2.0}
    (asked,) = RunFolder(made.trials[2].run or "").control.read()[0]
    assert asked["command"] == "stop"
    assert made.best().parameters == {"lr": 0.2}


# -- what Optuna remembers ------------------------------------------------------------------------


def remembered(made: lk.Sweep) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{made.path / 'optuna.db'}")
    return study.trials


def test_optuna_draws_and_remembers(work: Use) -> None:
    def do(job: Job) -> dict[str, Any]:
        given = job.parameters
        return finished(job, values={"val_loss": (given["lr"] - 0.3) ** 2 + (given["hidden"] == [4])})

    work(do)
    options: dict[str, Any] = {
        "grid": {"batch_size": [16, 32]}, "search": {"lr": "0.01..1", "hidden": "[4],[8]", "epochs": "1..9"}
    }  # fmt: skip
    made = begin(**options, trials=12)
    assert [t.parameters["batch_size"] for t in made.trials] == [16, 32] * 6
    assert all(isinstance(t.parameters["epochs"], int) for t in made.trials)
    kept = remembered(made)
    assert [t.state.name for t in kept] == ["COMPLETE"] * 12
    assert [t.value for t in kept] == [t.values["val_loss"] for t in made.trials]
    made = begin(**options, trials=40)
    assert len(remembered(made)) == 40
    late = [t.parameters["hidden"] for t in made.trials[20:]]
    assert late.count([8]) > 15, "it has learned which is better"


def test_what_a_dead_driver_asked_for_or_did_not_tell_is_put_in_order(work: Use) -> None:
    def do(job: Job) -> dict[str, Any]:
        if job.parameters["lr"] < 0.3:
            return finished(job, "failed", error="too low")
        return finished(job, values={"val_loss": job.parameters["lr"]})

    work(do)
    options: dict[str, Any] = {"search": {"lr": "0.01..1"}, "seed": 1}
    made = begin(**options, trials=4)
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{made.path / 'optuna.db'}")
    space = {"lr": optuna.distributions.FloatDistribution(0.01, 1.0)}
    study.ask(space)  # and then the driver died, before it wrote the trial down
    asked = study.ask(space)  # and this one it began, and it ended, and then the driver died
    folder = made.folder.new_trial(5, {"lr": asked.params["lr"]}, {"optuna": asked.number})
    folder.new_attempt()
    folder.finish({"state": "completed", "values": {"val_loss": 0.5}})
    begin(**options, trials=6)
    told = {t.number: t.state.name for t in remembered(made)}
    states = {"completed": "COMPLETE", "failed": "FAIL"}
    assert told == {4: "FAIL"} | {t.note["optuna"]: states[t.state] for t in made.trials}
    assert len(made.trials) == 6


def test_a_trial_that_was_given_up_is_told_with_its_history(work: Use, tmp_path: Path) -> None:
    count = iter(range(9))

    def do(job: Job) -> dict[str, Any]:
        curves = [[1.0, 0.5], [1.0, 0.5], [9.0, 8.0, 7.0, 6.0]]
        return trained(job, tmp_path / "runs", curves[next(count)])

    work(do)
    made = begin(search={"lr": "0.01..1"}, trials=3, prune={"rule": "median", "trials": 2})
    last = remembered(made)[-1]
    assert last.state.name == "PRUNED"
    assert last.intermediate_values == {1: 9.0, 2: 8.0}


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "optuna" else find(n, *a))
    with pytest.raises(lk.MissingPackage, match=r"pip install 'lmkit\[sweep\]'; or give method='random'"):
        begin(search={"lr": "0.1..1"}, trials=2)


# -- a full disk ----------------------------------------------------------------------------------


def test_a_full_disk_ends_a_sweep_and_room_lets_it_go_on(work: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    full = [True]
    new_attempt = TrialFolder.new_attempt

    def attempt(self: TrialFolder) -> Path:
        if full[0] and self.path.name == "0002":
            raise OSError(errno.ENOSPC, "No space left on device")
        return new_attempt(self)

    monkeypatch.setattr(TrialFolder, "new_attempt", attempt)

    def do(job: Job) -> dict[str, Any]:
        if Path(job.folder).name == "0002" and full[0]:
            return run_trial(job)
        return finished(job, values={"val_loss": 1.0})

    work(do)
    lines: list[str] = []
    made = begin(tell=lines.append)
    assert [t.state for t in made.trials] == ["completed", "waiting"], "nothing more was begun"
    assert made.state == "interrupted"
    said = f"cannot write to {str(made.trials[1].path)!r}: No space left on device: "
    assert lines[-1] == f"{said}make room or permit it, then the same command goes on"
    assert "\n".join(lines).count("No space") == 1, "it is said once"
    full[0] = False
    assert begin().state == "completed"


def test_a_driver_that_cannot_write_says_so(work: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    work(lambda job: finished(job, values={"val_loss": 1.0}))
    made, real = SweepFolder.new_trial, SweepFolder.new_trial

    def refuse(self: SweepFolder, number: int, *a: Any) -> TrialFolder:
        if number == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, number, *a)

    monkeypatch.setattr(SweepFolder, "new_trial", refuse)
    lines: list[str] = []
    assert begin(tell=lines.append).state == "interrupted"
    assert any("cannot write to" in line and "No space left" in line for line in lines)
    monkeypatch.setattr(SweepFolder, "new_trial", made)
    assert begin().state == "completed"


def test_a_sweep_for_which_there_is_no_room_is_refused_and_goes_on_later(
    work: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(lambda job: finished(job, values={"val_loss": 1.0}))

    def full(path: Path, value: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lmkit.sweeping.folder.write_json", full)
        with pytest.raises(
            lk.SweepError, match="No space left on device; make room or permit it, then the same comman"
        ):
            begin()
    assert begin().state == "completed"


def test_cores_are_shared_among_workers(work: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def do(job: Job) -> dict[str, Any]:
        threads.append(job.threads)
        return finished(job, values={"val_loss": 1.0})

    work(do)
    monkeypatch.setattr(sweeping.os, "cpu_count", lambda: 8)
    begin(workers=3)
    assert threads == [2, 2, 2]
