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
        """The operations of the file, with the type of what each gives."""
        lite = self.interpreter
        types = {t["index"]: t["dtype"].__name__ for t in lite.get_tensor_details()}
        counted = Counter(
            (op["op_name"], types.get(op["inputs"][1] if len(op["inputs"]) > 1 else op["outputs"][0], ""))
            for op in lite._get_ops_details()
            if op["op_name"] != "DELEGATE"
        )
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counted.items())]

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
