"""Finders over both frameworks, in the test's own process and once in their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.finders import trial

EXPERIMENT: dict[str, Any] = {
    "data": {"source": "breast_cancer", "batch_size": 32},
    "model": {"hidden": [8]},
    "training": {"optimizer": "sgd"},
}


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def open_trial(experiment: lk.Experiment, root: Path, cancel: trial.Cancel) -> Iterator[Any]:
        with ExitStack() as cleanup:
            yield trial._ThisProcess(root, cleanup)

    monkeypatch.setattr(trial, "open_trial", open_trial)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_both_finders_give_a_suggestion_that_trains(framework: str, tmp_path: Path) -> None:
    lines: list[str] = []
    options = {**EXPERIMENT, "framework": framework}
    result = lk.find_learning_rate(options, steps=60, runs=tmp_path, progress=lines.append)
    assert 1e-4 < result.suggestion < 10
    assert len(result.losses) == len(result.rates) >= 10
    assert np.all(np.diff(result.rates) > 0)
    assert lines[0].startswith("learning rate ")
    sizes = lk.find_micro_batch(result.apply(), runs=tmp_path, batch_size=4, progress=lines.append)
    assert [t.rows for t in sizes.trials] == [1, 2, 4]
    assert all(t.fits and t.seconds > 0 and t.bytes > 0 for t in sizes.trials)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]  # no run was created


def test_a_cancelled_finder_returns_what_it_has(tmp_path: Path) -> None:
    cancel = trial.Cancel()
    lines: list[str] = []

    def progress(text: str) -> None:
        lines.append(text)
        if len(lines) == 2:
            cancel()

    result = lk.find_learning_rate(EXPERIMENT, steps=200, runs=tmp_path, progress=progress, cancel=cancel)
    assert result.note == "cancelled"
    assert len(result.losses) == 20
    assert cancel.process is None
