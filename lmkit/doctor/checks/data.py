"""The data: scales, leakage, labels, imbalance, parts that are too small or differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lmkit.data.profile import Column, sample_size
from lmkit.doctor.checks import check
from lmkit.doctor.checks.fit import stop_early
from lmkit.doctor.evidence import Evidence
from lmkit.doctor.finding import Confidence, Finding
from lmkit.exceptions import join_names

WEAK = ("underfit", "unfinished", "at-chance", "constant-output")


@check(
    "unscaled-inputs",
    title="inputs not scaled",
    strength=86,
    explains=(*WEAK, "dead-units", "saturated", "rate-high", "rate-low", "exploding", "vanishing", "overfit"),
)
def unscaled_inputs(evidence: Evidence) -> Finding | None:
    """Columns of very different or very large scales."""
    profile = evidence.profile
    column = profile.largest
    confidence = _scale_confidence(evidence, column)
    if column is None or confidence is None:
        return None
    smallest = profile.smallest.spread if profile.smallest else None
    custom = evidence.experiment.data.kind == "loader"
    return Finding(
        check="unscaled-inputs",
        what=f"the inputs are not scaled: {column.name!r} has a mean of {column.mean:.3g} and a spread of "
        f"{column.spread:.3g}",
        evidence={"largest spread": column.spread, "its mean": column.mean, "smallest spread": smallest or 0.0},
        confidence=confidence,
        advice="scale the columns to unit variance",
        change={} if custom else {"data.scale": "standard"},
    )


def _scale_confidence(evidence: Evidence, column: Column | None) -> Confidence | None:
    """Return how sure it is that a scale does harm: a hint where the model is good; None for a usual scale."""
    if column is None or column.spread is None or column.mean is None:
        return None
    size = max(column.spread, abs(column.mean) / 3)
    if size < 10:
        return None
    matches_forest = evidence.matches_forest
    if evidence.is_learned if matches_forest is None else matches_forest:
        return "hint"
    return "sure" if size >= 30 else "likely"


@check(
    "unscaled-target",
    title="target not scaled",
    strength=85,
    explains=(*WEAK, "rate-high", "rate-low", "exploding", "nan", "dead-units"),
)
def unscaled_target(evidence: Evidence) -> Finding | None:
    """A target of large numbers."""
    target = evidence.profile.target
    confidence = _scale_confidence(evidence, target)
    if target is None or confidence is None:
        return None
    return Finding(
        check="unscaled-target",
        what=f"the target is not scaled: its mean is {target.mean:.3g}, its spread {target.spread:.3g}",
        evidence={"mean": target.mean, "spread": target.spread},
        confidence=confidence,
        advice="scale the target; predictions stay in its unit",
        change={"data.scale_target": True},
    )


MAX_RECURRENCE = 10.0
"""How often a row may occur on average: above that the columns have so few values that rows recur in all parts."""


@check(
    "constant-inputs",
    title="all inputs constant",
    strength=93,
    explains=(*WEAK, "no-signal", "duplicates", "dead-units", "vanishing", "rate-low", "no-bend"),
)
def constant_inputs(evidence: Evidence) -> Finding | None:
    """No feature differs between two rows."""
    profile = evidence.profile
    if not profile.features or profile.constant < profile.features:
        return None
    return Finding(
        check="constant-inputs",
        what=f"all {profile.features} features are constant: nothing can be learned from them",
        evidence={"constant features": profile.constant},
        confidence="sure",
        advice="look at how the rows are read: a division of whole numbers, or a wrong type, makes all values equal",
    )


@check("leakage", strength=90, explains=("overfit", "unfinished"))
def leakage(evidence: Evidence) -> Finding | None:
    """A column that is nearly the target, or rows of training in other parts."""
    profile = evidence.profile
    if profile.revealing and len(profile.revealing) < profile.features:  # else nothing else could predict it
        names = join_names(map(repr, profile.revealing))
        subject = names if len(profile.revealing) == 1 else f"a sum of {names}, or each of them,"
        return Finding(
            check="leakage",
            what=f"{subject} nearly is the target: it may be known only together with it",
            evidence={"columns": names},
            confidence="sure",
            advice="leave out what is not known before the prediction",
            change=_drop(evidence, profile.revealing),
        )
    shares = {part: share for part, share in profile.shared.items() if share and share > 0.2}
    if not shares or (profile.recurrence or 0.0) > MAX_RECURRENCE:
        return None
    worst = max(shares, key=lambda part: shares[part] or 0.0)
    return Finding(
        check="leakage",
        what=f"{shares[worst]:.0%} of the rows of the {worst} part are also in the training part: its scores are too "
        "good",
        evidence={f"shared rows of {part}": share for part, share in shares.items()},
        confidence="sure",
        advice="leave duplicates out before the split",
    )


def _drop(evidence: Evidence, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the change of a configuration that leaves out columns besides those that it leaves out already."""
    return {"data.drop": [*evidence.experiment.data.drop, *names]}


@check("row-number", title="a column numbers the rows", strength=72)
def row_number(evidence: Evidence) -> Finding | None:
    """A column that numbers the rows."""
    names = evidence.profile.row_numbers
    if not names:
        return None
    return Finding(
        check="row-number",
        what=f"{names[0]!r} numbers the rows: what is learned from it says nothing about new rows",
        evidence={"columns": join_names(names)},
        confidence="likely",
        advice="leave the column out",
        change=_drop(evidence, names),
    )


@check(
    "no-signal",
    title="nothing predicts the target",
    strength=66,
    explains=("overfit", "label-noise", "unfinished", "underfit", "at-chance"),
    judges_learning=True,
)
def no_signal(evidence: Evidence) -> Finding | None:
    """Nothing predicts the target of new rows: permuted targets, or features without a relation to them."""
    profile, forest, linear = evidence.profile, evidence.reference("forest").score, evidence.reference("linear").score
    base, rows = evidence.reference("constant").score, profile.score_rows
    if forest is None or linear is None or base is None or rows < 20 or _is_rare(evidence):
        return None
    deviation = math.sqrt(max(base * (1 - base), 0.02) / rows) if evidence.is_classification else 1 / math.sqrt(rows)
    error, score = 2 * deviation, evidence.validation_score
    best_of = 1 + math.sqrt(2 * math.log(max(2, len(evidence.epochs))))  # the best of many scores at chance is above it
    if max(forest, linear) > base + error or score is None or score > base + max(2.0, best_of) * deviation:
        return None
    training = evidence.training_score
    memorized = training is not None and training > base + max(0.15, 2 * error)
    return Finding(
        check="no-signal",
        what="nothing predicts the target of new rows: not this model, nor a linear one, nor a forest"
        + (", while the training rows are learned by heart" if memorized else ""),
        evidence={"model": score, "linear": linear, "forest": forest, "constant": base},
        confidence="sure" if memorized and rows >= 40 else "likely",
        advice="check whether rows and targets belong together (a shuffle of one of them), or find other features",
    )


@check("label-noise", title="labels disagree with their neighbours", strength=64, explains=("overfit", "underfit"))
def label_noise(evidence: Evidence) -> Finding | None:
    """Many rows whose neighbours have another class."""
    share = evidence.profile.disagreement
    if share is None or not evidence.profile.has_rows or share <= 0.12:
        return None
    forest, base = evidence.reference("forest").score, evidence.reference("constant").score
    if forest is not None and base is not None and forest < base + 0.05:
        return None  # the features tell nothing: neighbours neither
    references = [r.score for r in evidence.profile.references.values() if r.score is not None]
    if max(references, default=float(evidence.status.live)) > 1 - share:
        return None  # labels follow the features in another way than by their distance; unknown before it is compared
    train = evidence.training_score
    if forest is not None and evidence.validation_score is not None and evidence.validation_score > forest + 0.08:
        return None  # the model is right where neighbours are wrong: the features, not the labels, are hard
    is_sparse = evidence.profile.rows.get("training", 0) < 3 * min(100, evidence.profile.features)
    evidence_numbers = {"rows whose neighbours agree on another class": share}
    return Finding(
        check="label-noise",
        what=f"{share:.0%} of the rows have another class than their neighbours agree on: wrong labels, or a hard task",
        evidence=evidence_numbers | ({"accuracy on the training part": train} if train is not None else {}),
        confidence="hint" if is_sparse else "sure" if share > 0.2 else "likely",
        advice="look at the rows with the largest losses; regularize, or stop early, so that they are not learned",
        change=stop_early(evidence),
    )


@check(
    "imbalance",
    title="rare class",
    strength=60,
    explains=("constant-output", "at-chance", "overfit", "unfinished", "no-signal"),
)
def imbalance(evidence: Evidence) -> Finding | None:
    """A class so rare that accuracy says nothing."""
    top = evidence.readings[-1].outputs.top_share if evidence.readings else None
    always = top is not None and top >= 0.985
    if not _is_rare(evidence) and not (always and _is_hidden(evidence)):
        return None
    shares = [share for share in evidence.profile.class_shares if share]
    is_mild = min(shares) * len(shares) > 0.1 and evidence.is_learned
    confidence: Confidence = "sure" if always else "hint" if is_mild else "likely"
    return Finding(
        check="imbalance",
        what=f"the rarest class has {min(shares):.1%} of the rows: always predicting the most frequent one is right "
        f"for {max(shares):.1%}" + (", and that is what the model does" if always else ""),
        evidence={"smallest share": min(shares), "largest share": max(shares)}
        | ({"predictions of one class": top} if top is not None else {}),
        confidence=confidence,
        advice="judge by AUC or the recall of the rare class; weight the classes in the loss, or take more of its rows",
    )


def _is_rare(evidence: Evidence) -> bool:
    """Whether a class is so rare that accuracy tells nothing."""
    shares = [share for share in evidence.profile.class_shares if share]
    return evidence.is_classification and len(shares) > 1 and min(shares) * len(shares) <= 0.2


def _is_hidden(evidence: Evidence) -> bool:
    """Whether a class is never predicted although the outputs rank its rows first."""
    shares, auc = evidence.profile.class_shares, evidence.last("val_auc")
    return (
        evidence.is_classification
        and auc is not None
        and auc > 0.65
        and max((s or 0.0 for s in shares), default=0.0) > 0.75
    )


@check("duplicates", title="duplicate rows", strength=62, explains=("overfit", "unfinished"))
def duplicates(evidence: Evidence) -> Finding | None:
    """Rows that occur several times."""
    share = evidence.profile.duplicates
    if share is None or share < 0.3 or evidence.profile.features < 4:
        return None
    return Finding(
        check="duplicates",
        what=f"{share:.0%} of the training rows are copies of others",
        evidence={"share of copies": share},
        confidence="likely",
        advice="leave duplicates out before the split",
    )


@check("validation-small", title="validation part too small", strength=58)
def validation_small(evidence: Evidence) -> Finding | None:
    """A validation part too small to tell anything."""
    rows = evidence.profile.rows
    validation, training = rows.get("validation", 0), rows.get("training", 0)
    if (
        not training
        or validation >= 30
        or evidence.experiment.data.kind not in ("table", "image", "sequence", "loader")
    ):
        return None
    if not validation:
        return None
    error = 0.5 / math.sqrt(validation)
    return Finding(
        check="validation-small",
        what=f"{validation} rows of validation cannot tell: the standard error of an accuracy is up to {error:.2f}",
        evidence={"rows": validation, "standard error": error},
        confidence="sure" if validation < 15 else "hint",
        advice="take a larger share for validation, or cross-validate",
        change={"data.validation": 0.3} if training + validation > 60 else {},
    )


@check("unseen", title="values that training never saw", strength=65, explains=("overfit", "parts-differ", "underfit"))
def unseen(evidence: Evidence) -> Finding | None:
    """Rows of other parts with a class, or a category, that no training row has."""
    profile = evidence.profile
    for noun, shares in (("class", profile.unseen_classes), ("category", profile.unseen_values)):
        part, share = max(shares.items(), key=lambda item: item[1] or 0.0, default=("", 0.0))
        if not share or share < 0.02:
            continue
        return Finding(
            check="unseen",
            what=f"{share:.0%} of the rows of the {part} part have a {noun} that the training part does not have: "
            "the model cannot know it",
            evidence={f"rows of the {name} part with an unseen {noun}": s for name, s in shares.items()},
            confidence="sure" if share >= 0.1 or noun == "class" else "likely",
            advice="split so that each part has all of them, or collect rows with them"
            + ("" if noun == "class" else "; or leave the column out"),
        )
    return None


@check("parts-differ", strength=67, explains=("overfit", "no-signal", "unfinished"))
def parts_differ(evidence: Evidence) -> Finding | None:
    """Training and validation come from different distributions, or number their classes differently."""
    return _other_classes(evidence) or _shifted(evidence)


def _other_classes(evidence: Evidence) -> Finding | None:
    """Return that what is learned of training is wrong about validation more often than a guess is."""
    profile, rows = evidence.profile, evidence.profile.rows.get("validation", 0)
    training, score, base = evidence.training_score, evidence.last("val_accuracy"), profile.chance_score
    if not evidence.is_classification or rows < 20 or training is None or score is None or base is None:
        return None
    guess = 1 / max(2, len(profile.class_shares))
    deviation = math.sqrt(guess * (1 - guess) / rows)
    if training < base + 0.5 * (1 - base) or score > guess - 3 * deviation or profile.unseen_classes:
        return None
    return Finding(
        check="parts-differ",
        what=f"the validation part contradicts the training part: an accuracy of {score:.3g}, where a guess "
        f"has {guess:.3g}, beside {training:.3g} in training",
        evidence={"training": training, "validation": score, "guess": guess},
        confidence="sure" if score < guess - 4 * deviation else "likely",
        advice="check whether both parts number the classes in the same order",
    )


def _shifted(evidence: Evidence) -> Finding | None:
    """Return that the means of a feature are far apart."""
    profile = evidence.profile
    parts = (profile.rows.get(part, 0) for part in ("training", "validation"))
    shift, rows = profile.shift, min(*parts, sample_size(profile.features))
    if shift is None or rows < 30:
        return None
    noise = 5 * math.sqrt(2 / rows)
    if shift < max(0.8, noise):
        return None
    return Finding(
        check="parts-differ",
        what=f"the validation part differs from the training part: the means of {profile.shifted!r} are {shift:.2g} "
        "standard deviations apart",
        evidence={"largest difference of means": shift},
        confidence="sure" if shift > 1.5 and shift > 2 * noise else "likely",
        advice="split at random, or say why the parts should differ",
    )
