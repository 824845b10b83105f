"""From what a failing step computes to the cause: one rule for each kind of operation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmkit.backends.trace import REPEATED, Call, Kind, Operation, Range, Trace
from lmkit.data.profile import feature_names
from lmkit.doctor.autopsy import Autopsy, Place
from lmkit.doctor.checks.data import unscaled_inputs, unscaled_target
from lmkit.doctor.checks.rates import LARGE_UPDATE, rate
from lmkit.doctor.lines import describe_line
from lmkit.system.records import MAX_ENTRIES

if TYPE_CHECKING:
    from lmkit.data.batches import Part
    from lmkit.doctor.evidence import Evidence
    from lmkit.training.replay import Replay
    from lmkit.training.setup import Components

GROWN_WEIGHTS, GROWN_LOSS = 10.0, 20.0
"""The growth of a matrix, or of the loss, from which the updates are the cause of an overflow."""

GROWING = 1.2
"""The growth in each call of a layer, in one pass, from which it is named."""

OUTLIER = 1e4
"""The size of a number in a batch, relative to the median of it, from which it is an outlier."""

OUTSIDE: dict[Kind, tuple[str, str]] = {
    "log": (
        "log of",
        "give log positive numbers: clamp them, or compute the loss from logits; a lower learning rate does not help",
    ),
    "sqrt": (
        "the square root of",
        "add a small number under the root: sqrt(x + 1e-12); a lower learning rate does not help",
    ),
    "power": ("a power of", "raise positive numbers only: clamp them; a lower learning rate does not help"),
}
"""Kind of operation → what it is called, and what to do, where its input is 0 or negative."""

MAX_NAMED = 4
"""Weights that are named, at most."""


@dataclass
class Case:
    """A failing step, or an evaluation that fails.

    Attributes:
        components: of the repeated run.
        evidence: what the run's folder tells.
        replay: the repeated steps.
        step: the number of the failing step.
        batch: its rows and targets.
        rows: their numbers in the part; None for a loader.
        trace: what it computes.
        part: of the data that ``rows`` belong to.
        is_stored_finite: whether the rows are finite before they are changed; None where they are not changed.
        bad_rows: rows of an evaluated part whose loss is not finite.
        sources: of the user's functions and classes.
    """

    components: Components
    evidence: Evidence
    replay: Replay
    step: int
    batch: Part
    rows: np.ndarray | None
    trace: Trace
    part: str = "training"
    is_stored_finite: Any = None
    bad_rows: int = 0
    sources: str = ""

    @property
    def is_evaluation(self) -> bool:
        """Whether the model is evaluated."""
        return self.part != "training"

    @cached_property
    def growth(self) -> float:
        """The growth of the matrix that grew most, from the start of the run if a reading tells, to this step."""
        readings, failure = self.evidence.readings, self.replay.failure
        if not readings or readings[0].step or failure is None:
            return self.replay.growth
        start = {w.name: w.norm for w in readings[0].weights if w.is_kernel and w.norm}
        weights = {n: np.asarray(w, dtype=np.float64) for n, w in failure.before.weights.items() if n in start}
        return max([self.replay.growth, *(float(np.linalg.norm(w)) / start[n] for n, w in weights.items())])

    @cached_property
    def loss_growth(self) -> float:
        """The largest of the last losses, relative to the first one."""
        losses = [v for v in self.evidence.losses[: self.step].tolist() if math.isfinite(v)]
        return max(losses[-200:]) / losses[0] if losses and losses[0] > 0 else 1.0

    @property
    def largest_update(self) -> float:
        """The largest relative change of a matrix in one of the last steps, or after a reading."""
        return max([*self.replay.updates.values(), *(u for u in self.evidence.largest_updates if u)], default=0.0)

    @property
    def has_grown(self) -> bool:
        """Whether the updates made weights or losses grow."""
        is_large = self.growth >= GROWN_WEIGHTS or self.largest_update > LARGE_UPDATE
        return self.step > 1 and (is_large or self.loss_growth >= GROWN_LOSS)

    @property
    def when(self) -> str:
        """The step as text."""
        return f"in step {self.step}" if not self.is_evaluation else f"on the {self.part} part after step {self.step}"

    def row_text(self, row: int) -> str:
        """Return a row of the batch as text."""
        if self.rows is not None:
            return f"row {int(self.rows[row])} of the {self.part} part"
        failure = self.replay.failure
        number = f" {failure.before.batch + 1} of epoch {failure.before.epoch + 1}" if failure else ""
        return f"row {row} of batch{number}"


def explain(case: Case) -> Autopsy:
    """Return the cause of a failure."""
    trace = case.trace
    parts: tuple[tuple[Place, Any], ...] = (("input", case.batch.X), ("target", case.batch.y))
    for place, values in parts:
        if np.asarray(values).dtype.kind == "f" and not np.isfinite(values).all():
            return _of_batch(case, place, np.asarray(values))
    bad = [name for name, gradient in trace.gradients.items() if not gradient.is_finite]
    if trace.origin is not None and (bad or not math.isfinite(trace.loss)):
        return _of_operation(case, trace.origin, bad)
    if case.replay.failure is not None and not case.is_evaluation and math.isfinite(case.replay.failure.loss):
        return _of_update(case)
    return _autopsy(
        case,
        "unknown",
        f"the loss is not finite {case.when}, but it is finite where its operations are computed one by one",
        {"loss, one by one": trace.loss},
        "train it with training.compile: off, or in float64 (training.precision), to see whether rounding decides",
    )


def _of_batch(case: Case, place: Place, values: np.ndarray) -> Autopsy:
    """Rows or targets are not finite."""
    flat = values.reshape(len(values), -1)
    bad = ~np.isfinite(flat)
    rows, columns = np.flatnonzero(bad.any(axis=1)), np.flatnonzero(bad.any(axis=0))
    row, column = int(rows[0]), int(np.flatnonzero(bad[rows[0]])[0])
    what = "NaN" if np.isnan(flat[row, column]) else "infinite"
    named = ""
    if place == "input":
        names = feature_names(case.components.data, flat.shape[1])
        named = f", column {names[column]!r}"
    source = "the data have"
    advice = "leave out or replace such numbers before training: np.isfinite(X).all() tells"
    if case.is_stored_finite:
        source = "the augmentation makes"
        advice = "lower what data.augment adds: the rows themselves are finite"
    elif case.rows is None:
        source, advice = "the loader gives", "look for a division by 0, a log or an empty mean in the loader"
    noun = "an input" if place == "input" else "a target"
    return _autopsy(
        case,
        place,
        f"{source} {noun} that is {what}: {case.row_text(row)}{named}, {case.when}",
        {"rows of the batch": f"{len(rows)} of {len(flat)}", "columns": f"{len(columns)} of {flat.shape[1]}"},
        advice,
    )


def _of_operation(case: Case, origin: Operation, bad: list[str]) -> Autopsy:
    """An operation makes a number that is not finite, forward or backward."""
    trace = case.trace
    effect, advice, is_overflow = _effect(origin)
    place = _place(case, origin)
    end = "the loss" if not bad else "the gradient"
    what = f"{effect} in {place} {case.when}" + ("" if end in place else f": {end} is not finite")
    evidence: dict[str, float | str] = {}
    for i, values in enumerate(origin.inputs[:2]):
        evidence[f"input {i + 1} of {origin.name}" if len(origin.inputs) > 1 else f"input of {origin.name}"] = str(
            values
        )
    if origin.output is not None and not origin.is_backward:
        evidence[f"result of {origin.name}"] = str(origin.output)
    if origin.row_count:
        evidence["rows"] = f"{origin.row_count} of {len(case.batch.X)}, the first {case.row_text(origin.rows[0])}"
    if origin.weights is not None:
        evidence[f"weights of {origin.layer}"] = str(origin.weights)
    if trace.first_nan is not None:
        evidence["NaN of it"] = f"in {_place(case, trace.first_nan)} ({trace.first_nan.name})"
    if bad:
        evidence["gradients"] = f"{len(bad)} of {len(trace.gradients)} weights: {', '.join(bad[:MAX_NAMED])}"
    change: dict[str, Any] = {}
    if is_overflow:
        recurrence = _recurrence(trace.calls, is_backward=origin.is_backward)
        evidence |= recurrence
        if case.has_grown:
            what += "; its updates made the weights grow"
            advice, change = _calm(case)
        elif recurrence:
            advice = "bound what is repeated: tanh, a normalization, or smaller or orthogonal first weights"
        elif scaled := _scaling(case):
            advice, change = scaled
        elif outlier := _outlier(case):
            evidence["largest input"] = outlier
            advice = "scale the inputs, or leave out such rows"
    return _autopsy(
        case,
        "gradient" if origin.is_backward else "loss" if origin.stage == "loss" else "layer",
        what,
        evidence,
        advice,
        change,
        origin,
    )


class Effect(NamedTuple):
    """What an operation does, what to do against it, and whether it overflows."""

    text: str
    advice: str
    is_overflow: bool = False


def _effect(origin: Operation) -> Effect:
    inputs = origin.inputs
    first = inputs[0] if inputs else Range(None, None, 0)
    backward = "the gradient of " if origin.is_backward else ""
    if origin.kind in OUTSIDE and (first.negative or first.zeros):
        noun, advice = OUTSIDE[origin.kind]
        return Effect(f"{backward}{noun} {'a negative number' if first.negative else '0'}", advice)
    if origin.kind == "division" and inputs[-1:] and inputs[-1].zeros:
        advice = "add a small number to the divisor; a where() around it does not mend its gradient"
        return Effect(f"{backward}a division by 0", advice)
    if origin.kind == "domain":
        return Effect(
            f"{backward}{origin.name} outside of its domain", "clamp its input, a little inside of its domain"
        )
    if origin.kind == "exp":
        advice = "subtract the largest number first (logsumexp), or clamp the input of exp"
        return Effect(f"{backward}exp overflows", advice, is_overflow=True)
    if any(not r.is_finite for r in inputs):
        return Effect(f"{backward}{origin.name} takes numbers that are not finite", "look where its inputs come from")
    name = "a matrix product" if origin.kind == "product" else origin.name
    return Effect(f"{backward}{name} overflows", "scale its inputs down, or normalize them", is_overflow=True)


def _of_update(case: Case) -> Autopsy:
    """Loss and gradients are finite, and weights after the update are not."""
    failure = case.replay.failure
    assert failure is not None
    bad = [name for name, w in failure.weights.items() if not np.isfinite(w).all()]
    learned = [name for name in bad if name in case.trace.gradients]
    named = ", ".join(bad[:MAX_NAMED])
    if bad and not learned:
        return _autopsy(
            case,
            "state",
            f"{named}, which is not learned, is not finite after step {case.step}",
            {"largest output of the model": case.trace.outputs.largest},
            "look at what a normalization layer takes: its running statistics overflow",
        )
    training = case.components.experiment.training
    largest = max((g.largest for g in case.trace.gradients.values()), default=0.0)
    learning_rate = float(case.evidence.rates[case.step - 1])
    advice, change = "scale inputs and targets, or clip the gradient", {"training.clip_norm": 1.0}
    if case.has_grown:
        advice, change = _calm(case)
    return _autopsy(
        case,
        "update",
        f"the update of {named} by {training.optimizer.name} overflows in step {case.step}, from finite gradients",
        {"largest gradient": largest, "learning rate": learning_rate},
        advice,
        change,
    )


def _autopsy(
    case: Case,
    place: Place,
    what: str,
    evidence: dict[str, float | str],
    advice: str,
    change: dict[str, Any] | None = None,
    origin: Operation | None = None,
) -> Autopsy:
    """Return an autopsy with what all have: how the run was repeated, and how weights grew."""
    replay = case.replay
    if case.step > 1 and change:
        evidence |= {
            "growth of the weights": case.growth,
            "growth of the loss": case.loss_growth,
            **({"largest change of a layer in a step": case.largest_update} if case.largest_update else {}),
        }
    if case.bad_rows:
        evidence["rows whose loss is not finite"] = str(case.bad_rows)
    difference = replay.difference(case.evidence.losses)
    same = "bitwise the same losses" if not difference else f"losses differ by up to {difference:.1g}, relative"
    begin = f"step {replay.first}" if replay.first else "the seed"
    count = len(replay.losses)
    every = 1 + len(replay.largest_weights) // MAX_ENTRIES
    sizes = list(replay.largest_weights.items())[::-every][::-1]
    evidence["repeated"] = f"{count} step{'s' if count > 1 else ''} from {begin}, {same}" if count else f"from {begin}"
    return Autopsy(
        reason=case.evidence.status.reason,
        step=case.step,
        place=place,
        what=what,
        layer=origin.layer if origin else "",
        line=describe_line(origin.line, case.sources) if origin else "",
        evidence={name: value if isinstance(value, str) else _plain(value) for name, value in evidence.items()},
        is_sure=not difference and place != "unknown",
        advice=advice,
        change=change or {},
        steps=tuple(step for step, _ in sizes),
        weights=tuple(size for _, size in sizes),
    )


def _plain(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(value)


def _place(case: Case, operation: Operation) -> str:
    """Return where an operation was called, as text."""
    place = (
        f"layer {operation.layer!r}" if operation.layer else "the loss" if operation.stage == "loss" else "the model"
    )
    line = describe_line(operation.line, case.sources)
    return f"{place} ({line})" if line else place


def _scaling(case: Case) -> tuple[str, dict[str, Any]] | None:
    """Return the advice and the change that scale the data; None where they are scaled."""
    findings = (check(case.evidence) for check in (unscaled_inputs, unscaled_target))
    return next(((f.advice, dict(f.change)) for f in findings if f), None)


def _calm(case: Case) -> tuple[str, dict[str, Any]]:
    """Return advice and change against updates that are too large: scaled data, else a lower learning rate."""
    if scaled := _scaling(case):
        return scaled
    updates = [*(u for u in case.evidence.largest_updates if u), *case.replay.updates.values()]
    factor = max(10.0, min(1e4, updates[0] / 0.01)) if updates else 10.0  # later ones are of weights that have grown
    return "lower the learning rate", rate(case.evidence.learning_rate / factor)


def _recurrence(calls: Any, *, is_backward: bool) -> dict[str, float | str]:
    """Return the growth per pass of the layer, called several times in a pass, that grows most."""
    by_layer: dict[str, list[float]] = {}
    for call in reversed(calls) if is_backward else calls:
        value = _size(call, is_backward)
        if value:
            by_layer.setdefault(call.layer, []).append(value)
    growths = {
        layer: (values[-1] / values[0]) ** (1 / (len(values) - 1))
        for layer, values in by_layer.items()
        if len(values) >= REPEATED
    }
    layer = max(growths, key=lambda name: growths[name], default="")
    if not layer or growths[layer] < GROWING:
        return {}
    what = "gradient" if is_backward else "output"
    return {f"growth of the {what} of {layer} per pass": growths[layer], "passes": str(len(by_layer[layer]))}


def _size(call: Call, is_backward: bool) -> float | None:
    """Return the largest number of what a call gives, or of its gradient; None where that is 0 or not finite."""
    values: Range | None = call.gradient if is_backward else call.output
    return values.largest if values is not None and values.is_finite and values.largest > 0 else None


def _outlier(case: Case) -> str:
    """Return the largest number of the batch as text, if it is an outlier; else an empty string."""
    X = np.asarray(case.batch.X)
    if X.dtype.kind != "f" or X.size == 0:
        return ""
    flat = np.abs(X.reshape(len(X), -1))
    row, column = (int(i) for i in np.unravel_index(int(flat.argmax()), flat.shape))
    median = float(np.median(flat[flat > 0])) if (flat > 0).any() else 0.0
    if not median or flat[row, column] < OUTLIER * max(median, 1.0):
        return ""
    names = feature_names(case.components.data, flat.shape[1])
    return f"{X.reshape(len(X), -1)[row, column]:.3g} in {case.row_text(row)}, column {names[column]!r}"
