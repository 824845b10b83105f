"""TensorFlow on a device other than the first, with stand-ins: two logical devices of the processor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What the program in ``tests/support/logical_devices.py`` saw."""
    command = [sys.executable, str(SUPPORT / "logical_devices.py")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-4000:]
    values: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return values


def test_no_device_is_in_use_after_the_imports(seen: dict[str, Any]) -> None:
    assert (seen["initialized"], seen["initialized_after"]) == (False, True)


def test_all_of_a_trainer_is_on_its_device(seen: dict[str, Any]) -> None:
    assert seen["variables"] == seen["optimizer"] == ["cpu:1"]
    assert seen["data"] == "cpu:1"
    assert seen["executed"] == ["CPU:1"]
    assert seen["gradients"] == []
    assert seen["losses"] == seen["first_losses"]


def test_a_model_predicts_and_explains_where_it_is(seen: dict[str, Any]) -> None:
    assert seen["outputs"] < 1e-12
    assert seen["predicted"] < 1e-12
    assert seen["explained"] == [4, 6]


def test_a_part_on_the_host_is_evaluated_alike(seen: dict[str, Any]) -> None:
    assert seen["on_host"] < 1e-12


def test_how_exactly_it_computes_is_set_and_returns(seen: dict[str, Any]) -> None:
    assert seen["numerics"] == {"tf32": False, "deterministic": True}
    assert seen["numerics_after"] == {"tf32": True, "deterministic": False}
    assert seen["environment"]["device"] == "cpu:1"
    np.testing.assert_allclose(seen["deterministic_losses"], seen["losses"], rtol=1e-12)


@pytest.mark.parametrize("in_trace", [True, False], ids=["in the trace", "after a step"])
def test_a_call_that_runs_out_of_memory_is_repeated_in_smaller_micro_batches(
    seen: dict[str, Any], in_trace: bool
) -> None:
    repeated = seen[f"repeated_{in_trace}"]
    assert (repeated["micro_batch"], repeated["failures"], repeated["notes"]) == (2, 2, 2)
    np.testing.assert_allclose(repeated["losses"], seen["losses"], rtol=1e-11)


def test_one_row_that_does_not_fit_is_said_with_what_helps(seen: dict[str, Any]) -> None:
    assert "out of memory on cpu:1 with one row at a time" in seen["refused"]
    assert "lmkit plan" in seen["refused"]
