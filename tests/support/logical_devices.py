"""A program that trains in TensorFlow on the second of two logical devices of the processor, and prints what it saw.

The devices must be divided before TensorFlow computes anything, hence a process of its own.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import lmkit as lk
from lmkit.backends.out_of_memory import OutOfMemory
from lmkit.backends.tensorflow import TensorFlowBackend, devices
from lmkit.backends.tensorflow.strategies import SingleDevice
from lmkit.backends.tensorflow.trainer import TensorFlowTrainer
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.specs.signature import Signature

ROWS, INPUTS, BATCH = 21, 6, 8
SIGNATURE = Signature((INPUTS,), 3)
SECOND = "cpu:1"


def build(device: str, **training: Any) -> tuple[TensorFlowBackend, TensorFlowTrainer, np.ndarray]:
    """Return backend, trainer and rows of a perceptron on a device, in float64."""
    backend = TensorFlowBackend(SingleDevice(device))
    model = {"family": "mlp", "hidden": [7, 5], "dropout": 0.3, "normalization": "layer"}
    settings = {"compile": "off", "precision": "float64", "clip_norm": 0.5, **training}
    experiment = lk.Experiment.model_validate(
        {"framework": "tensorflow", "data": {"batch_size": BATCH}, "model": model, "training": settings}
    )
    built = backend.build(experiment.model, SIGNATURE, "float64")
    backend.set_weights(built, experiment.model.initial_weights(SIGNATURE, 3))
    draw = np.random.default_rng(4)
    part = Part(draw.normal(size=(ROWS, INPUTS)), draw.integers(0, 3, ROWS))
    dataset = Dataset(part, part, part, None)  # type: ignore[arg-type]  # the trainer reads arrays alone
    trainer = backend.trainer(built, experiment, dataset, "categorical_crossentropy", collect_outputs=True)
    return backend, trainer, part.X


def take(trainer: TensorFlowTrainer) -> list[float]:
    """Return the losses of two epochs."""
    losses = []
    for epoch in range(2):
        trainer.epoch(np.random.default_rng(epoch).permutation(ROWS))
        losses += trainer.advance(0, np.full(3, 0.01)).loss.tolist()
    return losses


def executed_on(device: str) -> list[str]:
    """Return the devices on which the products of a step ran; they are reported when a graph is instantiated."""
    from tensorflow.python.eager.context import context

    _, trainer, _ = build(device)
    context().enable_run_metadata()
    context().export_run_metadata()
    take(trainer)
    metadata = context().export_run_metadata()
    context().disable_run_metadata()
    nodes = [n for f in metadata.function_graphs for graph in f.partition_graphs for n in graph.node]
    return sorted({n.device.rpartition("device:")[2] for n in nodes if "MatMul" in n.op})


class Memory:
    """A device whose memory suffices for so many rows of a micro-batch: else a step, or its trace, fails."""

    def __init__(self, trainer: TensorFlowTrainer, rows: int, *, in_trace: bool) -> None:
        import tensorflow as tf

        self.trainer, self.rows, self.failures = trainer, rows, 0
        self.error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[8,7]")
        trainer.is_repeatable = True
        divide = trainer.set_micro_batch

        def set_micro_batch(count: int) -> None:
            divide(count)
            self.limit(in_trace)

        trainer.set_micro_batch = set_micro_batch  # type: ignore
        self.limit(in_trace)

    def limit(self, in_trace: bool) -> None:
        """Let the next call fail: while it is traced, or after it has changed the weights."""
        trainer, call = self.trainer, self.trainer._take
        if trainer.micro_batch <= self.rows:
            return

        def fail(*arguments: Any) -> Any:
            self.failures += 1
            if not in_trace:
                call(*arguments)
            raise self.error

        trainer._take = fail


def main() -> None:
    """Print a JSON object."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    seen: dict[str, Any] = {"initialized": devices.is_initialized()}
    backend, trainer, X = build(SECOND)
    first_backend, first, _ = build("cpu")
    seen["initialized_after"] = devices.is_initialized()
    seen["variables"] = sorted({devices.shared_name(v.value.device) for v in trainer.model.variables})  # type: ignore[union-attr]
    seen["optimizer"] = sorted({devices.shared_name(v.device) for v in trainer.optimizer.state.values()})
    seen["data"] = devices.shared_name(trainer.splits["training"][0].device)
    seen["losses"], seen["first_losses"] = take(trainer), take(first)
    seen["executed"] = executed_on(SECOND)
    seen["gradients"] = sorted(name for name, g in trainer.gradients(np.arange(5)).items() if g is None)
    outputs = trainer.outputs("validation")
    seen["outputs"] = float(np.abs(outputs - backend.predict(trainer.model, X)).max())
    # another backend object, as prediction and comparison have: where the model is, and not where the backend is
    seen["predicted"] = float(np.abs(outputs - first_backend.predict(trainer.model, X)).max())
    inputs = first_backend.continuous_inputs(trainer.model, X[:4])
    seen["explained"] = list(first_backend.input_gradients(trainer.model, X[:4], inputs, np.ones_like)[1].shape)
    seen["environment"] = {k: backend.environment()[k] for k in ("device", "tf32", "deterministic")}
    with backend.numerics(deterministic=True):
        seen["numerics"] = devices.describe_numerics()
        _, deterministic, _ = build(SECOND)
        seen["deterministic_losses"] = take(deterministic)
    seen["numerics_after"] = devices.describe_numerics()
    trainer.splits["validation"] = Part(X, np.asarray(trainer.targets))
    seen["on_host"] = float(np.abs(trainer.outputs("validation") - outputs).max())
    for in_trace in (True, False):
        _, short, _ = build(SECOND)
        memory = Memory(short, 2, in_trace=in_trace)
        seen[f"repeated_{in_trace}"] = {
            "losses": take(short),
            "failures": memory.failures,
            "micro_batch": short.micro_batch,
            "notes": len(short.notes),
        }
    _, none, _ = build(SECOND)
    Memory(none, 0, in_trace=True)
    try:
        take(none)
    except OutOfMemory as error:
        seen["refused"] = str(error)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
