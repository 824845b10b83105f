"""TensorFlow, with Keras for the models."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read while TensorFlow loads; its notes are not for our users
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import tensorflow as tf

from lmkit.backends.base import CannotPrune
from lmkit.backends.capacity import check_capacity
from lmkit.backends.tensorflow import checkpoints, devices, export, gradients, inspection, models
from lmkit.backends.tensorflow.devices import computed_on_model
from lmkit.backends.tensorflow.losses import CustomLoss, loss_facts
from lmkit.backends.tensorflow.models import custom
from lmkit.backends.tensorflow.optimizers import build_optimizer
from lmkit.backends.tensorflow.strategies import SingleDevice, Strategy, get_strategy
from lmkit.backends.tensorflow.trainer import TensorFlowTrainer
from lmkit.exceptions import MissingPackage
from lmkit.system.cores import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np

    from lmkit.backends.base import Removed, RowLosses
    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment
    from lmkit.specs.losses import LossFacts, LossName
    from lmkit.specs.models import ModelSpec, Weights
    from lmkit.specs.signature import Shape, Signature
    from lmkit.system.process_group import ProcessGroup

if keras.backend.backend() != "tensorflow":
    raise MissingPackage(
        f"Keras is set to compute with {keras.backend.backend()}, expected tensorflow; set KERAS_BACKEND=tensorflow"
    )

devices.allow_memory_growth()


class TensorFlowBackend:
    """TensorFlow behind the interface of ``lmkit.backends.base``."""

    name = "tensorflow"
    compiler = ""

    def __init__(self, strategy: Strategy | None = None) -> None:
        self.strategy = strategy or SingleDevice()

    def devices(self) -> list[str]:
        """Return the devices on which TensorFlow computes here."""
        return devices.list_devices()

    def on(self, device: str) -> TensorFlowBackend:
        """Return the backend of one device, the only GPU that TensorFlow sees from now on."""
        devices.select_device(device)
        return TensorFlowBackend(SingleDevice(device))

    def numerics(self, deterministic: bool) -> AbstractContextManager[None]:
        """Compute without TF32 within a ``with`` block, and deterministically where that is set."""
        return devices.numerics(deterministic)

    def memory_usage(self) -> tuple[int, int]:
        """Return the bytes that TensorFlow holds of the device, now and at most."""
        return devices.memory_usage(self.strategy.device)

    def free_memory(self) -> None:
        """Do nothing: TensorFlow gives memory back to its own pool, and that back when its process ends."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Return whether an error says that the memory of a device ran out."""
        return isinstance(error, tf.errors.ResourceExhaustedError)

    def nondeterministic_operation(self, error: BaseException) -> str:
        """Return the operation that an error says has no deterministic implementation."""
        return devices.nondeterministic_operation(error)

    def is_initialized(self) -> bool:
        """Return whether TensorFlow has begun to compute in this process."""
        return devices.is_initialized()

    def connect(self, strategy: str, device: str, group: ProcessGroup | None, count: int) -> TensorFlowBackend:
        """Return the backend of this process, which trains with others or on several devices."""
        return TensorFlowBackend(get_strategy(strategy)(device, group, count))

    def disconnect(self) -> None:
        """Leave the other processes."""
        self.strategy.close()

    def build(self, model: ModelSpec, signature: Signature, precision: str) -> keras.Model:
        """Return a ``keras.Model``, its weights not yet set."""
        check_capacity(model, signature, precision)
        with devices.scope(self.strategy.device):
            return models.build(model, signature, precision)

    def seed(self, seed: int) -> None:
        """Seed what Keras draws from."""
        custom.seed(seed)

    def bare(self, model: Any) -> keras.Model:
        """Return a custom model as its author wrote it."""
        return model.module if isinstance(model, custom.CustomModel) else model

    def weights(self, model: keras.Model) -> Weights:
        """Return a copy of the weights under the shared names."""
        return checkpoints.weights(model, self.strategy)

    def set_weights(self, model: keras.Model, weights: Weights) -> None:
        """Set the weights."""
        checkpoints.set_weights(model, weights, self.strategy)

    def trainer(
        self,
        model: keras.Model,
        experiment: Experiment,
        dataset: Dataset,
        loss: LossName,
        *,
        collect_outputs: bool = False,
    ) -> TensorFlowTrainer:
        """Return a trainer for ``model``."""
        return TensorFlowTrainer(model, experiment, dataset, loss, self.strategy, collect_outputs=collect_outputs)

    @computed_on_model
    def predict(self, model: keras.Model, X: np.ndarray) -> np.ndarray:
        """Return outputs (rows, outputs) of prepared rows, dropout off."""
        dtype = model.dtype if isinstance(model, custom.CustomModel) else model.inputs[0].dtype
        x = tf.constant(X, dtype=X.dtype if X.dtype.kind in "iu" else dtype)
        if not x.dtype.is_integer or isinstance(model, custom.CustomModel):
            return model(x, training=False).numpy()
        # text is generated token by token, for which a graph is many times faster; it stays with its model
        graph = vars(model).get("lmkit_graph")
        if graph is None:
            graph = tf.function(lambda tokens: model(tokens, training=False), autograph=False, reduce_retracing=True)
            vars(model)["lmkit_graph"] = graph
        return graph(x).numpy()

    @computed_on_model
    def continuous_inputs(self, model: Any, X: np.ndarray) -> np.ndarray:
        """Return the numbers that a model computes with in the place of prepared rows."""
        return gradients.continuous_inputs(model, X)

    @computed_on_model
    def input_gradients(
        self, model: Any, X: np.ndarray, inputs: np.ndarray, cotangents: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs, and the gradient of Σ cotangents · outputs with respect to ``inputs``."""
        return gradients.input_gradients(model, X, inputs, cotangents)

    @computed_on_model
    def hidden(self, model: Any, X: np.ndarray) -> np.ndarray:
        """Return the inputs (rows, …) of the last layer with weights."""
        return gradients.hidden(model, X)

    @computed_on_model
    def attention_calls(self, model: Any, X: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Return name, input and output of each attention layer of a transformer."""
        return gradients.attention_calls(model, X)

    def losses(self, loss: str, outputs: np.ndarray, y: np.ndarray, batch_size: int) -> RowLosses:
        """Return the custom loss of each row."""
        return CustomLoss(loss).row_losses(tf.constant(y), tf.constant(outputs), batch_size)

    @computed_on_model
    def last_operations(self, model: custom.CustomModel, X: np.ndarray) -> tuple[str, str]:
        """Return the last operation of a custom model in training and in evaluation."""
        return inspection.last_operations(model, X)

    def loss_facts(self, loss: str) -> LossFacts | None:
        """Return what a custom loss takes, where it is one of Keras's own."""
        return loss_facts(loss)

    def needs_several_rows(self, model: custom.CustomModel, X: np.ndarray) -> bool:  # noqa: ARG002 (part of the interface)
        """Return whether a step of a single row has no variance to normalize by."""
        return inspection.needs_several_rows(model.module)

    def cannot_export(self, kind: str, technique: str) -> str:
        """Return why the format ``kind`` cannot be written for a technique; empty where it can."""
        return export.cannot(kind, technique)

    def export(self, model: keras.Model, row: Shape, dtype: str, kind: str, path: Path) -> None:
        """Write a model in the format ``kind``."""
        export.export(model, row, dtype, kind, path)

    def learned(self, model: keras.Model) -> set[str]:
        """Return the names of the weights that training changes."""
        return set(checkpoints.learned(model))

    def output_axis(self, model: keras.Model) -> int:  # noqa: ARG002 (part of the interface)
        """Return the last axis, as in Keras."""
        return -1

    def prune_units(self, model: custom.CustomModel, X: np.ndarray, share: float) -> list[Removed]:  # noqa: ARG002 (part of the interface)
        """Refuse: Keras does not tell which layers of a custom model depend on each other."""
        raise CannotPrune(
            "Keras does not expose which layers depend on each other; pass smaller widths to the builder and train "
            "again, or use prune-unstructured-50"
        )

    def remove(self, model: custom.CustomModel, X: np.ndarray, removed: Sequence[Removed]) -> None:
        """Do nothing: no units were removed."""

    def update_rule(self, optimizer: Any, weights: np.ndarray) -> Callable[[np.ndarray, float], np.ndarray]:
        """Return the rule of an optimizer, on the processor."""
        with tf.device("CPU"):
            variable = tf.Variable(weights, dtype=tf.float64)
            stepper = build_optimizer(optimizer, {"weights": variable})

            @tf.function(input_signature=[tf.TensorSpec(weights.shape, tf.float64), tf.TensorSpec((), tf.float64)])
            def update(gradient: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
                stepper.step([gradient], rate)
                return variable.read_value()

            traced = update.get_concrete_function()
        return lambda gradient, rate: traced(tf.constant(gradient, tf.float64), tf.constant(rate, tf.float64)).numpy()

    def set_threads(self, threads: int) -> int:
        """Set the threads that one operation on a CPU uses, before anything is computed; return the number before."""
        before = tf.config.threading.get_intra_op_parallelism_threads()
        with contextlib.suppress(RuntimeError):  # too late
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        return int(before)

    def environment(self) -> dict[str, Any]:
        """Return versions, devices and thread counts."""
        device = self.strategy.device
        return {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "device": device,
            "device_name": devices.device_name(device),
            "devices": self.devices(),
            "cuda": str(tf.sysconfig.get_build_info().get("cuda_version", "")),
            **devices.describe_numerics(),
            "threads": tf.config.threading.get_intra_op_parallelism_threads() or available_cores(),
        }


backend = TensorFlowBackend()
