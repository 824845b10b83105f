"""Examine a run: all checks, consequences folded under their causes, the strongest finding first."""

from __future__ import annotations

from dataclasses import replace

from lmkit.doctor.checks import CHECKS, Check
from lmkit.doctor.evidence import Evidence
from lmkit.doctor.finding import ORDER, Finding


def examine(evidence: Evidence) -> list[Finding]:
    """Return the findings about a run, the strongest first; a finding holds those that follow from it."""
    findings: list[tuple[Check, Finding]] = []
    for _, check in CHECKS.items():  # noqa: PERF102 (it is no dict)
        finding = None if check.judges_learning and evidence.is_early else check.examine(evidence)
        if finding is not None:
            findings.append((check, finding))
    findings.sort(key=lambda pair: (ORDER.index(pair[1].confidence), -pair[0].strength))
    return fold(findings)


def fold(findings: list[tuple[Check, Finding]]) -> list[Finding]:
    """Return the findings, sorted as they come, each that an earlier one explains within that one.

    A hint explains nothing: what follows from it would be stronger than its cause.
    """
    roots: list[tuple[Check, list[Finding]]] = []
    for check, finding in findings:
        cause = next(
            (inside for root, inside in roots if check.name in root.explains and inside[0].confidence != "hint"), None
        )
        if cause is not None:
            cause.append(finding)
        else:
            roots.append((check, [finding]))
    return [replace(first, consequences=tuple(rest)) for _, (first, *rest) in roots]
