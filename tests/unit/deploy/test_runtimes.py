"""Runtimes: what every one of them owes, whoever wrote it."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from concurrent_calls import wrong_answers

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import RUNTIMES, load


def test_a_runtime_that_keeps_the_state_of_a_call_is_safe_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def predict(self, X: np.ndarray) -> np.ndarray:
            self.rows = X
            time.sleep(1e-5)
            return self.rows

        def executed(self) -> list[Any]:
            return []

    class Careless(Slow):
        concurrent = True

    X = np.arange(40.0).reshape(20, 2)
    artifact = Artifact("slow", "", (2,), "float32", {})
    answers = {}
    for model in (Slow, Careless):
        module = SimpleNamespace(LIBRARIES=(), PACKAGES=(), load=lambda *_, made=model: made())
        monkeypatch.setitem(RUNTIMES._implementations, "slow", module)
        answers[model] = wrong_answers(load(Path(), artifact, 1).predict, X, calls=40)
    assert not answers[Slow]
    assert answers[Careless]
