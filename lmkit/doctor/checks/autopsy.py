"""The autopsy of a run that diverged, where one was made."""

from __future__ import annotations

from lmkit.doctor.checks import check
from lmkit.doctor.checks.rates import WEAK
from lmkit.doctor.evidence import Evidence
from lmkit.doctor.finding import Finding

EXPLAINED = ("nan", "rate-high", "exploding", "dead-units", "saturated", *WEAK)
"""What is seen of the same fault in readings and losses."""


@check("autopsy", strength=110, explains=EXPLAINED)
def autopsy(evidence: Evidence) -> Finding | None:
    """The place where the first number arose that is not finite."""
    result = evidence.autopsy
    if result is None:
        return None
    return Finding(
        check="autopsy",
        what=result.what,
        evidence=result.evidence,
        confidence="sure" if result.is_sure else "likely",
        advice=result.advice,
        change=result.change,
        chart=result.chart,
    )
