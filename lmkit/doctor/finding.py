"""What a check reports: the problem, its evidence, how sure it is, and a change of the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Confidence = Literal["sure", "likely", "hint"]

ORDER: tuple[Confidence, ...] = ("sure", "likely", "hint")
"""The strongest first."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """A small chart: a statistic over the steps of the run.

    Attributes:
        title: what is drawn.
        steps, values: the points.
        limit: a line at the value from which the check speaks; None for none.
    """

    title: str
    steps: Sequence[float]
    values: Sequence[float | None]
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong with a run.

    Attributes:
        check: the name of the check.
        what: the problem in a sentence.
        evidence: the numbers that it follows from, by what they are.
        confidence: sure, likely, or a hint.
        advice: what to do, in a sentence.
        change: the change of the configuration, as ``Experiment.override`` takes it; empty where none helps.
        chart: the statistic over the run, if it has one.
        consequences: findings that follow from this one.
    """

    check: str
    what: str
    evidence: Mapping[str, Any]
    confidence: Confidence
    advice: str = ""
    change: Mapping[str, Any] = field(default_factory=dict)
    chart: Series | None = None
    consequences: tuple[Finding, ...] = ()

    @property
    def evidence_text(self) -> str:
        """The evidence as text: ``largest update 0.62, loss ÷ chance 3.1``."""
        return ", ".join(f"{name} {_format(value)}" for name, value in self.evidence.items())

    @property
    def change_text(self) -> str:
        """The change as text, as ``override`` takes it; empty where there is none."""
        return ", ".join(f"{name}: {_format(value)}" for name, value in self.change.items())


def _format(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
