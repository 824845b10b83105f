"""What a check reports: the problem, its evidence, how sure it is, and a change of the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lmkit.display.units import format_number

if TYPE_CHECKING:
    from lmkit.experiment.experiment import Experiment

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

    def apply(self, experiment: Experiment) -> Experiment:
        """Return an experiment with the change of the configuration.

        Raises:
            ConfigError: the experiment does not have the settings that are changed.

        >>> from lmkit import Experiment
        >>> change = {"training.optimizer.lr": 0.01}
        >>> finding = Finding(check="rate-high", what="", evidence={}, confidence="sure", change=change)
        >>> finding.apply(Experiment(data="wine")).training.optimizer.lr
        0.01
        """
        return experiment.override(self.change)

    @property
    def evidence_text(self) -> str:
        """The evidence as text: ``largest update 0.62, loss ÷ chance 3.1``."""
        return ", ".join(f"{name} {_format(value)}" for name, value in self.evidence.items())

    @property
    def change_text(self) -> str:
        """The change as text, as ``override`` takes it; empty where there is none."""
        return ", ".join(f"{name}: {_format(value)}" for name, value in self.change.items())

    @property
    def details(self) -> list[tuple[str, str]]:
        """Evidence, advice, change and what the finding explains: the name and the text of each that it has."""
        rows = [("evidence", self.evidence_text), ("advice", self.advice), ("change", self.change_text)]
        rows.append(("explains", "; ".join(consequence.what for consequence in self.consequences)))
        return [(name, text) for name, text in rows if text]


def _format(value: Any) -> str:
    return format_number(value, 3) if isinstance(value, float) else str(value)
