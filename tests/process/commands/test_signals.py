"""SIGTERM and SIGHUP on the command line: a checkpoint, how to continue, and no worker that trains on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lmkit as lk

LONG = ["-p", "data", "wine", "-p", "epochs", "1000000", "-p", "training.early_stopping", "null"]


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, "it ended before it trained"
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("words", "number", "text"),
    [
        (
            ["sweep", "train", "--grid", "lr=0.1,0.01", "--workers", "1"],
            signal.SIGTERM,
            "run the same command",
        ),
        (["run", "train"], signal.SIGHUP, "continue: lmkit resume"),
    ],
)
def test_training_is_saved_and_the_command_ends(
    tmp_path: Path, words: list[str], number: signal.Signals, text: str
) -> None:
    command = [sys.executable, "-m", "lmkit.commands.cli", *words, *LONG]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup ignores SIGHUP for all that it starts
    )
    try:
        until(lambda: list(tmp_path.glob("runs/*/metrics.jsonl")), process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 128 + number, errors
    assert text in errors
    run = lk.attach(runs=tmp_path / "runs")
    assert run.state == "stopped"
    assert run.folder.load_checkpoint("last") is not None
    assert not run.folder.lock.is_held


def test_a_detached_sweep_returns_at_once_and_can_be_stopped(tmp_path: Path) -> None:
    words = ["sweep", "train", "--grid", "lr=0.1,0.01", "--workers", "1", "--detach", *LONG]
    command = [sys.executable, "-m", "lmkit.commands.cli", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True)
    sweep = lk.attach_sweep(runs=tmp_path / "runs")
    try:
        assert f"stop it: lmkit stop-sweep {sweep.name}" in done.stderr
        assert sweep.state == "running"
    finally:
        sweep.stop().wait(240)
    assert sweep.state == "interrupted"
