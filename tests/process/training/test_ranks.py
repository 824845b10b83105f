"""A run of two processes is the run of one: the same losses, norms and weights, for every strategy, through kills."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from waiting import PATIENCE, until

import lmkit as lk
from lmkit.runfolder.ranks import read_ranks

ROWS = {
    "data": {"source": "digits", "batch_size": 61},
    "model": {"hidden": [24, 16], "dropout": 0.2},
    "training": {
        "epochs": 2,
        "micro_batch": 20,  # of the fourth micro-batch, a single row, one process has none; the last batch has 40 rows
        "precision": "float64",
        "clip_norm": 0.5,
        "readings": "off",
        "checkpoint_seconds": 0.2,
    },
}
PLAIN = {"model.dropout": 0.0}


class Gated(torch.nn.Module):
    """A model of a person's own, of which a part has no gradient in some steps."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(64, 12)
        self.second = torch.nn.Linear(12, 12)
        self.last = torch.nn.Linear(12, outputs)
        self.drop = torch.nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.tanh(self.first(x.flatten(1)))
        if len(x) > 1:
            z = z + torch.tanh(self.second(z))
        return self.last(self.drop(z))


class Slow(Gated):
    """The same with a pause in each step, of as many seconds as the environment says: it costs no processor time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            time.sleep(float(os.environ.get("TEST_PAUSE", "0")))
        return super().forward(x)


LONG = {"model": Slow, "training.epochs": 30, "training.micro_batch": None, "training.early_stopping": None}
"""540 steps, between which there is time for kills."""


def squares(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """A loss of a person's own, one value per row."""
    return ((outputs.softmax(-1) - torch.nn.functional.one_hot(target, outputs.shape[-1])) ** 2).sum(-1)


def train(root: Path, **changes: Any) -> lk.Run:
    return lk.train(ROWS, runs=root, **changes)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def alone(root: Path) -> Callable[..., lk.Run]:
    """The run of one process with some changes, trained once."""
    runs: dict[str, lk.Run] = {}

    def get(**changes: Any) -> lk.Run:
        key = repr(sorted(changes.items()))
        if key not in runs:
            runs[key] = train(root, wait=True, **changes)
        return runs[key]

    return get


def assert_equal(run: lk.Run, reference: lk.Run) -> None:
    """Losses and norms to 1e-12 relative, weights to 1e-11 absolute; metrics of the epochs too."""
    assert run.wait(PATIENCE).status.state == "completed", run.status.reason
    ours, theirs = run.steps, reference.steps
    assert list(ours.step) == list(theirs.step)
    for column in ("loss", "gradient_norm"):
        np.testing.assert_allclose(ours[column], theirs[column], rtol=1e-12, atol=0, equal_nan=True)
    weights, expected = (require_weights(r) for r in (run, reference))
    assert weights.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(weights[name], array, rtol=0, atol=1e-11, err_msg=name)
    for column in ("loss", "accuracy", "val_loss"):
        np.testing.assert_allclose(run.history[column], reference.history[column], rtol=1e-12)
    np.testing.assert_allclose(run.metrics["loss"], reference.metrics["loss"], rtol=1e-12)
    until(lambda: not any(psutil.pid_exists(record.pid) for record in read_ranks(run.folder)))


def require_weights(run: lk.Run) -> dict[str, np.ndarray]:
    saved = run.folder.load_checkpoint("last")
    assert saved is not None
    return saved[0]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_of_pytorch_are_one(strategy: str, root: Path, alone: Callable[..., lk.Run]) -> None:
    run = train(root, devices=2, strategy=strategy)
    assert_equal(run, alone())
    records = read_ranks(run.folder)
    assert [record.step for record in records] == [36, 36]
    assert all(record.memory > 10**7 and record.host for record in records)
    assert (run.path / "ranks" / "1.txt").exists()


def test_two_processes_of_tensorflow_are_one_and_are_pytorch(root: Path, alone: Callable[..., lk.Run]) -> None:
    assert_equal(train(root, framework="tensorflow", devices=2), alone(framework="tensorflow"))
    assert_equal(train(root, framework="tensorflow", devices=2, **PLAIN), alone(**PLAIN))


def test_two_devices_of_one_process_are_one(root: Path, alone: Callable[..., lk.Run]) -> None:
    run = train(root, framework="tensorflow", devices=2, strategy="mirrored")
    assert_equal(run, alone(framework="tensorflow"))
    assert read_ranks(run.folder) == []


def test_a_model_and_a_loss_of_ones_own_are_divided(root: Path, alone: Callable[..., lk.Run]) -> None:
    own: dict[str, Any] = {"model": Gated, "loss": squares}
    assert_equal(train(root, devices=2, **own), alone(**own))


def step_of(run: lk.Run) -> int:
    return min((record.step for record in read_ranks(run.folder)), default=0)


def wait_for_step(run: lk.Run, step: int) -> None:
    until(lambda: run.status.state == "running" or not run.status.live)  # before, records may be of another launch
    until(lambda: (len(read_ranks(run.folder)) == 2 and step_of(run) >= step) or not run.status.live)
    assert run.status.live, run.status.reason


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def test_whoever_is_killed_the_curve_is_the_same(
    root: Path, alone: Callable[..., lk.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = alone(**LONG)
    monkeypatch.setenv("TEST_PAUSE", "0.04")
    run = train(root, devices=2, **LONG)
    restarts: list[str] = []

    def restarted(after: Callable[[], None]) -> None:
        """Do something to a process, and wait until all train again."""
        after()
        until(lambda: len(reasons(run)) > len(restarts) or not run.status.live)
        restarts.append(reasons(run)[-1])

    try:
        for rank in (1, 0):
            wait_for_step(run, step_of(run) + 1)
            restarted(functools.partial(kill, read_ranks(run.folder)[rank].pid))
            assert restarts[-1].startswith(f"process {rank} was killed by SIGKILL")
            until(lambda: run.status.state == "running")
        wait_for_step(run, 1)
        restarted(functools.partial(kill, read_ranks(run.folder)[1].pid, signal.SIGSTOP))
        assert restarts[-1].startswith("process 1 hung: no sign of life for 20 seconds")
        wait_for_step(run, 1)
        pids = [record.pid for record in read_ranks(run.folder)]
        kill(run.status.pid)
        until(lambda: not run.status.live and not any(map(psutil.pid_exists, pids)))
        assert run.status.state == "lost"
        run.resume()
        wait_for_step(run, 1)
        for pid in (*(record.pid for record in read_ranks(run.folder)), run.status.pid):
            kill(pid)
        until(lambda: not run.status.live)
        monkeypatch.delenv("TEST_PAUSE")
        assert_equal(run.resume(), reference)
    finally:
        if run.status.live:
            kill(run.status.pid)


def reasons(run: lk.Run) -> list[str]:
    return [event.data["reason"] for event in run.events if event.type == "restarting"]


def test_a_run_is_steered_and_goes_on_with_other_devices(
    root: Path, alone: Callable[..., lk.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = alone(**LONG)
    monkeypatch.setenv("TEST_PAUSE", "0.02")
    run = train(root, devices=2, **LONG)
    try:
        wait_for_step(run, 1)
        run.pause()
        until(lambda: run.status.state == "paused")
        run.note("two processes")
        run.resume()
        until(lambda: run.status.state == "running")
        run.stop()
        assert run.wait(PATIENCE).status.state == "stopped"
        run.resume(devices=1)
        until(lambda: run.status.step > 0 and run.status.state == "running")
        run.stop()
        run.wait(PATIENCE)
        assert read_ranks(run.folder) == []
        monkeypatch.delenv("TEST_PAUSE")
        assert_equal(run.resume(devices=2, strategy="fsdp"), reference)
        assert [event.data["text"] for event in run.events if event.type == "note"] == ["two processes"]
    finally:
        if run.status.live:
            kill(run.status.pid)


FAILS = """
import torch


def fails(outputs, target):
    if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1 and outputs.requires_grad and seen():
        raise ValueError("not these rows")
    return torch.nn.functional.cross_entropy(outputs, target, reduction="none")


steps = []


def seen():
    steps.append(1)
    return len(steps) > 3
"""


def test_the_error_of_one_process_is_the_runs(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "own_loss.py").write_text(FAILS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = train(root, devices=2, loss="own_loss:fails").wait(PATIENCE)
    assert (run.status.state, run.status.cause) == ("failed", "error")
    assert run.status.reason.startswith("process 1 of the run: training.loss: fails raised ValueError: not these rows")
    assert reasons(run) == []


def test_torchrun_trains_the_run_in_a_folder(root: Path, alone: Callable[..., lk.Run], tmp_path: Path) -> None:
    from lmkit.runfolder.folder import RunFolder

    folder = RunFolder.create(alone().experiment, tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    worker = ["--master-port=29611", "-m", "lmkit.worker", str(folder.path)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    result = subprocess.run(
        [*command, *worker], env=environment, timeout=PATIENCE, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert_equal(lk.Run(folder), alone())
    assert not (folder.path / "ranks" / "key").exists()  # a copy of the folder holds no secret
