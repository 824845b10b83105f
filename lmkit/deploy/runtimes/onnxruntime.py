"""ONNX Runtime."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes import Operation, wide

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("onnxruntime",), ("onnxruntime",)


NAMES = {"float": "float32", "double": "float64"}
"""What ONNX Runtime calls a type → what it is called everywhere else."""


class OnnxModel:
    """An inference session on the CPU."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        self.path, self.threads = path, threads
        self.session = onnxruntime.InferenceSession(path, self._options(), providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Logits of rows."""
        found: np.ndarray = self.session.run(None, {self.input: X})[0]
        return found

    def executed(self) -> list[Operation]:
        """The kernels of one call, from the runtime's own profile."""
        import numpy as np
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
            given = session.get_inputs()[0]
            shape = [n if isinstance(n, int) else 1 for n in given.shape]
            dtype = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(int32)": "i4", "tensor(int64)": "i8"}
            session.run(None, {given.name: np.zeros(shape, dtype[given.type])})
            events = json.loads(Path(session.end_profiling()).read_text())
        counted: Counter[tuple[str, str]] = Counter()
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                kinds = [next(iter(t)) for t in event["args"].get("input_type_shape", [])]
                name = event["args"]["op_name"]
                integer = any(k in ("int8", "uint8") for k in kinds) or "Integer" in name or name.startswith("QLinear")
                counted[name, "int8" if integer else NAMES.get(kind := kinds[0] if kinds else "", kind)] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counted.items())]

    def stored(self) -> dict[str, int]:
        """The numbers of the file's kernels and tables, by the type that it keeps them in."""
        import onnx

        names = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
        counted: Counter[str] = Counter()
        for tensor in _constants(onnx.load(self.path, load_external_data=False).graph):
            kind = names[tensor.data_type]
            if wide(tensor.dims):
                counted[NAMES.get(kind, kind)] += math.prod(tensor.dims)
        return dict(counted)

    def _options(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return options


def _constants(graph: Any) -> Iterator[Any]:
    """The tensors that a graph, and the graphs inside its nodes, have from the beginning."""
    yield from graph.initializer
    for attribute in (a for node in graph.node for a in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield from _constants(inner)


def load(folder: Path, artefact: Artefact, threads: int) -> OnnxModel:
    """Opens the file."""
    return OnnxModel(folder / artefact.entry, threads)
