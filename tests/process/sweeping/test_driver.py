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
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.status import Status
from lmkit.sweeping.engines import threads as threads_engine
from lmkit.sweeping.folder import SweepFolder, TrialFolder, sweeps_root
from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import Job, run_trial
from lmkit.system.files import write_json
from lmkit.system.processes import process

Use = Callable[[Callable[[Job], TrialOutcome]], None]


def begin(name: str | None = "x", **options: Any) -> lk.Sweep:
    given = {"grid": {"lr": [0.1, 0.01, 0.001]}} if not {"grid", "search"} & set(options) else {}
    return lk.sweep("train", name=name, inline=True, workers=options.pop("workers", 1), **given, **options)


def finished(job: Job, state: str = "completed", **values: Any) -> TrialOutcome:
    """Does what ``run_trial`` does at its end."""
    folder = TrialFolder(Path(job.folder))
    attempt = folder.new_attempt()
    outcome = TrialOutcome.from_dict(
        {"state": state, "error": "", "values": {}, "attempt": attempt.name, "seconds": 1.0, **values}
    )
    if outcome.finished:
        folder.finish(outcome)
    else:
        folder.interrupt(attempt, outcome)
    return outcome


def rate(job: Job) -> float:
    return float(job.parameters["lr"])


# -- to the end -----------------------------------------------------------------------------------


def test_every_combination_is_tried_once_and_told(work: Use) -> None:
    seen: list[float] = []

    def do(job: Job) -> TrialOutcome:
        seen.append(rate(job))
        return finished(job, values={"val_loss": abs(rate(job) - 0.02), "note": "a"})

    work(do)
    lines: list[str] = []
    made = begin(tell=lines.append)
    assert seen == [0.1, 0.01, 0.001]
    assert (made.state, len(made.trials), made.failed) == ("completed", 3, [])
    assert made.best().parameters == {"lr": 0.01}
    table = made.table
    others = ["seconds", "run", "notebook", "error", "doctor"]
    assert list(table.columns) == ["trial", "state", "lr", "val_loss", "note", *others]
    assert table["val_loss"].tolist() == pytest.approx([0.08, 0.01, 0.019])
    assert lines[1].startswith("trial 2/3  completed  val_loss 0.01  lr=0.01  (1.0 s, about 1.0 s remaining)")
    assert lines[2].endswith("(1.0 s)"), "nothing is left"
    assert repr(made) == ("<Sweep x: completed, 3/3 trials finished (3 completed), best val_loss 0.01 (trial 2)>")
    assert [row[0] for row in made.to_table().rows] == [2, 3, 1], "the best first"
    assert "<table>" in made._repr_mimebundle_()["text/html"]
    again = begin()
    assert seen == [0.1, 0.01, 0.001], "what is finished is not repeated"
    assert again.state == "completed"
    listed = lk.sweeps()
    assert listed[["name", "state", "ended", "trials", "failed", "best"]].iloc[0].tolist() == [
        "x",
        "completed",
        3,
        3,
        0,
        pytest.approx(0.01),
    ]


def test_a_trial_that_fails_for_good_is_listed_and_the_others_go_on(work: Use) -> None:
    seen: Counter[float] = Counter()

    def do(job: Job) -> TrialOutcome:
        seen[rate(job)] += 1
        if rate(job) == 0.01 and seen[0.01] == 1:
            return finished(job, "failed", error="cell [3] failed: ZeroDivisionError")
        return finished(job, values={"val_loss": 1.0})

    work(do)
    made = begin()
    assert made.state == "completed", "one failed trial is a result of the search"
    assert [(t.number, t.error) for t in made.failed] == [(2, "cell [3] failed: ZeroDivisionError")]
    assert [t.state for t in begin().trials] == ["completed", "failed", "completed"]
    assert seen == {0.1: 1, 0.01: 1, 0.001: 1}, "it is not repeated by itself"
    assert begin(retry_failed=True).failed == []
    assert seen == {0.1: 1, 0.01: 2, 0.001: 1}
    assert (made.path / "trials" / "0002" / "failed-1.json").exists()


@pytest.mark.parametrize("deaths", [2, 3])
def test_a_trial_whose_kernel_or_worker_dies_is_begun_again(work: Use, deaths: int) -> None:
    seen: Counter[float] = Counter()

    def do(job: Job) -> TrialOutcome:
        seen[rate(job)] += 1
        if rate(job) == 0.01 and seen[0.01] <= deaths:
            if seen[0.01] == 1:
                raise RuntimeError("a worker of the engine died")
            return finished(job, "died", error="its kernel died")
        return finished(job, values={"val_loss": 1.0})

    work(do)
    made = begin()
    assert seen == {0.1: 1, 0.01: 3, 0.001: 1}
    assert made.state == "completed"
    assert [t.error for t in made.failed] == ([] if deaths == 2 else ["its kernel died, 3 times"])
    assert len(list(made.path.glob("trials/*/done.json"))) == 3


def test_more_trials_may_be_asked_for(work: Use) -> None:
    work(lambda job: finished(job, values={"val_loss": rate(job)}))
    options: dict[str, Any] = {"search": {"lr": "1e-4..1e-1:log"}, "method": "random"}
    first = [t.parameters for t in begin(**options, trials=3).trials]
    more = begin(**options, trials=5)
    assert [t.parameters for t in more.trials][:3] == first
    assert len({t.parameters["lr"] for t in more.trials}) == 5
    assert begin(**options, trials=2).trial_count == 5, "what is there is there"


def test_the_same_request_without_a_name_goes_on(work: Use) -> None:
    seen: list[float] = []

    def train(job: Job) -> TrialOutcome:
        seen.append(rate(job))
        return finished(job, values={"val_loss": rate(job)})

    work(train)
    sweeps = [begin(None, grid={"lr": [0.1, 0.01]}) for _ in range(2)]
    assert sweeps[0].path == sweeps[1].path
    assert sweeps[0].path.parent == sweeps_root()
    assert seen == [0.1, 0.01], "nothing is done twice"
    others = [begin(None, grid={"lr": [0.1, 0.01]}, seed=1), begin(None, grid={"lr": [0.5]})]
    assert len({s.name for s in [sweeps[0], *others]}) == 3
    assert lk.attach_sweep("last").path == others[-1].path


@pytest.mark.parametrize("name", [None, "x"])
def test_a_wider_grid_keeps_the_trials_of_the_narrower(work: Use, name: str | None) -> None:
    seen: list[float] = []

    def train(job: Job) -> TrialOutcome:
        seen.append(rate(job))
        return finished(job, values={"val_loss": rate(job)})

    work(train)
    first = begin(name, grid={"lr": [0.1, 0.01]})
    wider = begin(name, grid={"lr": [0.5, 0.1, 0.02, 0.01]})
    assert wider.path == first.path
    assert seen == [0.1, 0.01, 0.5, 0.02]
    assert [t.parameters["lr"] for t in wider.trials] == seen
    assert (wider.trial_count, wider.state) == (4, "completed")
    assert str(wider.space.grid["lr"]) == "0.5,0.1,0.02,0.01"


def test_parameters_that_are_drawn_again_are_not_executed_again(work: Use) -> None:
    seen: list[float] = []

    def train(job: Job) -> TrialOutcome:
        seen.append(rate(job))
        return finished(job, values={"val_loss": rate(job)})

    work(train)
    lines: list[str] = []
    sweep = begin(grid={"lr": [0.1, 0.01]}, method="random", trials=5, workers=2, tell=lines.append)
    assert sorted(seen) == [0.01, 0.1]
    assert [t.values["val_loss"] for t in sweep.trials] == [0.1, 0.01, 0.1, 0.01, 0.1]
    assert sorted(t.repeats for t in sweep.trials) == [0, 0, 1, 1, 2]
    assert sum("same parameters and result as trial" in line for line in lines) == 3
    assert sweep.state == "completed"


def test_parameters_whose_trial_failed_are_executed_again(work: Use) -> None:
    jobs: list[Job] = []

    def train(job: Job) -> TrialOutcome:
        jobs.append(job)
        return finished(job, values={"val_loss": 1.0}) if len(jobs) > 1 else finished(job, "failed", error="it broke")

    work(train)
    sweep = begin(grid={"lr": [0.1]}, method="random", trials=4, workers=2)
    assert [t.state for t in sweep.trials] == ["failed", "completed", "completed", "completed"]
    assert len(jobs) == 2
    assert sweep.state != "running"


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
    with folder.lock.acquire(), pytest.raises(lk.SweepError, match=f"is already running in process {os.getpid()} on"):
        begin()
    assert begin().state == "completed", "once it is let go of, it goes on"
    with folder.lock.acquire(), pytest.raises(lk.SweepError, match="is already running"), folder.lock.acquire():
        pass


def test_what_a_dead_driver_left_behind_is_taken_over(work: Use) -> None:
    work(lambda job: finished(job, values={"val_loss": 1.0}))
    folder = begin().folder
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    told = {**process(dead.pid), "host": socket.gethostname(), "since": time.time(), "token": "a"}
    write_json(folder.lock.path, told)
    with pytest.raises(lk.SweepError, match=f"in process {dead.pid}"):
        begin()
    dead.communicate()
    assert begin().state == "completed"
    assert not folder.lock.path.exists()
    write_json(folder.lock.path, {**told, "pid": os.getpid()})  # the number is used again, by us
    assert begin().state == "completed"


def test_of_many_who_would_drive_it_only_one_does(work: Use) -> None:
    work(lambda job: finished(job, values={"val_loss": 1.0}))
    folder = begin().folder
    write_json(folder.lock.path, {"pid": 2**22 + 1, "pid_started": 0.0, "host": socket.gethostname(), "since": 0.0})
    ready, held, outcomes = threading.Barrier(8), threading.Event(), []

    def drive() -> None:
        ready.wait()
        try:
            with folder.lock.acquire():
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
            lk.SweepError,
            match="has version 9 of the folder format, and this lmkit reads version 1; continue it",
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
        lk.SweepError, match=r"sweep 'x' already exists and differs: .*: .*, now .*\. Use another --name"
    ):
        begin(**other)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "../x"}, "name: given '../x', expected letters"),
        ({"workers": 0}, "workers: given 0"),
        ({"trials": 0}, "trials: given 0"),
        ({"search": {"lr": "0.1..1"}}, "trials: set the number of trials, e.g. 50"),
        ({"method": "tpe"}, "method: 'tpe' needs a search"),
        ({"method": "gird"}, "method: given 'gird', did you mean 'grid'"),
        ({"search": {"lr": "0.1..1"}, "trials": 2, "method": "grid"}, "'grid' cannot sample the range of lr"),
        (
            {"engine": "dusk://here"},
            "engine: given 'dusk://here', expected 'threads' or 'NAME://…'; did you",
        ),
        (
            {"prune": "median", "objective": ["loss", "val_loss"]},
            "prune: needs an experiment with exactly one",
        ),
        ({"time_limit": 0}, "time limit: given 0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_starts(options: dict[str, Any], said: str) -> None:
    with pytest.raises(lk.SweepError, match=said):
        begin(**options)
    assert not sweeps_root().exists()


def test_a_sweep_that_there_is_not_names_the_nearest(work: Use) -> None:
    with pytest.raises(lk.SweepError, match=r"no sweep 'last' under .*start one: .lmkit sweep"):
        lk.attach_sweep()
    work(lambda job: finished(job, values={"val_loss": 1.0}))
    begin(name="night-1")
    with pytest.raises(lk.SweepError, match="did you mean 'night-1'"):
        lk.attach_sweep("nigth-1")
    assert lk.attach_sweep().name == "night-1"
    with pytest.raises(lk.SweepError, match="is not running"):
        lk.stop_sweep("night-1")


# -- what is given up -----------------------------------------------------------------------------


def trained(job: Job, root: Path, losses: list[float]) -> TrialOutcome:
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
    outcome = TrialOutcome(
        "pruned" if stopped else "completed",
        run=str(run.path),
        values={"val_loss": losses[done - 1]},
        attempt=attempt.name,
        seconds=done,
    )
    TrialFolder(Path(job.folder)).finish(outcome)
    return outcome


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
    def do(job: Job) -> TrialOutcome:
        given = job.parameters
        return finished(job, values={"val_loss": (given["lr"] - 0.3) ** 2 + (given["hidden"] == [4])})

    work(do)
    options: dict[str, Any] = {
        "grid": {"batch_size": [16, 32]},
        "search": {"lr": "0.01..1", "hidden": "[4],[8]", "epochs": "1..9"},
    }
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
    def do(job: Job) -> TrialOutcome:
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
    folder.finish(TrialOutcome("completed", values={"val_loss": 0.5}))
    begin(**options, trials=6)
    told = {t.number: t.state.name for t in remembered(made)}
    states = {"completed": "COMPLETE", "failed": "FAIL"}
    assert told == {4: "FAIL"} | {t.note["optuna"]: states[t.state] for t in made.trials}
    assert len(made.trials) == 6


def test_a_trial_that_was_given_up_is_told_with_its_history(work: Use, tmp_path: Path) -> None:
    count = iter(range(9))

    def do(job: Job) -> TrialOutcome:
        curves = [[1.0, 0.5], [1.0, 0.5], [9.0, 8.0, 7.0, 6.0]]
        return trained(job, tmp_path / "runs", curves[next(count)])

    work(do)
    made = begin(search={"lr": "0.01..1"}, trials=3, prune={"rule": "median", "trials": 2})
    last = remembered(made)[-1]
    assert last.state.name == "PRUNED"
    assert last.intermediate_values == {1: 9.0, 2: 8.0}


def test_tpe_learns_from_trials_that_diverged_and_not_from_failed_ones(work: Use) -> None:
    late = {}
    for state in ("diverged", "failed"):

        def train(job: Job, state: str = state) -> TrialOutcome:
            return finished(job, state) if rate(job) > 0.3 else finished(job, values={"val_loss": 1 - rate(job)})

        work(train)
        sweep = begin(state, search={"lr": "0.1..1.0"}, trials=40, seed=1)
        assert {t.state.name for t in remembered(sweep)} == {"COMPLETE", "PRUNED" if state == "diverged" else "FAIL"}
        late[state] = sum(t.state == state for t in sweep.trials[20:])
    assert late["diverged"] < late["failed"] - 2, "the best value lies beside the region that cannot be trained"


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "optuna" else find(n, *a))
    with pytest.raises(lk.MissingPackage, match=r"pip install 'jupyter-lmkit\[sweep\]'; or use method='random'"):
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

    def do(job: Job) -> TrialOutcome:
        if Path(job.folder).name == "0002" and full[0]:
            return run_trial(job)
        return finished(job, values={"val_loss": 1.0})

    work(do)
    lines: list[str] = []
    made = begin(tell=lines.append)
    assert [t.state for t in made.trials] == ["completed", "waiting"], "nothing more was begun"
    assert made.state == "interrupted"
    said = f"cannot write to {str(made.trials[1].path)!r}: No space left on device. "
    assert lines[-1] == f"{said}Free space or change the permissions, then run the same command to continue."
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

    def full(path: Path, value: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lmkit.sweeping.folder.write_json", full)
        with pytest.raises(
            lk.SweepError,
            match="No space left on device; free space or change the permissions, then",
        ):
            begin()
    assert begin().state == "completed"


def test_cores_are_shared_among_workers(work: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def do(job: Job) -> TrialOutcome:
        threads.append(job.threads)
        return finished(job, values={"val_loss": 1.0})

    work(do)
    monkeypatch.setattr(threads_engine, "available_cores", lambda: 8)
    begin(workers=3)
    assert threads == [2, 2, 2]
