"""What no runtime needs is taken out of an ONNX file, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lmkit.deploy.techniques.convert import slim


def test_a_slim_file_gives_the_same_outputs(tmp_path: Path) -> None:
    W = np.random.default_rng(0).standard_normal((4, 3)).astype("f4")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"], doc_string="trace")]
    entry = nodes[0].metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.stack_trace", "where it came from " * 50
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 3))], [numpy_helper.from_array(W, "w")],
        value_info=[helper.make_tensor_value_info("h", TensorProto.FLOAT, ("n", 3))],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    kept = model.metadata_props.add()
    kept.key, kept.value = "author", "somebody"
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    before = path.stat().st_size
    slim(path)
    assert path.stat().st_size < before - 900
    assert b"stack_trace" not in path.read_bytes()
    assert onnx.load(path).metadata_props[0].value == "somebody"  # what a person wrote into the model
    X = np.random.default_rng(1).standard_normal((5, 4)).astype("f4")
    (found,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": X})
    np.testing.assert_allclose(found, np.maximum(X @ W, 0), rtol=1e-5, atol=1e-6)
    onnx.checker.check_model(str(path), full_check=True)
