"""LiteRT, once TensorFlow Lite."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes import Operation, wide

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("ai_edge_litert.interpreter",), ("ai-edge-litert",)

PRODUCTS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL")
"""Operations whose second input says what they multiply in."""


class LiteModel:
    """An interpreter, whose tensors are sized anew where the number of rows changes."""

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter: Any = Interpreter(str(path), num_threads=threads)
        self.rows = 0

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Logits of rows."""
        lite = self.interpreter
        if len(X) != self.rows:
            lite.resize_tensor_input(lite.get_input_details()[0]["index"], X.shape)
            lite.allocate_tensors()
            self.rows = len(X)
            self.given, self.taken = (d()[0] for d in (lite.get_input_details, lite.get_output_details))
        lite.set_tensor(self.given["index"], _as(self.given, X))
        lite.invoke()
        return _back(self.taken, lite.get_tensor(self.taken["index"]))

    def executed(self) -> list[Operation]:
        """The operations of a call, with the type that they compute in, and whether XNNPACK has taken them over.

        What lies between the operations that XNNPACK computes never comes to be in the interpreter's own memory: of
        such a tensor there is no data after a call. A product of float rows by an int8 kernel computes in int8, for the
        rows are quantized as it begins; a kernel that is widened first comes to it as float32.
        """
        import numpy as np

        lite = self.interpreter
        if not self.rows:
            given = lite.get_input_details()[0]
            self.predict(np.zeros((1, *given["shape"][1:]), given["dtype"]))
        tensors = {t["index"]: t["dtype"].__name__ for t in lite.get_tensor_details()}
        operations = lite._get_ops_details()
        handed = {int(i) for op in operations if op["op_name"] == "DELEGATE" for i in op["outputs"]}
        counted: Counter[tuple[str, str]] = Counter()
        for op in (op for op in operations if op["op_name"] != "DELEGATE"):
            name, outputs = op["op_name"], [int(i) for i in op["outputs"]]
            dtype = tensors.get(int(op["inputs"][1]) if name in PRODUCTS else outputs[0], "")
            taken = not handed.isdisjoint(outputs) or not all(map(self._holds, outputs))
            counted[f"{name} (XNNPACK)" if taken else name, dtype] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counted.items())]

    def _holds(self, tensor: int) -> bool:
        """Whether the interpreter itself has the data of a tensor."""
        try:
            self.interpreter.get_tensor(tensor)
        except ValueError:
            return False
        return True

    def stored(self) -> dict[str, int]:
        """The numbers of the file's tensors that nothing computes, by their type."""
        lite = self.interpreter
        computed = {int(i) for op in lite._get_ops_details() for i in op["outputs"]}
        computed |= {t["index"] for t in lite.get_input_details()}
        counted: Counter[str] = Counter()
        for tensor in lite.get_tensor_details():
            if tensor["index"] not in computed and wide(tensor["shape"]):
                counted[tensor["dtype"].__name__] += math.prod(map(int, tensor["shape"]))
        return dict(counted)


def _as(tensor: Any, X: np.ndarray) -> np.ndarray:
    """Rows in the type of an input, scaled where it is an integer one."""
    import numpy as np

    scale, zero = tensor["quantization"]
    if scale:
        limits = np.iinfo(tensor["dtype"])
        X = np.clip(np.round(X / scale) + zero, limits.min, limits.max)
    found: np.ndarray = X.astype(tensor["dtype"])
    return found


def _back(tensor: Any, values: np.ndarray) -> np.ndarray:
    """What comes out as numbers."""
    import numpy as np

    scale, zero = tensor["quantization"]
    found: np.ndarray = (values.astype(np.float32) - zero) * scale if scale else values
    return found


def load(folder: Path, artefact: Artefact, threads: int) -> LiteModel:
    """Opens the file."""
    return LiteModel(folder / artefact.entry, threads)
