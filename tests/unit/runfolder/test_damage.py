"""One damaged file of a run: every verb that reads answers or says which file is wrong, and the other runs stay."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from damage import WHOLE, Damage, damaged, damages, wrong_answers
from written_run import falling, written_run

import lmkit as lk
from lmkit import tables
from lmkit.exceptions import LmkitError
from lmkit.run.run import Run
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.live import RunView
from lmkit.runfolder.progress import ConsoleReporter
from lmkit.system.files import write_json

FILES = (
    "experiment.yaml",
    "status.json",
    "events.jsonl",
    "metrics.jsonl",
    "preprocessing.json",
    "environment.json",
    "predictions.parquet",
    "control.jsonl",
    "data.json",
    "checkpoints/last/state.json",
    "checkpoints/last/weights.safetensors",
    "checkpoints/last/optimizer.safetensors",
)
SECONDS = 20
COUNT = int(os.environ.get("LMKIT_FUZZ", 6))
"""Ways to damage each file; all of them with LMKIT_FUZZ=100000."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with every file, next to another one."""
    root = tmp_path_factory.mktemp("damage")
    written_run(root, losses=falling(10), data="wine")
    epochs = [
        {"loss": 1 / (i + 1), "val_loss": 1.1 / (i + 1), "accuracy": 0.5, "gradient_norm": None} for i in range(4)
    ]
    rows = [0, 1, 1, 2], [0, 1, 2, 2]
    run = written_run(root, losses=falling(40), epochs=epochs, predictions=rows, status={"metrics": {"loss": 0.1}})
    weights = {"w": np.ones((2, 3), dtype=np.float32)}
    run.folder.save_checkpoint("last", weights, {"m": weights["w"]}, {"step": 40, "epoch": 4, "rate": 0.1})
    for event in ("resumed", "paused", "continued", "note", "warning", "sample", "learning_rate", "converted"):
        data: dict[str, Any] = {"step": 20, "text": "t", "prompt": "p", "old": 1.0, "value": 0.1, "device": "cpu"}
        run.folder.events.append(event, **data)
    run.folder.metrics.append({"resumed": 20})
    run.folder.control.append({"time": 1.0, "command": "learning_rate", "value": 0.1})
    environment = {"python": "3.11", "packages": {"numpy": "2"}, "cpu": {"name": "x", "abilities": ["a"]}, "cores": 2}
    write_json(run.path / "environment.json", environment)
    write_json(run.path / "data.json", {"folder": "/", "sources": {}})
    return run.folder


def read_live(run: Run) -> None:
    view = RunView(run.folder)
    view.poll()


def report_lines(run: Run) -> None:
    ConsoleReporter(run.folder, io.StringIO()).poll(last=True)


VERBS: dict[str, Callable[[Run], Any]] = {
    "repr": repr,
    "status": lambda run: run.status,
    "experiment": lambda run: Run(run.folder).experiment,
    "events": lambda run: run.events,
    "history": lambda run: run.history,
    "steps": lambda run: run.steps,
    "environment": lambda run: run.environment,
    "preprocessing": lambda run: run.preprocessing.signature,
    "apply": lambda run: run.preprocessing.decode(np.zeros((2, run.preprocessing.outputs))),
    "metrics": lambda run: run.metrics,
    "predictions": lambda run: run.predictions,
    "checkpoint": lambda run: run.folder.load_checkpoint("last"),
    "live": read_live,
    "lines": report_lines,
    "summary": lambda run: tables.summary(Run(run.folder)).text,
    "metrics table": lambda run: tables.metrics(Run(run.folder), wait=False).text,
    "events table": lambda run: tables.events(run).text,
    "environment table": lambda run: tables.environment(run).text,
    "samples": lambda run: tables.samples(run).text,
    "side by side": lambda run: tables.side_by_side([Run(run.folder)]).text,
    "findings": lambda run: tables.findings([Run(run.folder)]).text,
    "settings": lambda run: tables.common([Run(run.folder)]).text,
}


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """No case waits for anything."""

    def stop(*_: object) -> None:
        raise TimeoutError("a damaged file is waited for")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(max(SECONDS, COUNT))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def problems(run: Run, damage: Damage, file: str) -> list[str]:
    """The verbs that raise something else than an ``LmkitError``."""
    with damaged(run.path / file, damage):
        return [f"{file}: {damage.name}: {problem}" for problem in wrong_answers(VERBS, run)]


@pytest.mark.parametrize("file", FILES)
def test_every_verb_answers_or_names_the_damaged_file(folder: RunFolder, file: str) -> None:
    run = Run(folder)
    ways = damages((folder.path / file).read_bytes(), seed=FILES.index(file), count=COUNT)
    wrong = [problem for damage in ways for problem in problems(run, damage, file)]
    assert not wrong, "\n".join(wrong)


def is_cut_short(text: str) -> bool:
    """Whether a status is one that a failing machine did not write to its end; its run can be resumed."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return text not in ("folder", "pipe")
    except (ValueError, RecursionError):
        pass
    return False


@pytest.mark.parametrize(("file", "valid"), [("experiment.yaml", ("{}", "\ufeff{}")), ("status.json", ("{}",))])
def test_a_damaged_run_is_a_row_that_says_so(folder: RunFolder, file: str, valid: tuple[str, ...]) -> None:
    texts = [
        Damage(text, lambda path, text=text: path.write_bytes(text.encode()))  # type: ignore[misc]
        for text in WHOLE
        if text not in valid
    ]
    for damage in [*texts, Damage("folder", lambda path: path.mkdir()), Damage("pipe", lambda path: os.mkfifo(path))]:
        with damaged(folder.path / file, damage):
            table = lk.runs(folder.path.parent).set_index("name")
        assert len(table) == 2, damage.name[:50]
        row = table.loc[folder.name]
        if file == "status.json" and is_cut_short(damage.name):
            assert row["state"] == "lost", damage.name[:50]
        else:
            assert row["state"] == "damaged", damage.name[:50]
            assert 10 < len(row["reason"]) < 1000
        assert Path(row["path"]) == folder.path
        assert table.drop(index=folder.name)["state"].tolist() == ["completed"]


def test_predictions_are_judged_by_their_unpacked_size(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = RunFolder(Path(shutil.copytree(folder.path, tmp_path / "run")))
    monkeypatch.setattr("lmkit.runfolder.folder.MAX_PREDICTION_BYTES", 10**5)
    zeros = np.zeros(10**5, dtype=np.int8)
    pd.DataFrame({"target": zeros, "prediction": zeros}).to_parquet(received.path / "predictions.parquet")
    with pytest.raises(LmkitError, match=r"it holds 1\.6 MB unpacked, expected at most 100 kB"):
        received.predictions()
