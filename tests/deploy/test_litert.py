"""Eight bits and float16 on LiteRT, held to its interpreter used directly and to NumPy with the weights of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy_models
import pytest
from ai_edge_litert.interpreter import Interpreter
from narrowing import require_value

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.compare.verification import flags
from lmkit.deploy.runtimes import load
from lmkit.deploy.runtimes.litert import LiteModel
from lmkit.deploy.techniques import NotApplicable
from lmkit.deploy.techniques.base import find, techniques
from lmkit.deploy.trained_model import TrainedModel
from lmkit.deploy.variant import Variant

NAMES = ["litert-int8-dynamic", "litert-int8-static", "litert-float16"]
Made = Callable[[str, str, str], tuple[Path, Artifact]]
Subjects = Callable[[str, str], TrainedModel]
LAYERS = {"mlp": 3, "cnn": 2, "decoder": 5}


def tensors(folder: Path) -> dict[int, dict[str, Any]]:
    lite = Interpreter(str(folder / "model.tflite"))
    return {t["index"]: {**t, "data": held(lite, t["index"])} for t in lite.get_tensor_details()}


def held(lite: Interpreter, index: int) -> np.ndarray | None:
    try:
        return np.array(lite.get_tensor(index))
    except ValueError:
        return None


def kernels(folder: Path, dtype: str) -> list[np.ndarray]:
    """The matrices of a file as numbers, (inputs, outputs), the largest first."""
    found = []
    for t in tensors(folder).values():
        if t["data"] is not None and t["data"].ndim == 2 and t["data"].dtype == dtype:
            scales = t["quantization_parameters"]["scales"]
            found.append((t["data"].astype("f8") * (scales[:, None] if len(scales) else 1)).T)
    return sorted(found, key=np.size, reverse=True)


@pytest.mark.parametrize("family", LAYERS)
def test_the_runtime_tells_what_it_computes_and_keeps(
    family: str, made: Made, subjects: Subjects, tmp_path: Path
) -> None:
    X = subjects("tensorflow", family).data.test.X[:64]
    for name in NAMES:
        folder, artifact = made("tensorflow", family, name)
        ours = load(folder, artifact, 1)
        operations = {(o.name, o.dtype): o.times for o in ours.executed()}
        products = {k: n for k, n in operations.items() if k[0].partition(" ")[0] in ("FULLY_CONNECTED", "CONV_2D")}
        assert sum(products.values()) == LAYERS[family]
        assert {dtype for _, dtype in products} == {"int8" if "int8" in name else "float32"}
        assert all(operation.endswith("(XNNPACK)") for operation, _ in products)
        assert {dtype for (op, dtype) in operations if op.startswith(("MEAN", "RSQRT", "GELU"))} <= {"float32"}
        kept = require_value(ours.stored())
        wide = sum(kept.get(k, 0) for k in ("int8", "float16", "float32"))
        assert kept["int8" if "int8" in name else "float16"] > 0.9 * wide
        outputs = [tmp_path / f"{name}-{rows}.npy" for rows in (1, 3, 64)]
        for path, rows in zip(outputs[:2], (1, 3), strict=True):
            np.save(path, np.concatenate([ours.predict(X[i : i + rows]) for i in range(0, 12, rows)]))
        np.save(outputs[2], ours.predict(X))
        variant = Variant(family, name, find(name).group)
        scores = {"divergence": 0.01, "rows": 64, "bad_rows": 0}
        assert not flags(variant, artifact, ours.executed(), kept, outputs, scores)


def test_weights_are_rounded_to_the_nearest_step_of_their_column(made: Made, subjects: Subjects) -> None:
    weights = {k: v for k, v in subjects("tensorflow", "mlp").weights.items() if v.ndim == 2}
    for name in NAMES[:2]:
        ours = kernels(made("tensorflow", "mlp", name)[0], "int8")
        for own, kernel in zip(ours, sorted(weights.values(), key=np.size, reverse=True), strict=True):
            step = np.abs(kernel).max(axis=0) / 127
            assert np.all(np.abs(own - kernel) <= step / 2 + 1e-6)
            assert np.abs(own - kernel).max() > 0


def test_float16_gives_what_numpy_gives_with_rounded_weights(made: Made, subjects: Subjects) -> None:
    folder, artifact = made("tensorflow", "mlp", "litert-float16")
    assert (artifact.compute_dtype, artifact.weight_dtype) == ("float32", "float16")
    subject = subjects("tensorflow", "mlp")
    X = subject.data.test.X[:50]
    weights = {name: values.astype("f2").astype("f8") for name, values in subject.weights.items()}
    expected = numpy_models.mlp(weights, X.astype("f8"), subject.spec.model_dump())
    np.testing.assert_allclose(load(folder, artifact, 1).predict(X), expected, atol=1e-5 * np.abs(expected).max())


def test_ranges_are_those_of_all_rows_and_no_moving_average(made: Made, subjects: Subjects) -> None:
    folder, artifact = made("tensorflow", "mlp", "litert-int8-static")
    X = subjects("tensorflow", "mlp").data.training.X[: artifact.recipe["calibration_rows"]]
    lite = Interpreter(str(folder / "model.tflite"))
    first = next(op for op in lite._get_ops_details() if op["op_name"] == "QUANTIZE")
    rows = next(t for t in lite.get_tensor_details() if t["index"] == first["outputs"][0])
    assert rows["quantization"][0] == pytest.approx((X.max() - X.min()) / 255, rel=0.01)


def test_integer_inputs_and_outputs_are_scaled(subjects: Subjects, tmp_path: Path) -> None:
    import tensorflow as tf

    subject = subjects("tensorflow", "mlp")
    model, X = subject.model, subject.data.training.X[:200]
    find("saved-model").make(subject, tmp_path)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "model"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in X)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (tmp_path / "whole.tflite").write_bytes(converter.convert())
    given = LiteModel(tmp_path / "whole.tflite", 1)
    base = subject.backend.predict(model, X)
    outputs = given.predict(X)
    assert given.input["dtype"] == np.int8
    assert outputs.dtype == np.float32
    assert np.sqrt(np.mean((outputs - base) ** 2) / np.mean(base**2)) < 0.1


def test_a_run_of_pytorch_goes_by_way_of_tensorflow(subjects: Subjects, made: Made, tmp_path: Path) -> None:
    subject = subjects("torch", "mlp")
    for name in NAMES:
        with pytest.raises(NotApplicable, match=rf"PyTorch does not write litert\w*; .*: other-framework\+{name}$"):
            find(name).make(subject, tmp_path)
    folder, artifact = made("torch", "mlp", "other-framework+litert-int8-static")
    X = subject.data.test.X
    outputs, base = load(folder, artifact, 1).predict(X), subject.backend.predict(subject.model, X)
    assert np.mean(outputs.argmax(1) == base.argmax(1)) > 0.9
    assert artifact.recipe["technique"] == "other-framework+litert-int8-static"


def test_four_bits_are_not_offered() -> None:
    assert {n for n in techniques() if n.startswith("litert")} == {"litert", *NAMES}
