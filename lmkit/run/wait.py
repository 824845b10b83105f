"""Waiting for a run to complete, as deployment requires."""

from __future__ import annotations

import sys
from contextlib import suppress

from lmkit.exceptions import RunFailed, RunStateError
from lmkit.run.run import Run
from lmkit.system.environment import has_widgets


def wait_until_completed(run: Run, purpose: str) -> Run:
    """Return the run once it has completed; while it trains, print its epochs.

    They are printed to standard error, so that a command's output can be parsed; a notebook shows that as an error, and
    so gets them on standard output.

    Args:
        run: a run in any state.
        purpose: past participle of what needs the run, for messages: ``compared`` or ``bundled``.

    Raises:
        RunStateError: the run is paused, or ended otherwise.
    """
    if run.state in ("pending", "running", "restarting"):
        stream = sys.stdout if has_widgets() else sys.stderr
        print(f"{run.name} is {run.state}; it will be {purpose} once it has completed", file=stream)
        with suppress(RunFailed):
            run.watch(stream, until=("paused",))
    status = run.status
    if status.state == "completed":
        return run
    reason = f" ({status.reason})" if status.reason else ""
    resume = f"; to continue: lmkit resume {run.name}" if status.state in ("paused", "stopped", "lost") else ""
    raise RunStateError(f"{run.name} cannot be {purpose}: it is {status.state}{reason}, expected completed{resume}")
