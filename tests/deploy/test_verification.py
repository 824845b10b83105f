"""The proof, held to artifacts that are wrong on purpose: real files in their real runtimes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.compare.verification import flags
from lmkit.deploy.runtimes import Loaded, load
from lmkit.deploy.variant import Variant

ROWS = np.random.default_rng(0).standard_normal((64, 8)).astype("f4")
KERNEL = np.random.default_rng(1).standard_normal((8, 4)).astype("f4")


def made(folder: Path, nodes: list[Any], weights: dict[str, np.ndarray], **told: Any) -> Artifact:
    """An ONNX file of x (rows, 8) → y, and its record."""
    folder.mkdir(exist_ok=True)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    recipe = told.pop("recipe", {"technique": "wrong"})
    return Artifact("onnxruntime", "m.onnx", (8,), "float32", recipe, **told).write(folder)


def flagged(
    folder: Path, artifact: Artifact, group: str = "quantize", base: np.ndarray | None = None, **others: Artifact
) -> tuple[str, ...]:
    """What is flagged of it, as a pass would."""
    loaded: Loaded = load(folder, artifact, 1)
    files = [folder / f"{n}.npy" for n in (1, 3, 64)]
    whole = np.asarray(loaded.predict(ROWS))
    for file, n in zip(files, (1, 3, 64), strict=True):
        np.save(file, np.concatenate([loaded.predict(ROWS[i : min(12, i + n)]) for i in range(0, 12, n)]))
    base = ROWS @ KERNEL if base is None else base
    scored = {
        "divergence": float(np.sqrt(np.mean((whole - base) ** 2) / np.mean(base**2))),
        "bad_rows": int((~np.isfinite(whole).all(axis=1)).sum()),
        "rows": len(whole),
    }
    variant = Variant("run", "wrong", group)
    weights = loaded.stored()
    return flags(variant, artifact, loaded.executed(), weights, files, scored, others)


def plain() -> list[Any]:
    return [helper.make_node("MatMul", ["x", "w"], ["y"])]


def test_what_is_as_it_should_be_has_no_flag(tmp_path: Path) -> None:
    assert flagged(tmp_path, made(tmp_path, plain(), {"w": KERNEL}), "convert") == ()


@pytest.mark.parametrize("compute_dtype", ["int8", "float16", "bfloat16"])
def test_float32_that_claims_to_be_narrow(tmp_path: Path, compute_dtype: str) -> None:
    found = flagged(tmp_path, made(tmp_path, plain(), {"w": 1.1 * KERNEL}, compute_dtype=compute_dtype))
    assert found == (
        f"should compute in {compute_dtype}, but computes in float32 (MatMul 1×)",
        f"none of the weights are {compute_dtype}, of 100% requested",
    )


def test_weights_in_eight_bits_that_are_widened_before_they_are_multiplied(tmp_path: Path) -> None:
    """The file is an eighth-bit one, yet every product is of float32: DequantizeLinear alone is no int8 arithmetic."""
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"]), *plain()]
    nodes[-1] = helper.make_node("MatMul", ["h", "w"], ["y"])
    nodes.insert(0, helper.make_node("Sin", ["x"], ["h"]))
    weights = {"q": np.round(KERNEL * 30).astype("i1"), "s": np.float32(1 / 30)}
    artifact = made(tmp_path, nodes, weights, compute_dtype="int8")
    (found,) = flagged(tmp_path, artifact)
    assert found.startswith("should compute in int8, but computes in float32 (")
    assert flagged(tmp_path, replace(artifact, compute_dtype="float32", weight_dtype="int8")) == ()


def test_float16_that_the_processor_runs_in_float32(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["z"]),
        helper.make_node("Cast", ["z"], ["y"], to=TensorProto.FLOAT),
    ]
    artifact = made(tmp_path, nodes, {"w": KERNEL.astype("f2")}, compute_dtype="float16")
    assert flagged(tmp_path, artifact) == ("should compute in float16, but computes in float32 (MatMul 1×)",)
    assert flagged(tmp_path, replace(artifact, compute_dtype="float32", weight_dtype="float16")) == ()


def test_a_part_of_the_weights_that_was_left_out(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["a"]),
        helper.make_node("MatMul", ["x", "w"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    weights = {"q": np.round(KERNEL * 30).astype("i1"), "s": np.float32(1 / 30), "w": np.tile(KERNEL, 1)}
    artifact = made(tmp_path, nodes, weights, weight_dtype="int8")
    assert flagged(tmp_path, artifact) == ("only 50% of the weights are int8, of 100% requested",)
    asked = replace(artifact, recipe={"quantized_asked": 0.5})
    assert flagged(tmp_path, asked) == ()


def test_a_technique_that_changed_nothing(tmp_path: Path) -> None:
    artifact = made(tmp_path, plain(), {"w": KERNEL})
    base = load(tmp_path, artifact, 1).predict(ROWS)
    assert flagged(tmp_path, artifact, "prune", base, onnx=artifact) == (
        "changed nothing: the outputs are the baseline's",
        "changed nothing: the files are those of onnx",
    )
    other = replace(artifact, options={"compiled": True})
    assert flagged(tmp_path, artifact, "convert", base, onnx=other) == ()


@pytest.mark.parametrize(
    ("recipe", "flag"),
    [
        (
            {"units_asked": 0.5, "widths_before": {"hidden": 8}, "widths_after": {"hidden": 7}},
            "should remove 50% of the units, but removed 12%",
        ),
        (
            {
                "units_asked": 0.5,
                "widths_before": {"hidden": 8},
                "widths_after": {"hidden": 4},
                "parameters_removed": 0.0,
            },
            "should remove 50% of the units, but has as many parameters as before",
        ),
        ({"of": {"weights_asked": 0.5, "weights_removed": 0.03}}, "should set 50% of the weights to zero, but set 3%"),
    ],
)
def test_less_was_removed_than_was_asked(tmp_path: Path, recipe: dict[str, Any], flag: str) -> None:
    assert flagged(tmp_path, made(tmp_path, plain(), {"w": 0.9 * KERNEL}, recipe=recipe)) == (flag,)


def test_outputs_that_depend_on_the_rows_beside(tmp_path: Path) -> None:
    """As of a batch normalization that was left in training mode."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["a", "m"], ["y"]),
    ]
    found = flagged(tmp_path, made(tmp_path, nodes, {"w": KERNEL}), "convert")
    assert [text.rpartition(" by ")[0] for text in found[:2]] == [
        "outputs at batch size 1 differ from those at 64",
        "outputs at batch size 3 differ from those at 64",
    ]
    assert found[2].startswith("outputs should equal the baseline's, but differ by ")


def test_dropout_that_was_left_on(tmp_path: Path) -> None:
    weights = {"w": KERNEL, "ratio": np.float32(0.5), "training": np.bool_(True)}
    nodes = [
        helper.make_node("Dropout", ["x", "ratio", "training"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    assert len(flagged(tmp_path, made(tmp_path, nodes, weights), "convert")) == 3


def test_outputs_that_are_no_numbers(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Sqrt", ["a"], ["y"])]
    (found,) = flagged(tmp_path, made(tmp_path, nodes, {"w": np.abs(KERNEL)}), "convert")
    bad = int((~np.isfinite(np.sqrt(ROWS @ np.abs(KERNEL))).all(1)).sum())
    assert found == f"outputs are not finite for {bad} of 64 rows"
