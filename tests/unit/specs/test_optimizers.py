"""The optimizers' fields: what each has, and what is refused."""

import math

import pytest

from lmkit import ConfigError, Experiment


def optimizer(value):
    return Experiment(training={"optimizer": value}).training.optimizer


def problem(value):
    with pytest.raises(ConfigError) as caught:
        optimizer(value)
    return caught.value.problems[0]


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("sgd", {"lr": 0.01, "momentum": 0.0, "nesterov": False}),
        ("adam", {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}),
        ("adamw", {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01}),
    ],
)
def test_one_word_takes_the_defaults(value, fields):
    assert optimizer(value).model_dump() == {"name": value, **fields}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"lr": 0.5}, "adam"),
        ({"beta1": 0.5}, "adam"),
        ({"lr": 0.5, "momentum": 0.9}, "sgd"),
        ({"weight_decay": 0.1}, "adamw"),
    ],
)
def test_without_a_name_it_is_adam_or_the_first_that_has_the_fields(fields, name):
    assert optimizer(fields) == optimizer({"name": name, **fields})


@pytest.mark.parametrize("lr", [0, -0.1, 0.0, math.nan, math.inf, -math.inf, "0.1", True, None])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_learning_rate_is_a_number_greater_than_zero(name, lr):
    assert problem({"name": name, "lr": lr}).startswith(f"training.optimizer.lr: given {lr!r}, expected ")


@pytest.mark.parametrize(
    ("field", "value"),
    [("beta1", 1.0), ("beta2", -0.1), ("epsilon", 0.0), ("weight_decay", -1.0)],
)
def test_what_is_out_of_range(field, value):
    assert problem({"name": "adamw", field: value}).startswith(f"training.optimizer.{field}: given {value!r}, expected")


def test_nesterov_needs_momentum():
    said = problem({"name": "sgd", "nesterov": True})
    assert said == "training.optimizer: nesterov needs momentum; write momentum: 0.9 or nesterov: false"
    assert optimizer({"name": "sgd", "nesterov": True, "momentum": 0.5}).nesterov


def test_a_field_of_another_optimizer_is_refused():
    said = problem({"name": "adam", "momentum": 0.9})
    assert said.startswith("training.optimizer.momentum: unknown key of 'adam'; ")
    assert "expected one of name, lr, beta1, beta2, epsilon" in said


def test_an_unknown_optimizer_names_the_nearest():
    assert (
        problem("adm") == "training.optimizer.name: given 'adm', did you mean 'adam'? Expected one of adam, sgd, adamw"
    )
