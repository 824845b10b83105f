"""LiteRT, formerly TensorFlow Lite."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import Operation, is_kernel

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("ai_edge_litert.interpreter",), ("ai-edge-litert",)
DATA_FORMATS = (".tflite",)

PRODUCTS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL")
"""Operations that compute in the type of their second input."""


class LiteModel:
    """An interpreter; its tensors are resized when the number of rows changes."""

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter: Any = Interpreter(str(path), num_threads=threads)
        self.rows = 0

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the logits of rows."""
        lite = self.interpreter
        if len(X) != self.rows:
            lite.resize_tensor_input(lite.get_input_details()[0]["index"], X.shape)
            lite.allocate_tensors()
            self.rows = len(X)
            self.input, self.output = (d()[0] for d in (lite.get_input_details, lite.get_output_details))
        lite.set_tensor(self.input["index"], _quantize(self.input, X))
        lite.invoke()
        return _dequantize(self.output, lite.get_tensor(self.output["index"]))

    def executed(self) -> list[Operation]:
        """Return the operations of a call, with the type that they compute in, and whether XNNPACK runs them.

        Tensors between two operations of XNNPACK are never in the interpreter's memory: they have no data after a call.
        A product of float rows and an int8 kernel computes in int8, since it quantizes the rows first; the input of one
        whose kernel is widened beforehand is float32.
        """
        import numpy as np

        lite = self.interpreter
        if not self.rows:
            details = lite.get_input_details()[0]
            self.predict(np.zeros((1, *details["shape"][1:]), details["dtype"]))
        tensors = {t["index"]: t["dtype"].__name__ for t in lite.get_tensor_details()}
        operations = lite._get_ops_details()
        delegated = {int(i) for op in operations if op["op_name"] == "DELEGATE" for i in op["outputs"]}
        counts: Counter[tuple[str, str]] = Counter()
        for op in (op for op in operations if op["op_name"] != "DELEGATE"):
            name, outputs = op["op_name"], [int(i) for i in op["outputs"]]
            dtype = tensors.get(int(op["inputs"][1]) if name in PRODUCTS else outputs[0], "")
            by_xnnpack = not delegated.isdisjoint(outputs) or not all(map(self._has_data, outputs))
            counts[f"{name} (XNNPACK)" if by_xnnpack else name, dtype] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counts.items())]

    def _has_data(self, tensor: int) -> bool:
        """Return whether the interpreter has the data of a tensor."""
        try:
            self.interpreter.get_tensor(tensor)
        except ValueError:
            return False
        return True

    def stored(self) -> dict[str, int]:
        """Count the numbers in the file's constant kernels and tables, by their stored type."""
        lite = self.interpreter
        computed = {int(i) for op in lite._get_ops_details() for i in op["outputs"]}
        computed |= {t["index"] for t in lite.get_input_details()}
        counts: Counter[str] = Counter()
        for tensor in lite.get_tensor_details():
            if tensor["index"] not in computed and is_kernel(tensor["shape"]):
                counts[tensor["dtype"].__name__] += math.prod(map(int, tensor["shape"]))
        return dict(counts)


def _quantize(tensor: Any, X: np.ndarray) -> np.ndarray:
    """Convert rows to the type of an input, quantized if it is an integer type."""
    import numpy as np

    scale, zero = tensor["quantization"]
    if scale:
        limits = np.iinfo(tensor["dtype"])
        X = np.clip(np.round(X / scale) + zero, limits.min, limits.max)
    quantized: np.ndarray = X.astype(tensor["dtype"])
    return quantized


def _dequantize(tensor: Any, values: np.ndarray) -> np.ndarray:
    """Convert outputs to float32 if they are quantized."""
    import numpy as np

    scale, zero = tensor["quantization"]
    outputs: np.ndarray = (values.astype(np.float32) - zero) * scale if scale else values
    return outputs


def load(folder: Path, artifact: Artifact, threads: int) -> LiteModel:
    """Load the file."""
    return LiteModel(folder / artifact.entry, threads)
