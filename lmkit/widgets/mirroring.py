"""The mirror of a live view: what is shown is told to a tracker, while the kernel stays free."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmkit.mirrors import mirror
from lmkit.mirrors.trackers import names
from lmkit.run import Run
from lmkit.sweeping.sweep import Sweep
from lmkit.widgets.later import in_background

TRACKERS = tuple(sorted(names(), key=lambda name: name != "tensorboard"))
"""What is offered, the one that is the default first."""


def mirror_aside(sources: Sequence[Run | Sweep], to: str, say: Callable[[str, bool], None]) -> None:
    """Tells runs, or a sweep, to a tracker, in the background.

    Args:
        sources: the runs, or the sweep.
        to: the tracker's name.
        say: is called with where they are seen, or with what is wrong, and whether that is so.
    """

    def work() -> None:
        try:
            mirrored = mirror(sources, to, wait=False)
            first, *others = str(mirrored).splitlines()
            say(first + (f", and {len(others)} more beside it" if others else ""), False)
            mirrored.wait()
        except Exception as error:  # a tracker raises whatever it likes
            say(str(error), True)

    in_background(work, lambda _: None)
