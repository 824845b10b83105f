"""Executors: each starts the training of a run, given its folder."""

from __future__ import annotations

from typing import Protocol

from lmkit.executors.inline import InlineExecutor
from lmkit.executors.worker import WorkerExecutor
from lmkit.runfolder.folder import RunFolder

__all__ = ["Executor", "InlineExecutor", "WorkerExecutor"]


class Executor(Protocol):
    """Starts the training of a run from its last checkpoint, if there is one."""

    def start(self, folder: RunFolder) -> None:
        """Start the training of ``folder``."""
