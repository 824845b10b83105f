"""What exporters write is held to the framework at once: an invalid file, a wrong one, an operator that they lack."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
import torch
from torch import nn

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques import NotApplicable, convert, quantize
from lmkit.deploy.techniques.base import find
from lmkit.deploy.techniques.convert import ExportFailed
from lmkit.deploy.trained_model import TrainedModel


def exact_gelu(features: int, outputs: int) -> keras.Model:
    inputs = keras.Input((features,))
    x = keras.layers.Dense(8, name="first")(inputs)
    x = keras.layers.Lambda(lambda x: keras.activations.gelu(x, approximate=False))(x)
    return keras.Model(inputs, keras.layers.Dense(outputs, name="last")(x))


def incomplete_gamma(features: int, outputs: int) -> keras.Model:
    inputs = keras.Input((features,))
    x = keras.layers.Lambda(lambda x: tf.math.igamma(tf.ones_like(x), tf.nn.softplus(x)))(keras.layers.Dense(4)(inputs))
    return keras.Model(inputs, keras.layers.Dense(outputs)(x))


class Bessel(nn.Module):
    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(features, 4), nn.Linear(4, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.special.bessel_j0(self.first(x)))


Made = Callable[[str, str, str], tuple[Path, Artifact]]
Subjects = Callable[[str, str], TrainedModel]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("convert")


def trained(runs: Path, **told: Any) -> TrainedModel:
    told = {"data": "wine", "epochs": 2, "framework": "tensorflow", **told}
    return TrainedModel(lk.train(**told, inline=True, runs=runs))


@pytest.fixture(scope="module")
def mlp(subjects: Subjects) -> TrainedModel:
    return subjects("tensorflow", "mlp")


@pytest.fixture(scope="module")
def cnn(subjects: Subjects) -> TrainedModel:
    return subjects("tensorflow", "cnn")


def outputs_of(path: Path, X: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: X})[0]
    return found


def test_the_exact_gelu_of_keras_becomes_a_valid_file_with_the_same_numbers(runs: Path, tmp_path: Path) -> None:
    subject = trained(runs, model=exact_gelu)
    find("onnx").make(subject, tmp_path)
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    assert "Erfc" not in {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    X = subject.data.test.X
    (k1, b1), (k2, b2) = ([v.numpy() for v in subject.model.module.get_layer(n).weights] for n in ("first", "last"))
    x = X @ k1 + b1
    x = x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    np.testing.assert_allclose(outputs_of(tmp_path / "model.onnx", X), x @ k2 + b2, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def unknown(runs: Path) -> TrainedModel:
    return trained(runs, model=incomplete_gamma)


@pytest.mark.parametrize(("name", "told"), [("onnx", "ONNX"), ("litert", "LiteRT"), ("onnx-int8-static", "ONNX")])
def test_an_operator_that_the_exporter_lacks_is_named(
    name: str, told: str, unknown: TrainedModel, tmp_path: Path
) -> None:
    subject = unknown
    with pytest.raises(
        NotApplicable, match=f"the exporter to {told} does not support the operator Igamma of this model"
    ):
        find(name).make(subject, tmp_path)
    if name == "onnx":
        find("saved-model").make(subject, tmp_path)


def test_so_is_one_of_pytorch(runs: Path, tmp_path: Path) -> None:
    subject = trained(runs, model=Bessel, framework="torch")
    with pytest.raises(NotApplicable, match=r"the exporter to ONNX does not support the operator \w+\.\w*bessel_j0"):
        find("onnx").make(subject, tmp_path)


def _garbage(path: Path, model: Any, real: Any) -> None:
    path.write_bytes(b"no model")


def _wrong(path: Path, model: Any, real: Any) -> None:
    kernel = model.weights[0].numpy()
    model.weights[0].assign(1.1 * kernel)
    real()
    model.weights[0].assign(kernel)


def _one_row(path: Path, model: Any, real: Any) -> None:
    real()
    file = onnx.load(path)
    file.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(file, path)


def _stops(path: Path, model: Any, real: Any) -> None:
    raise ValueError("cannot do it\nand so on")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (_garbage, "the exporter to ONNX wrote a file that is no model; use saved-model instead$"),
        (_wrong, "differs from the model, by .* of the largest output with 1 row$"),
        (_one_row, "does not run on onnxruntime: the tool cannot follow the shapes .*; use saved-model instead$"),
        (
            _stops,
            r"ONNX failed: the tool stopped with an error of its own \(ValueError\); use saved-model instead$",
        ),
    ],
)
def test_what_is_invalid_or_wrong_fails_with_the_reason(
    how: Any, told: str, mlp: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, backend = TrainedModel(mlp.run), get_backend("tensorflow")
    real = backend.export

    def export(model: Any, row: Any, dtype: str, kind: str, path: Path) -> None:
        how(path, model, lambda: real(model, row, dtype, kind, path))

    monkeypatch.setattr(type(backend), "export", staticmethod(export))
    with pytest.raises(ExportFailed, match=told):
        find("onnx").make(subject, tmp_path)


def test_a_saved_model_holds_the_weights_once(cnn: TrainedModel, tmp_path: Path) -> None:
    find("saved-model").make(cnn, tmp_path)
    held = sum(p.stat().st_size for p in (tmp_path / "model" / "variables").iterdir())
    assert sum(v.nbytes for v in cnn.weights.values()) <= held < 1.3 * sum(v.nbytes for v in cnn.weights.values())
    X = cnn.data.test.X[:5]
    (served,) = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"](rows=tf.constant(X)).values()
    np.testing.assert_allclose(served, cnn.model(X), rtol=1e-5, atol=1e-5)


def test_techniques_share_what_was_exported(mlp: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, backend, written = TrainedModel(mlp.run), get_backend("tensorflow"), []
    real = backend.export

    def export(*args: Any) -> Any:
        written.append(args[3])
        return real(*args)

    monkeypatch.setattr(type(backend), "export", staticmethod(export))
    for name in ("onnx", "onnx-int8-dynamic", "onnx-int8-static", "litert", "litert-int8-dynamic"):
        find(name).make(subject, tmp_path)
    assert written == ["onnx", "litert"]


@pytest.mark.parametrize("family", ["cnn", "decoder"])
@pytest.mark.parametrize("name", ["onnx-int8-dynamic", "onnx-int8-static"])
def test_int8_of_what_tensorflow_writes(family: str, name: str, made: Made, subjects: Subjects) -> None:
    (folder, artifact), subject = made("tensorflow", family, name), subjects("tensorflow", family)
    X = subject.data.test.X[:64]
    outputs, base = outputs_of(folder / "model.onnx", X), subject.backend.predict(subject.model, X)
    assert np.mean(outputs.argmax(-1) == base.argmax(-1)) > 0.9
    ran = load(folder, artifact, 1).executed()
    heavy = [o for o in ran if re.search(r"MatMul|Gemm|Conv", o.name)]
    assert heavy
    assert {o.dtype for o in heavy if not o.name.startswith("FusedMatMul")} == {"int8"}
    assert not [o for o in ran if o.name in ("QLinearAdd", "QLinearMul", "QLinearSoftmax")]
    if family == "cnn" and name == "onnx-int8-dynamic":  # which is what makes it slow
        assert "ConvInteger" in {o.name for o in ran}


@pytest.mark.parametrize("vnni", [True, False])
def test_ranges_are_reduced_where_the_processor_would_overflow(
    vnni: bool, mlp: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "has_vnni", lambda: vnni)
    for name in ("onnx-int8-dynamic", "onnx-int8-static"):
        made = find(name).make(mlp, tmp_path)
        kernels = [
            onnx.numpy_helper.to_array(t)
            for t in onnx.load(tmp_path / "model.onnx").graph.initializer
            if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 2
        ]
        most = max(np.abs(k.astype(int)).max() for k in kernels)
        assert made.recipe["reduce_range"] is not vnni
        assert most > 64 if vnni else 60 <= most <= 64


def test_xla_and_tensorflow_tell_what_they_made_of_the_graph(cnn: TrainedModel, tmp_path: Path) -> None:
    ran = {}
    for name in ("compile", "baseline", "saved-model"):
        folder = tmp_path / name
        folder.mkdir()
        artifact = find(name).make(cnn, folder)
        loaded = load(folder, artifact, 1)
        ran[name] = {o.name: o.times for o in loaded.executed()}
        if name == "compile":
            compiled: Any = loaded.model
            text = compiled.function.experimental_get_compiler_ir(tf.zeros((1, *artifact.row)))(stage="optimized_hlo")
            X = np.asarray(cnn.data.test.X[:9])
            expected = cnn.backend.predict(cnn.model, X)
            for n in (1, 2, 3, 5, 7, 9, 6, 8):
                np.testing.assert_allclose(loaded.predict(X[:n]), expected[:n], atol=1e-4)
            assert compiled.function.experimental_get_tracing_count() <= 5  # 1, 2, 4, 8 and 16 rows
            entry = text[text.index("\nENTRY") :]
            assert ran[name]["fusion"] == len(re.findall(r"fusion\(", entry)) > 0
            assert sum("convolution" in o for o in ran[name]) >= 1
    assert not {"fusion"} & {*ran["baseline"], *ran["saved-model"]}
    for name in ("baseline", "saved-model"):
        assert sum(n for o, n in ran[name].items() if "Conv2D" in o) == 1
        assert sum(n for o, n in ran[name].items() if "MatMul" in o) == 1


@pytest.mark.parametrize(("name", "instead"), [("onnx", "saved-model"), ("litert-int8-dynamic", "onnx")])
def test_weights_that_a_format_cannot_hold_are_refused_before_anything_is_written(
    name: str, instead: str, mlp: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(values.nbytes for values in mlp.weights.values())
    monkeypatch.setattr(convert, "MAX_BYTES", {"onnx": size, "litert": size})
    subject = TrainedModel(mlp.run)
    with pytest.raises(NotApplicable, match=f"at most 2 GB, and the weights of this one .*; use {instead} instead$"):
        find(name).make(subject, tmp_path)
    assert not list(tmp_path.iterdir())
    find("saved-model").make(subject, tmp_path)
