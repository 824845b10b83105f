"""Trials without kernels: an engine whose work is a function of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from lmkit.sweeping import driver
from lmkit.sweeping.trial import Job

Work = Callable[[Job], dict[str, Any]]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Work], None]]:
    """Has the jobs of every sweep of this test done by a function."""

    class Pretended:
        def __init__(self, workers: int, function: Work) -> None:
            self.pool, self.function = ThreadPoolExecutor(workers), function

        def submit(self, job: Job) -> Future[dict[str, Any]]:
            return self.pool.submit(self.function, job)

        def close(self) -> None:
            self.pool.shutdown()

    def use(function: Work) -> None:
        monkeypatch.setattr(driver, "connect", lambda engine, workers: Pretended(workers, function))

    yield use
