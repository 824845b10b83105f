"""OpenVINO: what it says of its files, and that they need nothing else; their outputs are held in ``test_contract``."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from narrowing import require_value
from torch import nn

import lmkit as lk
from lmkit.deploy import runtimes
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.bundle.bundle import bundle
from lmkit.deploy.compare.builder import Builder
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques import NotApplicable
from lmkit.deploy.techniques.base import find
from lmkit.deploy.trained_model import TrainedModel

TECHNIQUES = ("openvino", "openvino-float16", "openvino-int8-static")
CASES = [("torch", "cnn"), ("tensorflow", "decoder")]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def folders(request: pytest.FixtureRequest, made: Callable[[str, str, str], tuple[Path, Artifact]]) -> dict[str, Path]:
    framework, family = request.param
    return {name: made(framework, family, name)[0] for name in TECHNIQUES}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> lk.Run:
    return lk.train(
        data="digits", model={"hidden": [8]}, epochs=1, inline=True, runs=tmp_path_factory.mktemp("openvino")
    )


def test_it_is_told_what_is_executed_and_kept(folders: dict[str, Path]) -> None:
    heavy = ("FullyConnected", "Convolution")
    told = {}
    for name, folder in folders.items():
        loaded = load(folder, Artifact.read(folder), 1)
        told[name] = ({o.dtype for o in loaded.executed() if o.name in heavy}, loaded.stored())
    assert told["openvino"][0] == told["openvino-float16"][0] == {"float32"}
    assert told["openvino-int8-static"][0] <= {"int8", "uint8"}
    for name, dtype in zip(TECHNIQUES, ("float32", "float16", "int8"), strict=True):
        numbers = {k: n for k, n in require_value(told[name][1]).items() if k in ("float32", "float16", "int8")}
        assert numbers[dtype] > 0.9 * sum(numbers.values())


def test_both_files_are_counted_and_held_to_their_hashes(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        artifact = Artifact.read(folder)
        assert set(artifact.files) == {"model.xml", "model.bin"}
        assert artifact.size(folder) == sum((folder / f).stat().st_size for f in artifact.files)
    weights = [(folder / "model.bin").stat().st_size for folder in folders.values()]
    assert weights[1] < 0.6 * weights[0]
    assert weights[2] < 0.6 * weights[0]


@pytest.mark.parametrize(("technique", "absent"), [("openvino", "openvino"), ("openvino-int8-static", "nncf")])
def test_what_is_not_installed_is_named(
    plain: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, technique: str, absent: str
) -> None:
    maker, found = Builder(str(plain.path)), importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == absent else found(name, *a))
    with pytest.raises(NotApplicable, match=rf"{absent} is not installed; .*pip install 'jupyter-lmkit\[openvino\]'"):
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


@pytest.mark.usefixtures("here")
def test_a_bundle_needs_openvino_alone_and_tells_nobody(plain: lk.Run, tmp_path: Path) -> None:
    out = bundle(plain, "openvino-int8-static", tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(out)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout


def test_an_interrupt_is_an_interrupt_where_it_is_loaded(folders: dict[str, Path]) -> None:
    """Its CPU plugin sets a stack for signals that is too small for Python's handler."""
    folder = next(iter(folders.values()))
    load(folder, Artifact.read(folder), 1)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_format_that_cannot_be_converted_is_followed_by_the_next(
    plain: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtimes.find("openvino")  # first, so that the library sends nothing
    import openvino

    real, tried = openvino.convert_model, list[str]()

    def convert(path: Path) -> object:
        tried.append(path.suffix)
        if path.suffix == ".pt2":
            raise RuntimeError("-- aten.cat with a message:\nNo translator found")
        return real(path)

    monkeypatch.setattr(openvino, "convert_model", convert)
    subject = TrainedModel(plain)
    artifact = find("openvino").make(subject, tmp_path).write(tmp_path)
    assert tried == [".pt2", ".onnx"]
    X = np.asarray(subject.data.test.X[:5])
    expected = subject.backend.predict(subject.model, X)
    np.testing.assert_allclose(load(tmp_path, artifact, 1).predict(X), expected, atol=1e-5)
    monkeypatch.setattr(openvino, "convert_model", lambda path: convert(path.with_suffix(".pt2")))
    with pytest.raises(NotApplicable, match=r"^OpenVINO does not support cat of this model; use onnx instead$"):
        find("openvino").make(subject, tmp_path)


class Recurrent(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.lstm, self.last = nn.LSTM(3, 16, batch_first=True), nn.Linear(16, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.lstm(x)[0][:, -1])


def test_of_an_unrolled_program_and_the_next_format_the_smaller_is_taken(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(80, 14, 3)).astype("f4")
    y = np.arange(80) % 3
    run = lk.train(data=(X, y), model=Recurrent, epochs=1, inline=True, runs=tmp_path / "runs")
    subject, folder = TrainedModel(run), tmp_path / "made"
    folder.mkdir()
    artifact = find("openvino").make(subject, folder).write(folder)
    assert artifact.size(folder) < 2 * sum(v.nbytes for v in subject.weights.values()) + 50_000
    assert sum(o.times for o in load(folder, artifact, 1).executed()) < 3 * 14  # fewer than a few for each step
