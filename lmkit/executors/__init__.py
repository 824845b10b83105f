"""Where work happens. An executor takes a run's folder and sees to it that somebody trains it."""

from __future__ import annotations

from typing import Protocol

from lmkit.executors.inline import InlineExecutor
from lmkit.executors.worker import WorkerExecutor
from lmkit.runfolder import RunFolder

__all__ = ["Executor", "InlineExecutor", "WorkerExecutor"]


class Executor(Protocol):
    """Starts the training of a run's folder: from its last checkpoint, where there is one."""

    def start(self, folder: RunFolder) -> None:
        """Sees to it that ``folder`` is trained."""
