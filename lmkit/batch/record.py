"""Values that a notebook records for the program that executes it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from lmkit.exceptions import TemplateError, shorten
from lmkit.runfolder.journal import JOURNAL
from lmkit.specs.plain import plain
from lmkit.system.files import JsonLines


def record(**values: float | str | bool | None) -> None:
    """Record values of a notebook for the program that executes it; without effect in a notebook run by hand.

    A sweep over the notebook can use one of them as its objective, and shows them all in its table.

    Args:
        **values: name → number, text or None. The last value of a name counts.

    Raises:
        TemplateError: a value has another type.

    >>> record(f1=0.91, rows=1200)
    """
    recorded: dict[str, Any] = plain(values)
    for name, value in recorded.items():
        if value is not None and not isinstance(value, int | float | str):
            raise TemplateError(f"record: {name}: given {shorten(value)}, expected a number, a text or None")
    if journal := os.environ.get(JOURNAL):
        # JSON has no NaN and no infinity
        not_finite = {n: str(v) for n, v in recorded.items() if isinstance(v, float) and not math.isfinite(v)}
        JsonLines(Path(journal)).append({"values": recorded, **({"not_finite": not_finite} if not_finite else {})})
