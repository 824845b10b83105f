"""Variants that someone put into a run's folder: they are built anew, whatever their hashes say."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

import lmkit as lk
from lmkit.deploy.artifact import Artifact, is_built_here
from lmkit.deploy.bundle.bundle import bundle
from lmkit.deploy.compare import records
from lmkit.deploy.compare.benchmark import Benchmark, Settings
from lmkit.deploy.compare.builder import Builder
from lmkit.deploy.variant import Variant

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = lk.train(data="wine", model={"hidden": [4]}, epochs=1, inline=True, runs=tmp_path_factory.mktemp("runs"))
    for technique in ("baseline", "onnx"):
        Builder(str(run.path)).make(technique, str(run.path / "variants" / technique))
    return run


@pytest.fixture
def received(trained, tmp_path):
    """A copy of the run, whose variants this user built."""
    return lk.attach(shutil.copytree(trained.path, tmp_path / "mail" / trained.name))


class Payload:
    """An object whose pickle leaves a mark when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def plant(run, technique, marker):
    """Replace a variant by one with a pickled builder, and correct all hashes; return its folder."""
    folder, content = run.path / "variants" / technique, pickle.dumps(Payload(marker))
    values = json.loads((run.path / "variants" / "baseline" / "model.json").read_text())
    reference = f"kept:x-{hashlib.sha256(content).hexdigest()[:12]}"
    record = json.loads((folder / "artefact.json").read_text())
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "builder.pkl").write_bytes(content)
    (folder / "model.json").write_text(json.dumps({**values, "model": {"family": "own", "builder": reference}}))
    (folder / "weights.safetensors").write_bytes((run.folder.checkpoints / "last" / "weights.safetensors").read_bytes())
    Artifact("torch", "model.json", (13,), "float32", record["recipe"], provenance=record["made"]).write(folder)
    return folder


def measure(run, scratch, *names):
    scratch.mkdir()
    variants = [Variant(run.name, name, "convert", folder=str(run.path)) for name in ("baseline", *names)]
    Benchmark(variants, [run], scratch, Settings((1,), 1, 3, False, False), lambda _: None).run()
    return {variant.technique: variant for variant in variants}


def test_a_planted_variant_is_built_anew(received, tmp_path):
    marker = tmp_path / "PWNED"
    for technique in ("baseline", "onnx"):
        folder = plant(received, technique, marker)
        assert records.intact(folder)
        assert not records.is_current(folder, records.conditions(), "")
    results = measure(received, tmp_path / "scratch", "onnx")
    assert {v.state for v in results.values()} == {"measured"}, results
    assert not marker.exists()
    assert {p.name for p in folder.iterdir()} == {"artefact.json", "measurement.json", "model.onnx"}
    specification = json.loads((received.path / "variants" / "baseline" / "model.json").read_text())
    assert specification["model"] == received.experiment.model.model_dump(mode="json")


def test_a_planted_measurement_of_a_planted_variant_does_not_count(received, tmp_path):
    marker, now, settings = tmp_path / "PWNED", records.conditions(), {"batches": [1], "threads": 1, "rounds": 3}
    measure(received, tmp_path / "before", "onnx")
    folder = received.path / "variants" / "baseline"
    assert records.cached(folder, settings, now)
    measurement = (folder / "measurement.json").read_text()
    plant(received, "baseline", marker)
    (folder / "measurement.json").write_text(measurement)
    assert records.intact(folder)
    assert records.cached(folder, settings, now) is None
    assert measure(received, tmp_path / "after", "onnx")["baseline"].state == "measured"
    assert not marker.exists()


@pytest.mark.parametrize("changed", ["model.json", "artefact.json", "experiment.yaml", "state.json"])
def test_a_variant_holds_for_the_run_that_it_was_built_from(received, changed):
    folder = received.path / "variants" / "baseline"
    assert is_built_here(folder)
    if changed == "model.json":
        (folder / changed).write_text((folder / changed).read_text() + " ")
        assert not records.intact(folder)
        return
    path = {"artefact.json": folder, "experiment.yaml": received.path}.get(
        changed, received.folder.checkpoints / "last"
    )
    (path / changed).write_text((path / changed).read_text() + "\n")
    assert not is_built_here(folder)


def test_another_machine_builds_variants_of_its_own(received, tmp_path, monkeypatch):
    folder = received.path / "variants" / "onnx"
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "elsewhere"))
    assert not is_built_here(folder)
    Builder(str(received.path)).make("onnx", str(folder))
    assert is_built_here(folder)


def test_a_planted_variant_is_not_bundled(received, tmp_path):
    marker, out = tmp_path / "PWNED", tmp_path / "out"
    plant(received, "onnx", marker)
    bundle(received, "onnx", out)
    assert not marker.exists()
    rows = np.zeros((1, 13))
    assert lk.load_bundle(out).predict(rows).tolist() == received.predict(rows).tolist()
    assert json.loads((out / "signature.json").read_text())["trust"] == "data"
