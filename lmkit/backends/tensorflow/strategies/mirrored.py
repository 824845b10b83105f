"""One process with several devices, each of which computes its rows of every micro-batch with a copy of the weights.

The weights lie on the first device; TensorFlow copies them to the others in each step, and their gradients back, where
they are added in the order of the devices. A ``tf.distribute.MirroredStrategy`` would need variables of its own.
"""

from __future__ import annotations

import tensorflow as tf

from lmkit.backends.tensorflow.devices import scope
from lmkit.backends.tensorflow.strategies.base import Replica
from lmkit.backends.tensorflow.strategies.single import SingleDevice
from lmkit.exceptions import ConfigError
from lmkit.system.process_group import ProcessGroup, local_part


class Mirrored(SingleDevice):
    """Several devices of one process.

    Args:
        device: the first one.
        count: of the devices; on a processor TensorFlow divides it into as many.

    Raises:
        ConfigError: TensorFlow has computed in this process before, and can no longer divide the processor.
    """

    compiles = False

    def __init__(self, device: str, _group: ProcessGroup | None = None, count: int = 2) -> None:
        super().__init__(device)
        self.world = count
        if self.device.startswith("cpu"):
            _divide_processor(count)
        kind = "cpu" if self.device.startswith("cpu") else "cuda"
        self.names = [f"{kind}:{number}" for number in range(count)]

    def replicas(self, begin: tf.Tensor, end: tf.Tensor) -> list[Replica]:
        """Return the devices, each with an equal share of consecutive rows."""
        parts = [local_part(begin, end, number, self.world) for number in range(self.world)]
        return [(scope(name), first, stop) for name, (first, stop) in zip(self.names, parts, strict=True)]


def _divide_processor(count: int) -> None:
    """Let TensorFlow have ``count`` logical devices on the processor."""
    processor = tf.config.list_physical_devices("CPU")[0]
    configuration = tf.config.get_logical_device_configuration(processor) or []
    if len(configuration) >= count:
        return
    try:
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:
        raise ConfigError(
            [
                "training.strategy: given mirrored, but TensorFlow has computed in this process before, and cannot "
                "divide the processor any more; leave inline=True out"
            ]
        ) from None
