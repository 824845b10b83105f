"""A server that was started ahead is the one that forks the first worker."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmkit.executors import worker
from lmkit.executors.shared_forkserver import SERVER_VARIABLE


def test_a_prepared_server_is_used_by_the_next_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[str] = []
    reading, writing = os.pipe()

    def start(framework: str, *_: Any) -> Any:
        started.append(framework)
        return SimpleNamespace(pid=1, stdin=os.fdopen(writing, "wb", 0), poll=lambda: None)

    monkeypatch.setattr(worker, "start_server", start)
    monkeypatch.setattr(worker, "_servers", {})
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)
    worker.prepare("torch")
    worker.prepare("torch")
    server = worker._server("torch", tmp_path / "log.txt")
    assert started == ["torch"]
    assert os.read(reading, 10) == b"\n\n", "empty lines: import the framework, there is no job yet"
    server.close()  # type: ignore[union-attr]
    os.close(reading)
