"""ONNX Runtime."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import Operation, Tensors, is_kernel

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("onnxruntime",), ("onnxruntime",)
DATA_FORMATS = (".onnx",)


NAMES = {"float": "float32", "double": "float64", "float16": "float16", "string": "str"}
"""ONNX Runtime's name of a type → NumPy's."""


class OnnxModel:
    """An inference session on the CPU."""

    concurrent = True  # a session's run is safe from threads by its own contract

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        self.path, self.threads = path, threads
        self.session = onnxruntime.InferenceSession(path, self._options(), providers=["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the logits of rows."""
        outputs: np.ndarray = self.session.run(None, {self.input_name: X})[0]
        return outputs

    def executed(self) -> list[Operation]:
        """Return the kernels of one call, from the runtime's profile."""
        import numpy as np
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
            tensor = session.get_inputs()[0]
            shape = [n if isinstance(n, int) else 1 for n in tensor.shape]
            numpy_types = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(int32)": "i4", "tensor(int64)": "i8"}
            session.run(None, {tensor.name: np.zeros(shape, numpy_types[tensor.type])})
            events = json.loads(Path(session.end_profiling()).read_text())
        counts: Counter[tuple[str, str]] = Counter()
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                types = [next(iter(t)) for t in event["args"].get("input_type_shape", [])]
                name = event["args"]["op_name"]
                integer = any(k in ("int8", "uint8") for k in types) or "Integer" in name or name.startswith("QLinear")
                counts[name, "int8" if integer else NAMES.get(dtype := types[0] if types else "", dtype)] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counts.items())]

    def stored(self) -> dict[str, int]:
        """Count the numbers in the file's kernels and tables, by their stored type."""
        import onnx

        names = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
        counts: Counter[str] = Counter()
        for tensor in _constants(onnx.load(self.path, load_external_data=False).graph):
            dtype = names[tensor.data_type]
            if is_kernel(tensor.dims):
                counts[NAMES.get(dtype, dtype)] += math.prod(tensor.dims)
        return dict(counts)

    def tensors(self) -> Tensors:
        """Return the input and the output as the file names them."""
        described = {}
        for kind, (tensor,) in (("input", self.session.get_inputs()), ("output", self.session.get_outputs())):
            dtype = tensor.type[len("tensor(") : -1]
            shape = [n if isinstance(n, int) else None for n in tensor.shape]
            described[kind] = {"name": tensor.name, "shape": shape, "dtype": NAMES.get(dtype, dtype)}
        return described

    def _options(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return options


def _constants(graph: Any) -> Iterator[Any]:
    """Yield the constant tensors of a graph and of the graphs inside its nodes."""
    yield from graph.initializer
    for attribute in (a for node in graph.node for a in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield from _constants(inner)


def load(folder: Path, artifact: Artifact, threads: int) -> OnnxModel:
    """Load the file."""
    return OnnxModel(folder / artifact.entry, threads)
