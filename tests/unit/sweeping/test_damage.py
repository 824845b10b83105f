"""One damaged file of a sweep: what reads it answers or says which file is wrong, and the other sweeps stay."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import WHOLE, Damage, damaged, damages, wrong_answers
from written_sweep import written_sweep, written_trial

import lmkit as lk
from lmkit.charts import sweeps as charts
from lmkit.sweeping.folder import SweepFolder
from lmkit.sweeping.sweep import Sweep
from lmkit.system.files import write_json
from lmkit.tables import sweeps as tables

FILES = (
    "sweep.yaml",
    "settings.json",
    "lock",
    "control.jsonl",
    "trials/0001/trial.json",
    "trials/0001/done.json",
    "trials/0002/attempt-1/journal.jsonl",
    "trials/0002/attempt-1/ended.json",
    "trials/0003/pruned.json",
)
COUNT = int(os.environ.get("LMKIT_FUZZ", 7))
"""Ways to damage each file; all of them with LMKIT_FUZZ=100000."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with every file, next to another one."""
    root = tmp_path_factory.mktemp("damage")
    written_sweep(root, grid={"lr": [0.1]}, name="other")
    sweep = written_sweep(root, grid={"lr": [0.1, 0.01]}, search={"momentum": (0.1, 0.9)}, name="damaged")
    written_trial(sweep, {"lr": 0.1, "momentum": 0.5}, {"val_loss": 0.5, "loss": 0.4})
    interrupted = written_trial(sweep, {"lr": 0.01, "momentum": 0.5}, state="running", run=root / "runs" / "x")
    write_json(
        interrupted.path / "attempt-1" / "ended.json",
        {"state": "interrupted", "error": "e", "run": "x", "notebook": None, "values": {"val_loss": 1.0}, "seconds": 1},
    )
    pruned = written_trial(sweep, {"lr": 0.01, "momentum": 0.6}, {"val_loss": 0.9}, state="pruned")
    write_json(pruned.pruned, {"reason": "weak", "epoch": 2.0})
    (sweep.path / "lock").write_text('{"pid": 1, "pid_started": 1.0, "host": "x", "token": "t", "since": 1.0}')
    os.utime(sweep.path / "lock", (1.0, 1.0))
    sweep.folder.control.append({"time": 1.0, "command": "stop"})
    return root


def attach(root: Path) -> Sweep:
    return lk.attach_sweep("damaged", runs=root / "runs")


VERBS: dict[str, Callable[[Path], Any]] = {
    "sweeps": lambda root: lk.sweeps(root / "runs").to_dict(),
    "repr": lambda root: repr(attach(root)),
    "state": lambda root: attach(root).state,
    "table": lambda root: attach(root).table.to_dict(),
    "leader": lambda root: attach(root).leader(attach(root).trials),
    "front": lambda root: attach(root).front(),
    "ranked": lambda root: attach(root).ranked(),
    "text": lambda root: attach(root).to_table().text,
    "summary": lambda root: tables.sweep_summary(attach(root)).text,
    "lock": lambda root: SweepFolder(root / "sweeps" / "damaged").lock.check_free(),
    "pruned": lambda root: [f.prune_record() for f in SweepFolder(root / "sweeps" / "damaged").trial_folders()],
    "trials table": lambda root: tables.trials(attach(root)).text,
    "chart": lambda root: charts.sweep_history(attach(root)),
}


def problems(root: Path, damage: Damage, file: str) -> list[str]:
    # with a damaged lock, it waits for a driver on another machine
    verbs = {name: verb for name, verb in VERBS.items() if file != "lock" or name != "front"}
    with damaged(root / "sweeps" / "damaged" / file, damage):
        return [f"{file}: {damage.name}: {problem}" for problem in wrong_answers(verbs, root)]


@pytest.mark.parametrize("file", FILES)
def test_every_verb_answers_or_names_the_damaged_file(root: Path, file: str) -> None:
    content = (root / "sweeps" / "damaged" / file).read_bytes()
    ways = damages(content, seed=FILES.index(file), count=COUNT)
    wrong = [problem for damage in ways for problem in problems(root, damage, file)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", ["sweep.yaml", "settings.json"])
def test_a_damaged_sweep_is_a_row_that_says_so(root: Path, file: str) -> None:
    for text in (t for t in WHOLE if t != "{}"):
        with damaged(root / "sweeps" / "damaged" / file, Damage(text, lambda path, t=text: path.write_text(t))):  # type: ignore[misc]
            table = lk.sweeps(root / "runs").set_index("name")
        assert sorted(table.index) == ["damaged", "other"]
        if table.loc["damaged", "state"] != "unknown":  # a version that this lmkit does not know
            assert table.loc["damaged", "state"] == "damaged", text[:50]
            assert 10 < len(table.loc["damaged", "reason"]) < 1000
        assert table.loc["other", "state"] == "interrupted"


def test_a_damaged_trial_does_not_hide_the_others(root: Path) -> None:
    damage = Damage("list", lambda path: path.write_text("[]"))
    with damaged(root / "sweeps" / "damaged" / "trials/0001/done.json", damage):
        states = [t.state for t in attach(root).trials]
    assert states == ["damaged", "interrupted", "pruned"]
