"""Symbolic links in the folder of a sweep: what lmkit writes there stays there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from written_sweep import written_sweep, written_trial

from lmkit.exceptions import LinkError
from lmkit.runfolder.commands import Stop
from lmkit.sweeping.folder import SweepFolder, TrialFolder
from lmkit.sweeping.records import PruneRecord, SweepSettings, TrialOutcome
from lmkit.system.files import open_log, refuse_link


def trial(folder: SweepFolder) -> TrialFolder:
    return folder.trial_folders()[0]


WRITERS: dict[str, Callable[[SweepFolder], object]] = {
    "settings": lambda folder: setattr(folder, "settings", SweepSettings(trials=1)),
    "control": lambda folder: folder.send(Stop()),
    "trial": lambda folder: folder.new_trial(2, {}, {}),
    "trial again": lambda folder: folder.new_trial(1, {}, {}),
    "attempt": lambda folder: trial(folder).new_attempt(),
    "pruned": lambda folder: trial(folder).prune(PruneRecord("weak")),
    "done": lambda folder: trial(folder).finish(TrialOutcome("failed")),
    "ended": lambda folder: trial(folder).interrupt(trial(folder).path / "attempt-1", TrialOutcome("interrupted")),
    "stop": lambda folder: trial(folder).inside("stop"),
    "lock": lambda folder: folder.lock.acquire().__enter__(),
    "log": lambda folder: open_log(folder.log),
    "storage": lambda folder: refuse_link(folder.path / "optuna.db"),
}
PATHS = {
    "settings.json": "settings",
    "control.jsonl": "control",
    "trials": "trial, trial again, attempt, pruned, done, ended, stop",
    "trials/0001": "trial again, attempt, pruned, done, ended, stop",
    "trials/0001/attempt-1": "ended",
    "trials/0001/trial.json": "trial again",
    "trials/0001/pruned.json": "pruned",
    "trials/0001/done.json": "done",
    "trials/0001/attempt-1/ended.json": "ended",
    "lock": "lock",
    "log.txt": "log",
    "optuna.db": "storage",
}
"""Path → its writers."""

REPLACED = {
    "lock",
    "settings.json",
    "trials/0001/trial.json",
    "trials/0001/pruned.json",
    "trials/0001/attempt-1/ended.json",
}
"""Files that replace a link; every other one is refused, or stays."""


@pytest.mark.parametrize("path", PATHS)
def test_no_link_is_followed(tmp_path: Path, path: str) -> None:
    sweep = written_sweep(tmp_path, grid={"lr": [0.1]}, trials=1)
    written_trial(sweep, {"lr": 0.1}, state="running")
    place, victim = sweep.path / path, tmp_path / "victim"
    if place.is_dir():
        shutil.move(place, victim)
    else:
        victim.write_text("precious")
        place.unlink(missing_ok=True)
    place.symlink_to(victim)
    before = {p: p.read_bytes() if p.is_file() else b"" for p in (victim, *victim.rglob("*"))}
    for name in PATHS[path].split(", "):
        if path in REPLACED:
            WRITERS[name](sweep.folder)
            assert not place.is_symlink()
        elif path == "trials/0001/done.json":  # written once
            assert not trial(sweep.folder).finish(TrialOutcome("failed"))
        else:
            with pytest.raises(LinkError, match="symbolic link"):
                WRITERS[name](sweep.folder)
    assert {p: p.read_bytes() if p.is_file() else b"" for p in (victim, *victim.rglob("*"))} == before
