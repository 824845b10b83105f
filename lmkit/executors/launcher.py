"""Where the processes of a run are started: in this one, on this machine, or on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmkit.backends.placement import count_processes
from lmkit.executors.ray_supervisor import supervise_on_ray
from lmkit.executors.supervisor import supervise

if TYPE_CHECKING:
    from lmkit.runfolder.folder import RunFolder


def work(folder: RunFolder) -> None:
    """Train a run to its end, in this process or in several that it starts."""
    from lmkit.training.train import train

    experiment = folder.resumed_experiment
    world = count_processes(experiment)
    if experiment.training.launcher != "auto":
        supervise_on_ray(folder, world)
    elif world > 1:
        supervise(folder, world)
    else:
        train(folder)
