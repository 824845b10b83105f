"""What predicts and what resumes, on a run of which one file is damaged."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import pytest
import yaml
from damage import damaged, damages
from sklearn import datasets

import lmkit as lk
from lmkit.run.run import Run
from lmkit.runfolder.folder import RunFolder
from lmkit.training.train import train

COUNT = 15


@pytest.fixture(scope="module", params=["torch", "tensorflow"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    experiment = lk.Experiment(data="wine", framework=request.param, training={"optimizer": "adam"})
    return lk.train(experiment, epochs=1, inline=True, runs=tmp_path_factory.mktemp("runs")).path


@pytest.mark.parametrize(
    ("trained", "file"),
    [
        ("torch", "experiment.yaml"),
        ("torch", "status.json"),
        ("torch", "preprocessing.json"),
        ("torch", "checkpoints/last/state.json"),
        ("torch", "checkpoints/last/weights.safetensors"),
        ("tensorflow", "checkpoints/last/weights.safetensors"),
    ],
    indirect=["trained"],
)
def test_a_prediction_is_made_or_the_damaged_file_named(trained: Path, file: str) -> None:
    rows = datasets.load_wine(as_frame=True).data
    for damage in damages((trained / file).read_bytes(), seed=len(file), count=COUNT):
        with damaged(trained / file, damage), contextlib.suppress(lk.LmkitError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len(Run(RunFolder(trained)).predict(rows)) == len(rows), damage.name


def test_weights_of_another_shape_are_named(trained: Path) -> None:
    folder = RunFolder(trained)
    weights, optimizer, state = folder.load_checkpoint("last") or ({}, {}, {})
    name = next(iter(weights))
    try:
        folder.save_checkpoint("last", {**weights, name: weights[name][:1]}, optimizer, state)
        with pytest.raises(lk.LmkitError, match=f"weights.safetensors' cannot be read: '{name}' has the shape"):
            Run(folder).predict(datasets.load_wine(as_frame=True).data)
    finally:
        folder.save_checkpoint("last", weights, optimizer, state)


@pytest.mark.parametrize("file", ["state.json", "weights.safetensors", "optimizer.safetensors", "epoch.safetensors"])
def test_a_resume_from_a_damaged_checkpoint_fails_with_its_name(trained: Path, file: str) -> None:
    path, status = trained / "checkpoints" / "last" / file, (trained / "status.json").read_bytes()
    with damaged(path, damages(b"", seed=0, count=1000)[1]):  # a folder
        with contextlib.redirect_stderr(io.StringIO()):
            train(RunFolder(trained))
        ended = RunFolder(trained).status()
    assert (ended.state, ended.cause) == ("failed", "error")
    assert file in ended.reason
    (trained / "status.json").write_bytes(status)


@pytest.mark.parametrize("trained", ["torch"], indirect=True)
def test_a_larger_model_than_that_of_the_weights_is_not_built(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = trained / "experiment.yaml"
    text = path.read_text()
    values = yaml.safe_load(text)
    values["model"]["hidden"] = [2**20, 2**20]  # 4 TB
    monkeypatch.setattr("lmkit.backends.torch.TorchBackend.build", lambda *_: pytest.fail("it was built"))
    try:
        path.write_text(yaml.safe_dump(values))
        with pytest.raises(lk.LmkitError, match=r"weights.safetensors' cannot be read: .* has the shape"):
            Run(RunFolder(trained)).predict(datasets.load_wine(as_frame=True).data)
    finally:
        path.write_text(text)
