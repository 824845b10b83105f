"""The experiment as code makes an equal experiment again, and says no more than is needed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from experiments import EXPERIMENTS

from lmkit import Experiment
from lmkit.placeholders import Placeholders
from lmkit.specs.plain import load_yaml
from lmkit.widgets import snippets

MORE = [
    {"name": "a-b", "data": {"source": 'odd "name" \\ ünï, {x} $y.csv', "target": "a: b # c"}},
    {"data": {"source": "x.parquet", "target": "on", "drop": ["1e-3", "null", "2024-01-01", "~"]}},
    {"data": "digits", "training": {"early_stopping": {}, "optimizer": {"name": "sgd"}}},
    {"model": {"hidden": list(range(1, 60))}},
    {"data": {"source": "wine", "drop": [f"a column, with a long name {i}" for i in range(6)]}},
]


@pytest.mark.parametrize("values", [*EXPERIMENTS, *MORE])
def test_every_form_of_code_makes_the_same_experiment(values: dict[str, Any]) -> None:
    experiment = Experiment(**values)
    trained: list[Experiment] = []

    class Kit:
        Experiment = Experiment
        train = trained.append

    source = snippets.python(experiment).replace("import lmkit as lk", "")
    exec(compile(source, "cell", "exec"), {"lk": Kit})
    assert trained == [experiment]
    assert max(map(len, source.splitlines())) <= snippets.LINE
    assert Experiment.from_yaml(snippets.as_yaml(experiment)) == experiment
    head, _, body = snippets.magic(experiment).partition("\n")
    assert head == "%%lmkit train"
    notebook = Placeholders({"y": "not this", "x": "nor this"})
    assert Experiment.from_dict(notebook.fill(load_yaml(notebook.hide(body, first=2))) or {}) == experiment


def test_only_what_differs_is_said() -> None:
    assert snippets.differences(Experiment()) == {}
    assert snippets.python(Experiment()) == (
        "import lmkit as lk\n\nexperiment = lk.Experiment()\nrun = lk.train(experiment)\nrun"
    )
    assert snippets.magic(Experiment()) == "%%lmkit train\n# everything is at its default"
    found = snippets.differences(
        Experiment(data="wine", seed=3, model={"hidden": [4]}, training={"optimizer": "adam", "epochs": 9})
    )
    assert found == {
        "seed": 3,
        "data": "wine",
        "model": {"family": "mlp", "hidden": [4]},
        "training": {"epochs": 9, "optimizer": "adam"},
    }
    # the whole's default optimizer has momentum, one that is named has none unless it says so
    assert snippets.differences(Experiment(training={"optimizer": {"name": "sgd", "momentum": 0.0}})) == {
        "training": {"optimizer": "sgd"}
    }
    assert snippets.differences(Experiment(training={"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}})) == {
        "training": {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}}
    }


@pytest.mark.parametrize("values", EXPERIMENTS)
def test_the_magic_has_no_braces_for_the_notebook_to_fill(values: dict[str, Any]) -> None:
    body = snippets.magic(Experiment(**values)).partition("\n")[2]
    assert not set("{}$") & set(body)
    assert yaml.safe_load(body) is None or isinstance(yaml.safe_load(body), dict)
