"""What every family owes in every backend: outputs and slopes of the definition, the same curve, a state to resume."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy_graph
import numpy_models as reference
import pytest
from numpy_transformer import transformer

import lmkit as lk
from lmkit.backends import Backend, get_backend
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.specs.signature import Graph, Signature

IMAGE, SEQUENCE = (5, 6, 2), (9, 3)
FAMILIES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "mlp": ((30,), {"family": "mlp", "hidden": [7, 5], "activation": "tanh"}),
    "mlp residual": (
        (30,),
        {"family": "mlp", "hidden": [6, 6, 6, 4], "residual": True, "normalization": "layer", "activation": "gelu"},
    ),
    "cnn": (IMAGE, {"family": "cnn", "channels": [4, 3], "dense": [5], "activation": "relu"}),
    "cnn sequence": (
        SEQUENCE,
        {
            "family": "cnn",
            "channels": [4, 6],
            "kernel": 5,
            "normalization": "layer",
            "pooling": "average",
            "activation": "tanh",
        },
    ),
    "cnn residual": (
        IMAGE,
        {
            "family": "cnn",
            "channels": [4, 4],
            "convolutions": 2,
            "residual": True,
            "normalization": "group",
            "groups": 2,
            "pooling": "none",
            "gather": "average",
            "activation": "gelu",
        },
    ),
    "cnn residual sequence": (
        SEQUENCE,
        {
            "family": "cnn",
            "channels": [4, 8],
            "residual": True,
            "normalization": "group",
            "gather": "average",
            "activation": "sigmoid",
        },
    ),
    "transformer": ((4, 6, 2), {"family": "transformer", "depth": 1, "width": 12, "heads": 3, "patch": 2}),
    "transformer sequence": (
        SEQUENCE,
        {
            "family": "transformer",
            "depth": 1,
            "width": 8,
            "heads": 2,
            "patch": 3,
            "positions": "rotary",
            "bias": False,
            "feedforward": 10,
        },
    ),
    "language": ((7,), {"family": "transformer", "depth": 1, "width": 12, "heads": 3, "context": 9}),
    "language rotary": (
        (7,),
        {
            "family": "transformer",
            "depth": 2,
            "width": 16,
            "heads": 4,
            "kv_heads": 2,
            "activation": "swiglu",
            "feedforward": 14,
            "normalization": "rms",
            "positions": "rotary",
            "bias": False,
            "tied": False,
        },
    ),
    "graph": ((5,), {"family": "gcn", "hidden": [6], "activation": "tanh"}),
    "graph residual": (
        (5,),
        {"family": "gcn", "hidden": [6, 6], "residual": True, "normalization": "layer", "activation": "gelu"},
    ),
    "graph attention": (
        (5,),
        {
            "family": "gcn",
            "weighting": "attention",
            "hidden": [6, 6],
            "heads": 3,
            "residual": True,
            "normalization": "layer",
            "activation": "relu",
        },
    ),
}
ROWS, BATCH, OUTPUTS, VOCABULARY = 44, 8, 3, 11
NODES = ROWS + 10


def signature(family: str) -> Signature:
    shape = FAMILIES[family][0]
    if family.startswith("language"):
        return Signature(shape, VOCABULARY, "language", VOCABULARY)
    if family.startswith("graph"):
        return Signature(shape, OUTPUTS, graph=_graph())
    return Signature(shape, OUTPUTS)


@pytest.fixture(params=["torch", "tensorflow"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return get_backend(request.param)


class Made:
    """A model of a family with a trainer, its data, and the weights it starts with."""

    def __init__(self, backend: Backend, family: str, precision: str = "float64", **changes: Any) -> None:
        shape, model = FAMILIES[family]
        training = {"precision": precision, "optimizer": changes.pop("optimizer", "sgd")}
        training["compile"] = changes.pop("compile", "off")
        experiment = lk.Experiment(
            framework=backend.name,
            data={"source": "a.npz", "batch_size": BATCH},
            model={**model, **changes},
            training=training,
        )
        draw = np.random.default_rng(8)
        self.spec = experiment.model
        self.shape, self.signature = shape, signature(family)
        if self.signature.task == "language":
            self.parts = [Part(*_texts(draw, n, *shape)) for n in (ROWS, 5, 5)]
        elif self.signature.graph:
            nodes = draw.permutation(NODES)[:, None]
            self.parts = [Part(x, x[:, 0] % OUTPUTS) for x in np.split(nodes, [ROWS, ROWS + 5])]
        else:
            X = [draw.normal(size=(n, int(np.prod(shape)))).astype(precision) for n in (ROWS, 5, 5)]
            self.parts = [Part(x, draw.integers(0, OUTPUTS, len(x))) for x in X]
        # biases, gammas and betas too are something else than where they start
        self.weights = {
            k: v + 0.1 * draw.normal(size=v.shape) for k, v in self.spec.initial_weights(self.signature, 3).items()
        }
        self.model = backend.build(self.spec, self.signature, precision)
        backend.set_weights(self.model, self.weights)
        first, second, third = self.parts
        data = Dataset(first, second, third, None)  # type: ignore[arg-type]  # the trainer reads arrays alone
        self.trainer = backend.trainer(self.model, experiment, data, "categorical_crossentropy")
        self.trainer.epoch(np.random.default_rng(9).permutation(ROWS))

    def reference(self, weights: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
        fields = self.spec.model_dump()
        if self.spec.family == "mlp":
            return reference.mlp(weights, X, fields)
        if self.spec.family == "transformer":
            return transformer(weights, X, fields, self.shape, self.signature.task == "language")
        if self.signature.graph:
            graph = self.signature.graph
            A = numpy_graph.adjacency(graph.edges, NODES)
            return numpy_graph.gcn(weights, graph.features, A, fields)[X[:, 0]]
        return reference.cnn(weights, X, fields, self.shape)


def _graph() -> Graph:
    """Nodes of three kinds, joined mostly within one; one that nothing joins."""
    draw = np.random.default_rng(4)
    kinds = np.arange(NODES) % OUTPUTS
    joined = draw.random((NODES, NODES)) < np.where(kinds[:, None] == kinds, 0.2, 0.02)
    joined[:, 7] = joined[7] = False
    A = np.triu(joined, 1)
    features = draw.normal(size=(NODES, 5)) + 0.5 * np.eye(5)[kinds]
    return Graph(features, np.stack(np.nonzero(A | A.T)))


def _texts(draw: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts in which a token often says what comes next, and what comes next."""
    tokens = np.empty((rows, length + 1), np.int32)
    tokens[:, 0] = draw.integers(0, VOCABULARY, rows)
    for t in range(length):
        guess = (3 * tokens[:, t] + 1) % VOCABULARY
        tokens[:, t + 1] = np.where(draw.random(rows) < 0.8, guess, draw.integers(0, VOCABULARY, rows))
    return tokens[:, :-1].copy(), tokens[:, 1:].copy()


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_make_a_round_trip_under_their_names(backend: Backend, family: str) -> None:
    made = Made(backend, family)
    taken = backend.weights(made.model)
    assert sorted(taken) == sorted(made.weights)
    for name, value in made.weights.items():
        np.testing.assert_array_equal(taken[name], value)
        assert taken[name].flags.c_contiguous


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_those_of_the_definition(backend: Backend, family: str) -> None:
    made = Made(backend, family, dropout=0.3)
    X = made.parts[2].X
    for found, rows in ((made.trainer.outputs("training"), made.parts[0].X), (backend.predict(made.model, X), X)):
        expected = made.reference(made.weights, rows)
        assert np.ptp(expected) > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_the_slopes_of_the_loss(backend: Backend, family: str) -> None:
    made = Made(backend, family)
    rows = np.array([3, 1, 4, 15])
    X, y = made.parts[0].X[rows], made.parts[0].y[rows]

    def loss(weights: dict[str, np.ndarray]) -> float:
        z = made.reference(weights, X)
        chosen = np.take_along_axis(z, y[..., None].astype(int), -1)[..., 0]
        return float(np.mean(np.log(np.exp(z).sum(-1)) - chosen))

    found = made.trainer.gradients(rows)
    assert sorted(found) == sorted(made.weights)
    draw = np.random.default_rng(2)
    for name, value in made.weights.items():
        gradient = found[name]
        assert gradient is not None
        assert gradient.shape == value.shape
        direction = draw.normal(size=value.shape)
        expected = reference.slope(loss, made.weights, name, direction)
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_frameworks_follow_the_same_curve(family: str) -> None:
    told = []
    for framework, compiled in (("torch", "off"), ("tensorflow", "off"), ("tensorflow", "on")):
        if compiled == "on" and family not in ("cnn", "language rotary", "graph attention"):
            continue  # compiling costs seconds
        made = Made(get_backend(framework), family, optimizer={"name": "sgd", "momentum": 0.9}, compile=compiled)
        losses: list[float] = []
        for _ in range(5):
            losses += made.trainer.advance(0, np.full(6, 0.05)).loss.tolist()
        told.append(losses)
    assert len(told[0]) == 30
    assert np.mean(told[0][-6:]) < 0.9 * np.mean(told[0][:6])
    for other in told[1:]:
        np.testing.assert_allclose(other, told[0], rtol=1e-9)


@pytest.mark.parametrize("family", ["mlp residual", "cnn", "language", "graph attention"])
def test_a_trainer_goes_on_bitwise_from_its_state(backend: Backend, family: str) -> None:
    def made() -> Made:
        return Made(backend, family, "float32", dropout=0.4, optimizer="adam")

    rates = np.full(3, 0.01)
    whole = made()
    whole.trainer.advance(0, rates[:2])
    weights, state = backend.weights(whole.model), whole.trainer.state()
    expected = whole.trainer.advance(2, rates).loss

    again = made()
    again.trainer.advance(0, np.full(5, 0.5))
    backend.set_weights(again.model, weights)
    again.trainer.restore(state)
    np.testing.assert_array_equal(again.trainer.advance(2, rates).loss, expected)
    for name, value in backend.weights(whole.model).items():
        np.testing.assert_array_equal(backend.weights(again.model)[name], value)
