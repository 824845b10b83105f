"""Anyone's own model, loss and metrics, in both frameworks; in this process, so that nothing but they are looked at."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.backends.tensorflow.trainer import TensorFlowTrainer
from lmkit.backends.torch.models.custom import CustomModel
from lmkit.backends.torch.trainer import TorchTrainer
from lmkit.data.dataset import batch_order
from lmkit.data.preparation import prepare
from lmkit.exceptions import ConfigError
from lmkit.runfolder.commands import Resume
from lmkit.specs.models import Custom
from lmkit.specs.signature import Signature
from lmkit.training import fit
from lmkit.training.train import train

FRAMEWORKS = ["torch", "tensorflow"]
WINE = {  # 106 rows to train on: three batches of 32, and one of 10
    "data": "wine",
    "seed": 3,
    "training": {"optimizer": {"name": "sgd", "momentum": 0.9}, "early_stopping": None},
}


class Net(nn.Module):
    """With all that a checkpoint must hold: running statistics, and draws."""

    def __init__(self, features: int, outputs: int, width: int = 8, dropout: float = 0.3) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(features, width), nn.Linear(width, outputs)
        self.norm, self.drop = nn.BatchNorm1d(width), nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(torch.relu(self.norm(self.first(x)))))


def functional(features: int, outputs: int, width: int = 8, dropout: float = 0.3) -> keras.Model:
    L = keras.layers
    x = inputs = keras.Input((features,))
    x = L.Dropout(dropout)(L.Activation("relu")(L.BatchNormalization()(L.Dense(width)(x))))
    return keras.Model(inputs, L.Dense(outputs)(x))


def sequential(outputs: int, width: int = 8) -> keras.Model:
    L = keras.layers
    return keras.Sequential([L.Dense(width), L.BatchNormalization(), L.ReLU(), L.Dropout(0.3), L.Dense(outputs)])


class Subclassed(keras.Model):
    def __init__(self, outputs: int, width: int = 8) -> None:
        super().__init__()
        self.inner, self.last = keras.Sequential([keras.layers.Dense(width, "relu")]), keras.layers.Dense(outputs)
        self.norm, self.drop = keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.last(self.drop(self.norm(self.inner(x))))


BUILDERS: dict[str, tuple[str, Any]] = {
    "module": ("torch", Net),
    "functional": ("tensorflow", functional),
    "sequential": ("tensorflow", sequential),
    "subclassed": ("tensorflow", Subclassed),
}
FOR = {"torch": Net, "tensorflow": functional}


def trained(model: Any, framework: str = "torch", **changes: Any) -> lk.Run:
    """A run trained here and now."""
    return lk.train(WINE, model=model, framework=framework, inline=True, **{"checkpoint_seconds": 1e6, **changes})


def problem(**given: Any) -> str:
    """What is wrong with it, said before anything starts."""
    before = list(Path("runs").glob("2*"))
    with pytest.raises(ConfigError) as caught:
        lk.train(**{**WINE, **given})
    assert list(Path("runs").glob("2*")) == before
    return "\n".join(caught.value.problems)


def reason(run: lk.Run) -> str:
    """Why it failed."""
    assert run.state == "failed"
    return run.status.reason


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the run stopped before that many steps are done, one step at a time."""

    def install(step: int) -> None:
        counter = itertools.count()
        for trainer in (TorchTrainer, TensorFlowTrainer):

            def one(self: Any, first: int, rates: np.ndarray, advance: Any = trainer.advance) -> Any:
                if next(counter) == step:
                    lk.attach().stop()
                return advance(self, first, rates[:1])

            monkeypatch.setattr(trainer, "advance", one)
        monkeypatch.setattr(fit, "CHUNK_SECONDS", 0.0)

    return install


def go_on(run: lk.Run) -> lk.Run:
    """Takes a run up again, here."""
    run.folder.send(Resume())
    train(run.folder)
    return lk.attach(run.name)


# -- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_model_of_ones_own_learns_and_is_given_back_as_it_is(kind: str) -> None:
    framework, build = BUILDERS[kind]
    run = trained(functools.partial(build, width=16), framework, epochs=20, lr=0.05)
    assert run.state == "completed", run.status.reason
    assert run.history["loss"].iloc[-1] < 0.5 * run.history["loss"].iloc[0]
    assert run.metrics["accuracy"] > 0.85
    assert run.experiment.model.model_dump()["arguments"] == {"width": 16}
    assert isinstance(run.model, nn.Module if framework == "torch" else keras.Model)
    assert not isinstance(run.model, CustomModel)

    data = prepare(run.experiment.data, 3, "float32")
    X = data.test.X
    if framework == "torch":
        with torch.no_grad():
            expected = run.model.eval()(torch.as_tensor(X)).numpy()
    else:
        expected = run.model(X, training=False).numpy()
    np.testing.assert_array_equal(run.predictions["prediction"], expected.argmax(1))
    raw = _raw(data, X)
    np.testing.assert_array_equal(run.predict(raw), expected.argmax(1))


def _raw(data: Any, X: np.ndarray) -> np.ndarray:
    """Prepared rows as they came."""
    fits = data.preprocessing.numbers.values()
    return X * np.array([f["scale"] for f in fits]) + np.array([f["shift"] for f in fits])


def test_its_curve_is_that_of_a_loop_written_by_hand_in_pytorch() -> None:
    run = trained(functools.partial(Net, dropout=0.2), epochs=3, lr=0.05)
    data = prepare(run.experiment.data, 3, "float32")
    X, y = torch.as_tensor(data.training.X), torch.as_tensor(data.training.y)
    torch.manual_seed(3)
    model = Net(13, 3, dropout=0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    torch.manual_seed(3)
    losses = []
    for epoch in range(3):
        order = batch_order(3, epoch, len(X))
        for i in range(0, len(X), 32):
            rows = order[i : i + 32]
            loss = nn.functional.cross_entropy(model(X[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            outside = nn.functional.cross_entropy(
                model(torch.as_tensor(data.validation.X)), torch.as_tensor(data.validation.y)
            )
        model.train()
        assert run.history["val_loss"][epoch] == pytest.approx(outside.item(), rel=1e-5)
    np.testing.assert_allclose(run.steps["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(run.model.norm.running_var, model.norm.running_var, rtol=1e-5)
    assert run.model.norm.num_batches_tracked == 12


def test_its_curve_is_that_of_a_loop_written_by_hand_in_keras() -> None:
    run = trained(functools.partial(functional, dropout=0.0), "tensorflow", epochs=3, lr=0.05)
    data = prepare(run.experiment.data, 3, "float32")
    X, y = data.training
    keras.utils.set_random_seed(3)
    model = functional(13, 3, dropout=0.0)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = []
    for epoch in range(3):
        order = batch_order(3, epoch, len(X))
        for i in range(0, len(X), 32):
            rows = order[i : i + 32]
            with tf.GradientTape() as tape:
                loss = loss_of(y[rows], model(X[rows], training=True))
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
            losses.append(float(loss))
    # the last batch of an epoch has 10 rows, over which alone the normalization is taken
    np.testing.assert_allclose(run.steps["loss"], losses, rtol=2e-4)
    moving = [v.numpy() for v in model.non_trainable_variables if v.name.startswith("moving")]
    kept = [v.numpy() for v in run.model.non_trainable_variables if v.name.startswith("moving")]
    np.testing.assert_allclose(kept[1], moving[1], rtol=1e-3)


@pytest.mark.parametrize("kind", ["module", "subclassed"])
def test_a_resumed_run_is_bitwise_the_same(kind: str, stop_at: Callable[[int], None]) -> None:
    framework, build = BUILDERS[kind]
    settings = {"epochs": 3, "optimizer": "adam", "lr": 0.01}
    whole = trained(build, framework, **settings)
    stop_at(6)
    part = trained(build, framework, **settings)
    assert (part.state, part.status.step) == ("stopped", 7)
    again = go_on(part)
    assert again.state == "completed", again.status.reason
    np.testing.assert_array_equal(again.steps["loss"], whole.steps["loss"])
    a, b = (run.folder.load_checkpoint("last") for run in (whole, again))
    assert a is not None
    assert b is not None
    for left, right in zip(a[:2], b[:2], strict=True):
        assert sorted(left) == sorted(right)
        for name, value in left.items():
            np.testing.assert_array_equal(value, right[name], err_msg=name)
    if framework == "torch":
        assert {"first.weight", "norm.running_mean", "norm.num_batches_tracked"} <= set(a[0])
    else:
        assert sum("moving" in name for name in a[0]) == 2
        assert sum("seed" in name for name in a[0]) == 1


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_seed_decides_the_first_weights(framework: str) -> None:
    first = [trained(FOR[framework], framework, seed=seed, steps=1).steps["loss"][0] for seed in (3, 3, 4)]
    assert first[0] == first[1] != first[2]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_weights_of_the_best_epoch_come_back_whole(framework: str) -> None:
    run = trained(FOR[framework], framework, epochs=40, lr=0.5, **{"training.early_stopping": {"patience": 2}})
    best = cast(int, run.history["val_loss"].idxmin())
    assert best < len(run.history) - 1
    data = prepare(run.experiment.data, 3, "float32")
    z = (
        run.model.eval()(torch.as_tensor(data.validation.X)).detach().numpy()
        if framework == "torch"
        else run.model(data.validation.X, training=False).numpy()
    )
    loss = np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), data.validation.y])
    assert loss == pytest.approx(run.history["val_loss"][best], rel=1e-4)


def test_rows_come_in_their_own_shape() -> None:
    seen = []

    class Seen(nn.Module):
        def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
            super().__init__()
            self.inner = nn.Linear(int(np.prod(shape)), outputs)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape))
            return self.inner(x.flatten(1))

    run = trained(Seen, data="digits", steps=2)
    assert run.state == "completed", run.status.reason
    assert {shape[1:] for shape in seen} == {(8, 8, 1)}
    images = np.zeros((5, 8, 8))
    assert run.predict(images).shape == (5,)


def test_rows_of_an_image_come_in_their_own_shape_to_keras_too() -> None:
    def convolutional(shape: tuple[int, ...], outputs: int) -> keras.Model:
        L = keras.layers
        return keras.Sequential([keras.Input(shape), L.Conv2D(4, 3), L.Flatten(), L.Dense(outputs)])

    run = trained(convolutional, "tensorflow", data="digits", epochs=2)
    assert run.state == "completed", run.status.reason
    assert run.model.input_shape == (None, 8, 8, 1)
    assert run.metrics["accuracy"] > 0.5


class Answer(nn.Module):
    def __init__(self, wrap: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(x[:, :1])


class Output:
    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


@pytest.mark.parametrize("wrap", [Output, lambda z: {"logits": z}, lambda z: (z, None), lambda z: z[:, 0], lambda z: z])
def test_logits_are_taken_out_of_what_a_model_gives(wrap: Callable[[torch.Tensor], Any]) -> None:
    rows = torch.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(CustomModel(Answer(wrap), (3,))(rows), [[0], [3], [6], [9]])


def test_frozen_unused_and_shared_weights() -> None:
    class Odd(nn.Module):
        def __init__(self, features: int, outputs: int) -> None:
            super().__init__()
            self.frozen, self.unused = nn.Linear(features, 4), nn.Linear(2, 2)
            self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, outputs)
            self.frozen.requires_grad_(False)
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(torch.tanh(self.b(torch.tanh(self.a(self.frozen(x))))))

    run = trained(Odd, epochs=3, optimizer={"name": "adamw", "weight_decay": 0.0}, lr=0.01)
    assert run.state == "completed", run.status.reason
    torch.manual_seed(3)
    first, last = Odd(13, 3), run.model
    for layer in ("frozen", "unused"):
        assert torch.equal(getattr(first, layer).weight, getattr(last, layer).weight)
    assert not torch.equal(first.a.weight, last.a.weight)
    assert last.b.weight is last.a.weight
    weights, memory, _ = run.folder.load_checkpoint("last")  # type: ignore[misc]
    assert "a.weight" in weights
    assert "b.weight" not in weights
    assert not any(name.startswith("frozen") for name in memory)


def test_what_layers_of_keras_add_to_the_loss_is_minimized_too() -> None:
    def penalized(features: int, outputs: int) -> keras.Model:
        dense = keras.layers.Dense(outputs, kernel_regularizer=keras.regularizers.L2(0.5), kernel_initializer="ones")
        return keras.Sequential([keras.Input((features,)), dense])

    run = trained(penalized, "tensorflow", steps=1)
    # equal logits for every class, so log 3, and half the sum of 13 · 3 squares of one
    assert run.steps["loss"][0] == pytest.approx(np.log(3) + 0.5 * 39, rel=1e-6)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_it_trains_in_double_precision(framework: str) -> None:
    run = trained(FOR[framework], framework, steps=3, precision="float64")
    assert run.state == "completed", run.status.reason
    weights = run.folder.load_checkpoint("last")[0]  # type: ignore[index]
    assert {v.dtype for k, v in weights.items() if "seed" not in k and "tracked" not in k} == {np.dtype("float64")}


def test_a_mapping_and_a_path_say_the_arguments_too() -> None:
    for given in (
        {"model": {"builder": Net, "arguments": {"width": 5}}},
        {"model": Net, "model.arguments": {"width": 5}},
        {"model": functools.partial(functools.partial(Net, width=4), width=5)},
        {"model": functools.partial(Net, 13, 3, 5)},
    ):
        run = lk.train(WINE, inline=True, steps=1, **given)
        assert run.state == "completed", run.status.reason
        assert run.model.first.weight.shape == (5, 13)


# -- what cannot be built -------------------------------------------------------------------------


def test_arguments_are_held_against_the_signature_before_anything_starts() -> None:
    def build(depth: int, outputs: int, width: int = 2) -> nn.Module:
        return nn.Linear(depth, outputs)

    assert problem(model=build) == (
        "model.arguments: build needs 'depth'; use model: {arguments: {depth: …}}, or in Python "
        "model=functools.partial(build, depth=…)"
    )
    told = problem(model={"builder": build, "arguments": {"depth": 1, "widht": 3}})
    assert told.startswith(
        "model.arguments: build has no parameter 'widht'; did you mean 'width'? Expected one of depth, outputs, "
    )
    assert "build has no parameter 'widht'" in problem(model=functools.partial(build, 1, widht=3))  # type: ignore[call-arg]  # a misspelt argument
    assert "not a valid JSON value" in problem(model=functools.partial(build, depth=np.arange(3).sum))


def test_a_model_that_is_built_already_is_refused() -> None:
    told = problem(model=nn.Linear(13, 3))
    assert told.startswith("model: given an instance of Linear, expected a function or class that builds it")
    assert "def build(): return Linear(…)" in told
    assert "given an instance of Functional" in problem(model=functional(13, 3), framework="tensorflow")


def raises() -> nn.Module:
    values: list[int] = []
    return nn.Linear(values[7], 3)


def forgets() -> None:
    nn.Linear(13, 3)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (
            raises,
            "model.builder: raises raised IndexError: list index out of range (line {} of raises: "
            "return nn.Linear(values[7], 3))",
        ),
        (forgets, "model.builder: forgets returned None (is its return missing?), expected a {}"),
        (dict, "model.builder: dict returned a dict, expected a {}"),
    ],
)
def test_a_builder_that_raises_or_returns_no_model(framework: str, build: Any, expected: str) -> None:
    told = reason(trained(build, framework))
    line = raises.__code__.co_firstlineno + 2
    filled = line if "line {}" in expected else {"torch": "torch.nn.Module", "tensorflow": "keras.Model"}[framework]
    assert expected.format(filled) in told


def test_a_model_of_the_other_framework() -> None:
    assert (
        "model.builder: functional built a keras.Model, and the framework is 'torch', which trains a torch.nn.Module; "
        "use framework: tensorflow"
    ) in reason(trained(functional))
    assert "built a torch.nn.Module, and the framework is 'tensorflow'" in reason(trained(Net, "tensorflow"))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_model_that_does_not_suit_the_data(framework: str) -> None:
    def outputs() -> Any:
        return nn.Linear(13, 2) if framework == "torch" else keras.Sequential([keras.layers.Dense(2)])

    def inputs() -> Any:
        twelve = keras.Sequential([keras.Input((12,)), keras.layers.Dense(3)])
        return nn.Linear(12, 3) if framework == "torch" else twelve

    def frozen() -> Any:
        model: Any = FOR[framework](13, 3)
        if framework == "torch":
            return model.requires_grad_(False)
        model.trainable = False
        return model

    assert (
        "model.builder: the model of outputs returns (rows, 2) for rows (rows, 13), expected (rows, 3): a logit for "
        "each of 3 classes; outputs gets it as the parameter 'outputs'"
    ) in reason(trained(outputs, framework))
    assert "model.builder: the model of inputs takes no rows (2, 13): " in reason(trained(inputs, framework))
    assert "to learn" in reason(trained(frozen, framework))


def test_a_graph_has_edges_that_it_would_not_see() -> None:
    with pytest.raises(ConfigError, match="the data is the nodes of a graph; write model: gcn"):
        Custom(builder="a:b").check(Signature((3,), 2, graph=object()))  # type: ignore[arg-type]


# -- losses and metrics ---------------------------------------------------------------------------


def huber(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.huber_loss(outputs, targets)


def rowwise(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.huber_loss(outputs, targets, reduction="none")[:, 0]


def keras_huber(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(keras.losses.huber(y_true, y_pred))


@pytest.mark.parametrize(
    ("framework", "loss", "model"),
    [
        ("torch", huber, "own"),
        ("torch", rowwise, "mlp"),
        ("torch", nn.HuberLoss, "own"),
        ("torch", nn.HuberLoss(reduction="mean"), "mlp"),
        ("tensorflow", keras_huber, "mlp"),
        ("tensorflow", keras.losses.Huber(), "own"),
        ("tensorflow", keras.losses.huber, "mlp"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__),
)
def test_a_loss_of_ones_own_is_what_is_minimized(framework: str, loss: Any, model: str) -> None:
    def linear() -> Any:
        return nn.Linear(10, 1) if framework == "torch" else keras.Sequential([keras.layers.Dense(1)])

    given = {"model": linear} if model == "own" else {"model": {"family": "mlp", "hidden": []}}
    run = lk.train(
        framework=framework,
        loss=loss,
        epochs=4,
        seed=5,
        inline=True,
        **{"data.source": "diabetes", "data.batch_size": 60},
        **given,
    )
    assert run.state == "completed", run.status.reason
    data = prepare(run.experiment.data, 5, "float32")
    for part, told in ((data.validation, run.history["val_loss"].iloc[-1]), (data.test, run.metrics["loss"])):
        if framework == "torch":
            z = run.model(torch.as_tensor(part.X)).detach().numpy()
        else:
            z = run.model(part.X, training=False).numpy()
        off = np.abs(z - part.y)
        expected = np.where(off <= 1, off**2 / 2, off - 0.5).mean()
        assert told == pytest.approx(expected, rel=1e-5)
    assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]


@pytest.mark.parametrize(
    ("framework", "loss", "expected"),
    [
        ("torch", lambda z, y: torch.tensor(1.0), "the loss does not depend on"),
        ("tensorflow", lambda y, z: tf.constant(1.0), "the loss does not depend on"),
        ("torch", lambda z, y: z.T, "returned (3, 32) for 32 rows, expected a scalar, or a value a row"),
        ("tensorflow", lambda y, z: tf.transpose(z), "returned (3, 32) for 32 rows, expected a scalar"),
        ("torch", lambda z, y: 1.0, "returned a float, expected a tensor"),
        ("tensorflow", lambda y, z: 1.0, "returned a float, expected a tensor"),
        ("torch", lambda z, y: z.nix, "training.loss: lambda raised AttributeError"),
        ("tensorflow", lambda y, z: z.nix, "training.loss: lambda raised AttributeError"),
        ("torch", lambda z, y: z.mean() / 0 - z.mean() / 0, "the loss is nan at step 1"),
        ("tensorflow", lambda y, z: tf.reduce_mean(z) * float("nan"), "the loss is nan at step 1"),
    ],
)
def test_a_loss_that_cannot_be_minimized(framework: str, loss: Any, expected: str) -> None:
    assert expected in reason(trained(FOR[framework], framework, loss=loss))


def share_of_zeros(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return float(np.mean(y_pred == 0))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_metrics_of_ones_own_are_told_beside_the_others(framework: str) -> None:
    run = trained(FOR[framework], framework, epochs=2, metrics=[balanced_accuracy_score, share_of_zeros])
    assert run.experiment.training.metrics[0] == "sklearn.metrics._classification:balanced_accuracy_score"
    said = run.predictions
    assert run.metrics["balanced_accuracy_score"] == balanced_accuracy_score(said["target"], said["prediction"])
    assert run.metrics["share_of_zeros"] == (said["prediction"] == 0).mean()
    assert {"share_of_zeros", "val_share_of_zeros"} <= set(run.history.columns)


def test_a_metric_cannot_take_the_name_of_another_or_raise() -> None:
    def accuracy(y_true: Any, y_pred: Any) -> float:
        return 1.0

    assert "'accuracy' is already the name of a metric" in problem(metrics=[accuracy])
    assert "'share_of_zeros' is already the name" in problem(metrics=[share_of_zeros, share_of_zeros])

    def broken(y_true: Any, y_pred: Any) -> float:
        return dict[str, float]()["key"]

    run = trained(Net, metrics=broken)
    assert "training.metrics: broken raised KeyError: 'key'" in reason(run)
    assert run.status.step == 0  # found before the first epoch is over


# -- what cannot be sent --------------------------------------------------------------------------


def test_what_has_an_open_file_or_a_lock_says_which(here: Path) -> None:
    lock = threading.Lock()

    def locked() -> nn.Module:
        with lock:
            return nn.Linear(13, 3)

    with (here / "log").open("w") as log:

        def writes() -> nn.Module:
            print("building", file=log)
            return nn.Linear(13, 3)

        told = problem(model=writes)
        assert told.startswith("model.builder: writes cannot be sent to the worker: 'log' in it is a TextIOWrapper (")
        assert "create it inside writes, or put writes into a module and import it from there" in told
        assert told.endswith("or train in this process: inline=True")
        assert trained(writes, steps=1).state == "completed"
    assert "'lock' in it is a lock" in problem(model=locked)
    assert trained(locked, steps=1).state == "completed"
    assert not list((here / "runs" / ".data").glob("*"))


def test_a_gigabyte_is_not_copied_silently(here: Path) -> None:
    weights = np.zeros(2**27)

    def build(scale: float = 1.0) -> nn.Module:
        layer = nn.Linear(13, 3)
        layer.bias.data += float(weights[0]) * scale
        return layer

    told = problem(model=build)
    assert told.startswith("model.builder: build captures 'weights', 1.07 GB, which is not copied silently; pass it ")
    assert "inline=True" in told
    assert not list((here / "runs" / ".data").glob("*"))
    assert trained(build, steps=1).state == "completed"


def test_what_was_held_here_is_gone_with_this_process() -> None:
    experiment = lk.Experiment(**WINE, model={"builder": "held:build-0123456789ab"})
    run = lk.train(experiment, inline=True)
    assert "build existed only in the process that trained inline, which has ended; pass it again" in reason(run)


def test_what_is_not_there_is_said_before_anything_starts(here: Path) -> None:
    (here / "shapes_of_mine.py").write_text("def build():\n    pass\nwidth = 3\n")
    (here / "broken_of_mine.py").write_text("import json\nwidth = json.nix\n")
    for builder, expected in (
        ("nowhere:build", f"no module 'nowhere'; the current folder is {str(here)!r}"),
        ("shapes_of_mine:biuld", "shapes_of_mine has no 'biuld'; did you mean 'build'?"),
        ("shapes_of_mine:width", "shapes_of_mine:width is a int, expected a function or a class"),
        ("broken_of_mine:build", "broken_of_mine cannot be imported: AttributeError"),
    ):
        assert expected in problem(model={"builder": builder})


# -- the magic ------------------------------------------------------------------------------------


def test_a_cell_takes_what_the_notebook_holds() -> None:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "lmkit")
    shell.user_ns |= {
        "Net": Net,
        "share": share_of_zeros,
        "loss": nn.CrossEntropyLoss(),
        "X": np.random.rand(60, 4),
        "y": np.arange(60) % 3,
    }
    cell = (
        "data: {source: '{(X, y)}', batch_size: 10}\nmodel: {builder: $Net, arguments: {width: 4}}\n"
        "training: {epochs: 2, loss: $loss, metrics: [$share]}"
    ).replace("'{(X, y)}'", "{(X, y)}")
    run = shell.run_cell_magic("lmkit", "train --inline", cell)
    assert run.state == "completed", run.status.reason
    assert run.model.first.weight.shape == (4, 4)
    assert "val_share_of_zeros" in run.history
    cell = "data: {training: {[(X, y)]}}\nmodel: {Net}\ntraining: {epochs: 1}"
    run = shell.run_cell_magic("lmkit", "train --inline", cell)
    assert run.state == "completed", run.status.reason
    assert (run.experiment.data.kind, run.status.step) == ("loader", 1)


# -- elsewhere ------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_model_of_ones_own_does_not_move_to_the_other_framework(framework: str) -> None:
    run = trained(FOR[framework], framework, steps=1)
    other = FRAMEWORKS[framework == "torch"]
    with pytest.raises(
        ConfigError, match=rf"is written for {framework}, and cannot be converted; write it for {other}"
    ):
        lk.convert(run, to=other)


def test_the_form_opens_on_it() -> None:
    run = trained(functools.partial(Net, width=4), steps=1, loss=nn.CrossEntropyLoss(), metrics=[share_of_zeros])
    form = lk.configure(run)
    assert form.experiment == run.experiment
    assert isinstance(run.experiment.model, Custom)
    assert form.form.field("model.builder").control.value == run.experiment.model.builder
    assert form.form.field("model.arguments").control.value == '{"width": 4}'
    assert form.form.field("training.loss").control.value == run.experiment.training.loss
    form.form.field("model.arguments").control.value = "{width: 5}"
    assert isinstance(form.experiment.model, Custom)
    assert form.experiment.model.arguments == {"width": 5}


def test_the_tables_and_the_list_of_runs_tell_of_it() -> None:
    run = trained(functools.partial(Net, width=4), steps=5, metrics=[share_of_zeros])
    assert "Net" in lk.tables.summary(run).text
    assert "share_of_zeros" in lk.tables.metrics(run).text
    assert lk.runs()["model"][0] == "own"
    assert run.name.split("-", 2)[-1].startswith("wine-own-")


def test_its_text_is_kept_with_the_run() -> None:
    run = trained(Net, steps=1, metrics=[share_of_zeros])
    text = (run.path / "own.py").read_text()
    assert "class Net(nn.Module):" in text
    assert text.count("def forward") == 1
    assert "return float(np.mean(y_pred == 0))" in text


def test_two_builds_of_the_same_seed_are_equal_under_every_policy_of_keras() -> None:
    before = keras.config.dtype_policy().name
    backend = get_backend("tensorflow")
    backend.seed(1)
    from lmkit.custom import objects

    reference = objects.to_reference(functional, "model.builder", inline=True)
    backend.build(Custom(builder=reference), Signature((4,), 2), "float64")
    assert keras.config.dtype_policy().name == before
