"""The diagnosis of a run while it trains, made again whenever the worker has written a reading."""

from __future__ import annotations

import time
from contextlib import suppress

from lmkit.custom import trust
from lmkit.doctor.diagnosis import Diagnosis
from lmkit.doctor.examine import examine
from lmkit.doctor.reader import EvidenceReader
from lmkit.doctor.results import read_tests
from lmkit.exceptions import LmkitError
from lmkit.runfolder.folder import RunFolder

SLICE_BYTES = 2**19
"""Bytes of metrics that one ``poll`` parses at most."""

MAX_STEPS = 2_000_000
"""Steps of a run up to which it is examined while it trains; ``run.doctor()`` examines longer ones."""

MAX_SHARE = 0.05
"""The share of the time that is spent on examining, at most."""


class LiveDiagnosis:
    """Follows the readings of a run. The worker has no part in it.

    No simple models are fitted for it; those that the worker has fitted are looked at.

    Attributes:
        diagnosis: the last one; without findings before the first reading.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.diagnosis = Diagnosis(folder.name, ())
        self._reader = EvidenceReader(folder, SLICE_BYTES)
        self._path = folder.path / "readings.jsonl"
        self._size = 0
        self._next = 0.0

    def poll(self) -> bool:
        """Examine the run if a reading was written since the last call; return whether the findings have changed."""
        if time.monotonic() < self._next:
            return False
        with suppress(OSError, LmkitError):  # not written yet, or damaged, which the table of runs names
            if self._reader.is_behind or self._path.stat().st_size != self._size:
                return self._examine()
        return False

    def _examine(self) -> bool:
        begin = time.monotonic()
        size = self._path.stat().st_size
        evidence = self._reader.read()
        if self._reader.is_behind:
            return False
        self._size = size
        trust.mark(evidence.experiment, self.folder.path)
        before = self.diagnosis
        findings = examine(evidence) if len(evidence.losses) <= MAX_STEPS else []
        tests = read_tests(self.folder)
        self.diagnosis = Diagnosis(self.folder.name, findings, (), evidence.experiment, self.folder.path, tests)
        self._next = begin + (time.monotonic() - begin) / MAX_SHARE
        return list(before.findings) != findings
