"""Waiting for a run, of which only the finished one can be deployed."""

from __future__ import annotations

import sys
from contextlib import suppress

from lmkit.errors import RunFailed, RunStateError
from lmkit.run import Run


def completed(run: Run, wanted: str) -> Run:
    """The run, once it has completed; while it trains, its epochs are told on standard error.

    Args:
        run: in whatever state.
        wanted: what is to be done with it: compared, or bundled.

    Raises:
        RunStateError: it is paused, or came to another end.
    """
    if run.state in ("pending", "running"):
        print(f"{run.name} is {run.state}; it is {wanted} once it has completed", file=sys.stderr)
        with suppress(RunFailed):
            run.watch(sys.stderr, until=("paused",))
    status = run.status
    if status.state == "completed":
        return run
    why = f" ({status.reason})" if status.reason else ""
    go_on = f"; go on: lmkit resume {run.name}" if status.state in ("paused", "stopped", "lost") else ""
    raise RunStateError(f"{run.name} cannot be {wanted}: it is {status.state}{why}, expected completed{go_on}")
