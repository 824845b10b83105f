"""TensorFlow, with Keras for the models."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read while TensorFlow loads; its notes are not for our users
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import tensorflow as tf

from lmkit.backends.base import CannotNarrow
from lmkit.backends.tensorflow import checkpoints, export, models
from lmkit.backends.tensorflow.losses import OwnLoss
from lmkit.backends.tensorflow.models import own
from lmkit.backends.tensorflow.training import TensorFlowTrainer
from lmkit.errors import MissingPackage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from lmkit.backends.base import Removed
    from lmkit.data.preparation import Dataset
    from lmkit.experiment import Experiment
    from lmkit.specs.losses import LossName
    from lmkit.specs.models import ModelSpec, Weights
    from lmkit.specs.signature import Shape, Signature

if keras.backend.backend() != "tensorflow":
    raise MissingPackage(
        f"Keras is set to compute with {keras.backend.backend()}, expected tensorflow; set KERAS_BACKEND=tensorflow"
    )


class TensorFlowBackend:
    """TensorFlow behind the interface of ``lmkit.backends.base``."""

    name = "tensorflow"
    compiler = ""

    def build(self, model: ModelSpec, signature: Signature, precision: str) -> keras.Model:
        """A ``keras.Model``, its weights not yet set."""
        return models.build(model, signature, precision)

    def seed(self, seed: int) -> None:
        """Seeds what Keras draws from."""
        own.seed(seed)

    def bare(self, model: Any) -> keras.Model:
        """The model as its author knows it."""
        return model.own if isinstance(model, own.OwnModel) else model

    def weights(self, model: keras.Model) -> Weights:
        """A copy of the weights under the shared names."""
        return checkpoints.weights(model)

    def set_weights(self, model: keras.Model, weights: Weights) -> None:
        """Sets the weights."""
        checkpoints.set_weights(model, weights)

    def trainer(
        self, model: keras.Model, experiment: Experiment, dataset: Dataset, loss: LossName
    ) -> TensorFlowTrainer:
        """A trainer for ``model``."""
        return TensorFlowTrainer(model, experiment, dataset, loss)

    def predict(self, model: keras.Model, X: np.ndarray) -> np.ndarray:
        """Logits (rows, outputs) of prepared rows, dropout off."""
        wanted = model.dtype if isinstance(model, own.OwnModel) else model.inputs[0].dtype
        x = tf.constant(X, dtype=X.dtype if X.dtype.kind in "iu" else wanted)
        if not x.dtype.is_integer or isinstance(model, own.OwnModel):
            return model(x, training=False).numpy()
        # a text is written token by token, for which a graph is many times quicker; it stays with its model
        graph = vars(model).get("lmkit_graph")
        if graph is None:
            graph = tf.function(lambda tokens: model(tokens, training=False), autograph=False, reduce_retracing=True)
            vars(model)["lmkit_graph"] = graph
        return graph(x).numpy()

    def losses(self, loss: str, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        """What a loss of somebody's own says of each row (rows,)."""
        found = OwnLoss(loss)(tf.constant(y), tf.constant(outputs))
        return tf.broadcast_to(found, y.shape[:1]).numpy().astype("float64")

    def cannot_export(self, kind: str, technique: str) -> str:
        """Why the format ``kind`` cannot be written for a technique; empty where it can."""
        return export.cannot(kind, technique)

    def export(self, model: keras.Model, row: Shape, dtype: str, kind: str, path: Path) -> None:
        """Writes a model in the format ``kind``."""
        export.export(model, row, dtype, kind, path)

    def learned(self, model: keras.Model) -> set[str]:
        """The names of the weights that training changes."""
        return set(checkpoints.named(model))

    def narrow(self, model: own.OwnModel, X: np.ndarray, share: float) -> list[Removed]:
        """Refuses: nothing tells which layers of a Keras model of somebody's own change together."""
        raise CannotNarrow(
            "nothing for Keras follows what depends on what in it; give its builder smaller widths and train anew, or "
            "take prune-unstructured-50"
        )

    def remove(self, model: own.OwnModel, X: np.ndarray, what: Sequence[Removed]) -> None:
        """Nothing was taken out."""

    def set_threads(self, threads: int) -> int:
        """Sets how many threads one operation on a CPU uses, before anything is computed; returns how many it was."""
        before = tf.config.threading.get_intra_op_parallelism_threads()
        with contextlib.suppress(RuntimeError):  # too late
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        return int(before)

    def environment(self) -> dict[str, Any]:
        """Versions, devices and thread counts."""
        gpus = tf.config.list_physical_devices("GPU")
        return {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "device": "cuda:0" if gpus else "cpu",
            "device_name": tf.config.experimental.get_device_details(gpus[0]).get("device_name", "") if gpus else "",
            "threads": tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count(),
        }


backend = TensorFlowBackend()
