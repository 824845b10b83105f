"""ExecuTorch: programs for phones and small devices, run by the same C++ runtime; its Python side needs PyTorch."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.backends.quiet import quiet, without_notes
from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes import Operation, wide

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("executorch", "torch"), ("executorch", "torch")

TYPES = (("fp32", "float32"), ("fp16", "float16"), ("int8", "int8"), ("int4", "int4"), ("int32", "int32"))
"""End of what XNNPACK calls a type, whose beginning tells how it is scaled → what it is called everywhere else."""

SCALARS = {"float": "float32", "double": "float64", "half": "float16", "char": "int8", "byte": "uint8"} | {
    "int": "int32", "long": "int64", "short": "int16",
}  # fmt: skip
"""The same for what ExecuTorch itself computes."""


class ExecutorchModel:
    """The method of a program, which takes at most so many rows at once."""

    def __init__(self, path: Path, threads: int, most: int) -> None:
        with quiet(), without_notes():
            from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
            from executorch.runtime import Runtime

            _unsafe_reset_threadpool(threads)
            self.program: Any = Runtime.get().load_program(path)
            self.method: Any = self.program.load_method("forward")
        self.path, self.most = path, most

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Logits of rows; of more than the program takes, in pieces."""
        import numpy as np
        import torch

        rows = torch.from_numpy(X)
        pieces = [self.method.execute([rows[i : i + self.most]])[0].numpy() for i in range(0, len(X), self.most)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def executed(self) -> list[Operation]:
        """The instructions of the program, with the type of what each is given; those of a delegate one by one."""
        program = self._program()
        plan = program.execution_plan[0]
        counted: Counter[tuple[str, str]] = Counter()
        for instruction in (i.instr_args for chain in plan.chains for i in chain.instructions):
            if hasattr(instruction, "delegate_index"):
                graph = _xnnpack(program, plan.delegates[instruction.delegate_index])
                types = {value["id"]: value["datatype"] for value in _values(graph)}
                for node in graph["xnodes"]:
                    inside = node["xnode_union"]
                    first = next(v for k, v in inside.items() if k.startswith("input") and k.endswith("id"))
                    counted["XNNPACK " + node["xnode_union_type"].removeprefix("XNN"), types[first]] += 1
            elif hasattr(instruction, "op_index"):
                given = (getattr(plan.values[i].val, "scalar_type", None) for i in instruction.args)
                kind = next((k.name.lower() for k in given if k is not None), "")
                name = plan.operators[instruction.op_index].name.rpartition("::")[2]
                counted[name, SCALARS.get(kind, kind)] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counted.items())]

    def stored(self) -> dict[str, int]:
        """The numbers of the program's kernels and tables, and of its delegates', by the type that they are kept in."""
        program = self._program()
        plan = program.execution_plan[0]
        counted: Counter[str] = Counter()
        for tensor in (value.val for value in plan.values):
            if getattr(tensor, "data_buffer_idx", 0) and wide(tensor.sizes):
                kind = tensor.scalar_type.name.lower()
                counted[SCALARS.get(kind, kind)] += math.prod(tensor.sizes)
        for delegate in plan.delegates:
            for value in _values(_xnnpack(program, delegate)):
                if value.get("constant_buffer_idx") and wide(value["dims"]):
                    counted[value["datatype"]] += math.prod(value["dims"])
        return dict(counted)

    def _program(self) -> Any:
        """The program as data."""
        with quiet(), without_notes():
            from executorch.exir._serialize._program import deserialize_pte_binary

            return deserialize_pte_binary(self.path.read_bytes()).program


def _xnnpack(program: Any, delegate: Any) -> dict[str, Any]:
    """The graph of a delegate, read by the schema that ExecuTorch brings along."""
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
    # bounds of what is not bounded, which are no JSON
    found: dict[str, Any] = json.loads(re.sub(r":\s*[+-]?(inf|nan)\b", ": null", text))
    return found


def _values(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """The tensors of a graph: number, type, dimensions."""
    found = []
    for value in graph["xvalues"]:
        inside = value["xvalue_union"]
        inside = inside.get("tensor_value", inside)
        told = inside["datatype"]
        kind = next((name for end, name in TYPES if told.endswith(end)), told)
        found.append({**inside, "id": inside["id_out"], "datatype": kind})
    return found


def load(folder: Path, artefact: Artefact, threads: int) -> ExecutorchModel:
    """Opens the file."""
    return ExecutorchModel(folder / artefact.entry, threads, int(artefact.options["most_rows"]))
