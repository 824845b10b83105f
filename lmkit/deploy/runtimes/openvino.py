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

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes import Operation, wide

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("openvino",), ("openvino",)

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# a module that is None is not there: OpenVINO, which else reports its import to its maker, then tells nobody

NAMES = {"f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "boolean": "bool", "I8": "uint8"} | {
    f"{short}{bits}": f"{long}{bits}" for short, long in (("i", "int"), ("u", "uint")) for bits in (4, 8, 16, 32, 64)
}
"""What OpenVINO calls a type → what it is called everywhere else."""

NOTHING = ("Const", "Input", "Output")
"""Layers of a compiled model that compute nothing."""


@contextmanager
def signals_kept() -> Iterator[None]:
    """Meanwhile OpenVINO's CPU plugin may give this thread a stack for signals; afterwards it has the one it had.

    The plugin's is a few kilobytes, in which Python's own handler does not fit: an interrupt would end the process.
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
    """A compiled model, for one call after another."""

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        self.path = path
        told = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # what is not quantized; a CPU with bfloat16 would round to it
            "ENABLE_CPU_PINNING": False,  # other processes compute beside this one
        }
        with signals_kept():
            self.compiled: Any = openvino.Core().compile_model(path, "CPU", told)
        self.request: Any = self.compiled.create_infer_request()

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Logits of rows."""
        import numpy as np
        import openvino

        # a tensor over the rows themselves: an array would first be looked through, for longer than a small model takes
        rows = openvino.Tensor(np.ascontiguousarray(X), shared_memory=True)
        return np.array(self.request.infer(rows, share_outputs=True)[0])  # the next call writes over what is shared

    def executed(self) -> list[Operation]:
        """The layers of the graph that the CPU runs, with the type that each computes in.

        That is told by the end of the kernel's name: a layer whose weights are kept in float16 is said to be of that
        precision, and computes in float32.
        """
        counted: Counter[tuple[str, str]] = Counter()
        for layer in self.compiled.get_runtime_model().get_ops():
            name, kernel = (layer.get_rt_info()[told].astype(str) for told in ("layerType", "primitiveType"))
            if name not in NOTHING:
                kind = kernel.rpartition("_")[2]
                counted[name, NAMES.get(kind, kind)] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counted.items())]

    def stored(self) -> dict[str, int]:
        """The numbers of the file's kernels and tables, by the type that it keeps them in."""
        import openvino

        counted: Counter[str] = Counter()
        for node in openvino.Core().read_model(self.path).get_ops():
            if node.get_type_name() == "Constant" and wide(node.shape):
                kind = node.get_element_type().get_type_name()
                counted[NAMES.get(kind, kind)] += math.prod(node.shape)
        return dict(counted)


def load(folder: Path, artefact: Artefact, threads: int) -> OpenvinoModel:
    """Opens the file, and the weights beside it."""
    return OpenvinoModel(folder / artefact.entry, threads)
