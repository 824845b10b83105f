"""The grammar of constraints: an aim, and limits that combine.

    constraint  = (aim | limit) {[","] ["and"] (aim | limit)}
    aim         = "fastest" | "smallest" | "most accurate"
    limit       = "within" number ["points" | "%"] ["of" metric]
                | "under" number (time ["p50" | "p95"] | size ["of memory"])

A constraint has at most one aim, and any number of limits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from lmkit.deploy.measure.statistics import Interval
from lmkit.deploy.variant import Variant
from lmkit.exceptions import ConfigError, nearest
from lmkit.specs.tasks import higher_is_better, metric_info

AIMS = ("fastest", "smallest", "most accurate")
EXAMPLES = ("fastest within 1 point", "smallest", "fastest under 1 MB", "most accurate under 5 ms p95")

TIMES = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
SIZES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}

_NUMBER = r"(?P<number>\d+(?:\.\d*)?|\.\d+)"
_UNIT = "|".join(sorted((*TIMES, *SIZES), key=len, reverse=True))
_CLAUSES = {
    "aim": re.compile("|".join(AIMS)),
    "within": re.compile(
        rf"within {_NUMBER}(?: ?(?P<unit>points?\b|%|percent\b))?"
        r"(?: of(?: the)?(?: baseline(?:['’]s)?)?(?: (?P<metric>[^\s,;]+))?)?"
    ),
    "under": re.compile(
        rf"(?:under|below|less than|at most|up to|<=?|≤) ?{_NUMBER} ?(?P<unit>{_UNIT})\b"
        r"(?: (?:of )?(?P<kind>p50|p95|memory)\b)?"
    ),
}
_SEPARATOR = re.compile(r"(?:[\s,;]|and\b)*")


@dataclass(frozen=True)
class Within:
    """A limit on how much worse than the baseline's a metric may be.

    Attributes:
        metric: name of the metric.
        base: the baseline's value.
        margin: by how much it may be worse.
        text: the limit in words.
    """

    metric: str
    base: float
    margin: float
    text: str

    def holds(self, variant: Variant) -> bool:
        """Return whether the measured value is within the margin."""
        difference = variant.metrics.get(self.metric, float("nan")) - self.base
        return loss_of(self.metric, difference) <= self.margin + 1e-12

    def is_certain(self, variant: Variant) -> bool:
        """Return whether the whole interval of the difference is within the margin, or there is none."""
        interval = variant.differences.get(self.metric)
        if interval is None:
            return True
        return max(loss_of(self.metric, end) for end in (interval.low, interval.high)) <= self.margin + 1e-12


@dataclass(frozen=True)
class Under:
    """A limit on a time or a size.

    Attributes:
        measure: returns the limited number of a variant.
        limit: in seconds or bytes.
        text: the limit in words.
    """

    measure: Callable[[Variant], float]
    limit: float
    text: str

    def holds(self, variant: Variant) -> bool:
        """Return whether the variant is below the limit."""
        return self.measure(variant) < self.limit


class Constraint(NamedTuple):
    """What a variant should be.

    Attributes:
        aim: one of ``AIMS``.
        limits: what it has to meet.
    """

    aim: str
    limits: tuple[Within | Under, ...]


def main_metric(variant: Variant) -> str:
    """Return the metric by which variants are ranked; empty where there is none."""
    names = ("accuracy", "r2", "perplexity", "mae", "loss", *variant.metrics)
    return next((m for m in names if m in variant.metrics), "")


def is_share(metric: str) -> bool:
    """Return whether a metric has a best value of 1, so that a point is a hundredth of its scale."""
    info = metric_info().get(metric)
    return info is not None and info.best == 1


def loss_of(metric: str, difference: float) -> float:
    """Return by how much a metric is worse where it differs by ``difference``; of custom metrics any difference counts.

    >>> loss_of("accuracy", -0.01), loss_of("mae", -2.0)
    (0.01, -2.0)
    """
    if metric in higher_is_better():
        return -difference
    return difference if metric == "loss" or metric in metric_info() else abs(difference)


def default_constraint(baseline: Variant) -> str:
    """Return the constraint of an empty text: the fastest about as good as the baseline, as far as that is known."""
    return EXAMPLES[0] if baseline.metrics else "fastest"


def parse_constraint(text: str, baseline: Variant) -> Constraint:
    """Return the constraint that a text describes; the default where it is empty.

    Args:
        text: such as ``fastest within 1 point of accuracy and under 1 MB``.
        baseline: its metrics are those that can be limited.

    Raises:
        ConfigError: the text cannot be read; the message holds the grammar.

    >>> base = Variant("run", "baseline", "baseline", metrics={"r2": 0.5})
    >>> [limit.text for limit in parse_constraint("within 1 point under 1 MB", base).limits]
    ['within 1 point of r2', 'under 1 MB']
    """
    request = " ".join(text.lower().split()) or default_constraint(baseline)
    problem = partial(_problem, text, baseline)
    aims: list[str] = []
    limits: list[Within | Under] = []
    position = _SEPARATOR.match(request).end()  # type: ignore[union-attr]
    while position < len(request):
        clause, match = next(((c, m) for c, p in _CLAUSES.items() if (m := p.match(request, position))), ("", None))
        if match is None:
            raise problem(f"{request[position:]!r} cannot be read")
        if clause == "aim":
            aims.append(match[0])
        else:
            limits.append(_within(match, baseline, problem) if clause == "within" else _under(match))
        position = _SEPARATOR.match(request, match.end()).end()  # type: ignore[union-attr]
        if position == match.end() < len(request):
            raise problem(f"{request[match.start() :]!r} cannot be read")
    if len(aims) > 1:
        raise problem(f"there are {len(aims)} aims, {' and '.join(aims)}")
    return Constraint(aims[0] if aims else AIMS[0], tuple(limits))


def _within(match: re.Match[str], baseline: Variant, problem: Callable[[str], ConfigError]) -> Within:
    amount, unit, metric = float(match["number"]), match["unit"] or "", match["metric"] or main_metric(baseline)
    names = {name.lower(): name for name in baseline.metrics}
    if metric.lower() not in names:
        if not baseline.metrics:
            raise problem("the baseline has no metric, without test rows")
        raise problem(f"the baseline has no {metric!r}; {nearest(metric, baseline.metrics, 'it has')}")
    metric = names[metric.lower()]
    base = baseline.metrics[metric]
    if unit.startswith("point") and not is_share(metric):
        unit = "%"
    margin = amount * {"": 1.0, "%": abs(base) / 100}.get(unit.replace("percent", "%"), 0.01)
    return Within(metric, base, margin, f"within {match['number']}{f' {unit}' if unit else ''} of {metric}")


def _under(match: re.Match[str]) -> Under:
    number, unit, kind = float(match["number"]), match["unit"], match["kind"]
    text = f"under {match['number']} {_spell(unit)}" + (
        f" of {kind}" if kind == "memory" else f" {kind}" if kind else ""
    )
    if unit in SIZES:
        return Under(_peak if kind == "memory" else _size, number * SIZES[unit], text)
    return Under(_p95 if kind == "p95" else _p50, number * TIMES[unit], text)


def _spell(unit: str) -> str:
    """Return a unit as it is written: kB, MB, GiB; times in lower case."""
    if unit in TIMES:
        return unit
    return unit.replace("b", "B") if unit in ("b", "kb") else unit.upper().replace("I", "i")


def _size(variant: Variant) -> float:
    return float(variant.size_bytes)


def _peak(variant: Variant) -> float:
    return float(variant.peak_bytes)


def _p50(variant: Variant) -> float:
    return variant.latency[0].p50.value


def _p95(variant: Variant) -> float:
    p95 = variant.latency[0].p95
    return float("inf") if p95 is None else p95


def _problem(text: str, baseline: Variant, reason: str) -> ConfigError:
    """Return the error of a text that is no constraint, with the grammar."""
    metrics = ", ".join(baseline.metrics) or "none, without test rows"
    return ConfigError(
        [
            f"constraint: given {text!r}, but {reason}\n"
            "expected an aim and any number of limits, separated by a space, a comma or 'and':\n"
            f"  {', '.join(AIMS[:2])} or {AIMS[2]}  the aim, one at most (default: {AIMS[0]})\n"
            "  within 1 point [of METRIC]  at most a hundredth worse than the baseline (1 % if 1 is not the best)\n"
            "  within 5 % [of METRIC]      at most 5 % of the baseline's value worse\n"
            "  within 0.02 [of METRIC]     at most 0.02 worse\n"
            "  under 5 ms [p95]            median or 95th percentile of a call; us, ms or s\n"
            "  under 1 MB [of memory]      size of the files, or peak memory; kB, MB or GB\n"
            f"METRIC: {metrics} (default: {main_metric(baseline) or 'none'})\n"
            f"such as {', '.join(map(repr, EXAMPLES))}"
        ]
    )


def format_difference(metric: str, interval: Interval) -> str:
    """Return a difference and its interval, in points where the metric lies between 0 and 1.

    >>> format_difference("accuracy", Interval(-0.008, -0.021, 0.004))
    '-0.8 points [-2.1, +0.4]'
    >>> format_difference("accuracy", Interval(-1e-9, -1e-7, 1e-7))
    '+0 points [+0, +0]'
    """
    numbers, unit = [interval.value, interval.low, interval.high], ""
    if is_share(metric):
        numbers, unit = [round(100 * number, 2) + 0.0 for number in numbers], " points"  # + 0.0: no negative zero
    value, low, high = (f"{number:+.2g}" for number in numbers)
    return f"{value}{unit} [{low}, {high}]"


def differs(interval: Interval) -> bool:
    """Return whether a paired difference is one: its interval excludes 0."""
    return not interval.low <= 0 <= interval.high


def metric_cost(variant: Variant, metric: str) -> float:
    """Return a variant's metric as a cost, of which less is better; infinite where it was not measured."""
    if metric not in variant.metrics:
        return math.inf
    return -variant.metrics[metric] if metric in higher_is_better() else variant.metrics[metric]
