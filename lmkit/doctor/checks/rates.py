"""The learning rate, its schedule, and the clip of the gradient."""

from __future__ import annotations

import math
from statistics import median_high
from typing import Any

from lmkit.display.units import format_number
from lmkit.doctor.checks import check
from lmkit.doctor.evidence import Evidence
from lmkit.doctor.finding import Finding, Series

LARGE_UPDATE = 0.5
"""The change of a layer in one step, relative (planted .59 or more, healthy .215 or less)."""

SMALL_UPDATE, MOVING = 3e-4, 0.03
"""The median change below which a rate is too low (planted 2.3e-5, healthy 1.7e-3), unless one was ever above."""

RISEN, NOT_LEARNED = 1.5, 0.9
"""The loss has risen if it was ever this much above its start, and learned nothing if it ends above this share of
chance."""

USUAL_RATES = {"sgd": (1e-4, 1.0, 0.05)}
"""Optimizer → the lowest and the highest usual learning rate, and a common one."""

ADAPTIVE_RATES = (1e-5, 3e-2, 1e-3)
"""The same of all others, which scale each gradient by its size."""

USUAL_UPDATE = (1e-3, 1e-2)
"""The change of a layer in one step at a usual rate: in a long run, and in one of at most a hundred steps."""


def usual_rates(optimizer: str) -> tuple[float, float, float]:
    """Return the lowest and the highest usual learning rate of an optimizer, and a common one."""
    return USUAL_RATES.get(optimizer, ADAPTIVE_RATES)


def rate(value: float) -> dict[str, Any]:
    """Return the change of a configuration that sets the learning rate, to two digits."""
    return {"training.optimizer.lr": float(f"{value:.2g}")}


WEAK = ("at-chance", "underfit", "unfinished", "constant-output")
"""What follows from steps that lead nowhere."""


@check("rate-high", title="learning rate too high", strength=80, explains=(*WEAK, "dead-units", "saturated", "nan"))
def rate_high(evidence: Evidence) -> Finding | None:
    """Steps are so large that the loss rises."""
    updates, losses = evidence.largest_updates, [reading.loss for reading in evidence.readings]
    largest = max((u for u in updates if u is not None), default=None)
    start = evidence.start_loss
    if largest is None or not start or evidence.is_learned:
        return None
    growth = max((v for v in losses if v is not None), default=start) / start
    if not evidence.has_diverged:
        ends = evidence.above_chance
        if largest <= LARGE_UPDATE or growth <= RISEN or ends is None or ends < NOT_LEARNED:
            return None
        after = f"the loss rose to {format_number(growth, 3)} times its start"
    else:
        finite = [v for v in evidence.losses[:-1].tolist() if math.isfinite(v)][-200:]
        growth = max([growth, *(v / start for v in finite)])
        if largest <= LARGE_UPDATE and growth < 20:
            return None
        after = "the loss became infinite or no number"
    lowered = evidence.learning_rate / max(10.0, min(1e4, largest / 0.01))
    return Finding(
        check="rate-high",
        what=f"the learning rate {evidence.learning_rate:g} is too high: {after}",
        evidence={"largest change of a layer in a step": largest, "largest loss ÷ first loss": growth},
        confidence="sure",
        advice="lower the learning rate",
        change=rate(lowered),
        chart=Series(
            title="change of a layer in a step", steps=evidence.reading_steps, values=updates, limit=LARGE_UPDATE
        ),
    )


@check("rate-low", title="learning rate too low", strength=70, explains=WEAK, judges_learning=True)
def rate_low(evidence: Evidence) -> Finding | None:
    """Steps are so small that the weights hardly change."""
    median, largest = evidence.median_update, [u for u in evidence.largest_updates if u is not None]
    ends = evidence.above_chance
    if median is None or not largest or ends is None or evidence.has_diverged:
        return None
    early = [u for u in evidence.largest_updates[: max(2, len(evidence.largest_updates) // 3)] if u is not None]
    if median >= SMALL_UPDATE or max(largest) > MOVING or ends < 0.7 or evidence.is_learned:
        return None
    if len(evidence.losses) <= 2 * getattr(evidence.experiment.training.schedule, "warmup", 0):
        return None
    if early and max(early) > 30 * median:  # it moved at first: the schedule, or a plateau
        return None
    usual = min(USUAL_UPDATE[1], max(USUAL_UPDATE[0], 1 / len(evidence.losses)))
    factor = min(1e5, max(10.0, usual / median if median else 1e5))
    highest = usual_rates(evidence.experiment.training.optimizer.name)[1]
    return Finding(
        check="rate-low",
        what=f"the learning rate {evidence.learning_rate:g} is too low: the weights hardly change",
        evidence={"median change of a layer in a step": median, "last loss ÷ chance": ends},
        confidence="sure",
        advice="raise the learning rate",
        change=rate(max(10 * evidence.learning_rate, min(highest, evidence.learning_rate * factor))),
        chart=Series(
            title="change of a layer in a step",
            steps=evidence.reading_steps,
            values=evidence.largest_updates,
            limit=SMALL_UPDATE,
        ),
    )


@check(
    "schedule-ends", title="schedule ends too early", strength=76, explains=(*WEAK, "rate-low"), judges_learning=True
)
def schedule_ends(evidence: Evidence) -> Finding | None:
    """The schedule lowers the rate to nothing long before the end."""
    rates = evidence.rates
    if len(rates) < 10 or not float(rates.max()) > 0:
        return None
    share = float((rates < 1e-2 * rates.max()).mean())
    tiny = float((rates < 1e-4 * rates.max()).mean())
    ends = evidence.above_chance
    if share < 0.5 or tiny < 0.3 or ends is None or _is_fitted(evidence):
        return None
    return Finding(
        check="schedule-ends",
        what=f"the schedule lowers the learning rate too early: below 1 % of its maximum for {share:.0%} of the steps",
        evidence={"share of steps below 1 %": share, "last rate ÷ largest": float(rates[-1] / rates.max())},
        confidence="sure" if ends > 0.5 else "likely",
        advice="let the rate end when training does",
        change={"training.schedule": "cosine"},
        chart=_rates_chart(evidence),
    )


def _is_fitted(evidence: Evidence) -> bool:
    """Whether the model fits its training rows as well as it can be asked to."""
    ends, score = evidence.above_chance, evidence.training_score
    return (ends is not None and ends < 0.1) or (score is not None and score > 0.97)


def _rates_chart(evidence: Evidence) -> Series:
    stride = max(1, len(evidence.rates) // 200)
    return Series(
        title="learning rate",
        steps=list(range(1, len(evidence.rates) + 1, stride)),
        values=[float(v) for v in evidence.rates[::stride]],
    )


@check("clip-low", title="gradient clipped too much", strength=78, explains=(*WEAK, "rate-low"), judges_learning=True)
def clip_low(evidence: Evidence) -> Finding | None:
    """The gradient is clipped far below its size, so that every step is tiny."""
    clip = evidence.experiment.training.clip_norm
    if clip is None or evidence.is_learned:
        return None
    norms = [v for v in evidence.gradient_norms.tolist() if math.isfinite(v)]
    if len(norms) < 3:
        return None
    median = median_high(norms)
    ends = evidence.above_chance
    is_adaptive = not evidence.experiment.training.optimizer.name.startswith("sgd")
    if median < 20 * clip or ends is None or ends < 0.7 or is_adaptive:
        return None
    return Finding(
        check="clip-low",
        what=f"clip_norm {clip:g} is far below the gradient, which is {median:.3g}: steps are cut to nearly nothing",
        evidence={"median gradient norm ÷ clip": median / clip, "last loss ÷ chance": ends},
        confidence="sure",
        advice="clip only the rare large gradients",
        change={"training.clip_norm": float(f"{2 * max(norms[: len(norms) // 4 + 1]):.2g}")},
    )


@check("nan", title="loss not finite", strength=88, explains=("rate-high", "exploding"))
def not_finite(evidence: Evidence) -> Finding | None:
    """The loss became NaN or infinite although it was small and steps were small before."""
    if not evidence.has_diverged:
        return None
    finite = [v for v in evidence.losses.tolist() if math.isfinite(v)]
    largest = max((u for u in evidence.largest_updates if u is not None), default=0.0)
    start = finite[0] if finite else None
    growth = max(finite[-200:]) / start if start and start > 0 else 1.0
    if largest > LARGE_UPDATE or growth > 20:
        return None
    is_custom = evidence.experiment.training.loss != "auto" or evidence.experiment.model.is_custom
    when = (
        f"became NaN or infinite at step {len(finite) + 1}, without growing before"
        if finite
        else ("is NaN or infinite from the first step")
    )
    return Finding(
        check="nan",
        what=f"the loss {when}",
        evidence={
            "finite losses before": len(finite),
            "growth of the loss": growth,
            "largest change of a layer in a step": largest,
        },
        confidence="sure" if is_custom and growth < 3 else "likely",
        advice="run.doctor(autopsy=True) finds the place: log(0), sqrt(0), a division by 0 or exp of a large number in "
        "the loss or the model; a lower learning rate does not help",
    )
