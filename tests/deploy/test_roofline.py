"""The limits of a machine, and what a call takes at least."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from narrowing import require_type

from lmkit.deploy.measure import roofline
from lmkit.deploy.measure.roofline import Roofline

KNOWN = Roofline(2, {"float32": 1e11, "int8": 4e11}, ((2**16, 1e11), (2**20, 5e10), (2**28, 1e10)))


@pytest.mark.parametrize(
    ("flops", "size", "dtype", "seconds"),
    [
        (1e9, 0, "float32", 1e-2),  # it multiplies
        (1e9, 0, "int8", 2.5e-3),
        (1e3, 2**16, "float32", 2**16 / 1e11),  # it reads, from the fastest cache
        (1e3, 2**10, "float32", 2**10 / 1e11),
        (1e3, 2**22, "float32", 2**22 / 5e10),  # larger than one cache: the next smaller size is the least it takes
        (1e3, 2**30, "float32", 2**30 / 1e10),
    ],
)
def test_a_call_takes_the_longer_of_arithmetic_and_memory(flops: float, size: int, dtype: str, seconds: float) -> None:
    assert KNOWN.seconds(flops, size, dtype) == pytest.approx(seconds)


def test_of_a_type_that_could_not_be_measured_nothing_is_told() -> None:
    assert KNOWN.seconds(1e9, 10, "float16") is None


def test_bytes_of_weights_follow_their_types() -> None:
    assert roofline.stored_bytes({"float32": 3, "bfloat16": 4, "uint8": 5, "int4": 8, "bool": 2}) == 12 + 8 + 5 + 4 + 2


def test_it_is_measured_once_and_told_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "other"))
    started, told = [], list[str]()

    def run(command: list[str], **settings: object) -> subprocess.CompletedProcess[str]:
        assert told  # a person knows what takes the time
        started.append((command, settings["env"]["OMP_NUM_THREADS"]))  # type: ignore[index]
        found = {"threads": 2, "peak": {"float32": 1.0}, "bandwidth": [[1, 2.0]], "seconds": 5}
        return subprocess.CompletedProcess(command, 0, json.dumps(found), "")

    monkeypatch.setattr(subprocess, "run", run)
    assert roofline.cached_roofline(2) is None
    first = roofline.measure_roofline(2, told.append)
    assert (
        first
        == Roofline(2, {"float32": 1.0}, ((1, 2.0),))
        == roofline.cached_roofline(2)
        == roofline.measure_roofline(2, told.append)
    )
    assert started == [([sys.executable, "-m", "lmkit.deploy.measure.roofline", "2"], "2")]
    assert told == ["benchmarking this machine (first time only, 2 threads)"]
    assert roofline.cached_roofline(1) is None


@pytest.mark.parametrize("printed", ["", "no JSON", "{}"])
def test_a_machine_that_cannot_be_measured_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str
) -> None:
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "other"))
    done = subprocess.CompletedProcess([], 1, printed, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert roofline.measure_roofline(1) is None


def test_the_shortest_call_counts() -> None:
    waits = iter([0.05, 0.02, 0.004, 0.01])
    assert 0.004 <= roofline.shortest(lambda: time.sleep(next(waits)), 3) < 0.01


def test_a_product_is_no_faster_than_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "SIZES", (256,))
    monkeypatch.setattr(roofline, "ARRAYS", (2**18, 2**22))
    found = roofline.measure_peaks(1)
    assert set(found) == {"float32", "float64", "int8"}
    assert all(rate > 1e8 for rate in found.values())
    rates = [rate for _, rate in roofline.measure_bandwidths()]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 1e8


def test_its_integer_product_is_what_it_says() -> None:
    """The product that is timed is the one of eight-bit numbers, summed in 32 bits."""
    _, product, size = next(p for p in roofline._onnxruntime(1) if p[0] == "int8")
    draw = np.random.default_rng(0)
    draw.integers(0, 64, (size, size)), draw.integers(0, 64, (size, size))  # those of float32
    a, b = (draw.integers(0, 64, (size, size)).astype(np.int64) for _ in range(2))
    (found,) = require_type(product(), list)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found[:5], (a @ b)[:5])
