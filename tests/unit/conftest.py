"""A unit test starts no process: whatever starts one belongs to another tier."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn")
"""Audit events of the interpreter that announce a new process."""

_forbidden = False


def _refuse(event: str, args: tuple[object, ...]) -> None:
    if _forbidden and event in STARTS:
        raise AssertionError(f"a unit test started a process ({event}: {str(args[:1])[:120]}); move it to another tier")


sys.addaudithook(_refuse)  # cannot be removed again, hence the flag


@pytest.fixture(autouse=True)
def no_process() -> Iterator[None]:
    """Refuse each start of a process while the test runs."""
    global _forbidden
    _forbidden = True
    yield
    _forbidden = False
