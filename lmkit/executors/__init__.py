"""Executors: each starts the training of a run, given its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lmkit.executors.inline import InlineExecutor
from lmkit.executors.worker import WorkerExecutor
from lmkit.runfolder.folder import RunFolder

if TYPE_CHECKING:
    from lmkit.experiment.experiment import Experiment

__all__ = ["Executor", "InlineExecutor", "WorkerExecutor", "check_launcher"]


class Executor(Protocol):
    """Starts the training of a run from its last checkpoint, if there is one."""

    def start(self, folder: RunFolder) -> None:
        """Start the training of ``folder``."""


def check_launcher(experiment: Experiment) -> None:
    """Check, before a run is created, that the cluster which is to train it answers, if any.

    Raises:
        MissingPackage: its package is not installed.
        ConfigError: nothing listens at its address.
    """
    if experiment.training.launcher != "auto":
        from lmkit.executors.clusters import LAUNCHER
        from lmkit.executors.ray_connection import check_cluster

        check_cluster(experiment.training.launcher, LAUNCHER)
