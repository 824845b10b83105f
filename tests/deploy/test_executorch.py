"""ExecuTorch: held to PyTorch's outputs and to its own runtime; what was delegated is read from the file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques import NotApplicable
from lmkit.deploy.techniques.base import find
from lmkit.deploy.trained_model import TrainedModel

Made = Callable[[str, str, str], tuple[Path, Artifact]]
Subjects = Callable[[str, str], TrainedModel]
KERNELS = 64 * 24 + 24 * 24 + 24 * 10


def expected(subject: TrainedModel, X: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        found: np.ndarray = subject.model.eval()(torch.from_numpy(X)).numpy()
    return found


def test_rows_beyond_what_a_program_takes_are_given_in_pieces(made: Made, subjects: Subjects) -> None:
    from executorch.runtime import Runtime

    folder, artifact = made("torch", "mlp", "executorch")
    subject = subjects("torch", "mlp")
    assert artifact.recipe["most_rows"] == 64
    assert artifact.size(folder) == (folder / "model.pte").stat().st_size
    X = np.asarray(subject.data.test.X[:150])
    wanted = expected(subject, X)
    loaded = load(folder, artifact, 1)
    for n in (1, 3, 64, 65, 150):
        np.testing.assert_allclose(loaded.predict(X[:n]), wanted[:n], rtol=1e-4, atol=1e-5)
    method = Runtime.get().load_program(folder / "model.pte").load_method("forward")
    assert method is not None
    np.testing.assert_allclose(method.execute([torch.from_numpy(X[:3])])[0], loaded.predict(X[:3]), rtol=1e-6)
    with pytest.raises(RuntimeError):
        method.execute([torch.from_numpy(X[:65])])
    told = {(o.name, o.dtype): o.times for o in loaded.executed()}
    assert told["XNNPACK FullyConnected", "float32"] == 3
    assert loaded.stored() == {"float32": KERNELS}


def test_eight_bits_are_computed_and_kept(made: Made, subjects: Subjects) -> None:
    folder, artifact = made("torch", "mlp", "executorch-int8-static")
    subject = subjects("torch", "mlp")
    X = np.asarray(subject.data.test.X[:100])
    loaded = load(folder, artifact, 1)
    wanted, found = expected(subject, X), loaded.predict(X)
    assert 1e-4 < np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < 0.3
    np.testing.assert_allclose(loaded.predict(X[:3]), found[:3], rtol=1e-4, atol=1e-5)
    assert {o.dtype for o in loaded.executed() if o.name == "XNNPACK FullyConnected"} == {"int8"}
    assert loaded.stored() == {"int8": KERNELS}


def test_a_program_whose_lowering_fixes_the_rows_takes_one(made: Made, subjects: Subjects) -> None:
    folder, artifact = made("torch", "decoder", "executorch")
    subject = subjects("torch", "decoder")
    assert artifact.recipe["most_rows"] == 1
    X = np.asarray(subject.data.test.X[:5])
    loaded = load(folder, artifact, 1)
    for n in (1, 3, 5):
        wanted = expected(subject, X[:n])
        np.testing.assert_allclose(loaded.predict(X[:n]), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    names = {o.name for o in loaded.executed()}
    assert {"XNNPACK FullyConnected", "embedding"} <= names


def test_what_is_not_installed_is_named(subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "executorch" else found(name, *a))
    with pytest.raises(
        NotApplicable, match=r"executorch is not installed; .*pip install 'jupyter-lmkit\[executorch\]'"
    ):
        find("executorch").make(subjects("torch", "mlp"), tmp_path)
