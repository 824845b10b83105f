"""ExecuTorch, PyTorch's runtime for phones and small devices; its Python binding needs PyTorch."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.backends.quiet import quiet, without_notes
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import Operation, is_kernel

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("executorch", "torch"), ("executorch", "torch")

TYPES = (("fp32", "float32"), ("fp16", "float16"), ("int8", "int8"), ("int4", "int4"), ("int32", "int32"))
"""End of XNNPACK's name of a type, whose beginning says how it is scaled → NumPy's name."""

SCALARS = {"float": "float32", "double": "float64", "half": "float16", "char": "int8", "byte": "uint8"} | {
    "int": "int32",
    "long": "int64",
    "short": "int16",
}
"""ExecuTorch's name of a type → NumPy's."""


class ExecutorchModel:
    """The method of a program, which takes at most ``max_rows`` rows per call."""

    def __init__(self, path: Path, threads: int, max_rows: int) -> None:
        with quiet(), without_notes():
            from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
            from executorch.runtime import Runtime

            _unsafe_reset_threadpool(threads)
            self.program: Any = Runtime.get().load_program(path)
            self.method: Any = self.program.load_method("forward")
        self.path, self.max_rows = path, max_rows

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the logits of rows, in pieces of at most ``max_rows``."""
        import numpy as np
        import torch

        rows = torch.from_numpy(X)
        pieces = [
            self.method.execute([rows[i : i + self.max_rows]])[0].numpy() for i in range(0, len(X), self.max_rows)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def executed(self) -> list[Operation]:
        """Return the instructions of the program, with the type of their input; those of a delegate one by one."""
        program = self._program()
        plan = program.execution_plan[0]
        counts: Counter[tuple[str, str]] = Counter()
        for instruction in (i.instr_args for chain in plan.chains for i in chain.instructions):
            if hasattr(instruction, "delegate_index"):
                graph = _xnnpack(program, plan.delegates[instruction.delegate_index])
                types = {value["id"]: value["datatype"] for value in _values(graph)}
                for node in graph["xnodes"]:
                    inside = node["xnode_union"]
                    first = next(v for k, v in inside.items() if k.startswith("input") and k.endswith("id"))
                    counts["XNNPACK " + node["xnode_union_type"].removeprefix("XNN"), types[first]] += 1
            elif hasattr(instruction, "op_index"):
                scalar_types = (getattr(plan.values[i].val, "scalar_type", None) for i in instruction.args)
                dtype = next((k.name.lower() for k in scalar_types if k is not None), "")
                name = plan.operators[instruction.op_index].name.rpartition("::")[2]
                counts[name, SCALARS.get(dtype, dtype)] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counts.items())]

    def stored(self) -> dict[str, int]:
        """Count the numbers in the kernels and tables of the program and its delegates, by their stored type."""
        program = self._program()
        plan = program.execution_plan[0]
        counts: Counter[str] = Counter()
        for tensor in (value.val for value in plan.values):
            if getattr(tensor, "data_buffer_idx", 0) and is_kernel(tensor.sizes):
                dtype = tensor.scalar_type.name.lower()
                counts[SCALARS.get(dtype, dtype)] += math.prod(tensor.sizes)
        for delegate in plan.delegates:
            for value in _values(_xnnpack(program, delegate)):
                if value.get("constant_buffer_idx") and is_kernel(value["dims"]):
                    counts[value["datatype"]] += math.prod(value["dims"])
        return dict(counts)

    def _program(self) -> Any:
        """Return the deserialized program."""
        with quiet(), without_notes():
            from executorch.exir._serialize._program import deserialize_pte_binary

            return deserialize_pte_binary(self.path.read_bytes()).program


def _xnnpack(program: Any, delegate: Any) -> dict[str, Any]:
    """Return the graph of a delegate, decoded with the schema in the ExecuTorch package."""
    import importlib.resources

    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
    from executorch.exir._serialize._flatbuffer import _flatc_decompile

    data = program.backend_delegate_data[delegate.processed.index].data
    header = XNNHeader.from_bytes(data[: XNNHeader.EXPECTED_LENGTH])
    begin = header.flatbuffer_offset
    with tempfile.TemporaryDirectory() as scratch:
        schema, graph = Path(scratch) / "schema.fbs", Path(scratch) / "graph.bin"
        package = importlib.resources.files("executorch.backends.xnnpack.serialization")
        schema.write_bytes((package / "schema.fbs").read_bytes())
        graph.write_bytes(data[begin : begin + header.flatbuffer_size])
        _flatc_decompile(scratch, str(schema), str(graph), ["--defaults-json"])
        text = (Path(scratch) / "graph.json").read_text()
    # infinite bounds are no valid JSON
    values: dict[str, Any] = json.loads(re.sub(r":\s*[+-]?(inf|nan)\b", ": null", text))
    return values


def _values(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tensors of a graph: number, type, dimensions."""
    values = []
    for value in graph["xvalues"]:
        inside = value["xvalue_union"]
        inside = inside.get("tensor_value", inside)
        datatype = inside["datatype"]
        kind = next((name for end, name in TYPES if datatype.endswith(end)), datatype)
        values.append({**inside, "id": inside["id_out"], "datatype": kind})
    return values


def load(folder: Path, artifact: Artifact, threads: int) -> ExecutorchModel:
    """Load the file."""
    return ExecutorchModel(folder / artifact.entry, threads, int(artifact.options["most_rows"]))
