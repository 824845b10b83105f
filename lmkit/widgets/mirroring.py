"""The mirror of a live view: what is shown is told to a tracker, while the kernel stays free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lmkit.mirrors import mirror
from lmkit.widgets.later import in_background

TRACKERS = ("tensorboard", "mlflow")
"""What is offered, the one that is the default first."""


def mirror_aside(what: Any, to: str, say: Callable[[str, bool], None]) -> None:
    """Tells runs or a sweep to a tracker, in the background.

    Args:
        what: as ``lk.mirror`` takes it.
        to: the tracker's name.
        say: is called with where it is seen, or with what is wrong, and whether that is so.
    """

    def work() -> None:
        try:
            mirrored = mirror(what, to, wait=False)
            say(str(mirrored), False)
            mirrored.wait()
        except Exception as error:  # a tracker raises whatever it likes
            say(str(error), True)

    in_background(work, lambda _: None)
