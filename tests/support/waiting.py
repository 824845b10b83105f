"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 120
"""Seconds after which something that should happen has not. Nothing here depends on how fast it does."""


def until(happened: Callable[..., Any]) -> Any:
    """Waits until something is so, and returns it."""
    end = time.monotonic() + PATIENCE
    while not (found := happened()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
    return found
