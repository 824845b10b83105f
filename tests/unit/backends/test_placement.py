"""Experiments that cannot be trained on the devices that they ask for are refused before any work."""

from __future__ import annotations

from typing import Any

import pytest

import lmkit as lk
from lmkit.backends import placement
from lmkit.backends.placement import check_placement, count_processes, resolve_strategy
from lmkit.exceptions import ConfigError
from lmkit.run.start import check_processes
from lmkit.specs.data import DataSpec


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "available_cores", lambda: 4)


def experiment(**changes: Any) -> lk.Experiment:
    return lk.Experiment().override(changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 5}, "training.devices: given 5, this machine has 4 cores; write devices: 4"),
        ({"devices": 4, "batch_size": 3}, "given 4, more than the 3 rows of a batch; write devices: 3"),
        ({"devices": 2, "strategy": "mirrored"}, "given mirrored, a strategy of tensorflow; torch has single"),
        ({"devices": 2, "strategy": "ddp", "framework": "tensorflow"}, "given ddp, a strategy of torch"),
        ({"strategy": "fsdp"}, "given fsdp with one device, expected at least 2; write devices: 2"),
        ({"devices": 2, "strategy": "single"}, "given 2 with strategy: single; write strategy: auto"),
    ],
    ids=["too many", "few rows", "TensorFlow's", "PyTorch's", "one device", "single"],
)  # fmt: skip
def test_what_cannot_be_divided_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_placement(experiment(**changes))


@pytest.mark.parametrize(
    ("kind", "message"),
    [("loader", "batches of a loader may differ between processes"), ("graph", "a step over a graph computes all")],
)
def test_data_whose_rows_are_not_divided_are_refused(kind: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = experiment(devices=2)
    monkeypatch.setattr(DataSpec, "kind", kind)
    with pytest.raises(ConfigError, match=message):
        check_placement(spec)


def test_graphics_cards_are_counted_instead_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "machine_devices", lambda: ["cpu", "cuda:0"])
    with pytest.raises(ConfigError, match="given 2, this machine has 1 GPU; write devices: 1"):
        check_placement(experiment(devices=2))
    check_placement(experiment(devices=2, device="cpu"))


def test_processes_that_another_program_launched_may_outnumber_the_cores() -> None:
    check_placement(experiment(), 8)
    with pytest.raises(ConfigError, match="with strategy: single"):
        check_placement(experiment(strategy="single"), 8)


@pytest.mark.parametrize(
    ("changes", "strategy", "processes"),
    [
        ({}, "single", 1),
        ({"devices": 2}, "ddp", 2),
        ({"devices": 2, "strategy": "fsdp"}, "fsdp", 2),
        ({"devices": 2, "framework": "tensorflow"}, "multiworker", 2),
        ({"devices": 2, "framework": "tensorflow", "strategy": "mirrored"}, "mirrored", 1),
    ],
    ids=["one", "torch", "fsdp", "tensorflow", "mirrored"],
)
def test_auto_is_a_process_a_device(changes: dict[str, Any], strategy: str, processes: int) -> None:
    spec = experiment(**changes)
    assert (resolve_strategy(spec), count_processes(spec)) == (strategy, processes)


def test_several_processes_are_not_this_one() -> None:
    with pytest.raises(ConfigError, match=r"given 2 with inline=True, .*; write wait=True instead"):
        check_processes(experiment(devices=2), inline=True)
