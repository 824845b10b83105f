"""Which trials are given up before their end: those that are weak where others were, after as many epochs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from lmkit.errors import SweepError, nearest

History = Mapping[float, float]
"""Epochs → the objective after so many, the lower the better."""


@dataclass(frozen=True)
class Median:
    """Gives up a trial whose best value so far is worse than the median of the others' at the same epoch.

    Golovin et al., 2017 (Google Vizier).

    Attributes:
        warmup: epochs that every trial is granted.
        trials: how many others must have come as far.
    """

    warmup: int = 1
    trials: int = 3

    def verdict(self, own: History, others: Sequence[History]) -> str:
        """Why a trial is given up; empty where it is not."""
        if not own:
            return ""
        epoch = max(own)
        reached = [min(v for e, v in h.items() if e <= epoch) for h in others if h and max(h) >= epoch]
        if epoch <= self.warmup or len(reached) < self.trials:
            return ""
        best, median = min(own.values()), statistics.median(reached)
        return f"after epoch {epoch:g} worse than the median of {len(reached)} others" if best > median else ""


@dataclass(frozen=True)
class Halving:
    """Lets only the best part of the trials go on beyond each rung: epochs ``first``, ``first · factor``, …

    Asynchronous successive halving (Li et al., 2020), in the form that stops trials and never waits for others.

    Attributes:
        first: epochs of the first rung.
        factor: of how many trials one goes on.
    """

    first: int = 1
    factor: int = 3

    def verdict(self, own: History, others: Sequence[History]) -> str:
        """Why a trial is given up; empty where it is not."""
        rung = self.first
        while own and rung <= max(own):
            value = min(v for e, v in own.items() if e <= rung)
            reached = [min(v for e, v in h.items() if e <= rung) for h in others if h and max(h) >= rung]
            kept = max(1, (len(reached) + 1) // self.factor)
            better = sum(v < value for v in reached)
            if len(reached) + 1 >= self.factor and better >= kept:
                return f"at epoch {rung} behind {better} of {len(reached)} others, of which {kept} may go on"
            rung *= self.factor
        return ""


RULES: dict[str, type[Median] | type[Halving]] = {"median": Median, "halving": Halving}


def read_rule(given: Any) -> Median | Halving | None:
    """The rule that was asked for: its name, or a mapping such as ``{"rule": "median", "warmup": 3}``.

    Raises:
        SweepError: there is no such rule, or it has no such setting.
    """
    if given is None or isinstance(given, Median | Halving):
        return given
    values = {"rule": given} if isinstance(given, str) else dict(given)
    name = str(values.pop("rule", ""))
    if name not in RULES:
        raise SweepError(f"prune: given {name!r}, expected a rule; {nearest(name, RULES)}")
    known = [f.name for f in fields(RULES[name])]
    for setting, value in values.items():
        if setting not in known:
            raise SweepError(f"prune: {setting}: unknown setting of {name!r}; {nearest(setting, known)}")
        if isinstance(value, bool) or not isinstance(value, int) or value < (2 if setting == "factor" else 1):
            raise SweepError(f"prune: {setting}: given {value!r}, expected a whole number, at least 1 (a factor: 2)")
    return RULES[name](**values)


def rule_to_dict(rule: Median | Halving | None) -> dict[str, Any] | None:
    """Plain values, which ``read_rule`` reads."""
    return None if rule is None else {"rule": next(n for n, r in RULES.items() if type(rule) is r), **asdict(rule)}
