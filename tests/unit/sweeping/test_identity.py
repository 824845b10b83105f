"""What a sweep is: its search, its experiment and its notebook. The same command continues only the same sweep."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lmkit import Experiment
from lmkit.exceptions import SweepError
from lmkit.specs.plain import dump_yaml, load_yaml
from lmkit.sweeping.folder import SweepFolder
from lmkit.sweeping.objectives import Objective
from lmkit.sweeping.records import FixedParameters, SweepSpec
from lmkit.sweeping.search_space import read_space

NOTEBOOK = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def spec(template: Path, experiment: dict[str, Any] | None = None) -> SweepSpec:
    digest = hashlib.sha256(template.read_bytes()).hexdigest()
    objectives = (Objective("val_loss", "minimize"),)
    fixed = FixedParameters({}, experiment)
    return SweepSpec(template.name, fixed, read_space({"lr": [0.1]}, None), "grid", objectives, None, 0, digest)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "train.ipynb"
    path.write_text(NOTEBOOK)
    return path


@pytest.fixture
def folder(tmp_path: Path, template: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path / "sweeps" / "night")
    folder.create(spec(template), template)
    return folder


def test_the_same_sweep_goes_on(folder: SweepFolder, template: Path) -> None:
    folder.create(spec(template), template)
    assert folder.spec().template_sha256 == hashlib.sha256(NOTEBOOK.encode()).hexdigest()


def test_a_notebook_that_was_changed_in_the_folder_is_refused(folder: SweepFolder, template: Path) -> None:
    (folder.path / "train.ipynb").write_text(NOTEBOOK.replace("[]", "[{}]"))
    with pytest.raises(SweepError, match=r"train.ipynb', is not the one that sweep 'night' began with; restore it"):
        folder.create(spec(template), template)


def test_a_changed_notebook_with_its_digest_is_refused(folder: SweepFolder, template: Path) -> None:
    changed = NOTEBOOK.replace("[]", "[{}]")
    (folder.path / "train.ipynb").write_text(changed)
    values = load_yaml((folder.path / "sweep.yaml").read_text())
    values["template_sha256"] = hashlib.sha256(changed.encode()).hexdigest()
    (folder.path / "sweep.yaml").write_text(dump_yaml(values))
    with pytest.raises(SweepError, match=r"the template 'train.ipynb' has changed since sweep 'night' began"):
        folder.create(spec(template), template)


def test_a_template_that_has_changed_since_is_named(folder: SweepFolder, template: Path) -> None:
    template.write_text(NOTEBOOK + "\n")
    with pytest.raises(SweepError, match=r"the template 'train.ipynb' has changed since sweep 'night' began"):
        folder.create(spec(template), template)


@pytest.mark.parametrize("text", [NOTEBOOK, NOTEBOOK + " "])
def test_a_sweep_without_a_digest_goes_on_with_the_same_text_only(
    folder: SweepFolder, template: Path, text: str
) -> None:
    values = load_yaml((folder.path / "sweep.yaml").read_text())
    del values["template_sha256"]
    (folder.path / "sweep.yaml").write_text(dump_yaml(values))
    (folder.path / "train.ipynb").write_text(text)
    assert folder.spec().template_sha256 == ""
    if text == NOTEBOOK:
        folder.create(spec(template), template)
    else:
        with pytest.raises(SweepError, match="is not the one that sweep 'night' began with"):
            folder.create(spec(template), template)


def test_a_missing_notebook_is_refused(folder: SweepFolder, template: Path) -> None:
    (folder.path / "train.ipynb").unlink()
    with pytest.raises(SweepError, match="is not the one that sweep 'night' began with"):
        folder.create(spec(template), template)


def test_an_experiment_that_was_changed_in_the_folder_is_refused(tmp_path: Path, template: Path) -> None:
    experiment = {k: v for k, v in Experiment(data="wine").to_dict().items() if k != "name"}
    folder = SweepFolder(tmp_path / "sweeps" / "night")
    folder.create(spec(template, experiment), template)
    folder.create(spec(template, experiment), template)
    values = load_yaml((folder.path / "sweep.yaml").read_text())
    values["experiment"]["model"] = {"family": "own", "builder": "subprocess:getoutput", "arguments": {"cmd": "id"}}
    (folder.path / "sweep.yaml").write_text(dump_yaml(values))
    with pytest.raises(SweepError, match=r"already exists and differs: .*model\.builder"):
        folder.create(spec(template, experiment), template)


def test_fields_of_a_later_version_are_no_difference(tmp_path: Path, template: Path) -> None:
    experiment = {k: v for k, v in Experiment(data="wine").to_dict().items() if k != "name"}
    earlier = {**experiment, "training": {k: v for k, v in experiment["training"].items() if k != "validate_every"}}
    folder = SweepFolder(tmp_path / "sweeps" / "night")
    folder.create(spec(template, earlier), template)
    folder.create(spec(template, experiment), template)
