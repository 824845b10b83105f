"""OpenVINO, on the CPU."""

from __future__ import annotations

import ctypes
import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import Operation, is_kernel

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("openvino",), ("openvino",)
DATA_FORMATS = (".xml",)

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# a module that is None cannot be imported: OpenVINO then sends no telemetry about its import

NAMES = {"f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "boolean": "bool", "I8": "uint8"} | {
    f"{short}{bits}": f"{long}{bits}" for short, long in (("i", "int"), ("u", "uint")) for bits in (4, 8, 16, 32, 64)
}
"""OpenVINO's name of a type → NumPy's."""

NOTHING = ("Const", "Input", "Output")
"""Layers of a compiled model that compute nothing."""


@contextmanager
def preserve_signal_stack() -> Iterator[None]:
    """Restore this thread's signal stack at the end, which OpenVINO's CPU plugin may replace.

    The plugin's stack is a few kilobytes, too small for Python's signal handler: an interrupt would crash the process.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    sigaltstack, before = ctypes.CDLL(None).sigaltstack, (ctypes.c_size_t * 3)()  # a stack_t: where, flags, size
    sigaltstack(None, before)
    try:
        yield
    finally:
        sigaltstack(before, None)


class OpenvinoModel:
    """A compiled model with one inference request."""

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        self.path = path
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # otherwise a CPU with bfloat16 rounds to it
            "ENABLE_CPU_PINNING": False,  # other processes run at the same time
        }
        with preserve_signal_stack():
            self.compiled: Any = openvino.Core().compile_model(path, "CPU", config)
        self.request: Any = self.compiled.create_infer_request()

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the logits of rows."""
        import numpy as np
        import openvino

        # shares the rows' memory: OpenVINO scans an array first, which takes longer than a small model
        rows = openvino.Tensor(np.ascontiguousarray(X), shared_memory=True)
        return np.array(self.request.infer(rows, share_outputs=True)[0])  # the next call overwrites shared outputs

    def executed(self) -> list[Operation]:
        """Return the layers of the graph that the CPU runs, with the type that each computes in.

        The type is the end of the kernel's name; the layer's own precision is that of its stored weights, such as
        float16 for a layer that computes in float32.
        """
        counts: Counter[tuple[str, str]] = Counter()
        for layer in self.compiled.get_runtime_model().get_ops():
            name, kernel = (layer.get_rt_info()[key].astype(str) for key in ("layerType", "primitiveType"))
            if name not in NOTHING:
                dtype = kernel.rpartition("_")[2]
                counts[name, NAMES.get(dtype, dtype)] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counts.items())]

    def stored(self) -> dict[str, int]:
        """Count the numbers in the file's kernels and tables, by their stored type."""
        import openvino

        counts: Counter[str] = Counter()
        for node in openvino.Core().read_model(self.path).get_ops():
            if node.get_type_name() == "Constant" and is_kernel(node.shape):
                dtype = node.get_element_type().get_type_name()
                counts[NAMES.get(dtype, dtype)] += math.prod(node.shape)
        return dict(counts)


def load(folder: Path, artifact: Artifact, threads: int) -> OpenvinoModel:
    """Load the file and the weights beside it."""
    return OpenvinoModel(folder / artifact.entry, threads)
