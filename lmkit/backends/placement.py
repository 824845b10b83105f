"""Which strategy an experiment is trained with, on how many devices, checked before any work starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmkit.backends.devices import check_device, machine_devices
from lmkit.backends.facts import DISTRIBUTED, ONE_PROCESS, STRATEGIES
from lmkit.exceptions import ConfigError
from lmkit.system.cores import available_cores

if TYPE_CHECKING:
    from lmkit.experiment.experiment import Experiment


def resolve_strategy(experiment: Experiment, world: int = 0) -> str:
    """Return the name of the strategy that ``auto`` stands for, or the strategy itself.

    Args:
        experiment: the experiment.
        world: processes that train together; 0: as many as the experiment's devices.
    """
    training = experiment.training
    if training.strategy != "auto":
        return training.strategy
    return DISTRIBUTED[experiment.framework] if (world or training.devices) > 1 else "single"


def count_processes(experiment: Experiment) -> int:
    """Return how many processes of this machine train an experiment: one a device, unless one drives all devices."""
    return 1 if resolve_strategy(experiment) in ONE_PROCESS else experiment.training.devices


def on_one_device(experiment: Experiment) -> Experiment:
    """Return an experiment on one device, for what is computed beside training."""
    training = experiment.training.model_copy(update={"devices": 1, "strategy": "auto", "launcher": "auto"})
    return experiment.model_copy(update={"training": training})


def check_placement(experiment: Experiment, world: int = 0) -> None:
    """Check that an experiment can be trained on the devices that it asks for.

    Args:
        experiment: the experiment.
        world: processes that another program launched; 0: the experiment's devices, on this machine.

    Raises:
        ConfigError: the strategy is another framework's, there are fewer devices, or the data cannot be divided.
    """
    training, data = experiment.training, experiment.data
    on_cluster = training.launcher != "auto" and not world
    if on_cluster:
        world = training.devices if training.devices > 1 else 0
    else:
        check_device(training)
    strategy, devices = training.strategy, world or training.devices
    names = STRATEGIES[experiment.framework]
    if strategy != "auto" and strategy not in names:
        other = next(framework for framework, others in STRATEGIES.items() if strategy in others)
        raise ConfigError(
            [
                f"training.strategy: given {strategy}, a strategy of {other}; "
                f"{experiment.framework} has {', '.join(names)}; write strategy: auto"
            ]
        )
    if devices == 1 and strategy not in ("auto", "single"):
        raise ConfigError(
            [f"training.strategy: given {strategy} with one device, expected at least 2; write devices: 2"]
        )
    if devices == 1:
        return
    if strategy == "single" or (world and strategy in ONE_PROCESS):
        raise ConfigError([f"training.devices: given {devices} with strategy: {strategy}; write strategy: auto"])
    cards = [device for device in machine_devices() if device.startswith("cuda")]
    uses_cards = bool(cards) and training.device != "cpu"
    available = len(cards) if uses_cards else available_cores()
    if not world and devices > available:
        unit = ("GPU" if uses_cards else "core") + ("" if available == 1 else "s")
        raise ConfigError(
            [f"training.devices: given {devices}, this machine has {available} {unit}; write devices: {available}"]
        )
    if data.batch_size < devices:
        raise ConfigError(
            [
                f"training.devices: given {devices}, more than the {data.batch_size} rows of a batch; "
                f"write devices: {data.batch_size}, or data: {{batch_size: {devices}}}"
            ]
        )
    reasons = {
        "graph": "a step over a graph computes all of its nodes at once; write devices: 1",
        "loader": "batches of a loader may differ between processes; write devices: 1, or give the rows themselves",
    }
    if data.kind in reasons:
        raise ConfigError([f"training.devices: given {devices}, but {reasons[data.kind]}"])
