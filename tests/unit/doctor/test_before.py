"""An experiment is examined before it is trained, by its settings and by what its data are like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import lmkit as lk
from lmkit.data.preparation import prepare
from lmkit.data.profile import Column, Profile, profile_data
from lmkit.doctor.before import examine_experiment
from lmkit.specs.data import BUNDLED
from lmkit.specs.models import PRESETS

PROFILE = Profile(task="regression", rows={"training": 600, "validation": 200}, features=4, has_rows=True)
UNIT = Column(name="y", mean=0.0, spread=1.0)


def checks(experiment: lk.Experiment, profile: Profile | None = None) -> list[str]:
    return [finding.check for finding in examine_experiment(experiment, profile)]


@pytest.mark.parametrize("name", sorted({*BUNDLED, *PRESETS}))
def test_nothing_is_said_of_defaults(name: str) -> None:
    if name in PRESETS:
        assert checks(lk.Experiment.of({"model": name})) == []
        return
    experiment = lk.Experiment(data=name)
    data = prepare(experiment.data, experiment.seed, "float32")
    assert checks(experiment, profile_data(data, "mean_squared_error")) == []


@pytest.mark.parametrize(
    ("changes", "profile", "expected"),
    [
        ({"optimizer": "sgd", "lr": 1e-6}, {}, "rate-unusual"),
        ({"optimizer": "adamw", "lr": 1.0}, {}, "rate-unusual"),
        ({"clip_norm": 1e-3}, {}, "clip-tiny"),
        ({"epochs": 2}, {}, "few-steps-planned"),
        ({"epochs": 20, "batch_size": 600}, {}, "few-steps-planned"),
        ({"dropout": 0.9}, {}, "dropout-strong"),
        ({"data.scale_target": False}, {"target": replace(UNIT, mean=5000.0, spread=900.0)}, "unscaled-target"),
        ({"data.scale": "none"}, {"largest": replace(UNIT, spread=300.0)}, "unscaled-inputs"),
        ({}, {"rows": {"training": 600, "validation": 9}}, "validation-small"),
        ({}, {"row_numbers": ("id",)}, "row-number"),
    ],
)
def test_a_finding_goes_when_its_change_is_applied(
    changes: dict[str, Any], profile: dict[str, Any], expected: str
) -> None:
    experiment = lk.Experiment(data="diabetes").override(changes)
    (finding,) = examine_experiment(experiment, replace(PROFILE, **profile))
    assert finding.check == expected
    changed = finding.apply(experiment)
    assert changed != experiment
    if not profile:
        assert checks(changed, PROFILE) == []


@pytest.mark.parametrize("profile", [{"target": replace(UNIT, spread=0.0)}, {"class_shares": (1.0,)}])
def test_a_constant_target_is_an_obstacle(profile: dict[str, Any]) -> None:
    (finding,) = examine_experiment(lk.Experiment(data="diabetes"), replace(PROFILE, **profile))
    assert (finding.check, finding.confidence) == ("constant-target", "sure")


def test_columns_that_are_left_out_already_stay_out() -> None:
    experiment = lk.Experiment(data="diabetes").override({"data.drop": ["age"]})
    (finding,) = examine_experiment(experiment, replace(PROFILE, row_numbers=("sex",)))
    assert finding.apply(experiment).data.drop == ("age", "sex")
