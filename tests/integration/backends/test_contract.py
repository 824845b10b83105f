"""What every backend owes: one suite, run over each of them, held to plain NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy_mlp as reference
import pytest

import lmkit as lk
from lmkit.backends import Backend, Trainer, get_backend
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.specs.models import MLP
from lmkit.specs.signature import Signature

ROWS, INPUTS, BATCH = 75, 6, 16  # the last batch of an epoch has 11 rows
LOSSES = {"binary_crossentropy": 1, "categorical_crossentropy": 4, "mean_squared_error": 1}
"""Loss → outputs of its model."""


@pytest.fixture(params=["torch", "tensorflow"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return get_backend(request.param)


def part(rows: int, loss: str, precision: str, seed: int) -> Part:
    draw = np.random.default_rng(seed)
    X = draw.normal(size=(rows, INPUTS)).astype(precision)
    if loss == "categorical_crossentropy":
        return Part(X, draw.integers(0, LOSSES[loss], rows))
    y = draw.integers(0, 2, (rows, 1)) if loss == "binary_crossentropy" else draw.normal(size=(rows, 1))
    return Part(X, y.astype(precision))


class Made:
    """A model with a trainer, its data, and the weights it starts with."""

    def __init__(
        self,
        backend: Backend,
        loss: str = "binary_crossentropy",
        *,
        model: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        precision: str = "float64",
        rows: int = ROWS,
        batch: int = BATCH,
        seed: int = 3,
    ) -> None:
        self.experiment = lk.Experiment(
            framework=backend.name,
            seed=seed,
            data={"source": "breast_cancer", "batch_size": batch},
            model={"hidden": [7, 5], **(model or {})},
            training={"precision": precision, **(training or {})},
        )
        self.spec = self.experiment.model
        self.parts = [part(n, loss, precision, seed=10 + i) for i, n in enumerate((rows, 9, 8300))]
        self.weights = self.spec.initial_weights(Signature((INPUTS,), LOSSES[loss]), seed)
        self.model = backend.build(self.spec, Signature((INPUTS,), LOSSES[loss]), precision)
        backend.set_weights(self.model, self.weights)
        first, second, third = self.parts
        data = Dataset(first, second, third, None)  # type: ignore[arg-type]  # the trainer reads arrays alone
        self.trainer: Trainer = backend.trainer(self.model, self.experiment, data, loss)  # type: ignore[arg-type]
        self.order = np.random.default_rng(99).permutation(rows)
        self.batches = [self.order[i : i + batch] for i in range(0, rows, batch)]
        self.trainer.epoch(self.order)


# -- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sigmoid"])
def test_a_seed_draws_the_same_first_weights(activation: str) -> None:
    drawn = MLP(hidden=(7, 5), activation=activation, initializer="he").initial_weights(Signature((INPUTS,), 2), seed=3)
    expected = reference.first_weights([INPUTS, 7, 5, 2], activation, seed=3)
    assert list(drawn) == list(expected)
    assert all(np.array_equal(drawn[k], expected[k]) for k in expected)


def test_first_weights_are_distributed_as_those_of_the_frameworks() -> None:
    """Kernel and bias of a layer, per initializer, beside those that PyTorch and Keras draw."""
    keras, torch = pytest.importorskip("keras"), pytest.importorskip("torch")
    layer = torch.nn.Linear(400, 300)
    expected: dict[str, tuple[Any, Any]] = {"pytorch": (layer.weight.detach().numpy(), layer.bias.detach().numpy())}
    for name, kind in (("glorot", "GlorotUniform"), ("lecun", "LecunUniform"), ("he", "HeUniform")):
        expected[name] = np.asarray(getattr(keras.initializers, kind)(seed=1)((400, 300))), np.zeros(300)
    for name, (kernel, bias) in expected.items():
        spec = MLP(hidden=(300,), initializer=name)  # type: ignore[arg-type]
        drawn = spec.initial_weights(Signature((400,), 1), seed=3)
        for values, reference_values in ((drawn["dense_0.kernel"], kernel), (drawn["dense_0.bias"], bias)):
            at = [0, 0.25, 0.5, 0.75, 1]
            tolerance = 0.02 * np.abs(kernel).max() + 0.25 * np.abs(bias).max()
            np.testing.assert_allclose(np.quantile(values, at), np.quantile(reference_values, at), atol=tolerance)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_weights_make_a_round_trip(backend: Backend, hidden: tuple[int, ...], precision: str) -> None:
    model = backend.build(MLP(hidden=hidden), Signature((INPUTS,), 2), precision)
    draw = np.random.default_rng(0)
    widths = [INPUTS, *hidden, 2]
    given: dict[str, np.ndarray] = {}
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        given |= {f"dense_{i}.kernel": draw.normal(size=(a, b)), f"dense_{i}.bias": draw.normal(size=b)}
    backend.set_weights(model, given)
    taken = backend.weights(model)
    assert sorted(taken) == sorted(given)
    for name, value in given.items():
        assert taken[name].dtype == precision
        assert np.array_equal(taken[name], value.astype(precision))


def test_weights_are_copies(backend: Backend) -> None:
    made = Made(backend)
    before = backend.weights(made.model)
    kept = {k: v.copy() for k, v in before.items()}
    made.trainer.advance(0, np.full(3, 0.1))
    assert all(np.array_equal(before[k], kept[k]) for k in kept)
    after = backend.weights(made.model)
    assert all(not np.array_equal(after[k], kept[k]) for k in kept)


# -- forward and backward -------------------------------------------------------------------------


def test_the_reference_agrees_with_finite_differences() -> None:
    for loss, outputs in LOSSES.items():
        for activation in reference.ACTIVATIONS:
            X, y = part(20, loss, "float64", seed=1)
            weights = reference.first_weights([INPUTS, 5, outputs], activation, seed=1)
            _, found = reference.gradients(weights, X, y, activation, loss)
            for name, place in (("dense_0.kernel", (2, 3)), ("dense_0.bias", (1,)), ("dense_1.kernel", (4, 0))):
                moved = []
                for sign in (1, -1):
                    other = {k: v.copy() for k, v in weights.items()}
                    other[name][place] += sign * 1e-6
                    moved.append(reference.gradients(other, X, y, activation, loss)[0])
                assert found[name][place] == pytest.approx((moved[0] - moved[1]) / 2e-6, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sigmoid"])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_backpropagation(backend: Backend, loss: str, activation: str) -> None:
    made = Made(backend, loss, model={"activation": activation})
    rows = np.array([3, 1, 4, 15, 9, 26, 5])
    X, y = made.parts[0]
    _, expected = reference.gradients(made.weights, X[rows], y[rows], activation, loss)
    found = made.trainer.gradients(rows)
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sigmoid"])
def test_outputs_and_predictions_are_those_of_the_model(backend: Backend, activation: str) -> None:
    made = Made(backend, "categorical_crossentropy", model={"activation": activation, "dropout": 0.5})
    for name, (X, _) in zip(("training", "validation", "test"), made.parts, strict=True):
        expected = reference.forward(made.weights, X, activation)[0]
        np.testing.assert_allclose(made.trainer.outputs(name), expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(backend.predict(made.model, X), expected, rtol=1e-9, atol=1e-12)
    first = made.trainer.outputs("test", 5)
    assert first.shape == (5, 4)
    np.testing.assert_allclose(first, made.trainer.outputs("test")[:5], rtol=1e-12)


def test_losses_of_extreme_logits_stay_finite(backend: Backend) -> None:
    made = Made(backend, "binary_crossentropy", model={"hidden": []})
    weights = {k: np.full_like(v, 1e3) for k, v in made.weights.items()}
    backend.set_weights(made.model, weights)
    X, y = made.parts[0]
    z = reference.forward(weights, X, "relu")[0]
    # log(1 + e^z) is z itself where e^z has no double
    expected = [np.mean(np.logaddexp(0, z[rows]) - y[rows] * z[rows]) for rows in made.batches[:1]]
    assert np.abs(z).max() > 1000
    np.testing.assert_allclose(made.trainer.advance(0, np.array([1e-9])).loss, expected, rtol=1e-12)


# -- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_every_step_tells_its_loss_before_its_update(backend: Backend, loss: str) -> None:
    made = Made(backend, loss, training={"optimizer": {"name": "sgd", "momentum": 0.0}})
    rates = np.array([0.1, 0.2, 0.05, 0.1, 0.3])
    steps = made.trainer.advance(0, rates)
    losses, norms, weights = reference.train(
        made.weights,
        *made.parts[0],
        batches=made.batches,
        rates=rates.tolist(),
        activation="relu",
        loss=loss,
        rule={"name": "sgd", "momentum": 0.0, "nesterov": False},
    )
    assert len(made.batches[-1]) < BATCH
    np.testing.assert_allclose(steps.loss, losses, rtol=1e-11)
    assert np.isnan(steps.gradient_norm[:-1]).all()
    assert steps.gradient_norm[-1] == pytest.approx(norms[-1], rel=1e-9)
    for name, value in backend.weights(made.model).items():
        np.testing.assert_allclose(value, weights[name], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("wish", [{"clip_norm": 0.05}, {"gradient_norm": 1e-9}])
def test_every_step_tells_its_gradient_norm_where_that_is_needed(backend: Backend, wish: dict[str, float]) -> None:
    made = Made(backend, training={**wish, "optimizer": {"name": "sgd", "momentum": 0.0}})
    steps = made.trainer.advance(0, np.full(5, 0.1))
    _, norms, _ = reference.train(
        made.weights,
        *made.parts[0],
        batches=made.batches,
        rates=[0.1] * 5,
        activation="relu",
        loss="binary_crossentropy",
        rule={"name": "sgd", "momentum": 0.0, "nesterov": False},
        clip_norm=wish.get("clip_norm"),
    )
    assert norms.min() > 0.05
    np.testing.assert_allclose(steps.gradient_norm, norms, rtol=1e-9)


def test_steps_do_not_depend_on_how_many_are_asked_for_at_once(backend: Backend) -> None:
    rates = np.linspace(0.001, 0.01, 700)  # more than one call of any backend takes
    told = []
    for pieces in ([700], [1, 4, 16, 600, 79]):
        made = Made(backend, model={"dropout": 0.3}, training={"optimizer": "adam"}, rows=700, batch=1)
        first, losses = 0, []
        for n in pieces:
            losses.append(made.trainer.advance(first, rates[first : first + n]).loss)
            first += n
        told.append((np.concatenate(losses), backend.weights(made.model)))
    assert len(told[0][0]) == 700
    np.testing.assert_array_equal(told[0][0], told[1][0])
    assert all(np.array_equal(told[0][1][k], told[1][1][k]) for k in told[0][1])


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_run_records_every_step(framework: str) -> None:
    run = lk.train(data="wine", framework=framework, epochs=12, batch_size=7, inline=True)
    per_epoch = -(-106 // 7)  # 178 rows, of which 36 test and 36 validate
    assert run.state == "completed"
    assert run.steps["step"].tolist() == list(range(1, 12 * per_epoch + 1))
    assert np.isfinite(run.steps["loss"]).all()
    assert run.history["epoch"].tolist() == list(range(1, 13))
    sizes = [7] * (per_epoch - 1) + [106 - 7 * (per_epoch - 1)]
    for epoch, loss in zip(run.history["epoch"], run.history["loss"], strict=True):
        own = run.steps["loss"][int(epoch - 1) * per_epoch : int(epoch) * per_epoch]
        assert loss == pytest.approx(np.average(own, weights=sizes), rel=1e-12)


# -- state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer",
    [{"name": "sgd", "momentum": 0.9, "nesterov": True}, {"name": "adamw"}],
    ids=["nesterov", "adamw"],
)
def test_a_trainer_goes_on_bitwise_from_its_state(backend: Backend, optimizer: dict[str, Any]) -> None:
    setting: dict[str, Any] = {"model": {"dropout": 0.4}, "training": {"optimizer": optimizer}, "precision": "float32"}
    rates = np.full(3, 0.01)
    whole = Made(backend, **setting)
    whole.trainer.advance(0, rates[:2])
    weights, state = backend.weights(whole.model), whole.trainer.state()
    kept = {k: v.copy() for k, v in state.items()}
    expected = whole.trainer.advance(2, rates).loss
    assert all(isinstance(v, np.ndarray) and np.array_equal(v, kept[k]) for k, v in state.items())

    again = Made(backend, **setting)
    again.trainer.advance(0, np.full(5, 0.5))  # somewhere else altogether
    backend.set_weights(again.model, weights)
    again.trainer.restore(state)
    np.testing.assert_array_equal(again.trainer.advance(2, rates).loss, expected)
    for name, value in backend.weights(whole.model).items():
        np.testing.assert_array_equal(backend.weights(again.model)[name], value)

    fresh = Made(backend, **setting)  # weights alone are not enough
    backend.set_weights(fresh.model, weights)
    assert not np.array_equal(fresh.trainer.advance(2, rates).loss, expected)


# -- dropout --------------------------------------------------------------------------------------


def test_dropout_zeroes_its_share_scales_the_rest_and_is_off_for_predictions(backend: Backend) -> None:
    made = Made(backend, "mean_squared_error", model={"hidden": [1000], "dropout": 0.5}, rows=640, batch=64)
    ones = {  # every hidden activation is 1, and the output is their mean
        "dense_0.kernel": np.zeros((INPUTS, 1000)),
        "dense_0.bias": np.ones(1000),
        "dense_1.kernel": np.full((1000, 1), 1e-3),
        "dense_1.bias": np.zeros(1),
    }
    backend.set_weights(made.model, ones)
    X, y = made.parts[0]
    losses = made.trainer.advance(0, np.full(10, 1e-15)).loss
    # with half of them 0 and the others 2 it has mean 1 and variance (0.5/0.5)/1000: E(ŷ−y)² = (1−y)² + 1/1000
    extra = losses - [np.mean((1 - y[rows]) ** 2) for rows in made.batches]
    assert np.mean(extra) == pytest.approx(1e-3, abs=6 * np.sqrt(4 * np.mean((1 - y) ** 2) / 1000 / 640))
    assert len(set(extra)) == 10  # every step draws anew
    np.testing.assert_allclose(made.trainer.outputs("validation"), 1, rtol=1e-9)
    np.testing.assert_allclose(backend.predict(made.model, X), 1, rtol=1e-9)


def test_dropout_follows_the_seed(backend: Backend) -> None:
    def losses(seed: int) -> list[float]:
        made = Made(backend, model={"dropout": 0.5}, seed=seed)
        backend.set_weights(made.model, MLP(hidden=(7, 5)).initial_weights(Signature((INPUTS,), 1), seed=0))
        return made.trainer.advance(0, np.full(5, 0.01)).loss.tolist()

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


# -- the record -----------------------------------------------------------------------------------


def test_the_environment_names_the_framework_and_the_device(backend: Backend) -> None:
    told = backend.environment()
    assert told[backend.name].split(".")[0].isdigit()
    assert told["device"] in ("cpu", "cuda", "cuda:0")
    assert told["threads"] >= 1
