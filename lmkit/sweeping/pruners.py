"""Pruners: stop trials early that are worse than others after the same number of epochs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from lmkit.exceptions import SweepError, nearest, shorten

History = Mapping[float, float]
"""Epoch → the objective after that epoch; lower is better."""


@dataclass(frozen=True)
class MedianPruner:
    """Stops a trial whose best value so far is worse than the median of the other trials at the same epoch.

    Golovin et al., 2017 (Google Vizier).

    Attributes:
        warmup: epochs in which no trial is stopped.
        trials: how many other trials must have reached the epoch.
    """

    warmup: int = 1
    trials: int = 3

    def reason_to_prune(self, history: History, others: Sequence[History]) -> str:
        """Return why a trial is stopped; empty where it continues."""
        if not history:
            return ""
        epoch = max(history)
        reached = [min(v for e, v in h.items() if e <= epoch) for h in others if h and max(h) >= epoch]
        if epoch <= self.warmup or len(reached) < self.trials:
            return ""
        best, median = min(history.values()), statistics.median(reached)
        return f"after epoch {epoch:g} worse than the median of {len(reached)} others" if best > median else ""


@dataclass(frozen=True)
class HalvingPruner:
    """Continues only the best fraction of the trials beyond each rung: epochs ``first``, ``first · factor``, …

    Asynchronous successive halving (Li et al., 2020), in the variant that stops trials and never waits for others.

    Attributes:
        first: epochs of the first rung.
        factor: one trial of this many continues.
    """

    first: int = 1
    factor: int = 3

    def reason_to_prune(self, history: History, others: Sequence[History]) -> str:
        """Return why a trial is stopped; empty where it continues."""
        rung = self.first
        while history and rung <= max(history):
            value = min(v for e, v in history.items() if e <= rung)
            reached = [min(v for e, v in h.items() if e <= rung) for h in others if h and max(h) >= rung]
            survivors = max(1, (len(reached) + 1) // self.factor)
            better = sum(v < value for v in reached)
            if len(reached) + 1 >= self.factor and better >= survivors:
                return f"at epoch {rung} behind {better} of {len(reached)} others, of which {survivors} may continue"
            rung *= self.factor
        return ""


Pruner = MedianPruner | HalvingPruner

PRUNERS: dict[str, type[MedianPruner] | type[HalvingPruner]] = {"median": MedianPruner, "halving": HalvingPruner}


def read_pruner(prune: Any) -> Pruner | None:
    """Read a pruner: its name, or a mapping such as ``{"rule": "median", "warmup": 3}``.

    Raises:
        SweepError: the pruner or one of its settings is unknown.
    """
    if prune is None or isinstance(prune, Pruner):
        return prune
    values = {"rule": prune} if isinstance(prune, str) else dict(prune)
    name = str(values.pop("rule", ""))
    if name not in PRUNERS:
        raise SweepError(f"prune: given {shorten(name)}, {nearest(name, PRUNERS)}")
    names = [f.name for f in fields(PRUNERS[name])]
    for setting, value in values.items():
        if setting not in names:
            raise SweepError(f"prune: {setting}: unknown setting of {name!r}; {nearest(setting, names, 'settings:')}")
        if isinstance(value, bool) or not isinstance(value, int) or value < (2 if setting == "factor" else 1):
            raise SweepError(
                f"prune: {setting}: given {shorten(value)}, expected a whole number, at least 1 (a factor: 2)"
            )
    return PRUNERS[name](**values)


def pruner_to_dict(pruner: Pruner | None) -> dict[str, Any] | None:
    """Return plain values, which ``read_pruner`` reads."""
    return (
        None if pruner is None else {"rule": next(n for n, r in PRUNERS.items() if type(pruner) is r), **asdict(pruner)}
    )
