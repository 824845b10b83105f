"""Logging of a live view's runs to a tracker, in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmkit.run.run import Run
from lmkit.sweeping.sweep import Sweep
from lmkit.trackers import mirror
from lmkit.trackers.base import TRACKERS as REGISTRY
from lmkit.widgets.debounce import in_background

TRACKERS = tuple(sorted(REGISTRY.names(), key=lambda name: name != "tensorboard"))
"""Names of the trackers, the default first."""


def start_logging(sources: Sequence[Run | Sweep], to: str, show_message: Callable[[str, bool], None]) -> None:
    """Send runs or a sweep to a tracker, in the background.

    Args:
        sources: the runs, or the sweep.
        to: the name of the tracker.
        show_message: called with a message and whether it is an error.
    """

    def work() -> None:
        try:
            tracked = mirror(sources, to, wait=False)
            first, *others = str(tracked).splitlines()
            show_message(first + (f", and {len(others)} more" if others else ""), False)
            tracked.wait()
        except Exception as error:  # a tracker may raise anything
            show_message(str(error), True)

    in_background(work, lambda _: None)
