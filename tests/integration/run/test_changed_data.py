"""A run is continued and measured on the data that it was trained on, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmkit as lk
from lmkit.data import fingerprint
from lmkit.data.fingerprint import RECORD, check_unchanged
from lmkit.runfolder.commands import Resume, Stop
from lmkit.training import fit
from lmkit.training.control import Control
from lmkit.training.train import train

draw = np.random.default_rng(8)
FRAME = pd.DataFrame(draw.normal(size=(80, 3)), columns=["a", "b", "c"]).assign(y=np.arange(80) % 2)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns a run on a relative path that was stopped in its third epoch, and its file."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    FRAME.to_csv("plain.csv", index=False)
    handle = Control.handle_commands

    def stop(self: Control, fit: Any) -> None:
        if fit.progress.step > 4:
            self.folder.send(Stop())
        handle(self, fit)

    monkeypatch.setattr(Control, "handle_commands", stop)
    monkeypatch.setattr(fit, "CHUNK_SECONDS", 0.0)
    run = lk.train(data={"source": "plain.csv", "target": "y"}, epochs=20, runs=tmp_path / "runs", inline=True)
    monkeypatch.setattr(Control, "handle_commands", handle)
    assert run.state == "stopped"
    return run, Path("plain.csv").absolute()


def go_on(run: lk.Run) -> lk.Run:
    """Continues a run in this process, as a worker does."""
    run.folder.send(Resume())
    train(run.folder)
    return run


@pytest.mark.parametrize(
    ("frame", "change"),
    [
        (FRAME.iloc[::-1], "its content has changed"),
        (pd.concat([FRAME] * 2), "it has 9.* kB, and had 4.* kB"),
        (FRAME.assign(y=1 - FRAME["y"]), "its content has changed"),
        (None, "it is no longer there"),
    ],
    ids=["other order", "more rows", "other targets", "gone"],
)
def test_a_run_does_not_go_on_with_other_rows(stopped: Any, frame: Any, change: str) -> None:
    run, file = stopped
    before = (run.path / "preprocessing.json").read_bytes()
    if frame is None:
        file.unlink()
    else:
        frame.to_csv(file, index=False)
    expected = rf"data.source: 'plain.csv' is not what .* was trained on: {change}; restore it, or .* lmkit train "
    with pytest.raises(lk.DataError, match=expected):
        run.resume()
    assert run.state == "stopped"
    with pytest.raises(lk.DataError, match=expected):
        run.prepare_data()
    assert "is not what" in go_on(run).status.reason
    assert (run.path / "preprocessing.json").read_bytes() == before


def test_a_file_that_was_only_touched_is_the_same(stopped: Any) -> None:
    run, file = stopped
    os.utime(file, (1, 1))
    before = (run.path / "preprocessing.json").stat()
    assert go_on(run).state == "completed", run.status.reason
    after = (run.path / "preprocessing.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_relative_path_is_found_from_another_folder(stopped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, file = stopped
    (file.parent.parent / "elsewhere").mkdir()
    monkeypatch.chdir(file.parent.parent / "elsewhere")
    FRAME.iloc[:50].to_csv("plain.csv", index=False)  # of the same name, and not the run's
    assert len(run.prepare_data().training.X) == 48
    assert run.experiment.data.source == "plain.csv"
    assert go_on(run).state == "completed", run.status.reason


def test_a_run_of_an_older_version_is_compared_by_its_preprocessing(stopped: Any) -> None:
    run, file = stopped
    (run.path / RECORD).unlink()
    FRAME.iloc[::-1].to_csv(file, index=False)
    assert "their preprocessing differs" in go_on(run).status.reason


def test_a_run_that_learned_from_identifiers_says_how_to_keep_them(tmp_path: Path) -> None:
    FRAME.assign(patient_id=draw.permutation(80)).to_csv(tmp_path / "t.csv", index=False)
    data = {"source": str(tmp_path / "t.csv"), "target": "y", "ids": []}
    run = lk.train(data=data, model="mlp:small", epochs=1, runs=tmp_path / "runs", inline=True)
    path = run.path / "experiment.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "ids:" not in line), encoding="utf-8")
    older = lk.attach(run.path)
    assert older.experiment.data.ids is None
    with pytest.raises(
        lk.DataError, match=r"data.ids: .* was trained with 'patient_id'.*left out now.* -p data.ids '\[\]'"
    ):
        older.prepare_data()


@pytest.mark.parametrize("record", ["[1]", "{", '{"sources": 3, "folder": []}', '{"sources": {"data.source": 1}}'])
def test_a_damaged_record_is_named(stopped: Any, record: str) -> None:
    run, _ = stopped
    (run.path / RECORD).write_text(record, encoding="utf-8")
    with pytest.raises(lk.LmkitError, match=r"data\.json' cannot be read"):
        run.prepare_data()


def test_samples_of_a_large_file_and_its_time_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "HASHED_BYTES", 2**20)
    path = tmp_path / "large.csv"
    path.write_bytes(bytes(2**23))
    old = fingerprint._fingerprint_path(path, "large.csv")
    assert fingerprint._fingerprint_path(path, "large.csv") == old
    os.utime(path, (1, 1))
    assert fingerprint._fingerprint_path(path, "large.csv")["hash"] != old["hash"]


def test_files_of_a_folder_count(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name, encoding="utf-8")
    old = fingerprint._fingerprint_path(tmp_path, "texts")
    (tmp_path / "b").rename(tmp_path / "c")
    assert fingerprint._fingerprint_path(tmp_path, "texts")["hash"] != old["hash"]
    (tmp_path / "d").write_text("d", encoding="utf-8")
    assert fingerprint._describe_change(old, fingerprint._fingerprint_path(tmp_path, "texts")) == (
        "it has 3 files, and had 2"
    )


def test_edges_and_modules_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("metric_of_mine.py").write_text("def score(y, p):\n    return 1.0\n", encoding="utf-8")
    pd.DataFrame({"id": range(40), "x": draw.normal(size=40), "y": [0, 1] * 20}).to_csv("nodes.csv", index=False)
    pd.DataFrame({"source": range(39), "target": range(1, 40)}).to_csv("edges.csv", index=False)
    data = {"source": "nodes.csv", "target": "y", "graph": {"edges": "edges.csv", "node": "id"}}
    run = lk.train({"data": data, "training": {"epochs": 1, "metrics": ["metric_of_mine:score"]}}, inline=True)
    assert run.state == "completed", run.status.reason
    assert set(json.loads((run.path / RECORD).read_text())["sources"]) == {
        "data.source",
        "data.graph.edges",
        "training.metrics.0",
    }
    for name in ("metric_of_mine.py", "edges.csv"):
        text = Path(name).read_text()
        Path(name).write_text(text + "\n", encoding="utf-8")
        with pytest.raises(lk.DataError, match=f"{name.removesuffix('.py')}.* is not what"):
            check_unchanged(run.folder, run.experiment)
        Path(name).write_text(text, encoding="utf-8")
        check_unchanged(run.folder, run.experiment)
