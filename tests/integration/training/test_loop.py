"""How training ends, goes wrong, and obeys; in this process, so that nothing but the loop is looked at."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from narrowing import require_value
from torch import nn

import lmkit as lk
from lmkit.backends.torch import models
from lmkit.backends.torch.trainer import TorchTrainer
from lmkit.runfolder.folder import RunFolder
from lmkit.system.files import TornLine
from lmkit.training import fit, heartbeat, recorder
from lmkit.training.setup import Components
from lmkit.training.train import train

FAST = {
    "data": "wine",
    "model": "mlp:tiny",
    "seed": 1,
    "training": {"early_stopping": None, "optimizer": {"name": "sgd", "momentum": 0.9}},
}
PER_EPOCH = 4  # 106 of wine's 178 rows, in batches of 32


def trained(framework: str = "torch", **changes: Any) -> lk.Run:
    """A run trained here and now."""
    return lk.train(FAST, framework=framework, inline=True, **{"checkpoint_seconds": 1e6, **changes})


def kinds(run: lk.Run) -> list[str]:
    """What happened, in order, without the epochs."""
    return [e.type for e in run.events if e.type != "epoch"]


@pytest.fixture
def each_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], None]:
    """Has a function called before every step of a PyTorch run, with the steps done; one step at a time."""

    def install(called: Callable[[int], None]) -> None:
        counter = itertools.count()
        advance = TorchTrainer.advance

        def one(self: TorchTrainer, first: int, rates: np.ndarray) -> Any:
            called(next(counter))
            return advance(self, first, rates)

        monkeypatch.setattr(TorchTrainer, "advance", one)
        monkeypatch.setattr(fit, "CHUNK_SECONDS", 0.0)

    return install


# -- the ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_ends_after_its_epochs(framework: str) -> None:
    run = trained(framework, epochs=3)
    assert (run.state, run.status.reason) == ("completed", "")
    assert run.history["epoch"].tolist() == [1, 2, 3]
    assert (run.status.epoch, run.status.step, run.status.steps) == (3, 12, 12)
    assert (run.status.progress, run.status.seconds_left) == (1.0, 0.0)
    assert kinds(run) == ["started", "checkpoint", "finished"]
    assert run.events[-1].data["metrics"] == run.metrics


@pytest.mark.parametrize(("framework", "steps"), [("torch", 1), ("torch", 12), ("tensorflow", 10)])
def test_ends_after_its_steps(framework: str, steps: int) -> None:
    run = trained(framework, epochs=9, steps=steps)
    assert (run.state, run.status.reason) == ("completed", f"after {steps} steps")
    assert run.steps["step"].tolist() == list(range(1, steps + 1))
    assert len(run.history) == steps // PER_EPOCH
    assert (run.status.steps, run.status.progress) == (steps, 1.0)


def test_ends_after_its_seconds_of_training() -> None:
    run = trained(epochs=10**6, seconds=0.05)
    assert (run.state, run.status.reason) == ("completed", "after 0.05 seconds")
    assert run.status.seconds >= 0.05
    assert run.status.step < 10**6


def test_ends_at_its_target_loss() -> None:
    target = 0.3
    run = trained(epochs=500, target_loss=target)
    losses = run.history["val_loss"]
    assert run.state == "completed"
    assert run.status.reason.endswith("reached 0.3")
    assert losses.iloc[-1] <= target
    assert (losses.iloc[:-1] > target).all()
    assert len(losses) < 500


def test_without_a_validation_part_the_target_is_the_training_loss() -> None:
    run = trained(epochs=500, target_loss=0.3, validation=0.0)
    assert "val_loss" not in run.history
    assert run.history["loss"].iloc[-1] <= 0.3 < run.history["loss"].iloc[-2]


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_ends_at_the_first_step_whose_gradient_is_that_short(framework: str) -> None:
    run = trained(framework, epochs=500, gradient_norm=0.1)
    norms = run.steps["gradient_norm"]
    assert run.state == "completed"
    assert "fell below 0.1" in run.status.reason
    assert norms.iloc[-1] < 0.1
    assert (norms.iloc[:-1] >= 0.1).all()


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_stops_early_and_ends_with_the_best_weights(framework: str) -> None:
    early = {"patience": 4, "min_delta": 0.0, "restore_best": True}
    run = trained(framework, epochs=500, lr=0.4, **{"training.early_stopping": early})
    losses = run.history["val_loss"].to_numpy()
    best = int(losses.argmin())
    assert run.state == "completed"
    assert run.status.reason == f"no better validation loss since epoch {best + 1}"
    assert len(losses) == best + 1 + early["patience"]
    assert losses[-1] > losses[best]
    assert validation_loss(run, "last") == pytest.approx(losses[best], rel=1e-5)
    assert validation_loss(run, "best") == pytest.approx(losses[best], rel=1e-5)


def test_may_stop_early_with_the_last_weights() -> None:
    early = {"patience": 4, "restore_best": False}
    run = trained(epochs=500, lr=0.4, **{"training.early_stopping": early})
    losses = run.history["val_loss"].to_numpy()
    assert validation_loss(run, "last") == pytest.approx(losses[-1], rel=1e-5)
    assert validation_loss(run, "best") == pytest.approx(losses.min(), rel=1e-5)


def test_a_loss_must_be_lower_by_min_delta_to_count() -> None:
    run = trained(epochs=500, **{"training.early_stopping": {"patience": 3, "min_delta": 0.05}})
    losses = run.history["val_loss"].to_numpy()
    best, at = np.inf, 0
    for epoch, value in enumerate(losses, start=1):
        if value < best - 0.05:
            best, at = value, epoch
    assert run.status.reason == f"no better validation loss since epoch {at}"
    assert len(losses) == at + 3


def validation_loss(run: lk.Run, which: str) -> float:
    """The mean cross-entropy of a checkpoint's model on the validation part, by scikit-learn's split and NumPy."""
    from sklearn.datasets import load_wine
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = load_wine(return_X_y=True)
    rest, _ = train_test_split(np.arange(178), test_size=36, random_state=1, stratify=y)
    training, validation = train_test_split(rest, test_size=36, random_state=1, stratify=y[rest])
    weights = require_value(run.folder.load_checkpoint(which))[0]
    hidden = StandardScaler().fit(X[training]).transform(X[validation])
    hidden = np.maximum(hidden @ weights["dense_0.kernel"] + weights["dense_0.bias"], 0)
    z = hidden @ weights["dense_1.kernel"] + weights["dense_1.bias"]
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(36), y[validation]]))


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_loss_that_is_no_number_fails_and_keeps_everything(framework: str) -> None:
    diverging = {"optimizer": "sgd", "lr": 1e3, "epochs": 50, "data.scale_target": False}
    run = lk.train(data="diabetes", framework=framework, inline=True, **diverging)
    losses = run.steps["loss"].to_numpy()
    assert run.state == "failed"
    assert f"at step {len(losses)}," in run.status.reason
    assert "run.doctor(autopsy=True) finds the place (learning rate 1000)" in run.status.reason
    assert not np.isfinite(losses[-1])
    assert len(losses) > 1
    assert np.isfinite(losses[:-1]).all()
    assert run.status.step == len(losses)
    assert kinds(run)[-1] == "failed"
    assert run.events[-1].data == {"reason": run.status.reason, "step": len(losses)}
    with pytest.raises(lk.RunFailed, match="diverged"):
        _ = run.metrics


class NaNInEvaluation(nn.Module):
    """A model whose outputs are NaN when it does not train."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(13, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) if self.training else self.linear(x) * float("nan")


@pytest.mark.parametrize(("part", "changes"), [("validation", {}), ("test", {"data.validation": 0})])
def test_a_run_whose_evaluation_is_nan_has_diverged(part: str, changes: dict[str, Any]) -> None:
    run = lk.train(data="wine", model=NaNInEvaluation, epochs=2, inline=True, **changes)
    assert (run.state, run.status.cause) == ("failed", "diverged")
    assert run.status.reason.startswith(f"the {part} loss is nan after ")
    assert np.isfinite(run.steps["loss"]).all()
    status = json.loads((run.path / "status.json").read_text(), parse_constant=pytest.fail)
    assert status["cause"] == "diverged"
    with pytest.raises(lk.RunFailed, match="cannot be measured: it failed"):
        _ = run.metrics


def test_an_exception_in_user_code_fails_with_its_words(each_step: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(step: int) -> None:
        if step == 6:
            raise ZeroDivisionError("my own mistake")

    each_step(broken)
    run = trained()
    assert (run.state, run.status.reason) == ("failed", "ZeroDivisionError: my own mistake")
    assert run.steps["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert len(run.history) == 1
    assert run.status.step == 6
    assert "in broken" in capfd.readouterr().err  # where it happened stands in the log


def test_an_interpreter_that_is_told_to_exit_leaves_a_word(each_step: Any) -> None:
    def leave(step: int) -> None:
        if step == 3:
            sys.exit("enough")

    each_step(leave)
    with pytest.raises(SystemExit):
        trained()
    run = lk.attach()
    assert (run.state, run.status.reason) == ("failed", "SystemExit: enough")
    assert len(run.steps) == 3


class Deaf(nn.Module):
    """A model whose output does not come from its weights."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense_0, self.dense_1 = nn.Linear(inputs, 10), nn.Linear(10, outputs)
        self.outputs = outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, : self.outputs]


class HalfDeaf(Deaf):
    """A model whose first layer has no part in its output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense_1(x[:, :10])


@pytest.mark.parametrize(
    ("model", "blind"),
    [(Deaf, "dense_0.kernel, dense_0.bias, dense_1.kernel, dense_1.bias"), (HalfDeaf, "dense_0.kernel, dense_0.bias")],
)
def test_a_model_that_the_loss_does_not_see_is_refused(
    model: Callable[..., nn.Module], blind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "build", lambda spec, signature: model(*signature.shape, signature.outputs))
    run = trained()
    assert run.state == "failed"
    assert run.status.reason.startswith(f"the loss does not depend on {blind}: nothing would be learned")
    assert run.status.step == 0
    assert len(run.steps) == 0


def test_a_keras_model_that_the_loss_does_not_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from lmkit.backends.tensorflow import models as keras_models

    def deaf(spec: Any, signature: Any, precision: str) -> keras.Model:
        return keras.Sequential(
            [
                keras.Input(signature.shape),
                keras.layers.Dense(10, name="dense_0"),
                keras.layers.Lambda(keras.ops.stop_gradient),
                keras.layers.Dense(signature.outputs, name="dense_1"),
            ]
        )

    monkeypatch.setattr(keras_models, "build", deaf)
    run = trained("tensorflow")
    assert run.state == "failed"
    assert run.status.reason.startswith("the loss does not depend on dense_0.kernel, dense_0.bias: nothing")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(lk.LmkitError, match=r"cannot create a run in .*choose another folder"):
        trained(runs=tmp_path / "file" / "runs")


def test_a_folder_that_becomes_unwritable_fails_and_says_where(each_step: Any) -> None:
    def in_the_way(step: int) -> None:
        if step == 6:
            folder = lk.attach().path
            (folder / "metrics.jsonl").rename(folder / "kept")
            (folder / "metrics.jsonl").mkdir()

    each_step(in_the_way)
    run = trained()
    assert run.state == "failed"
    assert run.status.reason.startswith(f"cannot write to {str(run.path)!r}: Is a directory; make room or permit it")
    assert run.history["epoch"].tolist() == [1]


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[dict[str, Any]]:
    """A disk of that size at ``place``; where none may be mounted, a limit on the size of each file comes closest.

    Yields what ``subprocess.run`` needs besides.
    """
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    limit = kilobytes * 1024
    yield {} if mounted else {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))}
    if mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


TRAIN = """
import sys, lmkit as lk
settings = {"data": "wine", "model": "mlp:tiny", "epochs": 100_000, "batch_size": 4, "early_stopping": None}
settings |= {"checkpoint_seconds": 0.2}
run = lk.train(inline=True, runs=sys.argv[1], **settings)
print(run.path)
"""


def test_a_full_disk_fails_says_so_and_keeps_what_was_recorded(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 300) as limits:
        command = [sys.executable, "-c", TRAIN, str(tmp_path / "disk")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, **limits)
        run = lk.attach(Path(done.stdout.strip()))
        assert run.state == "failed"
        assert run.status.reason.startswith(f"cannot write to {str(run.path)!r}: ")
        assert "make room" in run.status.reason
        assert any(e.type == "failed" for e in run.events)
        with pytest.warns(TornLine) if torn(run.path / "metrics.jsonl") else contextlib.nullcontext():
            steps = run.steps
        assert len(steps) > 1000
        assert steps["step"].tolist() == list(range(1, len(steps) + 1))
        assert require_value(run.folder.load_checkpoint("last"))[2]["step"] <= len(steps)
        assert not list(run.path.glob(".*"))  # neither the reserve nor half a file
        shutil.copytree(run.path, tmp_path / "kept" / run.name)
    assert lk.attach(tmp_path / "kept" / run.name).state == "failed"


def torn(log: Path) -> bool:
    """Whether the file does not consist of whole lines of JSON alone."""
    try:
        return not [json.loads(line) for line in log.read_bytes().splitlines()]
    except ValueError:
        return True


# -- what people ask for --------------------------------------------------------------------------


def test_a_learning_rate_takes_effect_at_once_and_is_recorded(each_step: Any) -> None:
    each_step(lambda step: lk.attach().set_learning_rate(0.25) if step == 5 else None)
    run = trained(epochs=3)
    told = next(e for e in run.events if e.type == "learning_rate")
    assert told.data == {"step": 6, "old": 0.01, "value": 0.25}
    assert run.steps["lr"].tolist() == [0.01] * 6 + [0.25] * 6


def test_a_schedule_multiplies_the_new_learning_rate(each_step: Any) -> None:
    each_step(lambda step: lk.attach().set_learning_rate(1.0) if step == 5 else None)
    run = trained(epochs=3, schedule={"name": "step", "every": 1, "factor": 0.1})
    np.testing.assert_allclose(run.steps["lr"], [0.01] * 4 + [0.001] * 2 + [0.1] * 2 + [0.01] * 4)


def test_notes_and_checkpoints_are_events(each_step: Any) -> None:
    def ask(step: int) -> None:
        if step == 2:
            lk.attach().note("{braces} and ümlauts")
        if step == 4:
            lk.attach().checkpoint()

    each_step(ask)
    run = trained(epochs=2)
    assert kinds(run) == ["started", "note", "checkpoint", "checkpoint", "finished"]
    assert run.events[1].data == {"step": 3, "text": "{braces} and ümlauts"}
    assert next(e for e in run.events if e.type == "checkpoint").data == {"step": 5, "epoch": 1}


def test_a_stop_ends_it_after_a_checkpoint(each_step: Any) -> None:
    each_step(lambda step: lk.attach().stop() if step == 5 else None)
    run = trained(epochs=50)
    assert (run.state, run.status.reason, run.status.step) == ("stopped", "on request", 6)
    assert require_value(run.folder.load_checkpoint("last"))[2]["step"] == 6
    assert set(run.metrics) == {"loss", "accuracy", "auc"}


def test_a_signal_ends_it_in_good_order(each_step: Any) -> None:
    import signal

    before = signal.getsignal(signal.SIGINT)
    each_step(lambda step: os.kill(os.getpid(), signal.SIGINT) if step == 5 else None)
    run = trained(epochs=50)
    assert (run.state, run.status.reason) == ("stopped", "SIGINT")
    assert require_value(run.folder.load_checkpoint("last"))[2]["step"] == run.status.step
    assert signal.getsignal(signal.SIGINT) is before


def test_a_folder_that_is_deleted_ends_training_and_stays_away(each_step: Any) -> None:
    removed: list[Path] = []

    def remove(step: int) -> None:
        if step == 5:
            removed.append(lk.attach().path)
            shutil.rmtree(removed[0])
            removed[0].mkdir()  # as `rm -r` leaves it where the worker writes meanwhile

    each_step(remove)
    with pytest.raises(lk.RunStateError, match="was deleted or moved: its training ends"):
        trained(epochs=50)
    assert not removed[0].exists()


def test_a_second_worker_in_the_same_folder_is_refused(each_step: Any) -> None:
    refusals: list[str] = []

    def begin_again(step: int) -> None:
        if step == 5:
            with pytest.raises(lk.RunStateError) as refusal:
                train(RunFolder(lk.attach().path))
            refusals.append(str(refusal.value))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lmkit.runfolder.folder.LOCK_TIMEOUT", 0.1)
        each_step(begin_again)
        run = trained(epochs=3)
    assert run.state == "completed"
    assert refusals == [f"{run.name} is already being trained by another process"]


def test_a_long_pause_ends_in_a_stop_that_resume_continues(each_step: Any) -> None:
    each_step(lambda step: lk.attach().pause() if step == 5 else None)
    run = trained(epochs=3, idle_limit=0.2)
    assert (run.state, run.status.cause) == ("stopped", "idle")
    assert "after a pause of 0.2 seconds" in run.status.reason
    assert require_value(run.folder.load_checkpoint("last"))[2]["step"] == run.status.step == 6


def test_commands_that_nobody_knows_are_passed_over(each_step: Any) -> None:
    def ask(step: int) -> None:
        if step == 2:
            lk.attach().folder.control.append({"command": "dance"})
            lk.attach().folder.control.append({"command": "learning_rate", "value": "fast"})
            with (lk.attach().path / "control.jsonl").open("a") as file:
                file.write("not JSON\n")
            lk.attach().stop()

    each_step(ask)
    assert trained(epochs=50).status.step == 3


# -- what is written ------------------------------------------------------------------------------


def test_a_checkpoint_is_written_every_so_many_seconds(each_step: Any) -> None:
    each_step(lambda step: time.sleep(0.05))
    run = trained(epochs=3, checkpoint_seconds=0.1)
    assert kinds(run).count("checkpoint") >= 3
    steps = [e.data["step"] for e in run.events if e.type == "checkpoint"]
    assert steps == sorted(steps)
    assert steps[-1] == 12


def test_the_status_tells_where_it_stands(each_step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "STATUS_SECONDS", 0.0)
    told = []
    each_step(lambda step: told.append(lk.attach().status))
    trained(epochs=3)
    assert [s.step for s in told] == list(range(12))
    assert {s.state for s in told} == {"running"}
    assert {s.pid for s in told} == {os.getpid()}
    assert [s.epoch for s in told[1:]] == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    assert all(s.steps == 12 and s.epochs == 3 for s in told)
    rate = require_value(told[-1].steps_per_second)
    assert rate > 0
    assert told[-1].seconds_left == pytest.approx(1 / rate)
    assert told[-1].samples_per_second == pytest.approx(32 * rate)
    assert told[-1].memory > 10**7


def test_a_heartbeat_comes_while_the_test_part_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.01)
    score, heartbeats = Components.score, []

    def score_slowly(components: Components, part: str) -> dict[str, float]:
        if part == "test":
            before, until = lk.attach().status.heartbeat, time.monotonic() + 20
            while lk.attach().status.heartbeat == before and time.monotonic() < until:
                time.sleep(0.01)
            heartbeats.extend([before, lk.attach().status.heartbeat])
        return score(components, part)

    monkeypatch.setattr(Components, "score", score_slowly)
    assert trained(epochs=1).state == "completed"
    assert heartbeats[0] < heartbeats[1]


def test_a_heartbeat_comes_while_a_step_lasts(each_step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.01)

    def wait_for_a_beat(step: int) -> None:
        before, until = lk.attach().status.heartbeat, time.monotonic() + 20
        while step == 3 and lk.attach().status.heartbeat == before:
            assert time.monotonic() < until, "no sign of life"
            time.sleep(0.01)

    each_step(wait_for_a_beat)
    assert trained(epochs=2).state == "completed"


def test_training_again_in_a_folder_that_was_never_begun(tmp_path: Path) -> None:
    folder = RunFolder.create(lk.Experiment(**FAST), tmp_path)
    train(folder)
    assert folder.status().state == "completed"


def test_a_small_model_takes_one_thread_and_gives_the_others_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert trained("torch", epochs=1).environment["backend"]["threads"] == 1
        assert torch.get_num_threads() == 2
        assert trained("torch", epochs=1, threads=2).environment["backend"]["threads"] == 2
    finally:
        torch.set_num_threads(before)
