"""The experiment: to and from text without loss, short forms, overrides, and what its errors say."""

import copy
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pydantic
import pytest
import yaml
from narrowing import require_type, require_value

from lmkit import ConfigError, Experiment
from lmkit.experiment.defaults import made_name
from lmkit.specs.models import MLP
from lmkit.specs.schedules import Step

THE_FILE = """\
name: cancer-mlp
framework: torch                # or tensorflow
seed: 0
data: {source: breast_cancer, scale: standard, validation: 0.2, test: 0.2, batch_size: 32}
model: {family: mlp, hidden: [128, 128], activation: relu, initializer: pytorch}
training:
  epochs: 100
  early_stopping: {patience: 10}
  loss: auto
  optimizer: {name: adam, lr: 0.001}
  schedule: {name: constant}
  precision: float32
"""

EXPERIMENTS = {
    "defaults": {},
    "everything": {
        "name": "all.of_it-2",
        "framework": "tensorflow",
        "seed": 2**32 - 1,
        "data": {
            "source": "tables/prices.csv",
            "target": "price: €",
            "task": "regression",
            "drop": ["id", "on"],
            "categorical": ["1e5", "010"],
            "scale": "minmax",
            "scale_target": False,
            "missing": "median",
            "validation": 0.0,
            "test": 0.1,
            "batch_size": 7,
        },
        "model": {"hidden": [3, 200], "activation": "gelu", "dropout": 0.25},
        "training": {
            "epochs": 3,
            "steps": 1000,
            "seconds": 1.5,
            "target_loss": -1e-12,
            "gradient_norm": 1e-300,
            "loss": "mse",
            "optimizer": {"name": "adamw", "lr": 1 / 3, "weight_decay": 0.0, "epsilon": 5e-324},
            "schedule": {"name": "cosine", "warmup": 9, "floor": 0.1},
            "clip_norm": 1e20,
            "precision": "float64",
            "compile": "on",
            "checkpoint_seconds": 0.5,
        },
    },
    "early stopping": {"training": {"early_stopping": {"patience": 3, "min_delta": 1e-4, "restore_best": False}}},
    **{f"a name like {name}": {"name": name} for name in ("1e5", "010", "on", "null", "2024-01-01", "1.5", "0x1f")},
}


@pytest.fixture(params=EXPERIMENTS)
def experiment(request):
    return Experiment(**EXPERIMENTS[request.param])


def problems(**values):
    with pytest.raises(ConfigError) as caught:
        Experiment(**values)
    return caught.value.problems


# -- to and from ----------------------------------------------------------------------------------


def test_nothing_is_lost_on_the_way(experiment, tmp_path):
    assert Experiment.from_dict(experiment.to_dict()) == experiment
    assert Experiment.from_yaml(experiment.to_yaml()) == experiment
    assert Experiment.from_json(experiment.to_json()) == experiment
    for name in ("experiment.yaml", "experiment.json"):
        experiment.save(tmp_path / name)
        assert Experiment.load(tmp_path / name) == experiment
        assert Experiment.load(str(tmp_path / name)) == experiment
    assert pickle.loads(pickle.dumps(experiment)) == experiment
    assert copy.deepcopy(experiment) == experiment


def test_a_file_in_the_home_folder_is_written_and_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Experiment(seed=3).save("~/e.yaml")
    assert (tmp_path / "e.yaml").is_file()
    assert Experiment.load("~/e.yaml").seed == 3
    with pytest.raises(ConfigError, match=r"e\.yaml' cannot be written: there is no folder '/nowhere'"):
        Experiment().save("/nowhere/e.yaml")


def test_other_readers_read_the_same(experiment):
    values = experiment.to_dict()
    assert json.loads(experiment.to_json()) == values
    assert json.loads(json.dumps(values)) == values  # plain values only
    assert yaml.safe_load(experiment.to_yaml()) == values


def test_the_whole_configuration_is_written():
    written = yaml.safe_load(Experiment().to_yaml())
    assert list(written) == ["name", "framework", "seed", "data", "model", "training"]
    assert written["data"]["missing"] == "error"
    assert written["training"]["optimizer"] == {
        "name": "adam",
        "lr": 0.001,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-08,
    }


def test_the_file_form():
    experiment = Experiment.from_yaml(THE_FILE)
    assert experiment.name == "cancer-mlp"
    assert require_type(experiment.model, MLP).hidden == (128, 128)
    assert experiment.training.optimizer.lr == 0.001
    assert experiment == Experiment(name="cancer-mlp")  # they are the defaults


def test_yaml_reads_numbers_and_words_as_written():
    text = "training: {optimizer: {lr: 1e-3}, compile: on}\nname: 010"
    experiment = Experiment.from_yaml(text)
    assert (experiment.training.optimizer.lr, experiment.training.compile, experiment.name) == (0.001, "on", "010")


def test_an_empty_text_is_the_defaults():
    assert Experiment.from_yaml("") == Experiment.from_yaml("# nothing\n") == Experiment.from_dict({}) == Experiment()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [a", "line 1: not YAML"),
        ("seed: 1\nseed: 2", "line 2: not YAML: the key 'seed' is written twice"),
        ("- a\n- b", "given ['a', 'b'], expected a mapping such as {data: digits, model: mlp}"),
        ("digits", "given 'digits', expected a mapping such as {data: digits, model: mlp}"),
        ("1: 2", "1: expected a name as key"),
        ("self: 1", "self: unknown key; did you mean 'seed'?"),
        ("name: !!python/object/apply:os.getcwd []", "line 1: not YAML"),
    ],
)
def test_a_text_that_describes_none(text, said):
    with pytest.raises(ConfigError) as caught:
        Experiment.from_yaml(text)
    assert caught.value.problems[0].startswith(said)


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(ConfigError, match=r"no file '.*nowhere.yaml'; expected an experiment as YAML or JSON"):
        Experiment.load(tmp_path / "nowhere.yaml")
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\r\n\xff")
    with pytest.raises(ConfigError, match=r"the file '.*picture.yaml' cannot be read as text"):
        Experiment.load(tmp_path / "picture.yaml")


# -- short forms ----------------------------------------------------------------------------------


def test_one_word_stands_for_a_part():
    short = Experiment.from_yaml("{data: digits, model: mlp, training: {optimizer: adam, schedule: cosine, loss: cce}}")
    long = Experiment(
        data={"source": "digits"},
        model={"family": "mlp"},
        training={"optimizer": {"name": "adam"}, "schedule": {"name": "cosine"}, "loss": "categorical_crossentropy"},
    )
    assert short == long


def test_a_part_of_an_experiment_is_taken_as_it_is():
    donor = Experiment(data="digits", training={"optimizer": "adam"})
    assert Experiment(data=donor.data, training=donor.training) == donor


def test_numpy_numbers_tuples_and_paths_are_values():
    experiment = Experiment(
        seed=np.int64(3),
        data={"source": Path("a") / "b.csv", "validation": np.float64(0.25)},
        model={"hidden": (np.int32(4), 5)},
    )
    assert experiment == Experiment(
        seed=3, data={"source": str(Path("a/b.csv")), "validation": 0.25}, model={"hidden": [4, 5]}
    )
    assert Experiment.from_yaml(experiment.to_yaml()) == experiment


@pytest.mark.parametrize(
    ("data", "model", "name"),
    [
        (None, None, "breast-cancer-mlp"),
        ("digits", "mlp:wide", "digits-mlp"),
        ({"source": "tables/my prices.csv"}, {"family": "mlp"}, "my-prices-mlp"),
        ({"source": "stored:0123abc"}, None, "stored-mlp"),
        ("été.csv", None, "t-mlp"),
        ("../v1..2.csv", None, "v1-2-mlp"),
        ("ü.csv", None, "mlp"),
        ("x" * 100 + ".csv", None, "x" * 64),
    ],
)
def test_a_name_is_made_of_data_and_model(data, model, name):
    assert made_name(data, model) == name
    if data:
        assert Experiment(data=data).name == made_name(data, None)


def test_a_made_name_is_allowed_and_made_anew():
    experiment = Experiment(data={"source": "my (old) prices.csv", "target": "p"})
    assert experiment.name == "my-old-prices-mlp"
    assert experiment.override({"data.source": "wine", "target": None}).name == "wine-mlp"
    assert Experiment(name="mine").override({"data": "wine"}).name == "mine"


# -- immutable ------------------------------------------------------------------------------------


def test_it_cannot_be_changed():
    experiment = Experiment()
    for part, field in (
        (experiment, "seed"),
        (experiment.data, "batch_size"),
        (experiment.model, "hidden"),
        (experiment.training, "epochs"),
        (experiment.training.optimizer, "lr"),
    ):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(part, field, 1)
    with pytest.raises(TypeError):
        require_type(experiment.model, MLP).hidden[0] = 3  # type: ignore[index]  # a tuple
    experiment.to_dict()["training"]["epochs"] = 3  # a copy
    assert experiment == Experiment()


def test_what_it_was_made_from_can_be_changed_without_changing_it():
    hidden = [3]
    experiment = Experiment(model={"hidden": hidden})
    hidden.append(4)
    assert require_type(experiment.model, MLP).hidden == (3,)


# -- override -------------------------------------------------------------------------------------


def test_override_changes_a_copy():
    before = Experiment()
    after = before.override({"training.optimizer.lr": 0.1})
    assert (before.training.optimizer.lr, after.training.optimizer.lr) == (0.001, 0.1)
    assert after.override({"training.optimizer.lr": 0.001}) == before


@pytest.mark.parametrize(
    ("end", "path"),
    [
        ("lr", "training.optimizer.lr"),
        ("optimizer.lr", "training.optimizer.lr"),
        ("batch_size", "data.batch_size"),
        ("hidden", "model.hidden"),
        ("epochs", "training.epochs"),
        ("optimizer", "training.optimizer"),
        ("schedule.name", "training.schedule.name"),
        ("early_stopping.patience", "training.early_stopping.patience"),
        ("seed", "seed"),
        ("name", "name"),
    ],
)
def test_the_end_of_a_path_is_enough(end, path):
    values = {
        "training.optimizer": "sgd",
        "training.schedule.name": "cosine",
        "model.hidden": [4],
        "name": "other",
        "training.optimizer.lr": 0.5,
    }
    value = values.get(path, 3)
    assert Experiment().override({end: value}) == Experiment().override({path: value}) != Experiment()


def test_a_change_of_kind_brings_its_own_defaults():
    experiment = Experiment(training={"optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.1}})
    adam = experiment.override({"training.optimizer.name": "adam"}).training.optimizer
    assert adam == Experiment(training={"optimizer": "adam"}).training.optimizer
    same = experiment.override({"training.optimizer.name": "sgd"}).training.optimizer
    assert same == experiment.training.optimizer


@pytest.mark.parametrize("reverse", [False, True])
def test_a_word_and_more_of_it_in_one_call(reverse):
    changes = {"optimizer": "adam", "lr": 0.5, "model": "mlp:wide", "dropout": 0.1, "data": "digits", "batch_size": 8}
    changes |= {"schedule": "step", "training.schedule.every": 3}
    experiment = Experiment().override(dict(reversed(changes.items())) if reverse else changes)
    assert (
        experiment.training.optimizer
        == Experiment(training={"optimizer": {"name": "adam", "lr": 0.5}}).training.optimizer
    )
    assert experiment.model == Experiment(model={"hidden": [256, 256], "dropout": 0.1}).model
    assert (experiment.data.source, experiment.data.batch_size) == ("digits", 8)
    assert require_type(experiment.training.schedule, Step).every == 3


@pytest.mark.parametrize("change", [Experiment().override, Experiment.of])
def test_a_short_path_may_exist_once_another_change_is_made(change):
    chosen = change({"momentum": 0.9, "optimizer": "sgd", "epochs": 3})
    assert chosen.training.optimizer.model_dump() == {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": False}
    with pytest.raises(ConfigError, match="momentum: no such path"):
        change({"momentum": 0.9, "optimizer": "adam"})


def test_override_leaves_what_it_is_given():
    changes = {"training": {"optimizer": {"name": "adam"}}, "training.optimizer.lr": 0.5}
    given = copy.deepcopy(changes)
    assert Experiment().override(changes).training.optimizer.lr == 0.5
    assert changes == given


def test_a_part_that_was_absent_comes_with_its_defaults():
    experiment = Experiment().override({"training.early_stopping.patience": 3})
    assert require_value(experiment.training.early_stopping).restore_best is True
    assert experiment.override({"early_stopping": None}).training.early_stopping is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lrr": 1}, "lrr: no such path; did you mean 'lr'?"),
        ({"training.optimzer.lr": 1}, "training.optimzer: unknown key; did you mean 'optimizer'?"),
        ({"optimzer.lr": 1}, "optimzer.lr: no such path; did you mean 'optimizer'?"),
        ({"training.lr": 1}, "training.lr: unknown key; "),
        ({"training.optimizer.lr": -1}, "training.optimizer.lr: given -1, expected a number greater than 0"),
        ({"lr": math.nan}, "training.optimizer.lr: given nan, expected a finite number"),
        ({"training.epochs": "3"}, "training.epochs: given '3', expected a whole number"),
        ({"training.optimizer.lr.x": 3}, "training.optimizer.lr: given {'x': 3}, expected a number"),
        ({"": 3}, ": no such path; "),
    ],
)
def test_an_override_that_cannot_be(changes, said):
    with pytest.raises(ConfigError) as caught:
        Experiment().override(changes)
    assert caught.value.problems[0].startswith(said)


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        # unknown keys: path, and the nearest valid name
        (
            {"trainnig": {}},
            "trainnig: unknown key; did you mean 'training'? Expected one of name, framework, seed, data,",
        ),
        ({"data": {"sorce": "digits"}}, "data.sorce: unknown key; did you mean 'source'?"),
        ({"training": {"epoch": 3}}, "training.epoch: unknown key; did you mean 'epochs'?"),
        ({"training": {"optimizer": {"lrr": 1}}}, "training.optimizer.lrr: unknown key of 'adam'; did you mean 'lr'?"),
        (
            {"training": {"schedule": {"every": 3}}},
            "training.schedule.every: unknown key of 'constant'; expected one of name",
        ),
        ({"training": {"early_stopping": {"patence": 3}}}, "training.early_stopping.patence: unknown key; did you"),
        # wrong types: path, given, expected
        ({"seed": "x"}, "seed: given 'x', expected a whole number"),
        ({"seed": True}, "seed: given True, expected a whole number"),
        ({"training": {"epochs": 2.0}}, "training.epochs: given 2.0, expected a whole number"),
        ({"training": {"optimizer": {"lr": "fast"}}}, "training.optimizer.lr: given 'fast', expected a number"),
        ({"training": 3}, "training: given 3, expected a mapping of epochs, steps, seconds,"),
        ({"data": None}, "data: given None, expected a mapping of source, target,"),
        ({"data": {"drop": "id"}}, "data.drop: given 'id', expected a list"),
        ({"training": {"optimizer": [1]}}, "training.optimizer: given [1], expected a mapping of name, lr,"),
        # out of range
        ({"seed": -1}, "seed: given -1, expected a number of at least 0"),
        ({"training": {"epochs": 0}}, "training.epochs: given 0, expected a number of at least 1"),
        ({"training": {"optimizer": {"lr": 0}}}, "training.optimizer.lr: given 0, expected a number greater than 0"),
        (
            {"training": {"optimizer": {"lr": -0.5}}},
            "training.optimizer.lr: given -0.5, expected a number greater than 0",
        ),
        ({"training": {"optimizer": {"lr": math.nan}}}, "training.optimizer.lr: given nan, expected a finite number"),
        ({"data": {"batch_size": 0}}, "data.batch_size: given 0, expected a number of at least 1"),
        ({"training": {"target_loss": math.inf}}, "training.target_loss: given inf, expected a finite number"),
        ({"name": "x" * 65}, f"name: given '{'x' * 65}', expected at most 64 characters"),
        ({"name": "../up"}, "name: given '../up', expected letters, digits,"),
        ({"name": "a..b"}, "name: given 'a..b', expected letters, digits,"),
        # not one of the words
        (
            {"framework": "pytorch"},
            "framework: given 'pytorch', did you mean 'torch'? Expected one of torch, tensorflow",
        ),
        ({"framework": "TensorFlow"}, "framework: given 'TensorFlow', did you mean 'tensorflow'?"),
        ({"framework": None}, "framework: given None, expected one of torch, tensorflow"),
        ({"data": {"scale": "standrd"}}, "data.scale: given 'standrd', did you mean 'standard'?"),
        ({"training": {"precision": "float46"}}, "training.precision: given 'float46', did you mean 'float64'?"),
        ({"training": {"schedule": "cosin"}}, "training.schedule.name: given 'cosin', did you mean 'cosine'?"),
        # impossible combinations
        ({"data": {"validation": 0.5, "test": 0.5}}, "data: validation (0.5) and test (0.5) leave nothing to train on"),
        ({"data": {"validation": 0}, "training": {"early_stopping": {}}}, "training.early_stopping: watches the valid"),
        (
            {"training": {"steps": 5, "schedule": {"name": "cosine", "warmup": 5}}},
            "training: schedule.warmup (5 steps) is at least as long as training (5 steps)",
        ),
        ({"data": {"source": "digits", "task": "binary"}}, "data.task: given 'binary', expected 'multiclass' for"),
        ({"data": "digits", "training": {"loss": "mse"}}, "training.loss: given 'mean_squared_error' for a multiclass"),
    ],
)
def test_an_error_names_path_given_expected_and_the_nearest(values, said):
    found = problems(**values)
    assert len(found) == 1
    assert found[0].startswith(said)
    with pytest.raises(ConfigError) as caught:  # a file says the same
        Experiment.from_dict(values)
    assert caught.value.problems == found


def test_every_problem_is_told_at_once():
    found = problems(seed="x", training={"epochs": 0, "optimizer": {"name": "adam", "lr": -1}}, modle="mlp")
    assert [p.split(":")[0] for p in found] == ["seed", "training.epochs", "training.optimizer.lr", "modle"]


def test_values_of_the_right_kind_are_not_turned_into_others():
    assert problems(training={"epochs": "3"})
    assert problems(training={"optimizer": {"nesterov": 1, "momentum": 0.9}})
    assert Experiment(training={"optimizer": {"lr": 1}}).training.optimizer.lr == 1.0  # a whole number is a number


# -- what is not given suits what is ---------------------------------------------------------------


def test_a_family_without_data_gets_the_data_that_it_is_shown_on():
    assert Experiment(model="cnn").data.source == "digits"
    assert Experiment(model="cnn:small", data={"batch_size": 16}).data.source == "digits"
    assert Experiment(model={"family": "cnn", "channels": [4]}).data.source == "digits"
    assert Experiment(model="mlp:wide").data.source == Experiment().data.source == "breast_cancer"


def test_what_is_given_is_kept():
    assert Experiment(model="cnn", data={"source": "digits", "axes": "sequence"}).data.axes == "sequence"
    with pytest.raises(ConfigError, match="'cnn' needs images"):
        Experiment(model="cnn", data="wine")


def test_an_experiment_that_was_made_says_all_of_it():
    given = Experiment(model="cnn").to_dict()
    assert given["data"]["source"] == "digits"
    assert given["name"] == "digits-cnn"
    assert Experiment.from_dict(given) == Experiment(model="cnn")


def test_a_file_of_an_earlier_version_starts_from_the_weights_of_its_time():
    values = Experiment(data="wine").to_dict()
    assert values["model"].pop("initializer") == "pytorch"
    assert require_type(Experiment.from_dict(values).model, MLP).initializer == "he"  # written whole by that version
    by_hand = {"data": "wine", "model": values["model"]}
    assert require_type(Experiment.from_dict(by_hand).model, MLP).initializer == "pytorch"


def test_early_stopping_is_the_default_where_there_is_a_validation_part():
    default = Experiment().training.early_stopping
    assert require_value(default).restore_best
    assert Experiment(data={"source": "wine", "validation": 0}).training.early_stopping is None
    assert Experiment(training={"early_stopping": None}).training.early_stopping is None
    changed = Experiment().override({"data.validation": 0})
    assert changed.training.early_stopping is None
    assert Experiment.from_yaml(changed.to_yaml()) == changed
    with pytest.raises(ConfigError, match=r"early_stopping: null, or data: \{validation: 0.2\}"):
        Experiment(data={"source": "wine", "validation": 0}, training={"early_stopping": {"patience": 3}})
    for model in ("mlp", "cnn", "gcn", "transformer:nano"):
        assert Experiment(model=model).training.early_stopping == default
