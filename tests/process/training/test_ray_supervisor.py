"""The launcher of processes on a Ray cluster, with a stand-in for the cluster: actors are objects of this process."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from waiting import until

import lmkit as lk
from lmkit.executors import ray_supervisor
from lmkit.runfolder.folder import RunFolder

SETTINGS: dict[str, Any] = {
    "data": "wine",
    "model": "mlp:tiny",
    "training": {
        "early_stopping": None,
        "precision": "float64",
        "checkpoint_seconds": 0.2,
        "readings": "off",
        "launcher": "ray://127.0.0.1:10001",
        "devices": 2,
    },
}


class ActorDied(Exception):
    """As Ray's error of an actor whose machine is gone."""


class Pretended:
    """An actor: its methods are called at once."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def __getattr__(self, name: str) -> Any:
        def remote(*args: Any) -> Callable[[], Any]:
            return lambda: getattr(self.actor, name)(*args)

        if name == "terminate":
            return SimpleNamespace(remote=getattr(self.actor, name))
        return SimpleNamespace(remote=remote)


def pretended_ray(queue: list[int]) -> dict[str, ModuleType]:
    """The part of Ray that the launcher uses; the cluster has room after as many questions as ``queue`` has entries."""

    def wait(_: Any, timeout: float) -> tuple[list[int], list[int]]:
        return ([], [1]) if queue and queue.pop() else ([1], [])

    def get(value: Any, timeout: float = 0.0) -> Any:
        return [get(v) for v in value] if isinstance(value, list) else value() if callable(value) else value

    def kill(actor: Pretended) -> None:
        if actor.actor.process:
            actor.actor.process.kill()
            actor.actor.process.wait()

    def remote(cls: type) -> Any:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: Pretended(cls())))

    ray, strategies = ModuleType("ray"), ModuleType("ray.util.scheduling_strategies")
    strategies.PlacementGroupSchedulingStrategy = lambda *_, **__: None  # type: ignore[attr-defined]
    placed = SimpleNamespace(ready=lambda: 1)
    ray.__dict__.update(
        util=SimpleNamespace(
            placement_group=lambda *_, **__: placed,
            remove_placement_group=lambda _: None,
            get_node_ip_address=lambda: "127.0.0.1",
        ),
        exceptions=SimpleNamespace(
            RayTaskError=type("E", (Exception,), {}), GetTimeoutError=TimeoutError, RayActorError=ActorDied
        ),
        wait=wait,
        get=get,
        kill=kill,
        remote=remote,
        cluster_resources=lambda: {"CPU": 2},
    )
    return {"ray": ray, "ray.util": ModuleType("ray.util"), "ray.util.scheduling_strategies": strategies}


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Install the stand-in; return what the cluster's queue holds."""
    queue: list[int] = []
    for name, module in pretended_ray(queue).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(ray_supervisor, "check_cluster", lambda *_: None)
    monkeypatch.setattr(ray_supervisor, "connect_cluster", lambda *_: False)
    return queue


def supervised(folder: RunFolder, act: Callable[[lk.Run], None]) -> lk.Run:
    """Train the run under the launcher, in this thread, while ``act`` does something to it in another."""
    run, errors = lk.Run(folder), []

    def acts() -> None:
        try:
            act(run)
        except BaseException as error:
            errors.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=acts)
    thread.start()
    previous = signal.signal(signal.SIGTERM, lambda *_: None)  # by which the launcher would end this process
    try:
        ray_supervisor.supervise_on_ray(folder, 2)
    finally:
        signal.signal(signal.SIGTERM, previous)
        thread.join()
    assert not errors, errors
    return run


def test_a_run_in_the_queue_is_stopped_by_a_command(queue: list[int], tmp_path: Path) -> None:
    queue += [1] * 1000
    folder = RunFolder.create(lk.Experiment.from_dict(SETTINGS), tmp_path)

    def stop(run: lk.Run) -> None:
        until(lambda: run.status.reason)
        run.stop()

    run = supervised(folder, stop)
    assert (run.state, run.status.reason, run.status.cause) == ("stopped", "on request", "requested")


def test_a_run_that_cannot_connect_says_so_and_is_stopped_by_a_command(
    queue: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = threading.Event()
    monkeypatch.setattr(ray_supervisor, "connect_cluster", lambda *_: is_over.wait())
    monkeypatch.setattr(ray_supervisor, "POLL_SECONDS", 0.05)
    folder = RunFolder.create(lk.Experiment.from_dict(SETTINGS), tmp_path)

    def stop(run: lk.Run) -> None:
        until(lambda: (run.state, run.status.reason) == ("pending", "connecting to ray://127.0.0.1:10001"))
        run.stop()

    run = supervised(folder, stop)
    assert (run.state, run.status.reason) == ("stopped", "on request")
    monkeypatch.setattr(ray_supervisor, "CONNECT_SECONDS", 0.0)
    folder = RunFolder.create(lk.Experiment.from_dict(SETTINGS), tmp_path)
    run = supervised(folder, lambda _: None)
    is_over.set()
    assert run.state == "failed"
    assert "does not answer (no connection within 0 seconds); start one: ray start --head" in run.status.reason
