"""Models and losses that cannot be divided over devices or micro-batches, and the threads of several processes."""

from __future__ import annotations

from typing import Any

import pytest

import lmkit as lk
from lmkit.backends import threads
from lmkit.backends.micro_batches import check_divisible
from lmkit.exceptions import ConfigError
from lmkit.specs.signature import Signature

FINE: dict[str, Any] = {"rows": 8, "batch_norm": "", "has_graph": False, "additivity": "mean", "loss": ""}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_norm": "norm_1"}, "but norm_1 normalizes over the rows that it is given"),
        ({"has_graph": True}, "but a graph is computed as a whole for every step"),
        ({"additivity": "", "loss": "own:loss"}, "but the loss own:loss of a batch is neither the mean nor the sum"),
    ],
    ids=["batch normalization", "graph", "loss"],
)
@pytest.mark.parametrize(
    ("devices", "field", "instead"),
    [(1, r"training\.micro_batch: given 8", "leave micro_batch out"), (2, r"training\.devices: given 2", "devices: 1")],
)
def test_what_is_not_the_sum_of_its_parts_is_refused(
    change: dict[str, Any], message: str, devices: int, field: str, instead: str
) -> None:
    check_divisible(**FINE, devices=devices)
    with pytest.raises(ConfigError, match=rf"{field}, {message}.*{instead}"):
        check_divisible(**{**FINE, **change}, devices=devices)


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 8)
    model = lk.Experiment(model={"hidden": [2048, 2048]}).model
    signature = Signature((64,), 10)
    assert threads.threads_for(model, signature, 64) == 0
    assert threads.threads_for(model, signature, 64, processes=2) == 4
    assert threads.threads_for(model, signature, 64, processes=16) == 1
    assert threads.threads_for(model, signature, 64, 3, processes=2) == 3
