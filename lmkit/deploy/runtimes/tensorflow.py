"""TensorFlow: a Keras model rebuilt from its specification, optionally compiled by XLA, or a SavedModel."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import Operation, Tensors, is_kernel

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("tensorflow",), ("tensorflow",)
DATA_FORMATS = ("model.json",)
USES_DEVICE = True

NO_COMPUTATION = (
    "_Arg",
    "_Retval",
    "Const",
    "Placeholder",
    "Identity",
    "NoOp",
    "ReadVariableOp",
    "PartitionedCall",
    "StatefulPartitionedCall",
)
"""Operations of a graph that compute nothing."""

NO_INSTRUCTION = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "call")
"""Instructions of XLA that compute nothing."""

HLO = {
    "f16": "float16",
    "bf16": "bfloat16",
    "f32": "float32",
    "f64": "float64",
    "s8": "int8",
    "u8": "uint8",
    "s32": "int32",
    "s64": "int64",
    "pred": "bool",
}
"""XLA's name of a type → NumPy's."""


class TensorFlowModel:
    """A TensorFlow function, and the model or SavedModel that holds its variables."""

    concurrent = True  # functions are traced under TensorFlow's own lock, and a graph keeps nothing of a call

    def __init__(
        self, function: Any, row: tuple[int, ...], dtype: str, source: Any = None, *, device: str = "cpu"
    ) -> None:
        self.function, self.row, self.dtype, self.source, self.device = function, row, dtype, source, device

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the logits of rows."""
        import tensorflow as tf

        outputs: Any = self.function(tf.constant(_pad(X) if self.is_compiled else X))
        tensor = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
        return tensor.numpy()[: len(X)]  # type: ignore[no-any-return]

    @property
    def is_compiled(self) -> bool:
        """Whether XLA compiles the function, anew for each number of rows."""
        return bool(getattr(self.function, "_jit_compile", False))

    def executed(self) -> list[Operation]:
        """Return the operations of one call, from TensorFlow's optimized graph or from XLA's compiled code.

        A fusion of XLA is one loop over memory; its inner operations are listed as ``fused …``.
        """
        import tensorflow as tf
        from tensorflow.python.eager.context import context

        rows = tf.zeros((1, *self.row), self.dtype)
        if self.is_compiled:
            return _count_instructions(self.function.experimental_get_compiler_ir(rows)(stage="optimized_hlo"))
        # metadata is exported when a graph is instantiated, so trace a new one
        function = tf.function(lambda x: self.function(x), autograph=False).get_concrete_function(rows)
        eager = context()
        eager.enable_run_metadata()
        try:
            eager.export_run_metadata()  # discard earlier metadata
            function(rows)
            metadata = eager.export_run_metadata()
        finally:
            eager.disable_run_metadata()
        counts: Counter[tuple[str, str]] = Counter()
        for node in (n for f in metadata.function_graphs for graph in f.partition_graphs for n in graph.node):
            if node.op not in NO_COMPUTATION:
                dtype = next((node.attr[k].type for k in ("T", "dtype", "Tparams", "out_type") if k in node.attr), 0)
                counts[node.op, tf.as_dtype(dtype).name if dtype else ""] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counts.items())]

    def stored(self) -> dict[str, int]:
        """Count the numbers in all variables, by type."""
        counts: Counter[str] = Counter()
        for variable in (v for v in getattr(self.source, "variables", ()) if is_kernel(v.shape)):
            counts[str(getattr(variable.dtype, "name", variable.dtype))] += math.prod(variable.shape)
        return dict(counts)

    def tensors(self) -> Tensors | None:
        """Return the input and the output of a SavedModel's serving signature; None for a rebuilt model."""
        signature = getattr(self.source, "signatures", {}).get("serving_default")
        if signature is None:
            return None
        described = {}
        for kind, specs in (
            ("input", signature.structured_input_signature[1]),
            ("output", signature.structured_outputs),
        ):
            ((name, spec),) = specs.items()
            described[kind] = {"name": name, "shape": list(spec.shape), "dtype": spec.dtype.name}
        return described


def _pad(X: np.ndarray) -> np.ndarray:
    """Repeat the last row up to a power of two rows, so that XLA compiles a few programs and not one per number."""
    import numpy as np

    missing = (1 << max(0, len(X) - 1).bit_length()) - len(X)
    return np.concatenate([X, np.repeat(X[-1:], missing, axis=0)]) if missing else X


def _count_instructions(text: str) -> list[Operation]:
    """Count the instructions of a compiled module and of its fusions."""
    counts: Counter[tuple[str, str]] = Counter()
    is_fused = False
    for line in text.splitlines():
        if line.endswith("{") and "->" in line:
            is_fused = line.startswith("%fused")
        elif match := re.match(r"\s+(?:ROOT )?%\S+ = \(?(\w+)\[.*? ([a-z][\w-]*)\(", line):
            dtype, name = match.groups()
            if name not in NO_INSTRUCTION:
                counts[f"fused {name}" if is_fused else name, HLO.get(dtype, dtype)] += 1
    return [Operation(name, dtype, n) for (name, dtype), n in sorted(counts.items())]


def load(folder: Path, artifact: Artifact, threads: int) -> TensorFlowModel:
    """Rebuild the model, or load the SavedModel."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    device = str(artifact.options.get("device", "cpu"))
    if device != "cpu":
        from lmkit.backends.tensorflow.devices import select_device

        select_device(device)  # the only GPU that TensorFlow sees, and so its default
    with contextlib.suppress(RuntimeError):  # TensorFlow was used already in this process: its threads are fixed
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    if artifact.entry.endswith(DATA_FORMATS):
        from lmkit.deploy.model_files import load_model

        model = load_model("tensorflow", folder, artifact)
        compiled = bool(artifact.options.get("compiled"))
        function = tf.function(lambda x: model(x, training=False), jit_compile=compiled, autograph=False)
        return TensorFlowModel(function, artifact.row, artifact.dtype, model, device=device)
    loaded = tf.saved_model.load(str(folder / artifact.entry))
    return TensorFlowModel(loaded.serve, artifact.row, artifact.dtype, loaded, device=device)
