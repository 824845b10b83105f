"""What every command prints and returns: JSON, and the exit statuses."""

from __future__ import annotations

from typing import Any

from lmkit.system.numbers import to_json

DONE, NOT_COMPLETED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def print_json(value: Any) -> None:
    """Print a value as JSON; NaN and infinities become null."""
    print(to_json(value), flush=True)
