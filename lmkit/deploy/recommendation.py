"""Which variant to ship, for a constraint that is stated in words, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lmkit.deploy.measure import Interval, noise
from lmkit.deploy.variant import Variant, labels
from lmkit.errors import ConfigError, LmkitError

HIGHER = ("accuracy", "auc", "r2")
"""Metrics of which more is better; of all others less is."""

EXAMPLES = ("fastest within 1 point of accuracy", "smallest", "fastest under 1 MB", "most accurate under 5 ms p95")
UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}
_LOSS = re.compile(r"within ([\d.]+) ?(points?|%|percent)?(?: of)? ?(\w+)?")
_LIMIT = re.compile(r"(?:under|below|at most|<) ?([\d.]+) ?(us|µs|ms|s|kb|mb|gb)\b(?: (p50|p95))?")


class Recommendation(NamedTuple):
    """A variant, and why it is the one.

    Attributes:
        variant: what to ship.
        reason: a sentence or two.
    """

    variant: Variant
    reason: str

    def __str__(self) -> str:
        return self.reason


class NoneFits(LmkitError):
    """No variant keeps to the constraint."""


def recommend(variants: Sequence[Variant], constraint: str = EXAMPLES[0]) -> Recommendation:
    """The variant to ship under ``constraint``.

    A constraint is what to look for (fastest, smallest, most accurate) and what to keep to (``within 1 point of
    accuracy`` or ``within 5 % of loss`` of the baseline; ``under 5 ms p95``; ``under 1 MB``), as many as needed.
    Variants with flags are left out. Of those that cannot be told apart from the fastest, the smallest is taken.

    Raises:
        ConfigError: the constraint cannot be read.
        NoneFits: no variant keeps to it; the message tells which comes nearest.

    >>> recommend(comparison, "smallest within 1 point of accuracy").variant.technique  # doctest: +SKIP
    'onnx-int8-static'
    """
    said = " ".join(constraint.lower().split())
    aims = [a for a in ("fastest", "smallest", "most accurate") if a in said]
    rest = re.sub(r"fastest|smallest|most accurate|\band\b|,", " ", said)
    limits: list[tuple[str, Callable[[Variant], bool]]] = []
    baseline = next((v for v in variants if v.technique == "baseline"), None)
    if baseline is None:
        raise NoneFits("nothing can be recommended before the baseline is measured; go on: lk.compare(run)")
    for pattern, make in ((_LOSS, _within), (_LIMIT, _under)):
        for found in pattern.finditer(rest):
            limits.append((found.group(0).strip(), make(found, baseline)))
        rest = pattern.sub(" ", rest)
    if rest.strip() or len(aims) > 1 or not (aims or limits):
        raise ConfigError([f"constraint: given {constraint!r}, expected such as {', '.join(map(repr, EXAMPLES))}"])
    aim = aims[0] if aims else "fastest"
    sound = [v for v in variants if v.state == "measured" and (not v.flags or v is baseline)]
    fitting = [v for v in sound if all(holds(v) for _, holds in limits)]
    if not fitting:
        raise NoneFits(f"no variant is {' and '.join(text for text, _ in limits)}; the baseline is {_told(baseline)}")
    best = _best(fitting, aim)
    among = [v.latency[0] for v in variants if v.latency]
    gained = _gain(best, baseline, noise(among))
    kept = f" of those {' and '.join(text for text, _ in limits)} ({len(fitting)} of {len(sound)})" if limits else ""
    return Recommendation(best, f"{labels(variants)[best.name]} is the {aim}{kept}: {_told(best)}. {gained}")


def main_metric(variant: Variant) -> str:
    """The metric that the variants are judged by."""
    return next((m for m in ("accuracy", "r2", "perplexity", "mae", "loss") if m in variant.metrics), "")


def _within(found: re.Match[str], baseline: Variant) -> Callable[[Variant], bool]:
    amount, unit = float(found.group(1)), found.group(2) or "points"
    metric = found.group(3) or main_metric(baseline)
    if metric not in baseline.metrics:
        raise ConfigError(
            [f"constraint: the baseline has no {metric!r}, but {', '.join(baseline.metrics) or 'no metric'}"]
        )
    base = baseline.metrics[metric]
    room = amount / 100 * (1 if unit.startswith("point") else abs(base))
    sign = 1 if metric in HIGHER else -1
    return lambda v: sign * (v.metrics.get(metric, float("nan")) - base) >= -room - 1e-12


def _under(found: re.Match[str], baseline: Variant) -> Callable[[Variant], bool]:
    limit, kind = float(found.group(1)) * UNITS[found.group(2)], found.group(3)
    if found.group(2) in ("kb", "mb", "gb"):
        return lambda v: v.size_bytes < limit
    if kind == "p95":
        return lambda v: (v.latency[0].p95 if v.latency[0].p95 is not None else float("inf")) < limit
    return lambda v: v.latency[0].p50.value < limit


def _best(fitting: list[Variant], aim: str) -> Variant:
    if aim == "smallest":
        return min(fitting, key=lambda v: (v.size_bytes, v.latency[0].p50.value))
    if aim == "most accurate":
        metric = main_metric(fitting[0])
        sign = -1 if metric in HIGHER else 1
        return min(fitting, key=lambda v: (sign * v.metrics.get(metric, float("inf")), v.latency[0].p50.value))
    quickest = min(fitting, key=lambda v: v.latency[0].ratio.value)
    alike = [v for v in fitting if v.latency[0].ratio.overlaps(quickest.latency[0].ratio)]
    return min(alike, key=lambda v: v.size_bytes)


def _gain(best: Variant, baseline: Variant, unlike: Interval) -> str:
    """What is gained over the baseline, in a sentence."""
    if best is baseline:
        return "Nothing that was tried is better than the model as it is."
    timed = best.latency[0]
    speed = "No difference in latency to the baseline"
    if timed.differs(unlike):
        faster = timed.ratio.value < 1
        times = 1 / timed.ratio.value if faster else timed.ratio.value
        speed = f"{times:.3g} times as {'fast' if faster else 'slow'} as the baseline"
    return f"{speed}, {best.size_bytes / baseline.size_bytes:.0%} of its size."


def _told(variant: Variant) -> str:
    metric = main_metric(variant)
    score = f", {metric} {variant.metrics[metric]:.4g}" if metric else ""
    return f"{seconds_text(variant.latency[0].p50.value)} a call, {bytes_text(variant.size_bytes)}{score}"


def seconds_text(seconds: float) -> str:
    """A short time with three digits.

    >>> seconds_text(0.000147), seconds_text(0.0123)
    ('147 µs', '12.3 ms')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def bytes_text(size: float) -> str:
    """A size with three digits, in powers of a thousand.

    >>> bytes_text(38465), bytes_text(2_400_000)
    ('38.5 kB', '2.4 MB')
    """
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= one:
            return f"{size / one:.3g} {unit}"
    return f"{size:.0f} B"
