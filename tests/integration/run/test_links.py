"""A folder from another person may hold symbolic links anywhere: nothing that lmkit writes there lands elsewhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import lmkit as lk
from lmkit import reports
from lmkit.deploy.compare import benchmark, records
from lmkit.run.run import Run
from lmkit.runfolder.commands import Stop
from lmkit.runfolder.folder import RunFolder
from lmkit.system.files import move_file, open_log
from lmkit.training.train import train

SECRET = "precious\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stopped run with everything that training writes."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run = lk.train(lk.Experiment(data="wine", model="mlp:textbook"), epochs=2, inline=True, runs=root)
    status = json.loads((run.path / "status.json").read_text())
    (run.path / "status.json").write_text(json.dumps(status | {"state": "stopped"}))
    experiment = (run.path / "experiment.yaml").read_text()
    (run.path / "experiment.yaml").write_text(experiment.replace("epochs: 2", "epochs: 3"))
    return run.path


def targets(folder: Path) -> list[str]:
    """Every path that a run writes, files and folders, and those that exist for a moment only."""
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    passing = [
        ".reserve",
        "checkpoints/.last-new",
        "checkpoints/.last-old",
        "checkpoints/.best-new",
        ".experiment.yaml",
    ]
    written = ["report.html", "train.ipynb", "log.txt", "variants", "variants/onnx", "control.jsonl", "own.py"]
    return sorted({*paths, *passing, *written} - {"experiment.yaml"})


@contextlib.contextmanager
def planted(folder: Path, name: str, victim: Path) -> Iterator[None]:
    """Put a link in place of a file or a folder; afterwards its target is as it was."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    is_folder = path.is_dir() or name.startswith(("variants", "checkpoints/."))
    if path.is_dir():
        shutil.copytree(path, victim)
        shutil.rmtree(path)
    elif is_folder:
        victim.mkdir()
    else:
        victim.write_bytes(path.read_bytes() if path.is_file() else SECRET.encode())
        path.unlink(missing_ok=True)
    path.symlink_to(victim)
    before = content(victim)
    yield
    assert content(victim) == before, f"{name} was written through a link"


def content(path: Path) -> dict[str, bytes]:
    """The content of a file, or of every file of a folder."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {p.relative_to(path).as_posix(): p.read_bytes() if p.is_file() else b"" for p in path.rglob("*")}


def train_on(run: Run) -> None:
    train(run.folder)


def command(run: Run) -> None:
    run.folder.send(Stop())
    run.folder.claim()


def log(run: Run) -> None:
    os.close(open_log(run.folder.log))


def report(run: Run) -> None:
    notebook = run.path.parent / "made.ipynb"
    notebook.write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    reports._convert(notebook, run.path / "report.html", False)
    move_file(notebook, run.path / "train.ipynb")


def compare(run: Run) -> None:
    benchmark._check_writable(run.path, "variants")
    folder = benchmark.Benchmark._folder(SimpleNamespace(), run, "onnx")  # type: ignore[arg-type]
    records.save_record(folder, SimpleNamespace(to_dict=dict), {}, {})  # type: ignore[arg-type]


WRITERS: dict[str, tuple[Callable[[Run], Any], tuple[str, ...], set[str]]] = {
    "train": (train_on, (), {"events.jsonl"}),
    "command": (command, ("control.jsonl", "status.json", "lock"), {"control.jsonl"}),
    "log": (log, ("log.txt",), {"log.txt"}),
    "report": (report, ("report.html", "train.ipynb"), set()),
    "compare": (compare, ("variants", "variants/onnx"), {"variants", "variants/onnx"}),
}
"""Writer → the function, the paths that it writes (none: all), and those that it refuses; it replaces the others.

Training fails, with a status that says so, where it can write one.
"""


@pytest.mark.parametrize("name", WRITERS)
def test_no_link_in_the_folder_of_a_run_is_followed(trained: Path, tmp_path: Path, name: str) -> None:
    write, paths, expected = WRITERS[name]
    refused = set()
    for i, path in enumerate(paths or targets(trained)):
        folder, victim = tmp_path / str(i) / trained.name, tmp_path / f"victim-{i}"
        shutil.copytree(trained, folder)
        with planted(folder, path, victim), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                write(Run(RunFolder(folder)))
            except lk.LmkitError as error:
                refused.add(path if "symbolic link" in str(error) else f"{path}: {error}")
        shutil.rmtree(folder)
    assert refused == expected


def test_training_says_which_link_it_refuses(trained: Path, tmp_path: Path) -> None:
    for name in ("checkpoints", "metrics.jsonl"):
        folder, victim = tmp_path / name / trained.name, tmp_path / f"victim-{name}"
        shutil.copytree(trained, folder)
        with planted(folder, name, victim), contextlib.redirect_stderr(io.StringIO()):
            train(RunFolder(folder))
        status = RunFolder(folder).status()
        assert status.state == "failed"
        assert "symbolic link" in status.reason
        assert name in status.reason
