"""A run of two processes through random kills: ``python tests/benchmarks/kills.py [--framework torch] [--kills 20]``.

A random process of the run gets SIGKILL, or all of them, or their launcher; some times one of them gets SIGSTOP
instead. Most kills come some time after the run is further than ever before; a quarter of them as soon as there is
a process to kill, so also while it starts, restores the checkpoint or waits for its neighbour. A run whose launcher is
gone is resumed. After the last kill the run takes a few more steps and is stopped.

Then a run of one process takes as many steps, without a kill. The last line tells whether every step is there
once, the largest relative difference of losses and of gradient norms (at most 1e-12) and the largest difference of
weights (at most 1e-11), and what is left: processes, ports, files in shared memory, temporary folders. The exit code
is 1 where anything differs or is left, or a kill ended the run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import psutil

import lmkit as lk

PATIENCE = 600.0
"""Seconds after which something that should happen has not."""

KINDS = {"rank": 10, "launcher": 3, "all": 3}
"""Who is killed → weight."""

SETTINGS: dict[str, Any] = {
    "data": {"source": "digits", "batch_size": 200},
    "model": {"hidden": [24, 16], "dropout": 0.2},
    "training": {
        "epochs": 10**6,
        "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.5},
        "schedule": {"name": "constant"},
        "micro_batch": 20,
        "precision": "float64",
        "clip_norm": 0.5,
        "early_stopping": None,
        "readings": "off",
        "checkpoint_seconds": 0.3,
        "threads": 1,
    },
}

SHARED_MEMORY = Path("/dev/shm")


class Victim:
    """The run that is killed.

    Attributes:
        pids: every process that it ever had.
        furthest: the highest step seen.
    """

    def __init__(self, run: lk.Run) -> None:
        self.run = run
        self.pids: set[int] = set()
        self.furthest = 0

    def processes(self) -> list[psutil.Process]:
        """Return the processes that train, in the order of their start; none before their launcher has started."""
        status = self.run.status
        launcher = status.pid
        if status.state == "pending":  # it names the process that will start the launcher, and goes on
            return []
        try:
            children = psutil.Process(launcher).children()
        except psutil.NoSuchProcess:
            return []
        self.pids |= {launcher, *(child.pid for child in children)}
        return sorted(children, key=lambda child: child.pid)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for something; end the benchmark where it does not happen, or the run fails."""
        until = time.monotonic() + PATIENCE
        while not condition():
            status = self.run.status
            if status.state in ("failed", "completed") or time.monotonic() > until:
                raise SystemExit(f"{self.run.path}: {status.state} at step {status.step}: {status.reason}")
            time.sleep(0.02)

    def wait_for_progress(self) -> None:
        """Wait until the run is further than ever before."""
        self.wait(lambda: self.run.status.state == "running" and self.run.status.step > self.furthest)
        self.furthest = self.run.status.step

    def restarts(self) -> list[str]:
        """Return the reason of each restart."""
        return [event.data["reason"] for event in self.run.events if event.type == "restarting"]

    def strike(self, kind: str, number: int) -> str:
        """Send a signal; wait until the run has noticed, and resume it where nobody else restarts it."""
        self.wait(lambda: len(self.processes()) == 2)
        count, launcher, processes = len(self.restarts()), self.run.status.pid, self.processes()
        targets = {"rank": random.sample(processes, 1), "launcher": [], "all": processes}[kind]
        for process in (*targets, *([] if kind == "rank" else [psutil.Process(launcher)])):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        if kind == "rank":
            self.wait(lambda: len(self.restarts()) > count)
            return self.restarts()[-1]
        self.wait(lambda: not self.run.status.live and not any(process.is_running() for process in processes))
        self.run.resume()
        return f"{self.run.status.state}, resumed"


def leftovers(victim: Victim, shared: set[str], temporary: Path) -> list[str]:
    """Return what the run left: processes, ports, files in shared memory, temporary folders."""
    alive = [pid for pid in victim.pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    ports = [
        getattr(c.laddr, "port", 0)
        for c in psutil.net_connections("tcp")
        if c.status == "LISTEN" and c.pid in victim.pids
    ]
    files = {name for name in _shared_files() - shared if any(str(pid) in name for pid in victim.pids)}
    folders = [path.name for path in temporary.glob("lmkit-*") if not path.name.startswith("lmkit-kernel")]
    return [*(f"process {pid}" for pid in alive), *(f"port {port}" for port in ports), *sorted(files), *folders]


def _shared_files() -> set[str]:
    return {path.name for path in SHARED_MEMORY.iterdir()} if SHARED_MEMORY.is_dir() else set()


def compare(run: lk.Run, reference: lk.Run) -> tuple[bool, str]:
    """Return whether two runs are the same, and by how much they differ."""
    ours, theirs = run.steps, reference.steps
    if list(ours.step) != list(theirs.step):
        return False, f"steps {len(ours):,} and {len(theirs):,} differ"
    losses, norms = (
        float(np.nanmax(np.abs(ours[column] / theirs[column] - 1))) for column in ("loss", "gradient_norm")
    )
    saved, expected = (r.folder.load_checkpoint("last") for r in (run, reference))
    assert saved is not None
    assert expected is not None
    weights = max(float(np.abs(array - expected[0][name]).max()) for name, array in saved[0].items())
    text = f"{len(ours):,} steps, each once; losses {losses:.1e}, norms {norms:.1e}, weights {weights:.1e}"
    return losses <= 1e-12 and norms <= 1e-12 and weights <= 1e-11, text


def measure(framework: str, kills: int, stops: int, root: Path) -> bool:
    """Kill a run, compare it with one that was not killed, and print."""
    shared, temporary = _shared_files(), Path(tempfile.gettempdir())
    run = lk.train(SETTINGS, framework=framework, devices=2, runs=root)
    victim = Victim(run)
    stopped = set(random.sample(range(kills), min(stops, kills)))
    begin = time.monotonic()
    try:
        for kill in range(kills):
            is_early = random.random() < 0.25
            if not is_early:
                victim.wait_for_progress()
                time.sleep(random.random())
            kind = "rank" if kill in stopped else random.choices(list(KINDS), list(KINDS.values()))[0]
            number = signal.SIGSTOP if kill in stopped else signal.SIGKILL
            outcome = victim.strike(kind, number)
            print(
                f"{framework} {kill + 1:2} {time.monotonic() - begin:6.1f} s, step {run.status.step:5}: "
                f"{number.name} to {kind}{' at once' if is_early else ''}: {outcome}",
                flush=True,
            )
        victim.wait_for_progress()
        run.stop().wait(PATIENCE)
    finally:
        victim.processes()
        if run.status.live:
            os.kill(run.status.pid, signal.SIGKILL)
    steps = len(run.steps)
    reference = lk.train(SETTINGS, framework=framework, steps=steps, runs=root, checkpoint_seconds=1e6, wait=True)
    is_equal, text = compare(run, reference)
    until = time.monotonic() + 10
    while (left := leftovers(victim, shared, temporary)) and time.monotonic() < until:
        time.sleep(0.1)
    print(
        f"{framework}: {kills} kills in {time.monotonic() - begin:.0f} s, state {run.state}; {text}; "
        f"left: {left or 'nothing'}"
    )
    return is_equal and not left and run.state == "stopped"


def main() -> None:
    """Measure one or both frameworks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=["torch", "tensorflow"])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--stops", type=int, default=2, help="of them SIGSTOP, each of which takes 20 seconds to notice"
    )
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else the runs would go on without this process
    random.seed(args.seed)
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        tempfile.tempdir = os.environ["TMPDIR"] = str(Path(name) / "temporary")
        Path(tempfile.tempdir).mkdir()
        frameworks = [args.framework] if args.framework else ["torch", "tensorflow"]
        outcomes = [measure(framework, args.kills, args.stops, Path(name)) for framework in frameworks]
    sys.exit(0 if all(outcomes) else 1)


if __name__ == "__main__":
    main()
