"""The way back from a loss that is not finite, over operations that a NumPy tracer records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from lmkit.backends.trace import Operation, Range, Tracer


class NumpyTracer(Tracer):
    """Arrays are tensors; ``run`` computes an operation."""

    kinds: ClassVar = {"exp": "exp", "where": "fill"}

    def key(self, tensor: Any) -> int:
        return id(tensor)

    def is_finite(self, tensor: Any) -> bool:
        return bool(np.isfinite(tensor).all())

    def to_array(self, tensor: Any) -> np.ndarray:
        return np.asarray(tensor)

    def layer_weights(self, layer: str) -> Range | None:
        return None

    def run(self, name: str, function: Callable[..., np.ndarray], *inputs: np.ndarray) -> np.ndarray:
        taken = self.take(inputs)
        with np.errstate(all="ignore"):
            output = function(*inputs)
        self.record(name, taken, [output])
        return output


@pytest.fixture
def tracer() -> NumpyTracer:
    return NumpyTracer(rows=3)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def origin_of(tracer: NumpyTracer, end: np.ndarray) -> tuple[Operation, Operation | None]:
    origin, first_nan = tracer.origin([end])
    assert origin is not None
    return origin, first_nan


SCORES = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 1.0]])
MASK = np.array([[True, False], [True, True], [True, False]])


def test_an_overflow_is_named_and_not_the_nan_that_follows(tracer: NumpyTracer) -> None:
    large = tracer.run("exp", np.exp, np.array([[1.0], [800.0], [900.0]]))
    difference = tracer.run("sub", np.subtract, large, large)
    origin, first_nan = origin_of(tracer, tracer.run("mean", np.mean, difference))
    assert (origin.name, origin.kind, origin.rows, origin.row_count) == ("exp", "exp", (1, 2), 2)
    assert origin.inputs == (Range(1.0, 900.0, 3),)
    assert first_nan is not None
    assert first_nan.name == "sub"


def test_an_infinite_mask_is_deliberate(tracer: NumpyTracer) -> None:
    masked = tracer.run("where", lambda z: np.where(MASK, z, -np.inf), SCORES)
    shares = tracer.run("softmax", softmax, masked)
    large = tracer.run("exp", lambda z: np.exp(1000 * z), shares)
    assert origin_of(tracer, tracer.run("mean", np.mean, large))[0].name == "exp"


def test_a_mask_over_a_whole_row_makes_nan_in_the_softmax(tracer: NumpyTracer) -> None:
    masked = tracer.run("add", np.add, SCORES, np.where([[True], [False], [True]], 0.0, -np.inf))
    with np.errstate(all="ignore"):
        shares = tracer.run("softmax", softmax, masked)
    origin, _ = origin_of(tracer, tracer.run("mean", np.mean, shares))
    assert (origin.name, origin.rows) == ("softmax", (1,))


def test_what_does_not_reach_the_loss_is_no_origin(tracer: NumpyTracer) -> None:
    tracer.run("exp", np.exp, np.array([1000.0]))
    end = tracer.run("log", np.log, np.array([-1.0, 1.0, 1.0]))
    assert origin_of(tracer, end)[0].name == "log"
    assert tracer.origin([np.array(1.0)]) == (None, None)


def test_the_line_is_that_of_the_caller(tracer: NumpyTracer) -> None:
    end = tracer.run("log", np.log, np.array([-1.0]))
    line = origin_of(tracer, end)[0].line
    assert line is not None
    assert (line.path, line.function) == (__file__, "NumpyTracer.run")
