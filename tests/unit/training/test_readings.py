"""Which rows a reading takes, and of how many outputs it computes statistics."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lmkit.data.batches import Part
from lmkit.training.readings import OUTPUT_NUMBERS, probe_rows, read_outputs


def data(shape: tuple[int, ...], dtype: str = "float32", rows: int = 1000) -> Any:
    X = np.broadcast_to(np.zeros((), dtype), (rows, *shape))
    return SimpleNamespace(
        training=Part(X, np.zeros(rows)), batches=None, preprocessing=SimpleNamespace(task="language")
    )


@pytest.mark.parametrize(
    ("shape", "dtype", "batch_size", "expected"),
    [
        ((64,), "float32", 8, 32),
        ((64,), "float32", 100, 100),
        ((64,), "float32", 5000, 256),
        ((224, 224, 3), "float32", 8, 8),
        ((1024,), "int32", 2, 8),
    ],
    ids=["at least 32", "a batch", "at most 256", "photographs", "long texts"],
)
def test_rows_are_those_of_a_batch_within_what_fits_into_memory(
    shape: tuple[int, ...], dtype: str, batch_size: int, expected: int
) -> None:
    rows = probe_rows(data(shape, dtype), batch_size)
    assert len(rows) == expected
    assert (rows[0], rows[-1]) == (0, 999)


def test_statistics_of_many_outputs_are_those_of_the_first_positions() -> None:
    vocabulary = 1000
    outputs = np.zeros((4, 100, vocabulary), np.float32)
    last = OUTPUT_NUMBERS // vocabulary - 1
    outputs.reshape(-1, vocabulary)[last] = 2
    outputs.reshape(-1, vocabulary)[last + 1] = 9
    reading = read_outputs(outputs, data((100,), "int32", 4), np.arange(4))
    assert (reading.low, reading.high, reading.sum_high) == (0, 2, 2 * vocabulary)
