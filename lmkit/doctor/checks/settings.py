"""Settings that are unusual, before training: what a run then shows is judged by the other checks."""

from __future__ import annotations

from lmkit.doctor.checks import check
from lmkit.doctor.checks.rates import rate, usual_rates
from lmkit.doctor.evidence import Evidence
from lmkit.doctor.finding import Finding

MIN_CLIP, USUAL_CLIP = 0.02, 1.0
"""The clip of the gradient below which its norm usually lies far above, and a common one."""

MIN_STEPS = 60
"""Steps below which a model has hardly learned anything."""


@check("rate-unusual", title="unusual learning rate", strength=57)
def rate_unusual(evidence: Evidence) -> Finding | None:
    """The learning rate is far from those that are usual for the optimizer."""
    name, value = evidence.experiment.training.optimizer.name, evidence.learning_rate
    low, high, common = usual_rates(name)
    if evidence.has_started or low <= value <= high:
        return None
    side = "low" if value < low else "high"
    return Finding(
        check="rate-unusual",
        what=f"the learning rate {value:g} is {side} for {name}: {low:g} to {high:g} is usual",
        evidence={"learning rate": value},
        confidence="hint",
        advice=f"begin with {common:g}",
        change=rate(common),
    )


@check("clip-tiny", title="gradient clipped at a small norm", strength=56)
def clip_tiny(evidence: Evidence) -> Finding | None:
    """The gradient is clipped at a norm that it usually exceeds in every step."""
    clip = evidence.experiment.training.clip_norm
    if evidence.has_started or clip is None or clip >= MIN_CLIP:
        return None
    return Finding(
        check="clip-tiny",
        what=f"clip_norm {clip:g} is small: the gradient of most models is larger in every step",
        evidence={"clip_norm": clip},
        confidence="hint",
        advice="clip only the rare large gradients",
        change={"training.clip_norm": USUAL_CLIP},
    )


@check("constant-target", strength=92, explains=("unscaled-target",))
def constant_target(evidence: Evidence) -> Finding | None:
    """The target is the same in all rows of the training part."""
    profile = evidence.profile
    is_constant = profile.target is not None and profile.target.spread == 0
    if not is_constant and (not profile.class_shares or profile.class_shares[0] != 1):
        return None
    return Finding(
        check="constant-target",
        what="the target is the same in all rows of the training part: there is nothing to learn",
        evidence={"rows": profile.rows.get("training", 0)},
        confidence="sure",
        advice="look at the target column, and at how the rows are split",
    )


@check("few-steps-planned", title="too few steps", strength=55)
def few_steps_planned(evidence: Evidence) -> Finding | None:
    """So few steps are planned that hardly anything can be learned."""
    training, size = evidence.experiment.training, evidence.experiment.data.batch_size
    rows = evidence.profile.rows.get("training", 0)
    per_epoch = -(-rows // size)
    steps = min(training.epochs * per_epoch, training.steps or training.epochs * per_epoch)
    if evidence.has_started or not rows or steps >= MIN_STEPS:
        return None
    is_one_batch = size >= rows and size > 32
    return Finding(
        check="few-steps-planned",
        what=f"training takes {steps} step{'s' * (steps != 1)} only, {per_epoch} an epoch",
        evidence={"steps": steps},
        confidence="hint",
        advice="use smaller batches" if is_one_batch else "train for more epochs",
        change={"data.batch_size": 32} if is_one_batch else {"training.epochs": -(-500 // per_epoch)},
    )
