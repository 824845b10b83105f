"""Several runs: displayed together, with a distinct label each."""

from __future__ import annotations

from collections.abc import Sequence

from lmkit.run.run import Run
from lmkit.runfolder.find import distinct_labels


def labels(runs: Sequence[Run]) -> list[str]:
    """Return a distinct label for each run; see ``distinct_labels``."""
    return distinct_labels([run.name for run in runs], [run.experiment.framework for run in runs])


class Runs(tuple[Run, ...]):
    """Runs that are displayed together."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))
