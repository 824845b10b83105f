"""What a step computes, operation by operation: where the first number arises that is not finite and reaches the loss.

A backend calls ``Tracer.record`` for each operation. Operations with a result that is not finite are linked by the
tensors that they take and give, so that ``Tracer.origin`` follows them back from the loss, or from a gradient: an
infinite mask whose softmax is finite is not on the way.
"""

from __future__ import annotations

import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

Stage = Literal["model", "loss"]

Kind = Literal["exp", "log", "sqrt", "division", "power", "product", "domain", "fill", "other"]
"""Kinds of operations; ``product``: of matrices, or a convolution; ``domain``: an inverse function such as acos;
``fill``: one that writes numbers on purpose."""

REPEATED = 3
"""Calls in a pass from which a layer is a recurrence."""

MAX_ROWS = 5
"""Rows of a batch that are named, at most."""

PACKAGE = str(Path(__file__).parents[1])
LIBRARIES = (*{path for name, path in sysconfig.get_paths().items() if name.endswith("lib")}, "<frozen")
"""Folders of code that is not a user's."""


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers of an array.

    Attributes:
        low, high: the smallest and the largest finite one; None if there is none.
        size: how many there are.
        nan, infinite, zeros, negative: how many are NaN, infinite, 0 and finite below 0.
    """

    low: float | None
    high: float | None
    size: int
    nan: int = 0
    infinite: int = 0
    zeros: int = 0
    negative: int = 0

    @classmethod
    def of(cls, values: np.ndarray) -> Range:
        """Return the range of an array.

        >>> Range.of(np.array([1.0, -2.0, np.inf]))
        Range(low=-2.0, high=1.0, size=3, nan=0, infinite=1, zeros=0, negative=1)
        """
        array = np.asarray(values)
        finite = array if is_finite(array) else array[np.isfinite(array)]
        nan = 0 if finite.size == array.size else int(np.isnan(array).sum())
        return cls(
            float(finite.min()) if finite.size else None,
            float(finite.max()) if finite.size else None,
            array.size,
            nan,
            array.size - finite.size - nan,
            int((finite == 0).sum()),
            int((finite < 0).sum()),
        )

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are finite."""
        return not self.nan and not self.infinite

    @property
    def largest(self) -> float:
        """The largest absolute value; infinite if one is not finite."""
        if not self.is_finite:
            return float("inf")
        return max((abs(v) for v in (self.low, self.high) if v is not None), default=0.0)

    def __str__(self) -> str:
        parts = [] if self.low is None or self.high is None else [f"{self.low:.3g} to {self.high:.3g}"]
        parts += [f"{n} of {self.size} {what}" for n, what in ((self.nan, "NaN"), (self.infinite, "infinite")) if n]
        return ", ".join(parts) or "no numbers"


class Line(NamedTuple):
    """A line of a user's code.

    Attributes:
        path: of the file; in angle brackets where there is none.
        number: of the line in it.
        function: the qualified name of the function around it.
        offset: lines from the beginning of the function.
    """

    path: str
    number: int
    function: str
    offset: int


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the framework.

    Attributes:
        name: as the framework calls it.
        kind: the kind of it.
        stage: where it was computed.
        layer: the innermost layer around it; empty outside of layers.
        line: the line of a user's code that called it; None where it is not a user's.
        inputs: its numbers; of an operation of the backward pass those of the operation that it differentiates.
        output: its result.
        weights: of its layer; None where it has none.
        rows: of the batch whose results are not finite, the first ones; empty where results do not belong to rows.
        row_count: how many they are.
        is_backward: whether it belongs to the backward pass; ``name``, ``layer`` and ``line`` are then those of the
            operation that it differentiates.
    """

    name: str
    kind: Kind
    stage: Stage
    layer: str = ""
    line: Line | None = None
    inputs: tuple[Range, ...] = ()
    output: Range | None = None
    weights: Range | None = None
    rows: tuple[int, ...] = ()
    row_count: int = 0
    is_backward: bool = False


class Call(NamedTuple):
    """One call of a layer that is called several times in a pass.

    Attributes:
        layer: its name.
        output: what it gave.
        gradient: of the loss with respect to the output; None where that was not computed.
    """

    layer: str
    output: Range
    gradient: Range | None


@dataclass(frozen=True)
class Trace:
    """What a step computes from finite weights, before it changes them.

    Attributes:
        loss: of the batch.
        outputs: of the model.
        calls: of the layers that are called at least ``REPEATED`` times, in their order.
        gradients: weight → its gradient; empty where the loss is not finite, or was not differentiated.
        origin: the operation from which the loss, or a gradient, is not finite; None where all is finite.
        first_nan: the operation that makes NaN of infinite numbers, where ``origin`` is infinite and the end is NaN.
    """

    loss: float
    outputs: Range
    calls: Sequence[Call] = ()
    gradients: Mapping[str, Range] = field(default_factory=dict)
    origin: Operation | None = None
    first_nan: Operation | None = None


class Forward(NamedTuple):
    """An operation of the forward pass: where it was called, and the tensors that it took and gave."""

    name: str
    kind: Kind
    stage: Stage
    layer: str
    line: Line | None
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...] = ()


class Inputs(NamedTuple):
    """The tensors of floats that an operation takes, as they are before it.

    Attributes:
        tensors: copies, where the operation writes into them.
        parents: the earlier operations whose results in them are not finite.
        is_finite: whether all are finite.
        has_nan: whether NaN is among them that no operation made.
    """

    tensors: tuple[Any, ...]
    parents: tuple[int, ...] = ()
    is_finite: bool = True
    has_nan: bool = False


class _Event(NamedTuple):
    """An operation whose result is not finite.

    Attributes:
        operation: itself.
        parents: the earlier operations that it takes such numbers from.
        has_nan: whether its result has NaN.
        is_deliberate: whether its result has only infinite numbers that were written on purpose.
    """

    operation: Operation
    parents: tuple[int, ...]
    has_nan: bool
    is_deliberate: bool


class Tracer:
    """Records operations; a backend says what its tensors are.

    Attributes:
        kinds: the kind of an operation, by its name.
        stage: of what is computed now.
        layers: names of the layers that are computing, the innermost last.
        calls: layer and output of each call so far.
    """

    kinds: ClassVar[Mapping[str, Kind]] = {}

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.stage: Literal["model", "loss", "backward"] = "model"
        self.layers: list[str] = []
        self.calls: list[tuple[str, Any]] = []
        self._events: list[_Event] = []
        self._producers: dict[int, int] = {}
        self._tensors: list[Any] = []  # kept, so that no other tensor has their key

    # -- what a backend says

    def key(self, tensor: Any) -> int:
        """Return a number that is the same for tensors that share their memory."""
        raise NotImplementedError

    def is_finite(self, tensor: Any) -> bool:
        """Return whether all numbers of a tensor are finite."""
        raise NotImplementedError

    def to_array(self, tensor: Any) -> np.ndarray:
        """Return a tensor of floats as an array."""
        raise NotImplementedError

    def layer_weights(self, layer: str) -> Range | None:
        """Return the range of a layer's own weights; None where it has none."""
        raise NotImplementedError

    # -- recording

    def take(self, tensors: Sequence[Any]) -> Inputs:
        """Return the inputs of an operation, which is about to compute."""
        bad = [t for t in tensors if not self.is_finite(t)]
        parents = {self._producers[k] for t in bad if (k := self.key(t)) in self._producers}
        outside = (t for t in bad if self.key(t) not in self._producers)
        has_nan = any(np.isnan(self.to_array(t)).any() for t in outside)
        return Inputs(tuple(tensors), tuple(parents), not bad, bool(has_nan))

    def record(self, name: str, inputs: Inputs, outputs: Sequence[Any], forward: Forward | None = None) -> None:
        """Record an operation, if a result of it is not finite.

        Args:
            name: of the operation.
            inputs: what ``take`` returned before it.
            outputs: its tensors of floats.
            forward: of an operation of the backward pass, the one that it differentiates, if that is known.
        """
        bad = [t for t in outputs if not self.is_finite(t)]
        if not bad:
            return
        has_nan = any(np.isnan(self.to_array(t)).any() for t in bad)
        is_fill = inputs.is_finite and self.kinds.get(name) == "fill"
        # an infinite number that no operation made was written by hand, such as a mask in a buffer
        is_copy = not (inputs.is_finite or inputs.has_nan) and all(
            self._events[i].is_deliberate for i in inputs.parents
        )
        operation = self._describe(name, inputs.tensors, bad[0], forward)
        self._events.append(_Event(operation, inputs.parents, has_nan, not has_nan and (is_fill or is_copy)))
        for tensor in bad:
            self._producers[self.key(tensor)] = len(self._events) - 1
            self._tensors.append(tensor)

    def _describe(self, name: str, inputs: Sequence[Any], output: Any, forward: Forward | None) -> Operation:
        values = self.to_array(output)
        rows: np.ndarray = np.zeros(0, dtype=np.int64)
        if values.ndim and len(values) == self.rows:
            rows = np.flatnonzero(~np.isfinite(values.reshape(self.rows, -1)).all(axis=1))
        operation = Operation(
            name,
            self.kinds.get(name, "other"),
            "loss" if self.stage == "loss" else "model",
            self.layers[-1] if self.layers else "",
            find_user_line(),
            tuple(Range.of(self.to_array(t)) for t in inputs),
            Range.of(values),
            rows=tuple(int(i) for i in rows[:MAX_ROWS]),
            row_count=len(rows),
            is_backward=self.stage == "backward",
        )
        if forward is not None:
            operation = replace(
                operation,
                name=forward.name,
                kind=forward.kind,
                stage=forward.stage,
                layer=forward.layer,
                line=forward.line,
                inputs=tuple(Range.of(self.to_array(t)) for t in forward.inputs),
            )
        return replace(operation, weights=self.layer_weights(operation.layer) if operation.layer else None)

    # -- the result

    def repeated_calls(self, gradients: Mapping[int, Any]) -> list[Call]:
        """Return the calls of layers that are called several times; ``gradients`` are those of outputs, by call."""
        counts = Counter(layer for layer, _ in self.calls)
        return [
            Call(
                layer,
                Range.of(self.to_array(output)),
                Range.of(self.to_array(gradients[i])) if gradients.get(i) is not None else None,
            )
            for i, (layer, output) in enumerate(self.calls)
            if counts[layer] >= REPEATED
        ]

    def origin(self, ends: Iterable[Any]) -> tuple[Operation | None, Operation | None]:
        """Return the earliest operation that tensors are not finite from, and the one that made NaN of its result."""
        waiting = [self._producers[k] for t in ends if (k := self.key(t)) in self._producers]
        reached: set[int] = set()
        while waiting:
            index = waiting.pop()
            if index not in reached:
                reached.add(index)
                waiting += self._events[index].parents
        events = {i: self._events[i] for i in sorted(reached)}
        causes = (i for i, e in events.items() if not e.is_deliberate and self._is_first(e))
        first = next(causes, next(iter(events), None))
        if first is None:
            return None, None
        if events[first].has_nan:
            return events[first].operation, None
        return events[first].operation, next((e.operation for e in events.values() if e.has_nan), None)

    def _is_first(self, event: _Event) -> bool:
        return all(self._events[i].is_deliberate for i in event.parents)


def is_finite(values: np.ndarray) -> bool:
    """Return whether all numbers of an array are finite; a finite sum, which is fast, proves it."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def find_user_line() -> Line | None:
    """Return the line of a user's code that called the operation; None where it is lmkit's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back  # the tracer itself
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE):
            return None
        if not code.co_filename.startswith(LIBRARIES):
            return Line(code.co_filename, frame.f_lineno, code.co_qualname, frame.f_lineno - code.co_firstlineno)
        frame = frame.f_back
    return None
