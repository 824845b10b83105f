"""The records of a sweep's folder are written byte for byte as lmkit 0.1.0 wrote them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lmkit.specs.plain import dump_yaml, load_yaml
from lmkit.sweeping.folder import SweepFolder, TrialFolder
from lmkit.sweeping.records import SweepSettings, SweepSpec, Trial, TrialOutcome, TrialRecord

GOLDEN = Path(__file__).parents[2] / "golden" / "sweep_folders" / "golden"


def test_the_golden_folder_is_read_and_written_unchanged(tmp_path: Path) -> None:
    source, target = SweepFolder(GOLDEN), SweepFolder(tmp_path / "golden")
    template = tmp_path / "train.ipynb"
    shutil.copy(GOLDEN / "train.ipynb", template)
    target.create(source.spec(), template)
    target.settings = source.settings
    for folder in source.trial_folders():
        trial, outcome = folder.read(), folder.outcome()
        assert outcome is not None
        assert target.new_trial(trial.number, trial.parameters, trial.note).finish(outcome)
    for file in ("sweep.yaml", "settings.json", "train.ipynb", *(f"trials/000{n}/trial.json" for n in (1, 2))):
        assert (target.path / file).read_bytes() == (GOLDEN / file).read_bytes(), file
    for n in (1, 2):
        assert (target.path / f"trials/000{n}/done.json").read_bytes() == (
            GOLDEN / f"trials/000{n}/done.json"
        ).read_bytes()


@pytest.mark.parametrize(
    "prune", [None, {"rule": "median", "warmup": 2, "trials": 3}, {"rule": "halving", "first": 1, "factor": 3}]
)
def test_a_specification_survives_its_file(prune: dict[str, Any] | None) -> None:
    values = {
        "version": 1,
        "template": "own.ipynb",
        "parameters": {"rate": 0.5},
        "experiment": None,
        "grid": {"a": [1, [2]]},
        "search": {"b": {"low": 1, "high": 8, "log": True, "whole": True}, "c": {"values": ["x", None]}},
        "method": "random",
        "objectives": [["val_loss", "minimize"]],
        "prune": prune,
        "seed": 3,
    }
    assert list(SweepSpec.from_dict(values).to_dict().items()) == list(values.items())
    assert SweepSpec.from_dict(load_yaml(dump_yaml(values))).to_dict() == values


@pytest.mark.parametrize(
    ("outcome", "keys"),
    [
        (TrialOutcome("failed", "the parameters are invalid"), ["state", "error"]),
        (
            TrialOutcome("failed", "invalid", attempt="attempt-1", threads=2, seconds=0.5),
            ["state", "error", "attempt", "threads", "seconds"],
        ),
        (
            TrialOutcome("completed", values={}, attempt="attempt-1", threads=2, seconds=0.5),
            ["state", "error", "run", "notebook", "values", "attempt", "threads", "seconds"],
        ),
    ],
)
def test_an_outcome_holds_what_was_determined(outcome: TrialOutcome, keys: list[str]) -> None:
    assert list(outcome.to_dict()) == keys
    assert TrialOutcome.from_dict(outcome.to_dict()) == outcome


def test_missing_and_unknown_settings_are_accepted(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    assert folder.settings == SweepSettings()
    (tmp_path / "settings.json").write_text(json.dumps({"trials": 3, "of_a_later_version": 1}))
    assert folder.settings == SweepSettings(trials=3)


def test_an_interrupted_attempt_is_read_as_far_as_it_came(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "0001")
    attempt = folder.path / "attempt-1"
    attempt.mkdir(parents=True)
    (folder.path / "trial.json").write_text(json.dumps(TrialRecord(1, {"lr": 0.1}).to_dict()))
    (attempt / "journal.jsonl").write_text('{"run": "/runs/a"}\n')
    (attempt / "train.ipynb").write_text("{}")
    assert (folder.read(driven=True).state, folder.read().state) == ("running", "interrupted")
    assert (folder.read().run, folder.read().notebook) == (Path("/runs/a"), attempt / "train.ipynb")
    folder.interrupt(
        attempt, TrialOutcome("died", "its kernel died", values={"loss": 1.0}, attempt="attempt-1", seconds=2.0)
    )
    trial = folder.read(driven=True)
    assert (trial.state, trial.error, trial.values, trial.seconds) == (
        "interrupted",
        "its kernel died",
        {"loss": 1.0},
        2.0,
    )


def test_a_trial_is_shown_in_a_line(tmp_path: Path) -> None:
    trial = Trial(
        tmp_path,
        2,
        {"lr": 0.01, "hidden": [32]},
        "failed",
        {"val_loss": 1 / 3},
        "x" * 999,
        tmp_path / "r",
        None,
        1.0,
        {},
    )
    assert repr(trial).startswith("trial 2: failed ('xxxx")
    assert repr(trial).endswith("); lr 0.01, hidden [32]; val_loss 0.3333; run r")
    assert len(repr(trial)) < 200
