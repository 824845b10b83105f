"""The findings about a run, as text and as a table that a notebook shows."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from lmkit.doctor.chart import draw
from lmkit.doctor.finding import Finding

SHOUTED = 3
"""Findings that are shown at length, at most."""

COLORS = {"sure": "#c62828", "likely": "#e07b00", "hint": "#607d8b"}


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says about a run.

    Attributes:
        name: of the run.
        findings: the strongest first; one that follows from another is within that one.
        remarks: what could not be examined, a sentence each.
    """

    name: str
    findings: Sequence[Finding]
    remarks: Sequence[str] = ()

    @property
    def is_ill(self) -> bool:
        """Whether a finding is sure or likely."""
        return any(finding.confidence != "hint" for finding in self.findings)

    @property
    def headline(self) -> str:
        """The first finding that is no hint, or that nothing is wrong."""
        loud = [finding for finding in self.findings if finding.confidence != "hint"]
        if not loud:
            return "nothing wrong was recognized"
        more = f" (and {len(loud) - 1} more)" if len(loud) > 1 else ""
        return f"{loud[0].confidence}: {loud[0].what}{more}"

    def __bool__(self) -> bool:
        """Whether there is any finding."""
        return bool(self.findings)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.headline}"]
        for i, finding in enumerate(self.findings):
            lines += [""] if i < SHOUTED else []
            lines.append(f"{finding.confidence:6} {finding.check}: {finding.what}")
            if i >= SHOUTED:
                continue
            lines.append(f"       evidence: {finding.evidence_text}")
            if finding.advice:
                lines.append(f"       advice:   {finding.advice}")
            if finding.change:
                lines.append(f"       change:   {finding.change_text}")
            if finding.consequences:
                lines.append(f"       explains: {', '.join(c.check for c in finding.consequences)}")
        return "\n".join([*lines, *(f"({text})" for text in self.remarks)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return the findings as HTML without scripts."""
        blocks = [_block(finding) for finding in self.findings[:SHOUTED]]
        blocks += [_line(finding) for finding in self.findings[SHOUTED:]]
        remarks = "".join(f"<div style='color:#607d8b'>{html.escape(text)}</div>" for text in self.remarks)
        title = f"<b>{html.escape(self.name)}</b>: {html.escape(self.headline)}"
        return f"<div style='max-width:60em;line-height:1.4'><div>{title}</div>{''.join(blocks)}{remarks}</div>"


def _badge(finding: Finding) -> str:
    color = COLORS[finding.confidence]
    return (
        f"<span style='background:{color};color:#fff;border-radius:3px;padding:0 .4em;font-size:85%'>"
        f"{finding.confidence}</span> <code>{html.escape(finding.check)}</code>"
    )


def _line(finding: Finding) -> str:
    return f"<div style='margin-top:.3em'>{_badge(finding)} {html.escape(finding.what)}</div>"


def _block(finding: Finding) -> str:
    """Return one finding with its evidence, its advice and a small chart."""
    rows = [("evidence", finding.evidence_text), ("advice", finding.advice), ("change", finding.change_text)]
    rows.append(("explains", "; ".join(c.what for c in finding.consequences)))
    text = "".join(
        f"<div><span style='color:#607d8b'>{name}</span> {html.escape(value)}</div>" for name, value in rows if value
    )
    chart = draw(finding.chart) if finding.chart else ""
    return (
        f"<div style='border-left:3px solid {COLORS[finding.confidence]};padding:.2em .8em;margin:.6em 0'>"
        f"<div>{_badge(finding)} <b>{html.escape(finding.what)}</b></div>{text}{chart}</div>"
    )
