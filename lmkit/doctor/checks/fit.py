"""How well the model fits: under- and overfitting, too few steps, constant outputs, a loss of the wrong sign."""

from __future__ import annotations

import math

from lmkit.doctor.checks import check
from lmkit.doctor.evidence import Evidence
from lmkit.doctor.finding import Confidence, Finding, Series


@check("constant-output", strength=40, explains=("at-chance", "underfit", "unfinished"), judges_learning=True)
def constant_output(evidence: Evidence) -> Finding | None:
    """The model predicts the same for every row."""
    if not evidence.readings or evidence.readings[-1].step == 0:
        return None
    outputs, target = evidence.readings[-1].outputs, evidence.profile.target
    if outputs.top_share is not None:
        if outputs.top_share < 0.995 or outputs.top_share - (outputs.class_share or 0.0) < 0.07:
            return None
        numbers = {"share of the predictions": outputs.top_share, "share of the rows": outputs.class_share or 0.0}
        what = f"the model predicts class {outputs.top_class} for every row"
    elif target is not None and target.spread and outputs.row_spread is not None:
        if outputs.row_spread > 1e-3 * target.spread:
            return None
        numbers = {"spread of the outputs": outputs.row_spread, "spread of the target": target.spread}
        what = "the model predicts the same number for every row"
    else:
        return None
    return Finding(
        check="constant-output",
        what=what,
        evidence=numbers,
        confidence="sure",
        advice="the cause is elsewhere: the learning rate, the inputs, the loss, or the classes",
    )


@check(
    "wrong-sign",
    title="loss of the wrong sign",
    strength=93,
    explains=("at-chance", "underfit", "constant-output", "overfit", "rate-high", "nan"),
    judges_learning=True,
)
def wrong_sign(evidence: Evidence) -> Finding | None:
    """The loss falls while predictions become worse than chance."""
    score, base = evidence.training_score, evidence.profile.chance_score
    start, end = evidence.start_loss, evidence.end_loss
    if evidence.has_diverged and start is not None and evidence.is_classification:
        lowest = min((v for v in evidence.losses.tolist() if math.isfinite(v)), default=0.0)
        if lowest < -20 * max(1.0, abs(start)):
            return _wrong_sign({"first loss": start, "lowest loss": lowest})
    if score is None or base is None or start is None or end is None or not evidence.is_classification:
        return None
    shares = [share for share in evidence.profile.class_shares if share]
    uniform = min(shares) if shares else base
    is_worse = score < 0.6 * base and score < max(uniform, 0.05) + 0.1
    if not (end < start - 0.1 * abs(start) and (is_worse or (end < -abs(start) and score < base))):
        return None
    return _wrong_sign({"accuracy": score, "chance": base, "first loss": start, "last loss": end})


def _wrong_sign(numbers: dict[str, float]) -> Finding:
    return Finding(
        check="wrong-sign",
        what="the loss falls without end, below 0: its sign is wrong"
        if "lowest loss" in numbers
        else "the loss falls while the predictions get worse than chance: its sign is wrong",
        evidence=numbers,
        confidence="sure",
        advice="turn the sign of the loss round",
    )


@check("at-chance", title="nothing learned", strength=35, explains=("underfit", "unfinished"), judges_learning=True)
def at_chance(evidence: Evidence) -> Finding | None:
    """The loss stays at that of a constant prediction."""
    ends = evidence.above_chance
    if ends is None or ends < 0.97 or not evidence.chance or len(evidence.losses) < 20 or evidence.has_diverged:
        return None
    if evidence.is_learned:
        return None
    return Finding(
        check="at-chance",
        what="nothing is learned: the loss stays at that of the best constant prediction",
        evidence={"last loss ÷ chance": ends},
        confidence="likely",
        advice="the cause is elsewhere, if a linear model or a forest does better",
        chart=Series(
            title="loss of the readings", steps=evidence.reading_steps, values=[r.loss for r in evidence.readings]
        ),
    )


@check("underfit", title="underfitting", strength=45, explains=("constant-output",), judges_learning=True)
def underfit(evidence: Evidence) -> Finding | None:
    """A forest, or a linear model, is clearly better, and the training part is fitted no better."""
    scores = {name: evidence.reference(name).score for name in ("forest", "linear")}
    best, name = max(((score, name) for name, score in scores.items() if score is not None), default=(None, ""))
    model, training = evidence.validation_score, evidence.training_score
    if best is None or model is None or training is None:
        return None
    gap, error = best - model, 2 * evidence.score_error
    if gap <= max(0.08, error) or training > best - 0.5 * gap:
        return None
    model_spec = evidence.experiment.model
    falling = _fall(evidence)[0] > MAX_FALL or _is_descending(evidence)
    is_linear = getattr(model_spec, "hidden", None) == () and scores["forest"] == best
    return Finding(
        check="underfit",
        what=f"the model fits too little: a {name} {'model ' if name == 'linear' else ''}reaches {best:.3g}, this one "
        f"{model:.3g}" + (", for it has no hidden layer: it is linear" if is_linear else ""),
        evidence={
            f"{evidence.score_name}, {name}": best,
            "model, validation": model,
            "model, training": training,
        },
        confidence="sure" if gap > 0.15 and not falling else "likely",
        advice="a larger model, more epochs, or another learning rate",
        change={"model.hidden": [64, 64]}
        if is_linear
        else {"training.epochs": min(10_000, 4 * evidence.experiment.training.epochs)},
    )


def stop_early(evidence: Evidence) -> dict[str, object]:
    """Return the change that ends with the best weights; empty where the run does so already."""
    early = evidence.experiment.training.early_stopping
    return {} if early is not None and early.restore_best else {"training.early_stopping": {"patience": 5}}


@check("overfit", title="overfitting", strength=44, judges_learning=True)
def overfit(evidence: Evidence) -> Finding | None:
    """The validation loss rises while the training loss falls."""
    values = [v for v in evidence.column("val_loss") if v is not None]
    training = [v for v in evidence.column("loss") if v is not None]
    if len(values) < 3 or not training or min(values) <= 0:
        return None
    ratio = values[-1] / min(values)
    if ratio <= 1.25 or training[-1] >= 0.6 * min(values):
        return None
    is_good = False
    score, best = evidence.last(f"val_{evidence.score_name}"), evidence.validation_score
    if score is not None and best is not None and best - score < 0.01 and score > 0.93:
        is_good = True  # surer of its few errors: the predictions are as good as ever
    best_epoch = evidence.epochs[[e.get("val_loss") for e in evidence.epochs].index(min(values))]["epoch"]
    confidence: Confidence = "hint" if is_good else "sure" if ratio > 1.6 else "likely"
    return Finding(
        check="overfit",
        what=f"the model learns its training rows by heart: the validation loss is {ratio:.2g} times its best, of "
        f"epoch {best_epoch:g}",
        evidence={"last ÷ best validation loss": ratio, "last training loss": training[-1]},
        confidence=confidence,
        advice="stop early, or use dropout, weight decay, a smaller model, or more rows",
        change=stop_early(evidence),
        chart=Series(
            title="validation loss",
            steps=[float(epoch["step"]) for epoch in evidence.epochs],
            values=evidence.column("val_loss"),
        ),
    )


@check(
    "few-steps",
    title="too few steps",
    strength=73,
    explains=("unfinished", "underfit", "at-chance", "rate-low", "constant-output"),
    judges_learning=True,
)
def few_steps(evidence: Evidence) -> Finding | None:
    """So few steps that nothing could be learned."""
    steps = len(evidence.losses)
    per_epoch = steps / max(1, evidence.status.epoch or len(evidence.epochs) or 1)
    ends = evidence.above_chance
    if not steps or steps >= 60 or ends is None or evidence.status.state != "completed" or ends < 0.35:
        return None
    if not _is_falling(evidence) and steps >= 30:
        return None
    rows, size = evidence.profile.rows.get("training", 0), evidence.experiment.data.batch_size
    is_one_batch = bool(rows) and size >= rows
    change = {"data.batch_size": 32} if is_one_batch else {"training.epochs": _more(evidence, steps)}
    return Finding(
        check="few-steps",
        what=f"training took {steps} step{'s' * (steps != 1)} only"
        + (": an epoch is a single batch" if is_one_batch else f", {per_epoch:.3g} an epoch"),
        evidence={"steps": steps, "last loss ÷ chance": ends},
        confidence="sure" if steps <= 30 else "likely",
        advice="smaller batches" if is_one_batch else "more epochs",
        change=change,
    )


def _more(evidence: Evidence, steps: int) -> int:
    return math.ceil(evidence.experiment.training.epochs * max(4.0, 500 / max(1, steps)))


def _is_falling(evidence: Evidence) -> bool:
    """Whether the last quarter of the losses is clearly below the one before."""
    values = [v for v in evidence.losses.tolist() if math.isfinite(v)]
    quarter = len(values) // 4
    if quarter < 2:
        return True
    before, last = values[-2 * quarter : -quarter], values[-quarter:]
    return bool(sum(last) < 0.97 * sum(before))


MAX_FALL = 0.06
"""The share by which the loss may still fall in the last quarter of the epochs."""


def _fall(evidence: Evidence) -> tuple[float, float]:
    """Return by how much the loss fell in the last quarter of the epochs, relative to itself and to chance; 0 where it
    was not the best at the end."""
    values = [v for v in evidence.column("val_loss") if v is not None] or [
        v for v in evidence.column("loss") if v is not None
    ]
    if len(values) < 2 or values[-1] > min(values) or min(values) <= 0:
        return 0.0, 0.0
    before, last = values[-1 - max(1, len(values) // 4)], values[-1]
    return (before - last) / before, (before - last) / evidence.chance if evidence.chance else 0.0


MAX_DESCENT = 0.15
"""The share of its whole fall by which the loss may still fall in the last quarter: a straight line has 0.25."""


def _is_descending(evidence: Evidence) -> bool:
    """Whether a model that is still weak learns as fast at the end as at the beginning."""
    values = [v for v in evidence.column("val_loss") if v is not None]
    if len(values) < 4 or values[-1] > min(values) or not evidence.is_weak:
        return False
    if evidence.chance and values[-1] > 0.97 * evidence.chance:
        return False  # it comes down to a guess, and learns nothing
    fall = values[-1 - len(values) // 4] - values[-1]
    return fall > MAX_DESCENT * (values[0] - values[-1]) and values[0] - values[-1] > 0.02 * values[0]


MIN_WAITING = 0.015
"""Seconds that a batch has to be waited for: below that a small model's steps are as short."""


MIN_SHARE = 0.45
"""The share of the time of training from which waiting is named."""


@check("data-bound", title="training waits for the data", strength=61)
def data_bound(evidence: Evidence) -> Finding | None:
    """Steps wait for their batches most of the time."""
    readings = [r for r in evidence.readings if r.waiting is not None and r.waiting_seconds is not None]
    if not readings or len(evidence.losses) < 20:
        return None
    share, seconds = readings[-1].waiting or 0.0, readings[-1].waiting_seconds or 0.0
    if share < MIN_SHARE or seconds < MIN_WAITING:
        return None
    return Finding(
        check="data-bound",
        what=f"training waits for its data {share:.0%} of the time: {seconds * 1e3:.3g} ms for each batch",
        evidence={"share of the time": share, "seconds for each batch": seconds},
        confidence="sure" if share >= 0.8 else "likely",
        advice="load batches in other processes and ahead (num_workers, prefetch), or hold the rows in memory",
        chart=Series(
            title="share of the time waiting for data",
            steps=[float(r.step) for r in readings],
            values=[r.waiting for r in readings],
            limit=MIN_SHARE,
        ),
    )


@check(
    "unfinished", title="training ended early", strength=46, explains=("underfit", "at-chance"), judges_learning=True
)
def unfinished(evidence: Evidence) -> Finding | None:
    """The validation loss was still falling at the end."""
    fall, gain = _fall(evidence)
    is_descending = _is_descending(evidence)
    if (fall <= MAX_FALL and not is_descending) or evidence.status.state != "completed" or evidence.status.cause:
        return None
    epochs = evidence.experiment.training.epochs
    is_clear = is_descending or (epochs <= 5 and gain > 0.05)
    return Finding(
        check="unfinished",
        what=f"training ended early: in the last quarter of its epochs the loss still fell by {fall:.0%}",
        evidence={"fall in the last quarter": fall, "relative to chance": gain},
        confidence="likely" if is_clear else "hint",
        advice="train for more epochs",
        change={"training.epochs": max(20, 3 * epochs)},
        chart=Series(
            title="validation loss",
            steps=[float(epoch["step"]) for epoch in evidence.epochs],
            values=evidence.column("val_loss"),
        ),
    )
