"""Signals and gradients through the layers: vanishing, exploding, dead and saturated units, normalization, dropout."""

from __future__ import annotations

import math
from statistics import median_high

from lmkit.doctor.checks import check
from lmkit.doctor.evidence import Evidence
from lmkit.doctor.finding import Confidence, Finding, Series
from lmkit.runfolder.readings import Reading

VANISHING = {"likely": 2e-2, "sure": 5e-3}
"""The gradient of a number of the first layer ÷ of the last (planted 2.8e-4, healthy .113)."""

EXPLODING = 20.0
"""The first loss ÷ chance (planted 5e4 or more, healthy 5.2; 7.9 for rare positives)."""

DEAD = {"likely": 0.4, "sure": 0.6}
"""The share of units that fell silent for all rows (planted .56 or more, healthy .094)."""

SATURATED = {"likely": 0.5, "sure": 0.6}
"""The share of numbers at the flat ends (planted .62 or more, healthy .21)."""

CONSEQUENCES = ("constant-output", "at-chance", "underfit", "unfinished", "rate-low")


def gradient_ratio(reading: Reading) -> float | None:
    """Return the root mean square of the gradient of the first matrix ÷ that of the last."""
    kernels = [w for w in reading.weights if w.is_kernel and w.is_connected]
    if len(kernels) < 3:
        return None
    first, last = kernels[0].gradient_per_number, kernels[-1].gradient_per_number
    return first / last if first is not None and last else None


@check("vanishing", title="vanishing gradient", strength=68, explains=CONSEQUENCES, judges_learning=True)
def vanishing(evidence: Evidence) -> Finding | None:
    """The gradient is lost on its way to the first layers."""
    ratios = [gradient_ratio(reading) for reading in evidence.readings]
    numbers = [v for v in ratios if v is not None]
    ends = evidence.above_chance
    if len(numbers) < 3 or ends is None or ends < 0.8:
        return None
    ratio = median_high(numbers)
    if ratio >= VANISHING["likely"]:
        return None
    return Finding(
        check="vanishing",
        what="the gradient vanishes on its way to the first layer, which hardly learns",
        evidence={"gradient of a weight, first ÷ last layer": ratio, "last loss ÷ chance": ends},
        confidence="sure" if ratio < VANISHING["sure"] else "likely",
        advice="use ReLU or GELU instead of sigmoid or tanh, residual connections or normalization, or fewer layers",
        change=_vanishing_change(evidence),
        chart=Series(
            title="gradient of a weight, first ÷ last layer",
            steps=evidence.reading_steps,
            values=ratios,
            limit=VANISHING["likely"],
        ),
    )


def _vanishing_change(evidence: Evidence) -> dict[str, object]:
    model = evidence.experiment.model
    change: dict[str, object] = {}
    if getattr(model, "activation", None) in ("sigmoid", "tanh"):
        change["model.activation"] = "relu"
    if getattr(model, "residual", None) is False:  # a deep stack of ReLUs alone is as slow at the start
        change["model.residual"] = True
    return change


@check(
    "vanishing-in-time",
    title="gradient vanishes through time",
    strength=69,
    explains=(*CONSEQUENCES, "vanishing"),
    judges_learning=True,
)
def vanishing_in_time(evidence: Evidence) -> Finding | None:
    """The gradient with respect to early places of a sequence is lost."""
    places = [reading.places for reading in evidence.readings if len(reading.places) >= 8]
    ratios = [(p[0] or 0.0) / p[-1] for p in places if p[0] is not None and p[-1]]
    task = evidence.task
    base, score = evidence.profile.chance_score, evidence.validation_score
    generalizes = base is None or score is None or score > base + 0.1 * (1 - base)
    if len(ratios) < 2 or median_high(ratios) >= 1e-3 or (task and task.per_position):
        return None
    if evidence.is_learned and generalizes:
        return None
    last = places[-1]
    return Finding(
        check="vanishing-in-time",
        what="the gradient vanishes through time: what came first in a sequence has no influence",
        evidence={"∂J/∂x of the first ÷ of the last place": median_high(ratios)},
        confidence="sure" if median_high(ratios) < 1e-5 else "likely",
        advice="use an LSTM or GRU, attention, or shorter sequences",
        chart=Series(title="∂J/∂x by place", steps=list(range(len(last))), values=last),
    )


@check(
    "exploding",
    title="exploding signals",
    strength=74,
    explains=("rate-high", "nan", *CONSEQUENCES, "saturated", "dead-units", "overfit"),
)
def exploding(evidence: Evidence) -> Finding | None:
    """The first loss is far above that of a constant prediction: signals grow from layer to layer."""
    chance, start, profile = evidence.chance, evidence.start_loss, evidence.profile
    column = profile.largest
    is_scaled = column is None or ((column.spread or 0) < 20 and abs(column.mean or 0) < 50)
    in_time = [p for p in (r.places for r in evidence.readings[:3]) if len(p) >= 8 and p[-1]]
    growth = max(((p[0] or 0.0) / p[-1] for p in in_time if p[-1]), default=0.0)
    numbers = {}
    if chance and start and is_scaled and start > EXPLODING * chance:
        numbers["first loss ÷ chance"] = start / chance
    if growth > 1e3:
        numbers["∂J/∂x of the first ÷ of the last place"] = growth
    if not numbers:
        return None
    spreads = [layer.spread for layer in evidence.readings[0].layers if layer.spread] if evidence.readings else []
    if len(spreads) > 1:
        numbers["spread of what comes in, last ÷ first layer"] = spreads[-1] / spreads[0]
    return Finding(
        check="exploding",
        what="signals explode from layer to layer: the first loss is far above that of a constant prediction"
        if "first loss ÷ chance" in numbers
        else "gradients explode through time",
        evidence=numbers,
        confidence="sure" if "first loss ÷ chance" in numbers or evidence.is_weak else "likely",
        advice="start with smaller weights (He or Glorot), normalize layers, or clip the gradient",
        change={"training.clip_norm": 1.0} if growth > 1e3 else {},
    )


@check("dead-units", strength=50, explains=CONSEQUENCES, judges_learning=True)
def dead_units(evidence: Evidence) -> Finding | None:
    """Units fell silent for all rows while training."""
    if not evidence.readings:
        return None
    first = {layer.name: layer.silent or 0.0 for layer in evidence.readings[0].layers}
    shares = [
        max(((layer.silent or 0.0) - first.get(layer.name, 0.0) for layer in reading.layers), default=None)
        for reading in evidence.readings
    ]
    last = shares[-1]
    if last is None or last < DEAD["likely"]:
        return None
    lowered = {} if evidence.is_learned else {"training.optimizer.lr": float(f"{evidence.learning_rate / 10:.2g}")}
    is_sure = evidence.is_weak and (last >= DEAD["sure"] or evidence.is_learned)
    worst = max(evidence.readings[-1].layers, key=lambda layer: (layer.silent or 0.0) - first.get(layer.name, 0.0))
    return Finding(
        check="dead-units",
        what=f"{last:.0%} of the units before {worst.name} fell silent: 0 for every row, with a gradient of 0",
        evidence={"share of units that fell silent": last, "units": worst.units},
        confidence="sure" if is_sure else "likely",
        advice="lower the learning rate, or use GELU or a leaky ReLU",
        change=lowered,
        chart=Series(title="share of silent units", steps=evidence.reading_steps, values=shares, limit=DEAD["likely"]),
    )


@check("saturated", title="saturated units", strength=48, explains=(*CONSEQUENCES, "vanishing"), judges_learning=True)
def saturated(evidence: Evidence) -> Finding | None:
    """Units lie at the flat ends of their activation."""
    shares = evidence.over_layers(lambda layer: layer.saturated)
    numbers = [v for v in shares if v is not None]
    if not numbers or median_high(numbers) < SATURATED["likely"]:
        return None
    share = median_high(numbers)
    is_fitted = evidence.above_chance is not None and evidence.above_chance < 0.2
    is_sure = share >= SATURATED["sure"] and not evidence.is_learned
    confidence: Confidence = "hint" if is_fitted else "sure" if is_sure else "likely"
    return Finding(
        check="saturated",
        what=f"{share:.0%} of the activations of a layer are at their flat ends, where the gradient is nearly 0"
        + ("; it does no harm here" if is_fitted else ""),
        evidence={"share at the flat ends": share},
        confidence=confidence,
        advice="scale the inputs, start with smaller weights, or use ReLU" if not is_fitted else "",
        chart=Series(title="saturated", steps=evidence.reading_steps, values=shares, limit=SATURATED["likely"]),
    )


@check(
    "batch-norm-small",
    title="batch too small for batch normalization",
    strength=82,
    explains=("overfit", "underfit", "at-chance", "unfinished"),
)
def batch_norm_small(evidence: Evidence) -> Finding | None:
    """Batch normalization over very few rows."""
    kinds = {layer.kind for reading in evidence.readings[:1] for layer in reading.layers}
    size, epochs = evidence.experiment.data.batch_size, evidence.experiment.training.epochs
    if not any("BatchNorm" in kind for kind in kinds) or size > 4:
        return None
    return Finding(
        check="batch-norm-small",
        what=f"batch normalization over batches of {size} rows: their mean and variance are mostly noise",
        evidence={"rows in a batch": size},
        confidence="sure" if size <= 2 else "likely",
        advice="use larger batches, for as many steps, or normalize over a layer or groups",
        change={"data.batch_size": 32, "training.epochs": min(10_000, epochs * 32 // size)},
    )


@check("dropout-strong", title="dropout too strong", strength=79, explains=(*CONSEQUENCES, "dead-units", "rate-high"))
def dropout_strong(evidence: Evidence) -> Finding | None:
    """Dropout leaves so little that the model cannot learn."""
    spec_rate = getattr(evidence.experiment.model, "dropout", 0.0) or 0.0
    rate = spec_rate or (evidence.readings[0].dropout or 0.0 if evidence.readings else 0.0)
    pairs = [
        (float(evidence.losses[r.step]), r.loss)
        for r in evidence.readings
        if r.loss is not None and r.step < len(evidence.losses) and math.isfinite(evidence.losses[r.step])
    ]
    late = pairs[len(pairs) // 2 :]
    excess = median_high([noisy / quiet for noisy, quiet in late if quiet > 0]) if any(q > 0 for _, q in late) else 1.0
    is_weak = not _is_good(evidence)
    is_strong = rate >= 0.7 and is_weak
    is_hidden = rate == 0 and evidence.experiment.model.is_custom and excess > 3 and is_weak and not _mixes(evidence)
    if not is_strong and not is_hidden:
        return None
    return Finding(
        check="dropout-strong",
        what=f"dropout {rate:g} leaves too little to learn from"
        if rate
        else "the loss in training is far above that of the same weights without dropout",
        evidence={"loss in training ÷ without dropout": excess, **({"dropout": rate} if rate else {})},
        confidence="sure" if rate >= 0.85 else "likely",
        advice="lower the dropout",
        change={"model.dropout": 0.2} if spec_rate else {},
    )


def _is_good(evidence: Evidence) -> bool:
    """Whether the model is about as good as a forest, or fits its training rows."""
    if evidence.matches_forest is not None:
        return evidence.matches_forest
    return evidence.above_chance is not None and evidence.above_chance < 0.3


def _mixes(evidence: Evidence) -> bool:
    return any("BatchNorm" in layer.kind for reading in evidence.readings[:1] for layer in reading.layers)


@check(
    "decay-strong",
    title="weight decay too strong",
    strength=81,
    explains=(*CONSEQUENCES, "dead-units", "vanishing"),
    judges_learning=True,
)
def decay_strong(evidence: Evidence) -> Finding | None:
    """Weight decay pulls the weights to 0 faster than the loss can form them."""
    decay = getattr(evidence.experiment.training.optimizer, "weight_decay", 0.0) or 0.0
    if not decay or len(evidence.readings) < 3 or evidence.is_learned:
        return None
    norms = [math.sqrt(sum((w.norm or 0.0) ** 2 for w in r.weights if w.is_kernel)) for r in evidence.readings]
    if not norms[0] or min(norms[-1], norms[len(norms) // 2]) > 0.5 * norms[0]:
        return None
    return Finding(
        check="decay-strong",
        what=f"weight decay {decay:g} is too strong: the weights shrink to {norms[-1] / norms[0]:.2g} of their start",
        evidence={"norm of the weights, end ÷ start": norms[-1] / norms[0], "weight decay": decay},
        confidence="sure",
        advice="lower the weight decay",
        change={"training.optimizer.weight_decay": 0.01},
        chart=Series(title="norm of the weights", steps=evidence.reading_steps, values=norms),
    )
