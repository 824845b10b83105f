"""Small files: what no runtime needs is taken out of an ONNX file, tables are narrow; and language is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import lmkit as lk
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.compare.builder import Builder
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques.convert import slim
from lmkit.deploy.techniques.quantize import quantize_tables


def test_a_slim_file_gives_the_same_outputs(tmp_path: Path) -> None:
    W = np.random.default_rng(0).standard_normal((4, 3)).astype("f4")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"], doc_string="trace")]
    entry = nodes[0].metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.stack_trace", "where it came from " * 50
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 3))],
        [numpy_helper.from_array(W, "w")],
        value_info=[helper.make_tensor_value_info("h", TensorProto.FLOAT, ("n", 3))],
    )
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


def test_a_table_that_is_added_whole_is_kept_in_eight_bits(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    table = (draw.standard_normal((64, 128)) * draw.uniform(0.01, 10, (64, 1))).astype("f4")
    small = draw.standard_normal((4, 128)).astype("f4")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "places"], ["h"]), helper.make_node("Add", ["h", "row"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (64, 128))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (64, 128))],
        [numpy_helper.from_array(table, "places"), numpy_helper.from_array(small[:1], "row")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    quantize_tables(path)
    kept = {t.name: t.data_type for t in onnx.load(path).graph.initializer}
    assert kept["places_narrow"] == TensorProto.INT8
    assert kept["row"] == TensorProto.FLOAT
    assert path.stat().st_size < table.nbytes / 3
    X = draw.standard_normal((64, 128)).astype("f4")
    (found,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": X})
    step = np.abs(table).max(axis=1, keepdims=True) / 127  # of each row by itself
    assert (np.abs(found - (X + table + small[:1])) <= 0.5 * step + 1e-5).all()


def test_a_language_model_is_scored_at_every_place(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some words that are said again and again. " * 60, encoding="utf-8")
    model = {"family": "transformer", "depth": 1, "width": 8, "heads": 1}
    data = {"source": str(text), "text": {"length": 16}, "batch_size": 8}
    run = lk.train(data=data, model=model, steps=3, inline=True, runs=tmp_path)
    maker = Builder(str(run.path))
    maker.make("baseline", str(tmp_path / "made"))
    artifact = Artifact.read(tmp_path / "made")
    X = np.asarray(maker.trained.data.test.X[:]).astype(artifact.dtype)
    np.save(tmp_path / "logits.npy", load(tmp_path / "made", artifact, 1).predict(X))
    scored = maker.score(str(tmp_path / "logits.npy"), str(tmp_path / "logits.npy"))
    assert scored["metrics"]["perplexity"] == pytest.approx(run.metrics["perplexity"], rel=1e-4)
    assert scored["metrics"]["loss"] == pytest.approx(np.log(run.metrics["perplexity"]), rel=1e-4)
    assert artifact.provenance["multiplications"] > 0
