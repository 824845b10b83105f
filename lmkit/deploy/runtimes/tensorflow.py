"""TensorFlow: a Keras model built anew, compiled by XLA if so wished, or a SavedModel."""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes import Operation, wide

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("tensorflow",), ("tensorflow",)


class TensorFlowModel:
    """A function of rows."""

    def __init__(self, function: Any, row: tuple[int, ...], dtype: str, kept: Any = None) -> None:
        self.function, self.row, self.dtype, self.kept = function, row, dtype, kept

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Logits of rows."""
        import tensorflow as tf

        found: Any = self.function(tf.constant(X))
        return (next(iter(found.values())) if isinstance(found, dict) else found).numpy()  # type: ignore[no-any-return]

    def executed(self) -> list[Operation]:
        """The operations of the graph that a call runs, with the type of what each gives."""
        import tensorflow as tf

        given = tf.TensorSpec((None, *self.row), self.dtype)
        concrete = (
            self.function.get_concrete_function(given)
            if hasattr(self.function, "get_concrete_function")
            else (self.function)
        )
        graphs = [concrete.graph, *(f.graph for f in concrete.graph._functions.values() if hasattr(f, "graph"))]
        counted: Counter[tuple[str, str]] = Counter()
        for operation in (op for graph in graphs for op in graph.get_operations()):
            if operation.outputs and operation.type not in ("Const", "Placeholder", "Identity", "ReadVariableOp"):
                counted[operation.type, operation.outputs[0].dtype.name] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counted.items())]

    def stored(self) -> dict[str, int]:
        """The numbers of all variables, by their type."""
        counted: Counter[str] = Counter()
        for variable in (v for v in getattr(self.kept, "variables", ()) if wide(v.shape)):
            counted[str(getattr(variable.dtype, "name", variable.dtype))] += math.prod(variable.shape)
        return dict(counted)


def load(folder: Path, artefact: Artefact, threads: int) -> TensorFlowModel:
    """Builds or opens it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # it computed already in this process, and keeps the threads that it has
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    if artefact.entry == "model.json":
        from lmkit.deploy.runtimes.specified import build

        model = build("tensorflow", folder, artefact)
        compiled = bool(artefact.options.get("compiled"))
        function = tf.function(lambda x: model(x, training=False), jit_compile=compiled, autograph=False)
        return TensorFlowModel(function, artefact.row, artefact.dtype, model)
    loaded = tf.saved_model.load(str(folder / artefact.entry))
    return TensorFlowModel(loaded.serve, artefact.row, artefact.dtype, loaded)
