"""What a notebook has found, told to whoever executes it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from lmkit.errors import TemplateError
from lmkit.events import JOURNAL, JsonLines
from lmkit.specs.plain import plain


def record(**values: float | str | bool | None) -> None:
    """Records values that a notebook has found, for whoever executes it; in a notebook run by hand it does nothing.

    A sweep over the notebook can have one of them as its objective, and shows them all in its table.

    Args:
        **values: name → number, text or None. The last value of a name counts.

    Raises:
        TemplateError: a value is something else.

    >>> record(f1=0.91, rows=1200)
    """
    told: dict[str, Any] = plain(values)
    for name, value in told.items():
        if value is not None and not isinstance(value, int | float | str):
            raise TemplateError(f"record: {name}: given {value!r}, expected a number, a text or None")
        if isinstance(value, float) and not math.isfinite(value):
            told[name] = str(value)  # JSON has no such number
    if journal := os.environ.get(JOURNAL):
        JsonLines(Path(journal)).append({"values": told})
