"""PyTorch's own tools: what they leave is held to NumPy, to the model itself, and to what is written in the files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy_models
import pytest
import torch
from safetensors.numpy import load_file

import lmkit as lk
from lmkit.backends.torch import quantization
from lmkit.backends.torch.export import export, for_inference
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques import NotApplicable
from lmkit.deploy.techniques.base import find
from lmkit.deploy.trained_model import TrainedModel
from lmkit.system.environment import processor

NAMES = ("torchao-int8-weights", "pt2e-int8-static", "aot-inductor")


Made = Callable[[str, str, str], tuple[Path, Artifact]]
KERNELS = 64 * 24 + 24 * 24 + 24 * 10


@pytest.fixture(scope="module")
def subject(subjects: Callable[[str, str], TrainedModel]) -> TrainedModel:
    return subjects("torch", "mlp")


@pytest.fixture(scope="module")
def rows(subject: TrainedModel) -> np.ndarray:
    return np.asarray(subject.data.test.X[:64])


def test_the_weights_are_integers_on_disk_and_give_what_numpy_computes_with_them(
    made: Made, subject: TrainedModel, rows: np.ndarray
) -> None:
    folder, artifact = made("torch", "mlp", "torchao-int8-weights")
    kept, weights = load_file(folder / "int8.safetensors"), dict(subject.weights)
    for i in range(3):
        (data,) = (v for k, v in kept.items() if f"dense_{i}.weight.int8" in k)
        (scale,) = (v for k, v in kept.items() if f"dense_{i}.weight.scale" in k)
        assert data.dtype == np.int8
        np.testing.assert_allclose(data * scale, weights[f"dense_{i}.kernel"].T, atol=scale.max() * 0.51)
        weights[f"dense_{i}.kernel"] = (data * scale).T.astype("f8")
    loaded, spec = load(folder, artifact, 1), subject.spec.model_dump()
    np.testing.assert_allclose(loaded.predict(rows), numpy_models.mlp(weights, rows.astype("f8"), spec), atol=1e-4)
    assert loaded.stored() == {"int8": KERNELS}
    assert (artifact.compute_dtype, artifact.weight_dtype, artifact.recipe["left_out"]) == ("float32", "int8", [])


def test_a_quantized_file_is_small(tmp_path: Path) -> None:
    wide = TrainedModel(lk.train(data="digits", model={"hidden": [512]}, epochs=1, inline=True, runs=tmp_path))
    (folder := tmp_path / "wide").mkdir()
    artifact = find("torchao-int8-weights").make(wide, folder).write(folder)
    assert artifact.size(folder) < 0.32 * sum(v.nbytes for v in wide.weights.values())  # of few rows: biases weigh


def test_static_int8_computes_in_int8_near_the_model_for_any_number_of_rows(
    made: Made, subject: TrainedModel, rows: np.ndarray
) -> None:
    folder, artifact = made("torch", "mlp", "pt2e-int8-static")
    loaded, wanted = load(folder, artifact, 1), subject.backend.predict(subject.model, rows)
    whole = loaded.predict(rows)
    assert np.sqrt(np.mean((whole - wanted) ** 2) / np.mean(wanted**2)) < 0.15
    assert np.mean(whole.argmax(1) == wanted.argmax(1)) > 0.9
    assert np.abs(whole - wanted).max() > 0
    for n in (1, 3):
        np.testing.assert_allclose(loaded.predict(rows[:n]), whole[:n], atol=1e-3 * np.abs(whole).max())
    heavy = {o.name: o for o in loaded.executed() if "linear" in o.name}
    assert sum(o.times for o in heavy.values()) == 3
    assert {o.dtype for o in heavy.values()} == {"int8"}
    assert loaded.stored() == {"int8": KERNELS}
    assert artifact.recipe["calibration_rows"] == 256
    flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    assert artifact.recipe["reduce_range"] == (not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(flags))


def test_what_is_compiled_ahead_is_the_model_without_dropout(
    made: Made, subject: TrainedModel, rows: np.ndarray
) -> None:
    folder, artifact = made("torch", "mlp", "aot-inductor")
    loaded, wanted = load(folder, artifact, 1), subject.backend.predict(subject.model, rows)
    for n in (1, 3, 64):
        np.testing.assert_allclose(loaded.predict(rows[:n]), wanted[:n], atol=1e-5)
    executed = loaded.executed()
    assert sum(o.times for o in executed if "addmm" in o.name or "linear" in o.name) == 3
    assert {o.dtype for o in executed} == {"float32"}
    assert loaded.stored() == {"float32": KERNELS}
    assert artifact.size(folder) < 400_000


@pytest.mark.parametrize("name", NAMES)
def test_without_its_tools_it_is_not_applicable_and_says_what_to_install(
    name: str, subject: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "torchao" else there(n, *a))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    wanted = "apt-get install g" if name == "aot-inductor" else r"pip install 'jupyter-lmkit\[torchao\]'"
    with pytest.raises(NotApplicable, match=wanted):
        find(name).make(subject, tmp_path)


def test_what_torchao_leaves_out_is_told_and_nothing_quantized_is_refused() -> None:
    attention = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    arrays, told = quantization.int8_weights(attention)
    assert told["left_out"] == ["self_attn.in_proj_weight", "self_attn.out_proj.weight"]
    whole = 4 * (8 * 8 + 8) + 2 * 8 * 16 + 16 + 8 + 4 * 8
    assert told["quantized"] == pytest.approx(2 * 8 * 16 / whole)
    assert sum(a.size for name, a in arrays.items() if a.dtype == np.int8) == 2 * 8 * 16
    with pytest.raises(quantization.CannotQuantize, match="dense layers, and this model has none"):
        quantization.int8_weights(torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), torch.nn.Flatten()))


def test_a_program_in_int8_keeps_no_weight_twice() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 16))
    X = np.random.default_rng(0).normal(size=(64, 32)).astype("f4")
    made = quantization.static_int8(model, X, reduce_range=True)
    sizes = {str(t.dtype): 0 for t in made.program.state_dict.values()}
    for tensor in made.program.state_dict.values():
        sizes[str(tensor.dtype)] += tensor.numel()
    assert sizes["torch.int8"] == 32 * 64 + 64 * 16
    assert sizes["torch.float32"] == 2 * (64 + 16)  # biases and scales
    assert made.recipe["quantized"] == pytest.approx((32 * 64 + 64 * 16) / (32 * 64 + 64 * 16 + 64 + 16))
    with torch.no_grad():
        wanted = model(torch.from_numpy(X)).numpy()
    assert np.sqrt(np.mean((made.outputs(X) - wanted) ** 2) / np.mean(wanted**2)) < 0.05


class Masked(torch.nn.Module):
    """A causal mixture; its scores go through a dense layer after they were masked, or only into a softmax."""

    def __init__(self, quantized: bool) -> None:
        super().__init__()
        self.score, self.out, self.quantized = torch.nn.Linear(8, 8), torch.nn.Linear(8, 4), quantized

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        masked = self.score(x).masked_fill(torch.arange(8) > 5, float("-inf"))
        return self.out(masked if self.quantized else masked.softmax(-1))


def test_a_mask_of_minus_infinity_is_refused_where_it_would_be_quantized_alone() -> None:
    X = np.random.default_rng(0).normal(size=(32, 8)).astype("f4")
    with pytest.raises(quantization.CannotQuantize, match="a mask of −∞"):
        quantization.static_int8(Masked(True), X, reduce_range=True)
    model = Masked(False)
    with torch.no_grad():
        wanted = model(torch.from_numpy(X)).numpy()
    found = quantization.static_int8(model, X, reduce_range=True).outputs(X)
    assert np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < 0.05


def test_the_abilities_of_the_processor_are_those_of_its_flags() -> None:
    flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    assert ("avx2" in processor()["abilities"]) == ("avx2" in flags)
    assert ("avx512_vnni" in processor()["abilities"]) == ("avx512_vnni" in flags)


def test_a_compiled_model_compiles_for_one_row_and_for_several_and_never_stops(
    made: Made, subject: TrainedModel, rows: np.ndarray
) -> None:
    folder, artifact = made("torch", "mlp", "compile")
    loaded, expected = load(folder, artifact, 1), subject.backend.predict(subject.model, rows)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for n in (1, 2, 3, 5, 4, 7, 9, 6, 8, 11, 64, 10):
        np.testing.assert_allclose(loaded.predict(rows[:n]), expected[:n], atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2


def test_tools_leave_the_model_as_it_was(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3))
    model[0].eval()
    X = np.random.default_rng(0).normal(size=(32, 8)).astype("f4")
    weights = {name: values.clone() for name, values in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    export(model, (8,), "float32", "program", tmp_path / "model.pt2")
    quantization.program(model, X)
    quantization.static_int8(model, X, reduce_range=True)
    quantization.int8_weights(model)
    assert [module.training for module in model.modules()] == modes == [True, False, True, True]
    assert all(torch.equal(values, weights[name]) for name, values in model.state_dict().items())
    assert {type(p) for p in model.parameters()} == {torch.nn.Parameter}
    there = torch.nn.Linear(2, 2, device="meta")
    with pytest.raises(NotImplementedError), for_inference(there):
        pass  # a copy is made of a model on another device, and this one has nothing to copy
    assert there.weight.device.type == "meta"
    assert there.training
