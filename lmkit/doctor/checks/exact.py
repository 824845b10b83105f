"""What arithmetic settles: rows that mix, outputs squashed twice, parts without gradient, layers without a bend."""

from __future__ import annotations

from collections.abc import Sequence

from lmkit.doctor.checks import check
from lmkit.doctor.evidence import Evidence
from lmkit.doctor.finding import Confidence, Finding, Series
from lmkit.exceptions import join_names
from lmkit.runfolder.readings import WeightReading

MIXED = 1e-2
"""The relative change of a row's outputs by other rows (planted .71 or more, others 8e-7)."""

LINEAR = 1e-4
"""The relative curvature below which a model is linear (planted 1e-6, others .59 or more)."""

DEALT = 1e-5
"""The relative change of the loss with dealt targets (planted 1e-7, others .03 or more)."""

BROKEN = ("constant-output", "underfit", "at-chance", "rate-low", "rate-high", "no-signal", "unfinished", "vanishing")

MAX_NAMES = 4
"""Weights that a finding names."""


@check("rows-mixed", title="rows mixed in the model", strength=100, explains=(*BROKEN, "saturated"))
def rows_mixed(evidence: Evidence) -> Finding | None:
    """A row's outputs depend on the other rows of its batch."""
    change = evidence.largest(lambda reading: reading.mixed)
    if change is None or change <= MIXED:
        return None
    return Finding(
        check="rows-mixed",
        what="the outputs of a row depend on the other rows of its batch",
        evidence={"relative change of a row's outputs by other rows": change},
        confidence="sure",
        advice="look for an operation over axis 0 of the model, such as softmax(dim=0), a sort or a mean over rows",
        chart=Series(
            title="change of a row's outputs by others",
            steps=evidence.reading_steps,
            values=[reading.mixed for reading in evidence.readings],
            limit=MIXED,
        ),
    )


@check("squashed-twice", title="outputs squashed twice", strength=98, explains=BROKEN)
def squashed_twice(evidence: Evidence) -> Finding | None:
    """The loss takes logits, and the outputs are probabilities."""
    outputs = [reading.outputs for reading in evidence.readings]
    takes_logits = evidence.is_classification and evidence.output_kind == "logits"
    if not takes_logits or not evidence.experiment.model.is_custom or len(outputs) < 3:
        return None
    if any(o.low is None or o.high is None or o.low < 0 or o.high > 1 for o in outputs):
        return None
    sums = [(o.sum_low or 0.0, o.sum_high or 0.0) for o in outputs]
    if all(o.low == o.high == 1.0 == o.sum_low == o.sum_high for o in outputs):
        return Finding(
            check="squashed-twice",
            what="the outputs are always 1, as those of a softmax over a single output",
            evidence={"lowest output": 1.0, "highest": 1.0},
            confidence="sure",
            advice="leave the softmax out of the model, or write a sigmoid",
        )
    if any((o.high or 0.0) - (o.low or 0.0) < 0.01 for o in outputs):
        return None  # nearly the same logit for every row may be anywhere
    if max(o.high or 0.0 for o in outputs) - min(o.low or 0.0 for o in outputs) < 0.05:
        return None  # a constant logit may be anywhere
    is_softmax = all(abs(low - 1) < 1e-3 and abs(high - 1) < 1e-3 for low, high in sums)
    squashing = "softmax" if is_softmax else "sigmoid"
    return Finding(
        check="squashed-twice",
        what=f"the outputs are those of a {squashing}, and the loss applies it once more",
        evidence={
            "lowest output": min(o.low or 0.0 for o in outputs),
            "highest": max(o.high or 0.0 for o in outputs),
            "sum of a row": f"{min(low for low, _ in sums):.4g} … {max(high for _, high in sums):.4g}",
        },
        confidence="sure",
        advice=f"leave the {squashing} out of the model, or say what the outputs are",
        change={"model.outputs": "probabilities"},
    )


@check("bounded-output", title="outputs cannot reach the targets", strength=96, explains=BROKEN)
def bounded_output(evidence: Evidence) -> Finding | None:
    """The outputs of a regression cannot reach the targets."""
    outputs, target = [reading.outputs for reading in evidence.readings], evidence.profile.target
    if not evidence.experiment.model.is_custom or len(outputs) < 3:
        return None
    if target is None or target.mean is None or target.spread is None:
        return None
    lows, highs = [o.low for o in outputs if o.low is not None], [o.high for o in outputs if o.high is not None]
    if not lows or len(lows) < len(outputs) or not highs:
        return None
    low, high, late_high = min(lows), max(highs), highs[-1]
    negative = target.mean - 0.5 * target.spread < 0
    outside = negative or target.mean + 1.5 * target.spread > 1
    if low >= 0 and high <= 1 and outside:
        bend = "sigmoid"
    elif low >= 0 and negative and min(lows[1:]) < 1e-6 * max(1.0, late_high):
        bend = "relu"
    else:
        return None
    reach = "between 0 and 1" if bend == "sigmoid" else "never below 0"
    return Finding(
        check="bounded-output",
        what=f"the outputs are {reach}, as those of a {bend}, and the targets are not",
        evidence={"lowest output": low, "highest": high, "mean target": target.mean, "its spread": target.spread},
        confidence="sure",
        advice=f"leave the {bend} after the last layer out",
    )


@check("no-gradient", title="weights without gradient", strength=97, explains=(*BROKEN, "zero-start"))
def no_gradient(evidence: Evidence) -> Finding | None:
    """The loss does not depend on some weights."""
    first = evidence.readings[0].weights if evidence.readings else ()
    cut = [w for w in _without_gradient(evidence) if w.is_used]
    if not cut:
        return None
    names = join_names((w.name for w in cut), MAX_NAMES)
    total = sum(w.size for w in first)
    return Finding(
        check="no-gradient",
        what=f"{names} get no gradient: they are never trained",
        evidence={
            "weights without gradient": f"{len(cut)} of {len(first)}",
            "share of all numbers": sum(w.size for w in cut) / max(1, total),
        },
        confidence="sure",
        advice="look for detach(), stop_gradient, no_grad, .numpy() or argmax after these layers",
    )


@check("unused-weights", title="weights that are never used", strength=71)
def unused_weights(evidence: Evidence) -> Finding | None:
    """The outputs do not depend on some weights at all."""
    first = evidence.readings[0].weights if evidence.readings else ()
    unused = [w for w in _without_gradient(evidence) if not w.is_used]
    if not unused:
        return None
    names = join_names((w.name for w in unused), MAX_NAMES)
    return Finding(
        check="unused-weights",
        what=f"{names} are never used: the outputs stay the same, whatever they are",
        evidence={
            "weights that are not used": f"{len(unused)} of {len(first)}",
            "share of all numbers": sum(w.size for w in unused) / max(1, sum(w.size for w in first)),
        },
        confidence="likely",
        advice="call these layers in the model, or leave them out",
    )


@check(
    "frozen-weights",
    title="frozen weights",
    strength=83,
    explains=(*BROKEN, "squashed-twice", "overfit", "few-steps"),
    judges_learning=True,
)
def frozen_weights(evidence: Evidence) -> Finding | None:
    """Training leaves weights as they are, and the model is weak."""
    first = evidence.readings[0] if evidence.readings else None
    if first is None or not first.frozen or (first.frozen_share or 0.0) < 0.2:
        return None
    share = first.frozen_share or 0.0
    confidence: Confidence = "hint" if not evidence.is_weak else "sure" if share >= 0.5 else "likely"
    return Finding(
        check="frozen-weights",
        what=f"{join_names(first.frozen, MAX_NAMES)} are frozen, {share:.0%} of all numbers"
        + (", and the rest learns too little" if evidence.is_weak else ""),
        evidence={"share of all numbers": share},
        confidence=confidence,
        advice="let them be trained (requires_grad, trainable), unless they come from a model that fits these data",
    )


def _without_gradient(evidence: Evidence) -> list[WeightReading]:
    """Return the weights that no reading has a gradient of, as first read."""
    first = evidence.readings[0].weights if evidence.readings else ()
    return [w for w in first if all(not _is_connected(reading.weights, w.name) for reading in evidence.readings)]


def _is_connected(weights: Sequence[WeightReading], name: str) -> bool:
    return next((w.is_connected for w in weights if w.name == name), True)


@check("no-bend", title="no activation between layers", strength=94, explains=("underfit", "unfinished", "at-chance"))
def no_bend(evidence: Evidence) -> Finding | None:
    """Several layers, and no activation between them."""
    # outputs that are the same for all rows, as of dead units, are no straight line
    curvature = evidence.largest(lambda reading: reading.curvature if reading.outputs.row_spread != 0 else None)
    if curvature is None or curvature >= LINEAR or len(evidence.kernels) < 2:
        return None
    return Finding(
        check="no-bend",
        what=f"the model is linear: nothing bends between its {len(evidence.kernels)} layers",
        evidence={"|f(u) + f(v) − f(u+v) − f(0)|, relative": curvature},
        confidence="sure",
        advice="put an activation, such as a ReLU, between the layers",
    )


@check("dealt-targets", title="loss ignores whose the targets are", strength=99, explains=BROKEN)
def dealt_targets(evidence: Evidence) -> Finding | None:
    """The loss is the same whichever row a target belongs to."""
    change = evidence.largest(lambda reading: reading.dealt)
    if change is None or change >= DEALT:
        return None
    return Finding(
        check="dealt-targets",
        what="the loss does not change when the targets are dealt to other rows",
        evidence={"relative change of the loss": change},
        confidence="sure",
        advice="compare shapes in the loss: (n, 1) − (n,) is every row against every target; reshape one of them",
    )


@check("zero-start", title="all weights start at 0", strength=95, explains=(*BROKEN, "dead-units"))
def zero_start(evidence: Evidence) -> Finding | None:
    """All matrices begin as zeros."""
    first = evidence.readings[0] if evidence.readings else None
    if first is None or first.step != 0:
        return None
    kernels = [w for w in first.weights if w.is_kernel]
    if len(kernels) < 2 or any(w.norm for w in kernels[:-1]):
        return None
    return Finding(
        check="zero-start",
        what="all weights start at 0: the units of a layer stay equal, and their gradients 0",
        evidence={
            "norm of the weights": 0.0,
            "gradients that are exactly 0": max((w.zeros or 0.0) for w in kernels[:-1]),
        },
        confidence="sure",
        advice="leave the initial weights to the framework, or draw them",
    )
