"""Table of what the doctor says about runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmkit.display.table import Table
from lmkit.doctor.diagnose import diagnose
from lmkit.exceptions import LmkitError
from lmkit.run.runs import labels

if TYPE_CHECKING:
    from lmkit.run.run import Run


def findings(runs: Sequence[Run]) -> Table:
    """The strongest finding about each run, how sure it is, and its change. Neither waits nor reads data again."""
    rows = [(label, *_strongest(run)) for label, run in zip(labels(runs), runs, strict=True)]
    return Table("Findings of the doctor", ("run", "confidence", "finding", "change"), tuple(rows))


def _strongest(run: Run) -> tuple[Any, ...]:
    try:
        diagnosis = diagnose(run.folder)
    except LmkitError as error:  # a damaged file
        return None, str(error), None
    if not diagnosis.is_ill:
        return None, "; ".join([diagnosis.headline, *diagnosis.remarks]), None
    first = diagnosis.loud[0]
    tried = diagnosis.tried(first)
    more = len(diagnosis.loud) - 1
    what = f"{first.what} (and {more} more)" if more else first.what
    return first.confidence, what, f"{first.change_text} ({tried})" if tried else first.change_text or None
