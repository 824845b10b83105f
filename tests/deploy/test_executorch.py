"""ExecuTorch: held to PyTorch's outputs and to its own runtime; what was delegated is read from the file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import lmkit as lk
from lmkit.deploy.artefact import Artefact
from lmkit.deploy.maker import Maker
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques import NotApplicable

MLP = {"hidden": [16, 16], "residual": True, "normalization": "layer"}
DECODER = {"family": "transformer", "depth": 1, "width": 16, "heads": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("executorch")


@pytest.fixture(scope="module")
def mlp(root: Path) -> Maker:
    return Maker(str(lk.train(data="digits", model=MLP, epochs=1, inline=True, runs=root).path))


@pytest.fixture(scope="module")
def language(root: Path) -> Maker:
    (root / "saying.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
    text = {"data": str(root / "saying.txt"), "data.text.length": 16}
    return Maker(str(lk.train(model=DECODER, epochs=1, inline=True, runs=root / "text", **text).path))


def expected(maker: Maker, X: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        found: np.ndarray = maker.subject.model.eval()(torch.from_numpy(X)).numpy()
    return found


def test_rows_beyond_what_a_program_takes_are_given_in_pieces(mlp: Maker, tmp_path: Path) -> None:
    from executorch.runtime import Runtime

    mlp.make("executorch", str(tmp_path / "made"))
    artefact = Artefact.read(tmp_path / "made")
    assert artefact.recipe["most_rows"] == 64
    assert artefact.size(tmp_path / "made") == (tmp_path / "made" / "model.pte").stat().st_size
    X = np.asarray(mlp.subject.data.test.X[:150])
    wanted = expected(mlp, X)
    loaded = load(tmp_path / "made", artefact, 1)
    for n in (1, 3, 64, 65, 150):
        np.testing.assert_allclose(loaded.predict(X[:n]), wanted[:n], rtol=1e-4, atol=1e-5)
    method = Runtime.get().load_program(tmp_path / "made" / "model.pte").load_method("forward")
    assert method is not None
    np.testing.assert_allclose(method.execute([torch.from_numpy(X[:3])])[0], loaded.predict(X[:3]), rtol=1e-6)
    with pytest.raises(RuntimeError):
        method.execute([torch.from_numpy(X[:65])])
    told = {(o.name, o.dtype): o.times for o in loaded.executed()}
    assert told["XNNPACK FullyConnected", "float32"] == 3
    assert loaded.stored() == {"float32": 64 * 16 + 16 * 16 + 16 * 10}


def test_eight_bits_are_computed_and_kept(mlp: Maker, tmp_path: Path) -> None:
    mlp.make("executorch-int8-static", str(tmp_path / "made"))
    X = np.asarray(mlp.subject.data.test.X[:100])
    loaded = load(tmp_path / "made", Artefact.read(tmp_path / "made"), 1)
    wanted, found = expected(mlp, X), loaded.predict(X)
    assert 1e-4 < np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < 0.3
    np.testing.assert_allclose(loaded.predict(X[:3]), found[:3], rtol=1e-4, atol=1e-5)
    assert {o.dtype for o in loaded.executed() if o.name == "XNNPACK FullyConnected"} == {"int8"}
    assert loaded.stored() == {"int8": 64 * 16 + 16 * 16 + 16 * 10}


def test_a_program_whose_lowering_fixes_the_rows_takes_one(language: Maker, tmp_path: Path) -> None:
    language.make("executorch", str(tmp_path / "made"))
    artefact = Artefact.read(tmp_path / "made")
    assert artefact.recipe["most_rows"] == 1
    X = np.asarray(language.subject.data.test.X[:5])
    loaded = load(tmp_path / "made", artefact, 1)
    for n in (1, 3, 5):
        wanted = expected(language, X[:n])
        np.testing.assert_allclose(loaded.predict(X[:n]), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    names = {o.name for o in loaded.executed()}
    assert {"XNNPACK FullyConnected", "embedding"} <= names


def test_what_is_not_installed_is_named(mlp: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "executorch" else found(name, *a))
    with pytest.raises(NotApplicable, match=r"executorch is not installed; .*pip install 'lmkit\[executorch\]'"):
        mlp.make("executorch", str(tmp_path / "made"))


def test_a_run_of_the_other_framework_is_told_the_way(root: Path, tmp_path: Path) -> None:
    run = lk.train(
        data="digits", framework="tensorflow", model={"hidden": [8]}, epochs=1, inline=True, runs=root / "other"
    )
    maker = Maker(str(run.path))
    with pytest.raises(NotApplicable, match=r"other-framework\+executorch"):
        maker.make("executorch", str(tmp_path / "made"))
