"""TensorFlow: a Keras model built anew, compiled by XLA if so wished, or a SavedModel."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes import Operation, wide

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("tensorflow",), ("tensorflow",)

MOVING = ("_Arg", "_Retval", "Const", "Placeholder", "Identity", "NoOp", "ReadVariableOp", "PartitionedCall",
          "StatefulPartitionedCall")  # fmt: skip
"""Operations of a graph that compute nothing."""

STILL = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "call")
"""Instructions of XLA's that compute nothing."""

HLO = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64", "s8": "int8", "u8": "uint8",
       "s32": "int32", "s64": "int64", "pred": "bool"}  # fmt: skip
"""What XLA calls a type → what it is called everywhere else."""


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
        """The operations of one call: of the graph as TensorFlow rewrote it to run it, or of the code that XLA made.

        One fusion of XLA's is one loop over memory; what it computes is told beside it, as ``fused …``.
        """
        import tensorflow as tf
        from tensorflow.python.eager.context import context

        rows = tf.zeros((1, *self.row), self.dtype)
        if getattr(self.function, "_jit_compile", False):
            return _of_xla(self.function.experimental_get_compiler_ir(rows)(stage="optimized_hlo"))
        # a graph is told of when it is made ready, so it is made anew
        anew, noted = tf.function(lambda x: self.function(x), autograph=False).get_concrete_function(rows), context()
        noted.enable_run_metadata()
        try:
            noted.export_run_metadata()  # what was before
            anew(rows)
            ran = noted.export_run_metadata()
        finally:
            noted.disable_run_metadata()
        counted: Counter[tuple[str, str]] = Counter()
        for node in (n for f in ran.function_graphs for graph in f.partition_graphs for n in graph.node):
            if node.op not in MOVING:
                kind = next((node.attr[k].type for k in ("T", "dtype", "Tparams", "out_type") if k in node.attr), 0)
                counted[node.op, tf.as_dtype(kind).name if kind else ""] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counted.items())]

    def stored(self) -> dict[str, int]:
        """The numbers of all variables, by their type."""
        counted: Counter[str] = Counter()
        for variable in (v for v in getattr(self.kept, "variables", ()) if wide(v.shape)):
            counted[str(getattr(variable.dtype, "name", variable.dtype))] += math.prod(variable.shape)
        return dict(counted)


def _of_xla(text: str) -> list[Operation]:
    """The instructions of a compiled module, counted: those of its own, and those inside its fusions."""
    counted: Counter[tuple[str, str]] = Counter()
    inside = False
    for line in text.splitlines():
        if line.endswith("{") and "->" in line:
            inside = line.startswith("%fused")
        elif found := re.match(r"\s+(?:ROOT )?%\S+ = \(?(\w+)\[.*? ([a-z][\w-]*)\(", line):
            kind, name = found.groups()
            if name not in STILL:
                counted[f"fused {name}" if inside else name, HLO.get(kind, kind)] += 1
    return [Operation(name, dtype, n) for (name, dtype), n in sorted(counted.items())]


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
