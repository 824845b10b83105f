"""OpenVINO: what it says of its files, and that they need nothing else; their outputs are held in ``test_contract``."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lmkit as lk
from lmkit.deploy.artefact import Artefact
from lmkit.deploy.bundle import bundle
from lmkit.deploy.maker import Maker
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques import NotApplicable

TECHNIQUES = ("openvino", "openvino-float16", "openvino-int8-static")
CASES = [("torch", "cnn"), ("tensorflow", "decoder")]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def folders(request: pytest.FixtureRequest, made: Callable[[str, str, str], tuple[Path, Artefact]]) -> dict[str, Path]:
    return {name: made(*request.param, name)[0] for name in TECHNIQUES}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> lk.Run:
    return lk.train(
        data="digits", model={"hidden": [8]}, epochs=1, inline=True, runs=tmp_path_factory.mktemp("openvino")
    )


def test_it_is_told_what_is_executed_and_kept(folders: dict[str, Path]) -> None:
    heavy = ("FullyConnected", "Convolution")
    told = {}
    for name, folder in folders.items():
        loaded = load(folder, Artefact.read(folder), 1)
        told[name] = ({o.dtype for o in loaded.executed() if o.name in heavy}, loaded.stored())
    assert told["openvino"][0] == told["openvino-float16"][0] == {"float32"}
    assert told["openvino-int8-static"][0] <= {"int8", "uint8"}
    for name, dtype in zip(TECHNIQUES, ("float32", "float16", "int8"), strict=True):
        numbers = {k: n for k, n in told[name][1].items() if k in ("float32", "float16", "int8")}
        assert numbers[dtype] > 0.9 * sum(numbers.values())


def test_both_files_are_counted_and_held_to_their_hashes(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        artefact = Artefact.read(folder)
        assert set(artefact.files) == {"model.xml", "model.bin"}
        assert artefact.size(folder) == sum((folder / f).stat().st_size for f in artefact.files)
    weights = [(folder / "model.bin").stat().st_size for folder in folders.values()]
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


def test_an_interrupt_is_an_interrupt_where_it_is_loaded(folders: dict[str, Path]) -> None:
    """Its CPU plugin sets a stack for signals that is too small for Python's handler."""
    folder = next(iter(folders.values()))
    load(folder, Artefact.read(folder), 1)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
