"""A run folder that is copied alone: whole after ``pack``, or usable once its model is passed again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine
from torch import nn

import lmkit as lk
from lmkit.custom import objects
from lmkit.run.packed_files import FOLDER

X, y = load_wine(return_X_y=True)


def make_build() -> type[nn.Module]:
    """Return a class that no process can import."""

    class Net(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(13, 8), nn.ReLU(), nn.Linear(8, 3))

    return Net


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> lk.Run:
    monkeypatch.chdir(tmp_path)
    return lk.train(data=(X, y), model=make_build(), epochs=2, wait=True, runs=tmp_path / "runs")


def copied(run: lk.Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the folder of a run alone, as to another machine, where this process has never had its model."""
    for name in ("_objects", "_passed", "_permitted", "_provided"):
        monkeypatch.setattr(objects, name, type(getattr(objects, name))())
    return Path(shutil.copytree(run.path, root / "other" / run.name))


def test_a_packed_folder_predicts_where_it_is_copied(
    run: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run.predict(X)
    table = lk.pack(run)
    assert [row[0] for row in table.rows] == ["model.builder", "model.builder", "data.source"]
    other = lk.attach(copied(run, tmp_path, monkeypatch), trust=True)
    np.testing.assert_array_equal(other.predict(X), expected)
    assert sorted(p.suffix for p in (tmp_path / "other" / ".data").iterdir()) == [".parquet", ".pkl", ".py"]


def test_a_packed_folder_runs_nothing_unasked(run: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lk.pack(run)
    path = copied(run, tmp_path, monkeypatch)
    pickle = next((path / FOLDER).glob("*.pkl"))
    pickle.write_bytes(pickle.read_bytes() + b"more")  # another pickle than the one that was trained here
    with pytest.raises((lk.UntrustedCode, lk.ConfigError)):
        lk.attach(path).predict(X)


def test_a_model_can_be_passed_again(run: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run.predict(X)
    path = copied(run, tmp_path, monkeypatch)
    with pytest.raises(lk.ConfigError, match=r"pass the object again: lk\.attach\(run, model=…\)"):
        lk.attach(path).predict(X)
    np.testing.assert_array_equal(lk.attach(path, model=make_build()).predict(X), expected)


def test_what_a_run_was_not_trained_with_is_refused(run: lk.Run) -> None:
    with pytest.raises(lk.ConfigError, match=r"was not trained with such an object; it has: model\.builder"):
        lk.attach(run, loss=nn.MSELoss)


def test_links_in_a_packed_folder_are_not_followed(
    run: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lk.pack(run)
    path = copied(run, tmp_path, monkeypatch)
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    for file in (path / FOLDER).iterdir():
        file.unlink()
        file.symlink_to(secret)
    lk.attach(path)
    assert not (tmp_path / "other" / ".data").exists()


def test_a_run_without_objects_is_whole(tmp_path: Path) -> None:
    run = lk.train(data="wine", model="mlp:textbook", epochs=1, inline=True, runs=tmp_path / "runs")
    assert lk.pack(run).rows == ()
    assert not (run.path / FOLDER).exists()
