"""The MLP's shape and its first weights."""

import math
from typing import Any

import numpy as np
import pytest
from narrowing import require_type

import lmkit as lk
from lmkit import ConfigError, Experiment
from lmkit.specs.models import CNN, DATA, MLP, PRESETS
from lmkit.specs.signature import Signature


def test_first_weights_are_uniform_draws_of_numpy_and_biases_zero():
    spec = MLP(hidden=[10, 7], activation="relu", initializer="he")
    found = spec.initial_weights(Signature((30,), 1), seed=5)
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
    ("initializer", "activation", "variance"),
    [
        ("he", "relu", 2 / 400),  # He et al., 2015: 2 / fan_in
        ("he", "gelu", 2 / 400),
        ("he", "tanh", 2 / (400 + 300)),  # Glorot and Bengio, 2010: 2 / (fan_in + fan_out)
        ("he", "sigmoid", 2 / (400 + 300)),
        ("glorot", "relu", 2 / (400 + 300)),
        ("lecun", "relu", 1 / 400),  # LeCun et al., 1998
        ("pytorch", "relu", 1 / (3 * 400)),  # kaiming_uniform_ with a = √5
    ],
)
def test_their_variance_is_the_one_of_the_paper(initializer, activation, variance):
    spec = MLP(hidden=[300], activation=activation, initializer=initializer)
    kernel = spec.initial_weights(Signature((400,), 1), seed=1)["dense_0.kernel"]
    assert kernel.var() == pytest.approx(variance, rel=0.02)
    assert abs(kernel.mean()) < 3 * math.sqrt(variance / kernel.size)


def test_biases_are_drawn_only_as_pytorch_does():
    biases = {
        name: MLP(hidden=[300], initializer=name).initial_weights(Signature((400,), 1), seed=1)["dense_0.bias"]
        for name in ("pytorch", "glorot", "lecun", "he")
    }
    assert biases["pytorch"].var() == pytest.approx(1 / (3 * 400), rel=0.2)
    assert not any(biases[name].any() for name in ("glorot", "lecun", "he"))


def test_the_seed_decides():
    first, again, other = (MLP().initial_weights(Signature((4,), 2), seed)["dense_0.kernel"] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any()


def test_no_hidden_layer_makes_it_linear():
    assert {k: v.shape for k, v in MLP(hidden=[]).initial_weights(Signature((5,), 3), 0).items()} == {
        "dense_0.kernel": (5, 3),
        "dense_0.bias": (3,),
    }


def test_the_textbook_preset_is_ten_ten_one():
    model = require_type(Experiment(data="diabetes", model="mlp:textbook").model, MLP)
    assert model.widths(Signature((10,), 1)) == [10, 10, 1]
    assert model.activation == "relu"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_word_a_field_or_a_start(preset):
    named, _, word = preset.partition(":")
    data = DATA.get(preset, DATA[named])
    model = Experiment(data=data, model=preset).model
    assert Experiment(model=preset) == Experiment(data=data, model={"family": named, "preset": word})
    assert Experiment(model={"family": named, "preset": word}).data.source == data
    family: Any = type(model)
    assert model.family == named
    assert model == family(**PRESETS[preset])
    assert Experiment(data=data, model={"family": model.family, "preset": word}).model == model
    if family is MLP:
        assert Experiment(model={"preset": word}).model == model
    changed = Experiment(data=data, model={"family": preset, "dropout": 0.5}).model
    assert changed == family(**PRESETS[preset], dropout=0.5)
    assert Experiment(data=data).override({"model": preset, "dropout": 0.5}).model == changed
    assert Experiment(data=data).override({"model.family": preset}).model == model


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match=r"model: unknown preset 'mlp:texbook'; did you mean 'mlp:textbook'\?"):
        Experiment(model="mlp:texbook")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hidden": [0]}, "model.hidden.0: given 0, expected a number of at least 1"),
        ({"hidden": [10, 2.5]}, "model.hidden.1: given 2.5, expected a whole number"),
        ({"hidden": 10}, "model.hidden: given 10, expected a list"),
        ({"dropout": 1.0}, "model.dropout: given 1.0, expected a number less than 1"),
        ({"activation": "rleu"}, "model.activation: given 'rleu', did you mean 'relu'?"),
        ({"family": "mpl"}, "model.family: given 'mpl', did you mean 'mlp'?"),
        ({"family": "cnn", "kernel": 4}, "model.kernel: given 4, expected an odd number"),
        ({"family": "cnn", "kernel": 0}, "model.kernel: given 0, expected a number of at least 1"),
        ({"family": "cnn", "channels": []}, "model.channels: given "),
        ({"family": "cnn", "chanels": [3]}, "model.chanels: unknown key of 'cnn'; did you mean 'channels'?"),
        ({"family": "cnn", "normalization": "batch"}, "model.normalization: given 'batch', "),
        ({"family": "cnn", "channels": [8, 6], "normalization": "group"}, "model: 4 groups do not divide 6"),
        ({"family": "cnn", "pooling": "min"}, "model.pooling: given 'min', "),
        (3, "model: given 3, expected a mapping"),
        ({"hiden": [3]}, "model.hiden: unknown key of 'mlp'; did you mean 'hidden'?"),
    ],
)
def test_what_is_refused(fields, said):
    with pytest.raises(ConfigError) as caught:
        Experiment(model=fields)
    assert caught.value.problems[0].startswith(said)


@pytest.mark.parametrize("model", ["cnn", "cnn:small", {"family": "cnn", "preset": "residual"}])
def test_an_image_model_on_a_table_is_refused_before_anything_starts(tmp_path, model):
    said = r"model.family: 'cnn' needs images or sequences, and a row of the data is \d+ columns; write model: mlp, or"
    with pytest.raises(ConfigError, match=said):
        Experiment(data="wine", model=model)
    with pytest.raises(ConfigError, match=said):
        Experiment().override({"model": model})
    with pytest.raises(ConfigError, match=said):
        lk.train(data=(np.ones((80, 3)), np.arange(80) % 2), model=model, runs=tmp_path)
    np.savez(tmp_path / "a.npz", X=np.ones((80, 3)), y=np.arange(80) % 2)
    with pytest.raises(ConfigError, match=said):
        lk.train(data=str(tmp_path / "a.npz"), model=model, runs=tmp_path)
    with pytest.raises(ConfigError, match=said):
        lk.train({"data": {"source": "digits", "drop": ["pixel_0_0"]}, "model": model}, runs=tmp_path)
    assert not list(tmp_path.glob("*/experiment.yaml"))


def test_pooling_more_often_than_there_are_places_is_refused():
    with pytest.raises(ConfigError, match=r"model.channels: given 4 blocks that each halve 8 × 8, expected at most 3"):
        Experiment(data="digits", model={"family": "cnn", "channels": [4] * 4})
    assert Experiment(data="digits", model={"family": "cnn", "channels": [4] * 3}).model.layers(
        Signature((8, 8, 1), 10)
    )
    assert Experiment(data="digits", model={"family": "cnn", "channels": [4] * 4, "pooling": "none"})


def test_first_weights_of_a_convolution_count_every_place_of_the_window():
    spec = CNN(channels=[5, 6], residual=True, normalization="group", groups=1, activation="relu", dense=[7])
    found = spec.initial_weights(Signature((8, 8, 2), 3), seed=5)
    draw = np.random.default_rng([5, 0])
    by_hand = {}

    def kernel(name, shape, limit):
        by_hand[f"{name}.kernel"] = draw.uniform(-limit, limit, shape)
        by_hand[f"{name}.bias"] = np.zeros(shape[-1])

    def norm(name, channels):
        by_hand[f"{name}.gamma"], by_hand[f"{name}.beta"] = np.ones(channels), np.zeros(channels)

    kernel("conv_0", (3, 3, 2, 5), math.sqrt(6 / 18))
    norm("norm_0", 5)
    kernel("shortcut_0", (1, 1, 2, 5), math.sqrt(6 / (2 + 5)))
    kernel("conv_1", (3, 3, 5, 6), math.sqrt(6 / 45))
    norm("norm_1", 6)
    kernel("shortcut_1", (1, 1, 5, 6), math.sqrt(6 / (5 + 6)))
    kernel("dense_0", (24, 7), math.sqrt(6 / 24))
    kernel("dense_1", (7, 3), math.sqrt(6 / (7 + 3)))
    assert list(found) == list(by_hand)
    for name, values in by_hand.items():
        assert np.array_equal(found[name], values), name


@pytest.mark.parametrize(
    ("spec", "shape", "expected"),
    [
        (MLP(hidden=[10], normalization="layer"), (30,), 30 * 10 + 10 * 4),
        (CNN(channels=[5], kernel=3), (6, 4, 2), 24 * 9 * 2 * 5 + 6 * 5 * 4),
        (CNN(channels=[5], kernel=3, gather="average", residual=True), (7, 2), 7 * 3 * 2 * 5 + 7 * 2 * 5 + 5 * 4),
    ],
)
def test_multiplications_are_counted_once_a_place(spec, shape, expected):
    assert spec.multiplications(Signature(shape, 4)) == expected
