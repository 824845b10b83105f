"""The MLP's shape and its first weights."""

import math

import numpy as np
import pytest

from lmkit import ConfigError, Experiment
from lmkit.specs.models import MLP, PRESETS


def test_first_weights_are_uniform_draws_of_numpy_and_biases_zero():
    found = MLP(hidden=[10, 7], activation="relu").initial_weights((30,), 1, seed=5)
    draw = np.random.default_rng([5, 0])
    he = [math.sqrt(6 / 30), math.sqrt(6 / 10)]
    glorot = math.sqrt(6 / (7 + 1))  # the output has no activation
    by_hand = {
        "dense_0.kernel": draw.uniform(-he[0], he[0], (30, 10)),
        "dense_0.bias": np.zeros(10),
        "dense_1.kernel": draw.uniform(-he[1], he[1], (10, 7)),
        "dense_1.bias": np.zeros(7),
        "dense_2.kernel": draw.uniform(-glorot, glorot, (7, 1)),
        "dense_2.bias": np.zeros(1),
    }
    assert list(found) == list(by_hand)
    for name, values in by_hand.items():
        assert found[name].dtype == np.float64
        assert np.array_equal(found[name], values), name


@pytest.mark.parametrize(
    ("activation", "variance"),
    [
        ("relu", 2 / 400),  # He et al., 2015: 2 / fan_in
        ("gelu", 2 / 400),
        ("tanh", 2 / (400 + 300)),  # Glorot and Bengio, 2010: 2 / (fan_in + fan_out)
        ("sigmoid", 2 / (400 + 300)),
    ],
)
def test_their_variance_is_the_one_of_the_paper(activation, variance):
    kernel = MLP(hidden=[300], activation=activation).initial_weights((400,), 1, seed=1)["dense_0.kernel"]
    assert kernel.var() == pytest.approx(variance, rel=0.02)
    assert abs(kernel.mean()) < 3 * math.sqrt(variance / kernel.size)


def test_the_seed_decides():
    first, again, other = (MLP().initial_weights((4,), 2, seed)["dense_0.kernel"] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any()


def test_no_hidden_layer_makes_it_linear():
    assert {k: v.shape for k, v in MLP(hidden=[]).initial_weights((5,), 3, 0).items()} == {
        "dense_0.kernel": (5, 3),
        "dense_0.bias": (3,),
    }


def test_the_textbook_preset_is_ten_ten_one():
    model = Experiment(data="diabetes", model="mlp:textbook").model
    assert model.widths((10,), 1) == [10, 10, 1]
    assert model.activation == "relu"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_word_a_field_or_a_start(preset):
    _, _, word = preset.partition(":")
    model = Experiment(model=preset).model
    assert model == MLP(**PRESETS[preset])
    assert Experiment(model={"family": "mlp", "preset": word}).model == model
    assert Experiment(model={"preset": word}).model == model
    changed = Experiment(model={"family": preset, "dropout": 0.5}).model
    assert (changed.hidden, changed.dropout) == (model.hidden, 0.5)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match=r"model: unknown preset 'mlp:texbook'; did you mean 'mlp:textbook'\?"):
        Experiment(model="mlp:texbook")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hidden": [0]}, "model.hidden.0: given 0, expected greater than or equal to 1"),
        ({"hidden": [10, 2.5]}, "model.hidden.1: given 2.5, expected a valid integer"),
        ({"hidden": 10}, "model.hidden: given 10, expected a list"),
        ({"dropout": 1.0}, "model.dropout: given 1.0, expected less than 1"),
        ({"activation": "rleu"}, "model.activation: given 'rleu', did you mean 'relu'?"),
        ({"family": "mpl"}, "model.family: given 'mpl', did you mean 'mlp'?"),
        ({"hiden": [3]}, "model.hiden: unknown key; did you mean 'hidden'?"),
    ],
)
def test_what_is_refused(fields, said):
    with pytest.raises(ConfigError) as caught:
        Experiment(model=fields)
    assert caught.value.problems[0].startswith(said)
