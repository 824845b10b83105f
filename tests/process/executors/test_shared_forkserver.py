"""A fork server that one process holds and others use."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import psutil
import pytest
from waiting import PATIENCE, until

import lmkit as lk
from lmkit.executors import worker
from lmkit.executors.shared_forkserver import SERVER_VARIABLE, ForkServerClient, SharedForkServer, find_shared_server


def parent(run: lk.Run) -> int:
    """Who forked the worker of a run, while it lives."""
    return until(lambda: run.status.state == "running" and psutil.Process(run.status.pid).ppid())


LONG = {"data": "digits", "training": {"epochs": 10**6, "compile": "off", "early_stopping": None}}


def test_its_workers_train_the_runs_of_those_who_borrow_it_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_servers", {})
    lent = SharedForkServer("torch", os.environ)
    monkeypatch.setenv(SERVER_VARIABLE, lent.variables[SERVER_VARIABLE])
    told = json.loads(lent.variables[SERVER_VARIABLE])
    assert ForkServerClient(told).serves
    assert find_shared_server("tensorflow") is None
    with monkeypatch.context() as otherwise:
        otherwise.setenv("OMP_NUM_THREADS", "7")  # which a framework reads while it is imported
        assert not ForkServerClient(told).serves
    runs = [lk.train(LONG, seed=seed) for seed in range(2)]
    assert {parent(run) for run in runs} == {lent._process.pid}
    assert worker._servers == {}
    lent._process.kill()
    lent._process.wait()
    assert all(run.stop().wait(PATIENCE).state == "stopped" for run in runs)  # workers go on without it
    assert lk.train(data="wine", epochs=1).wait(PATIENCE).state == "completed"
    assert list(worker._servers) == ["torch"], "a server of its own"
    lent.close()


def test_what_it_was_sent_is_done_although_nobody_holds_it_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_servers", {})
    made = SharedForkServer("torch", os.environ)
    monkeypatch.setenv(SERVER_VARIABLE, made.variables[SERVER_VARIABLE])
    run = lk.train(data="wine", epochs=1)  # the framework is still being imported
    made.close()
    assert run.wait(PATIENCE).state == "completed"
    until(lambda: made._process.poll() is not None)
    assert worker._servers == {}


def test_jobs_of_many_do_not_mix(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    os.mkfifo(jobs)
    reading = os.open(jobs, os.O_RDONLY | os.O_NONBLOCK)
    holding = os.open(jobs, os.O_WRONLY)
    os.set_blocking(reading, True)
    lines = [bytes([65 + i]) * 200_000 + b"\n" for i in range(4)]  # far more than a pipe takes at once
    known = ForkServerClient({"pid": os.getpid(), "jobs": str(jobs), "settings": {}})
    senders = [threading.Thread(target=known.send, args=[line]) for line in lines]
    for sender in senders:
        sender.start()
    with os.fdopen(reading, "rb") as pipe:
        assert sorted(pipe.readline() for _ in lines) == lines
    for sender in senders:
        sender.join()
    os.close(holding)
