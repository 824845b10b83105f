"""The mirror of a live view: what is shown is told to a tracker, while the kernel stays free."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmkit.mirrors import mirror, mirrors
from lmkit.run import Run
from lmkit.widgets.later import in_background

TRACKERS = tuple(sorted(mirrors(), key=lambda name: name != "tensorboard"))
"""What is offered, the one that is the default first."""


def mirror_aside(runs: Sequence[Run], to: str, say: Callable[[str, bool], None]) -> None:
    """Tells runs to a tracker, in the background.

    Args:
        runs: those that there are.
        to: the tracker's name.
        say: is called with where they are seen, or with what is wrong, and whether that is so.
    """
    if not runs:
        return say("there is no run yet; mirror again once a trial trains", True)

    def work() -> None:
        try:
            mirrored = mirror(runs, to, wait=False)
            first, *others = str(mirrored).splitlines()
            say(first + (f", and {len(others)} more beside it" if others else ""), False)
            mirrored.wait()
        except Exception as error:  # a tracker raises whatever it likes
            say(str(error), True)

    in_background(work, lambda _: None)
