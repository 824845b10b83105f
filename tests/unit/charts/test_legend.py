"""A legend says what differs between runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from written_run import written_run

from lmkit.charts.legend import legend_names


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ([{"seed": 0}, {"seed": 1}], ["seed=0", "seed=1"]),
        (
            [{"training.optimizer.lr": 0.1}, {"training.optimizer.lr": 0.01, "seed": 2}],
            ["seed=0, lr=0.1", "seed=2, lr=0.01"],
        ),
        ([{"framework": "torch"}, {"framework": "tensorflow"}], ["torch", "tensorflow"]),
    ],
)
def test_runs_are_named_by_what_differs(tmp_path: Path, changes: list[dict[str, Any]], names: list[str]) -> None:
    assert legend_names([written_run(tmp_path, prepared=False, **change) for change in changes]) == names


def test_equal_runs_and_very_different_ones_have_their_own_names(tmp_path: Path) -> None:
    equal = [written_run(tmp_path, prepared=False, name=name) for name in ("first", "second")]
    assert [name.rpartition("-")[0] for name in legend_names(equal)] == ["first", "second"]
    other = written_run(tmp_path, prepared=False, name="third", data="digits", model="cnn:small", seed=4)
    assert [name.rpartition("-")[0] for name in legend_names([equal[0], other])] == ["first", "third"]
