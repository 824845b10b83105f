"""The experiment as code makes an equal experiment again, and says no more than is needed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml
from experiments import EXPERIMENTS

from lmkit import ConfigError, Experiment
from lmkit.experiment.placeholders import Placeholders
from lmkit.specs.data import BUNDLED, PYTHON_DOCS
from lmkit.specs.models import PRESETS
from lmkit.specs.plain import load_yaml
from lmkit.widgets import experiment_code

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

    source = experiment_code.python(experiment).replace("import lmkit as lk", "")
    exec(compile(source, "cell", "exec"), {"lk": Kit})
    assert trained == [experiment]
    assert max(map(len, source.splitlines())) <= experiment_code.LINE
    assert Experiment.from_yaml(experiment_code.as_yaml(experiment)) == experiment
    head, _, body = experiment_code.magic(experiment).partition("\n")
    assert head == "%%lmkit train"
    notebook = Placeholders({"y": "not this", "x": "nor this"})
    assert Experiment.from_dict(notebook.fill(load_yaml(notebook.hide(body, first=2))) or {}) == experiment


VARIATIONS: list[dict[str, Any]] = [
    {},
    {"training": {"optimizer": "sgd", "schedule": "constant", "clip_norm": None, "validate_every": None}},
    {"training": {"steps": 50}},
    {"training": {"epochs": 5, "early_stopping": {}}},
    {"data": {"validation": 0.2, "test": 0.2, "batch_size": 32}},
]
"""Values, some of which are the defaults for some data and models but not for others."""


@pytest.mark.parametrize("source", [*BUNDLED, PYTHON_DOCS, "prices.csv", "arrays.npz", "words.txt", "pictures/"])
def test_the_differences_make_the_experiment_for_every_preset_and_source(source: str) -> None:
    valid = 0
    for preset, variation in itertools.product([None, *PRESETS], VARIATIONS):
        values = {**variation, "data": {"source": source, **variation.get("data", {})}}
        try:
            experiment = Experiment(**values, **({"model": preset} if preset else {}))
        except ConfigError:
            continue
        valid += 1
        assert Experiment(**experiment_code.differences(experiment)) == experiment
    assert valid >= len(VARIATIONS)


def test_values_that_suit_the_data_and_the_model_are_not_repeated() -> None:
    assert experiment_code.differences(Experiment(data="python_docs")) == {"data": "python_docs"}
    assert experiment_code.differences(Experiment(model="gcn:small")) == {"data": "karate_club"}


def test_only_what_differs_is_said() -> None:
    assert experiment_code.differences(Experiment()) == {}
    assert experiment_code.python(Experiment()) == (
        "import lmkit as lk\n\nexperiment = lk.Experiment()\nrun = lk.train(experiment)\nrun"
    )
    assert experiment_code.magic(Experiment()) == "%%lmkit train\n# all values are defaults"
    found = experiment_code.differences(
        Experiment(data="wine", seed=3, model={"hidden": [4]}, training={"optimizer": "sgd", "epochs": 9})
    )
    assert found == {
        "seed": 3,
        "data": "wine",
        "model": {"family": "mlp", "hidden": [4]},
        "training": {"epochs": 9, "optimizer": "sgd"},
    }
    assert experiment_code.differences(Experiment(training={"optimizer": "adam"})) == {}
    assert experiment_code.differences(Experiment(training={"optimizer": {"name": "sgd", "momentum": 0.0}})) == {
        "training": {"optimizer": "sgd"}
    }
    assert experiment_code.differences(
        Experiment(training={"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}})
    ) == {"training": {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}}}


@pytest.mark.parametrize("values", EXPERIMENTS)
def test_the_magic_has_no_braces_for_the_notebook_to_fill(values: dict[str, Any]) -> None:
    body = experiment_code.magic(Experiment(**values)).partition("\n")[2]
    assert not set("{}$") & set(body)
    assert yaml.safe_load(body) is None or isinstance(yaml.safe_load(body), dict)
