"""The recommendation: which variant to ship under a constraint, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lmkit.deploy.compare.constraint import (
    Constraint,
    Within,
    differs,
    format_difference,
    main_metric,
    metric_cost,
    parse_constraint,
)
from lmkit.deploy.measure.statistics import Interval, noise
from lmkit.deploy.variant import Variant, labels
from lmkit.display.units import format_bytes, format_latency
from lmkit.exceptions import LmkitError


class Recommendation(NamedTuple):
    """The variant to ship, and why.

    Attributes:
        variant: the variant.
        reason: one or a few sentences.
    """

    variant: Variant
    reason: str

    def __str__(self) -> str:
        return self.reason


class NoneFits(LmkitError):
    """No variant meets the constraint."""


def recommend(variants: Sequence[Variant], constraint: str = "") -> Recommendation:
    """Return the variant to ship under ``constraint``.

    A constraint is an aim (fastest, smallest, most accurate) and any number of limits (``within 1 point of accuracy``,
    ``within 5 % of loss`` or ``within 0.02 of r2`` of the baseline; ``under 5 ms p95``; ``under 1 MB``); see
    ``lmkit.deploy.compare.constraint``. The default is the fastest within 1 point (or 1 %) of the run's main metric.
    Variants with flags are excluded. Of the variants that do not differ from the fastest one in latency, the smallest
    is returned. The reason says where the test rows are too few to tell.

    Raises:
        ConfigError: the constraint cannot be parsed; the message holds the grammar.
        NoneFits: no variant meets it; the message names the baseline's values.

    >>> recommend(comparison, "smallest within 1 point of accuracy").variant.technique  # doctest: +SKIP
    'onnx-int8-static'
    """
    baseline = next((v for v in variants if v.technique == "baseline"), None)
    if baseline is None:
        raise NoneFits("no recommendation before the baseline is measured; run lk.compare(run)")
    aim, limits = request = parse_constraint(constraint, baseline)
    candidates = [v for v in variants if v.state == "measured" and (not v.flags or v is baseline)]
    fitting = [v for v in candidates if all(limit.holds(v) for limit in limits)]
    limits_text = " and ".join(limit.text for limit in limits)
    if not fitting:
        raise NoneFits(f"no variant is {limits_text}; the baseline is {_summary(baseline)}")
    best = _best(fitting, aim)
    scope = f" of those {limits_text} ({len(fitting)} of {len(candidates)})" if limits else ""
    sentences = [
        f"{labels(variants)[best.name]} is the {aim}{scope}: {_summary(best)}.",
        _gain(best, baseline, noise([v.latency[0] for v in variants if v.latency])),
        *_quality(best, baseline, request),
    ]
    return Recommendation(best, " ".join(sentences))


def _best(fitting: list[Variant], aim: str) -> Variant:
    if aim == "smallest":
        return min(fitting, key=lambda v: (v.size_bytes, v.latency[0].p50.value))
    if aim == "most accurate":
        metric = main_metric(fitting[0])
        return min(fitting, key=lambda v: (metric_cost(v, metric), v.latency[0].p50.value))
    fastest = min(fitting, key=lambda v: v.latency[0].ratio.value)
    alike = [v for v in fitting if v.latency[0].ratio.overlaps(fastest.latency[0].ratio)]
    return min(alike, key=lambda v: v.size_bytes)


def _gain(best: Variant, baseline: Variant, baseline_noise: Interval) -> str:
    """Return a sentence about the gain over the baseline."""
    if best is baseline:
        return "No variant is better than the original model."
    latency = best.latency[0]
    speed = "No difference in latency to the baseline"
    if latency.differs(baseline_noise):
        faster = latency.ratio.value < 1
        times = 1 / latency.ratio.value if faster else latency.ratio.value
        speed = f"{times:.3g} times as {'fast' if faster else 'slow'} as the baseline"
    return f"{speed}, {best.size_bytes / baseline.size_bytes:.0%} of its size."


def _quality(best: Variant, baseline: Variant, request: Constraint) -> list[str]:
    """Return sentences about the metrics: the difference to the baseline, and what the test rows cannot tell."""
    if best is baseline or best.run != baseline.run:  # differences are to the baseline of the same run
        return []
    sentences, rows = [], f"{best.rows:,} rows"
    within = {limit.metric: limit for limit in request.limits if isinstance(limit, Within)}
    for metric in dict.fromkeys([*within, main_metric(best)]):
        if (interval := best.differences.get(metric)) is None:
            continue
        text = format_difference(metric, interval)
        if metric in within and not within[metric].is_certain(best):
            sentences.append(f"Whether it is {within[metric].text} cannot be told on {rows}: {text}.")
        elif differs(interval):
            sentences.append(f"Its {metric} differs by {text}.")
        elif request.aim == "most accurate":
            sentences.append(f"Whether its {metric} is better than the baseline's cannot be told on {rows}: {text}.")
        else:
            sentences.append(f"No difference in {metric} on {rows}: {text}.")
    return sentences


def _summary(variant: Variant) -> str:
    metric = main_metric(variant)
    score = f", {metric} {variant.metrics[metric]:.4g}" if metric else ""
    return f"{format_latency(variant.latency[0].p50.value)} per call, {format_bytes(variant.size_bytes)}{score}"
