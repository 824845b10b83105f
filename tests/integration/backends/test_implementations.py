"""What the schema offers exists in every framework: one that is known to the schema alone fails here."""

from __future__ import annotations

import importlib
import typing
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

import lmkit as lk
from lmkit.backends import Steps, get_backend
from lmkit.backends.facts import FRAMEWORKS, RULES
from lmkit.backends.implementations import NotImplementedHere
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.specs.base import Spec
from lmkit.specs.losses import LOSSES
from lmkit.specs.models import CNN, GCN, MLP, Transformer
from lmkit.specs.models.base import Activation
from lmkit.specs.signature import Graph, Signature

TABLE, IMAGE, TEXT = Signature((6,), 3), Signature((8, 8, 1), 10), Signature((6,), 11, "language", 11)
NODES = Signature((5,), 3, graph=Graph(np.ones((4, 5)), np.array([[0, 1, 2], [1, 2, 3]])))


def specifications(annotation: Any) -> set[type[Spec]]:
    """The classes of specifications in a field's annotation."""
    if isinstance(annotation, type):
        return {annotation} if issubclass(annotation, Spec) else set()
    return {spec for part in typing.get_args(annotation) for spec in specifications(part)}


def field_types(spec: type[Spec], field: str) -> set[type[Spec]]:
    """The classes of specifications that a field takes."""
    return specifications(typing.get_type_hints(spec, include_extras=True)[field])


OPTIMIZERS = field_types(type(lk.Experiment().training), "optimizer")
SCHEDULES = field_types(type(lk.Experiment().training), "schedule")
FAMILIES = field_types(lk.Experiment, "model")
ACTIVATIONS = typing.get_args(Activation)

MODELS: list[tuple[Any, Signature]] = [
    *(
        (MLP(hidden=(4, 4), activation=a, normalization="layer", dropout=0.1, residual=True), TABLE)
        for a in ACTIVATIONS
    ),
    *((CNN(channels=(4,), pooling=p, dropout=0.1), IMAGE) for p in ("max", "average")),
    (CNN(channels=(4,), gather="average", normalization="layer"), IMAGE),
    (CNN(channels=(4,), residual=True, normalization="group", groups=2), IMAGE),
    (GCN(hidden=(4, 4), residual=True, normalization="layer", dropout=0.1), NODES),
    (GCN(hidden=(4,), weighting="attention", heads=2), NODES),
    (Transformer(depth=1, width=8, heads=2, dropout=0.1), TEXT),
    (Transformer(depth=1, width=8, heads=2, activation="swiglu", normalization="rms", positions="rotary"), TEXT),
    (Transformer(depth=1, width=8, heads=2, patch=2), IMAGE),
]
"""Models that together have every kind of layer."""


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    get_backend(request.param)
    return str(request.param)


def module(framework: str, name: str) -> Any:
    return importlib.import_module(f"{FRAMEWORKS[framework]}.{name}")


def test_every_optimizer(framework: str) -> None:
    assert len(OPTIMIZERS) >= 3
    assert set(module(framework, "optimizers").optimizers.types()) == OPTIMIZERS


class Unheard(lk.Experiment().training.optimizer.__class__):  # type: ignore[misc]
    """An optimizer of the schema alone, even where it derives from one that is implemented."""

    name: Literal["unheard"] = "unheard"


def test_an_optimizer_of_the_schema_alone_is_refused(framework: str) -> None:
    with pytest.raises(NotImplementedHere, match="has no optimizer Unheard; expected one of Adam, AdamW, SGD"):
        module(framework, "optimizers").build_optimizer(Unheard(), {})


def test_every_family(framework: str) -> None:
    assert len(FAMILIES) >= 5
    assert set(module(framework, "models").FAMILIES.types()) == FAMILIES


def test_a_family_of_the_schema_alone_is_refused(framework: str) -> None:
    class Known(MLP):
        """Derives from a family that is implemented."""

    arguments = [Known(), TABLE, *(["float32"] if framework == "tensorflow" else [])]
    with pytest.raises(NotImplementedHere, match="has no model family Known"):
        module(framework, "models").build(*arguments)


def test_every_loss(framework: str) -> None:
    losses = module(framework, "losses")
    assert set(losses.LOSSES) == set(LOSSES)
    targets = [np.zeros((2, 1))] if framework == "torch" else []
    with pytest.raises(NotImplementedHere, match="has no loss 'huber'; expected one of"):
        losses.get_loss("huber", *targets)


def test_every_schedule() -> None:
    assert len(SCHEDULES) >= 3
    for schedule in SCHEDULES:
        factors = schedule().factors(np.arange(7), 3, 7)  # type: ignore[attr-defined]
        assert factors.shape == (7,)
        assert (factors >= 0).all()
        assert (factors <= 1).all()


@pytest.mark.parametrize(("spec", "signature"), MODELS, ids=lambda value: type(value).__name__)
def test_every_layer(framework: str, spec: Any, signature: Signature) -> None:
    layers = spec.layers(signature)
    assert {layer.kind for layer in layers} - {"graph convolution", "graph attention"} <= set(RULES[framework])
    backend = get_backend(framework)
    model = backend.build(spec, signature, "float32")
    expected = {f"{layer.name}.{name}": shape for layer in layers for name, shape in layer.weights.items()}
    assert {name: values.shape for name, values in backend.weights(model).items()} == expected
    if isinstance(spec, Transformer):
        assert {layer.kind for layer in layers} - {"add"} <= set(module(framework, "models.layers").LAYERS.names())


def test_frozen_weights_are_weights_that_training_leaves_alone(framework: str) -> None:
    draw = np.random.default_rng(0)
    part = Part(draw.normal(size=(20, 6)).astype("float32"), draw.integers(0, 3, 20))
    experiment = lk.Experiment(framework=framework, model={"hidden": [4]}, training={"optimizer": "adam"})
    backend = get_backend(framework)
    model = backend.build(experiment.model, TABLE, "float32")
    backend.set_weights(model, experiment.model.initial_weights(TABLE, 0))
    if framework == "torch":
        model.get_submodule("dense_0").requires_grad_(False)
    else:
        model.get_layer("dense_0").trainable = False
    before = backend.weights(model)
    assert {"dense_0.kernel", "dense_0.bias", "dense_1.kernel", "dense_1.bias"} == set(before)
    assert backend.learned(model) == {"dense_1.kernel", "dense_1.bias"}
    data = Dataset(part, part, part, preprocessing=None)  # type: ignore[arg-type]
    trainer = backend.trainer(model, experiment, data, "categorical_crossentropy")
    assert set(trainer.gradients(np.arange(5))) == {"dense_1.kernel", "dense_1.bias"}
    trainer.epoch(np.arange(20))
    steps = trainer.advance(0, np.full(1, 0.1))
    assert steps.count.tolist() == [20]
    assert not any("dense_0" in name for name in trainer.state())
    after = backend.weights(model)
    assert all(np.array_equal(before[name], after[name]) == ("dense_0" in name) for name in before)
    backend.set_weights(model, before)
    assert all(np.array_equal(before[name], values) for name, values in backend.weights(model).items())


def test_named_columns_of_steps_are_recorded(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = type(get_backend(framework)).trainer

    def with_columns(self: Any, *args: Any, **keywords: Any) -> Any:
        instance = trainer(self, *args, **keywords)
        advance = instance.advance

        def one(first: int, rates: np.ndarray) -> Steps:
            steps = advance(first, rates)
            return replace(steps, columns={"dense_0/mean": 2 * steps.loss})

        instance.advance = one  # type: ignore[method-assign]  # an implementation that measures more
        return instance

    monkeypatch.setattr(type(get_backend(framework)), "trainer", with_columns)
    run = lk.train(data="wine", model={"hidden": [4]}, epochs=2, framework=framework, inline=True)
    assert run.state == "completed", run.status.reason
    assert run.steps.columns.tolist() == ["step", "loss", "lr", "gradient_norm", "dense_0/mean"]
    np.testing.assert_array_equal(run.steps["dense_0/mean"], 2 * run.steps["loss"])
