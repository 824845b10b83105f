"""What is wrong with the trials of a sweep: each one's run examined once, and what they have in common."""

from __future__ import annotations

import html
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmkit.display.table import Table
from lmkit.doctor.checks import title
from lmkit.doctor.diagnose import diagnose
from lmkit.doctor.diagnosis import Diagnosis
from lmkit.doctor.finding import Finding
from lmkit.exceptions import LmkitError
from lmkit.runfolder.folder import RunFolder
from lmkit.sweeping.records import Trial

MAX_SECONDS = 1.0
"""Seconds that one display of a sweep spends on examining trials; the next one examines the others."""

_cache: dict[Path, tuple[tuple[int, int], Diagnosis]] = {}
"""The folder of a run → the size and time of its readings, and its diagnosis."""


def examine_trials(trials: Iterable[Trial], seconds: float | None = None) -> dict[int, Diagnosis]:
    """Return the number of each trial that has ended → the diagnosis of its run, of those with readings.

    A run is examined once; no simple models are fitted for it, only those that its worker has fitted are looked at.

    Args:
        trials: in the order in which they are examined.
        seconds: after which no further run is examined; none: all of them are.
    """
    begin = time.monotonic()
    diagnoses = {}
    for trial in trials:
        if trial.run is None or not trial.done:
            continue
        is_late = seconds is not None and time.monotonic() - begin > seconds
        if (diagnosis := _examine(trial.run, only_cached=is_late)) is not None:
            diagnoses[trial.number] = diagnosis
    return diagnoses


def _examine(path: Path, *, only_cached: bool) -> Diagnosis | None:
    try:
        status = (path / "readings.jsonl").stat()
        stamp = status.st_size, status.st_mtime_ns
        cached = _cache.get(path)
        if cached is not None and cached[0] == stamp:
            return cached[1]
        if only_cached:
            return None
        diagnosis = diagnose(RunFolder(path))
    except (LmkitError, OSError):  # without readings, removed, or damaged, which the table of runs names
        return None
    _cache[path] = stamp, diagnosis
    return diagnosis


def strongest(diagnosis: Diagnosis | None) -> str | None:
    """Return the strongest finding that is sure or likely in some words; None without one."""
    if diagnosis is None or not diagnosis.is_ill:
        return None
    first = diagnosis.loud[0]
    return title(first.check) + (" (likely)" if first.confidence == "likely" else "")


@dataclass(frozen=True)
class SweepDiagnosis:
    """What the doctor says about the trials of a sweep.

    Attributes:
        name: of the sweep.
        trials: those that have ended, in their order.
        diagnoses: the number of a trial → the diagnosis of its run; without those that have no readings.
    """

    name: str
    trials: Sequence[Trial]
    diagnoses: Mapping[int, Diagnosis]

    @property
    def findings(self) -> dict[int, Finding]:
        """The number of a trial → its strongest finding that is sure or likely."""
        return {number: diagnosis.loud[0] for number, diagnosis in self.diagnoses.items() if diagnosis.is_ill}

    @property
    def text(self) -> str:
        """What trials have in common, the most frequent first: ``7 of 20 trials: learning rate too high``."""
        total = len(self.diagnoses)
        if not total:
            return "no trial that has ended has readings"
        counts = Counter(title(finding.check) for finding in self.findings.values())
        if not counts:
            return f"nothing wrong was recognized in {total} trial{'s' if total > 1 else ''}"
        return "; ".join(f"{n} of {total} trial{'s' if total > 1 else ''}: {name}" for name, n in counts.most_common())

    @property
    def table(self) -> Table:
        """The trials with findings, one per row: its parameters, the strongest finding, and what to change."""
        rows = []
        for trial in self.trials:
            finding = self.findings.get(trial.number)
            if finding is not None:
                parameters = ", ".join(f"{name}: {value}" for name, value in trial.parameters.items())
                rows.append((trial.number, parameters, finding.confidence, finding.what, finding.change_text or None))
        columns = ("trial", "parameters", "confidence", "finding", "change")
        return Table(f"Sweep {self.name}: {self.text}", columns, tuple(rows))

    def __getitem__(self, number: int) -> Diagnosis:
        """Return the diagnosis of the trial with this number."""
        return self.diagnoses[number]

    def __str__(self) -> str:
        return self.table.text if self.findings else f"{self.name}: {self.text}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return the table as HTML without scripts; the sentence alone where no trial has a finding."""
        return self.table.html if self.findings else f"<div>{html.escape(f'{self.name}: {self.text}')}</div>"
