"""OpenVINO, of both frameworks: held to the framework's outputs and to OpenVINO itself; it needs nothing else."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.deploy.artefact import Artefact
from lmkit.deploy.bundle import bundle
from lmkit.deploy.maker import Maker
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques import NotApplicable

TECHNIQUES = ("openvino", "openvino-float16", "openvino-int8-static")
MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"model": {"hidden": [16, 16], "residual": True, "normalization": "layer"}, "data": "digits"},
    "cnn": {"model": {"family": "cnn", "channels": [4, 8], "residual": True}, "data": "digits"},
    "transformer": {"model": {"family": "transformer", "depth": 1, "width": 16, "heads": 2}, "data.text.length": 16},
}
CASES = [
    ("torch", "mlp"),
    ("torch", "cnn"),
    ("torch", "transformer"),
    ("tensorflow", "mlp"),
    ("tensorflow", "transformer"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("openvino")
    (root / "saying.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
    return root


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def maker(request: pytest.FixtureRequest, root: Path) -> Maker:
    framework, family = request.param
    fields = {"data": str(root / "saying.txt"), **MODELS[family]}
    run = lk.train(
        framework=framework, epochs=1, inline=True, runs=root / "runs", name=f"{framework}-{family}", **fields
    )
    return Maker(str(run.path))


@pytest.fixture(scope="module")
def made(maker: Maker) -> Path:
    variants = Path(maker.subject.run.path) / "variants"
    for name in TECHNIQUES:
        maker.make(name, str(variants / name))
    return variants


def rows(maker: Maker) -> np.ndarray:
    return np.asarray(maker.subject.data.test.X[:20])


@pytest.fixture(scope="module")
def plain(root: Path) -> lk.Run:
    return lk.train(data="digits", model={"hidden": [8]}, epochs=1, inline=True, runs=root / "plain")


def test_outputs_are_the_frameworks_and_openvinos_own(maker: Maker, made: Path) -> None:
    import openvino

    X = rows(maker)
    expected = maker.subject.backend.predict(maker.subject.model, X)
    compiled = openvino.Core().compile_model(
        made / "openvino" / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    loaded = load(made / "openvino", Artefact.read(made / "openvino"), 1)
    for n in (1, 3, 20):
        found = loaded.predict(X[:n])
        np.testing.assert_allclose(found, expected[:n], rtol=1e-4, atol=1e-4 * np.abs(expected).max())
        np.testing.assert_allclose(found, compiled(X[:n])[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "share"), [("openvino-float16", 0.005), ("openvino-int8-static", 0.4)])
def test_what_is_narrower_is_near(maker: Maker, made: Path, name: str, share: float) -> None:
    X = rows(maker)
    expected = maker.subject.backend.predict(maker.subject.model, X)
    loaded = load(made / name, Artefact.read(made / name), 1)
    found = loaded.predict(X)
    off = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
    assert 1e-6 < off < share
    np.testing.assert_allclose(loaded.predict(X[:3]), found[:3], rtol=1e-4, atol=1e-5)


def test_it_is_told_what_is_executed_and_kept(made: Path) -> None:
    heavy = ("FullyConnected", "Convolution")
    told = {}
    for name in TECHNIQUES:
        loaded = load(made / name, Artefact.read(made / name), 1)
        told[name] = ({o.dtype for o in loaded.executed() if o.name in heavy}, loaded.stored())
    assert told["openvino"][0] == told["openvino-float16"][0] == {"float32"}
    assert told["openvino-int8-static"][0] <= {"int8", "uint8"}
    for name, dtype in zip(TECHNIQUES, ("float32", "float16", "int8"), strict=True):
        numbers = {k: n for k, n in told[name][1].items() if k in ("float32", "float16", "int8")}
        assert numbers[dtype] > 0.9 * sum(numbers.values())


def test_both_files_are_counted_and_held_to_their_hashes(made: Path) -> None:
    for name in TECHNIQUES:
        artefact = Artefact.read(made / name)
        assert set(artefact.files) == {"model.xml", "model.bin"}
        assert artefact.size(made / name) == sum((made / name / f).stat().st_size for f in artefact.files)
    weights = [(made / name / "model.bin").stat().st_size for name in TECHNIQUES]
    assert weights[1] < 0.6 * weights[0]
    assert weights[2] < 0.6 * weights[0]


@pytest.mark.parametrize(("technique", "absent"), [("openvino", "openvino"), ("openvino-int8-static", "nncf")])
def test_what_is_not_installed_is_named(
    plain: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, technique: str, absent: str
) -> None:
    maker, found = Maker(str(plain.path)), importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == absent else found(name, *a))
    with pytest.raises(NotApplicable, match=rf"{absent} is not installed; .*pip install 'lmkit\[openvino\]'"):
        maker.make(technique, str(tmp_path / technique))


ALONE = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "tensorflow", "keras", "onnx", "onnxruntime", "nncf", "pandas", "sklearn",
                                  "scipy", "pydantic", "openvino_telemetry"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refused())
import lmkit as lk
model = lk.load_bundle(sys.argv[1], threads=1)
assert model.predict(model.example()["rows"]).tolist() == model.example()["predictions"]
assert sys.modules["openvino_telemetry"] is None
"""


def test_a_bundle_needs_openvino_alone_and_tells_nobody(plain: lk.Run, tmp_path: Path) -> None:
    out = bundle(plain, "openvino-int8-static", tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(out)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stdout
