"""Pruning takes out what it says, keeps the model's answers to what is left, and trains that on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques import NotApplicable, prune
from lmkit.deploy.techniques.base import find
from lmkit.deploy.techniques.prune import compressed_bytes, magnitude_mask
from lmkit.deploy.trained_model import TrainedModel
from lmkit.exceptions import LmkitError
from lmkit.specs.models import CNN, GCN, MLP, ModelSpec, Transformer, Weights
from lmkit.specs.models.base import Units, pruned_widths, resized
from lmkit.specs.models.pruning import importance, prune_units
from lmkit.specs.signature import Graph, Signature
from lmkit.training import finetune

TABLE, IMAGE, SEQUENCE = Signature((7,), 3), Signature((6, 4, 3), 3), Signature((8, 2), 1, "binary")
TEXT = Signature((6,), 11, "language", 11)
EDGES = np.array([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
NODES = Signature((7,), 3, graph=Graph(np.random.default_rng(5).normal(size=(6, 7)), EDGES))
FRAMEWORKS = ("torch", "tensorflow")

CASES: dict[str, tuple[ModelSpec, Signature]] = {
    "mlp": (MLP(hidden=(8, 6)), TABLE),
    "mlp, residual": (MLP(hidden=(8, 8, 6, 6), residual=True, activation="tanh"), TABLE),
    "cnn, flattened": (CNN(channels=(4, 6), dense=(5,)), IMAGE),
    "cnn, averaged": (CNN(channels=(4, 6), convolutions=2, gather="average", pooling="average"), IMAGE),
    "cnn, residual": (CNN(channels=(6, 6, 8), convolutions=2, residual=True, pooling="none"), IMAGE),
    "cnn, residual, as deep as the rows": (
        CNN(channels=(3, 6, 6), convolutions=2, residual=True, kernel=1, pooling="none"),
        IMAGE,
    ),
    "cnn, sequence": (CNN(channels=(4, 8), activation="gelu", dense=(6, 4)), SEQUENCE),
    "gcn": (GCN(hidden=(8, 6)), NODES),
    "gcn, residual": (GCN(hidden=(8, 8), residual=True, activation="tanh"), NODES),
    "gcn, attention": (GCN(hidden=(8, 8, 6), weighting="attention", heads=2, residual=True), NODES),
    "transformer": (Transformer(depth=2, width=8, heads=2, patch=2), IMAGE),
    "transformer, shared keys": (
        Transformer(depth=2, width=12, heads=6, kv_heads=3, positions="rotary", bias=False),
        TEXT,
    ),
    "transformer, one key": (Transformer(depth=1, width=8, heads=4, kv_heads=1, head_size=6), TEXT),
    "transformer, a key each": (Transformer(depth=1, width=8, heads=4, kv_heads=4), TEXT),
    "transformer, swiglu": (Transformer(depth=2, width=8, heads=2, feedforward=10, activation="swiglu"), TEXT),
}


def some_weights(spec: ModelSpec, signature: Signature) -> Weights:
    """Weights of which none is zero, so that a mistake anywhere shows."""
    draw = np.random.default_rng(3)
    return {name: draw.normal(size=v.shape) * 0.5 for name, v in spec.initial_weights(signature, 0).items()}


def outputs(framework: str, spec: ModelSpec, signature: Signature, weights: Weights) -> np.ndarray:
    backend = get_backend(framework)
    model = backend.build(spec, signature, "float64")
    backend.set_weights(model, weights)
    draw = np.random.default_rng(4)
    if signature.graph:
        return backend.predict(model, np.arange(len(signature.graph.features))[:, None])
    if signature.vocabulary:
        return backend.predict(model, draw.integers(0, signature.vocabulary, (5, signature.features)))
    return backend.predict(model, draw.normal(size=(5, signature.features)))


def silenced(weights: Weights, units: Units, removed: np.ndarray) -> Weights:
    """Weights of the same shapes where nothing reads the removed units, attention to neighbours neither."""
    found = {name: values.copy() for name, values in weights.items()}
    for piece in units.producers:
        if piece.weight.endswith((".sender", ".receiver")):
            found[piece.weight].reshape(-1)[removed] = 0
    for name, axis, rounds, size in units.consumers:
        assert axis is not None
        whole = np.moveaxis(found[name], axis, 0)
        for r in range(rounds):
            for unit in removed:
                first = (r * units.width + unit) * size
                whole[first : first + size] = 0
    return found


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("case", CASES)
def test_what_is_left_answers_like_the_whole_with_its_units_silenced(case: str, framework: str) -> None:
    spec, signature = CASES[case]
    weights = some_weights(spec, signature)
    found = prune_units(spec, signature, weights, 0.5)
    whole = weights
    for units, removed in zip(spec.units(signature), found.removed, strict=True):
        assert 0 < len(removed) < units.width
        whole = silenced(whole, units, removed)
    expected = {name: v.shape for name, v in found.spec.initial_weights(signature, 0).items()}
    assert {name: v.shape for name, v in found.weights.items()} == expected
    assert [layer.name for layer in found.spec.layers(signature)] == [layer.name for layer in spec.layers(signature)]
    small = outputs(framework, found.spec, signature, found.weights)
    np.testing.assert_allclose(small, outputs(framework, spec, signature, whole), rtol=1e-10, atol=1e-10)
    assert np.abs(small - outputs(framework, spec, signature, weights)).max() > 1e-3


def test_what_matters_least_goes() -> None:
    """By hand: the product of the norms of a unit's column, with its bias, and of its row in the next layer."""
    spec = MLP(hidden=(6, 4))
    weights = some_weights(spec, TABLE)
    found = prune_units(spec, TABLE, weights, 0.5)
    into = np.vstack([weights["dense_0.kernel"], weights["dense_0.bias"]])
    score = np.linalg.norm(into, axis=0) * np.linalg.norm(weights["dense_1.kernel"], axis=1)
    np.testing.assert_allclose(importance(spec.units(TABLE)[0], weights), score, rtol=1e-12)
    first = np.sort(np.argsort(score)[3:])
    into = np.vstack([weights["dense_1.kernel"], weights["dense_1.bias"]])
    score = np.linalg.norm(into, axis=0) * np.linalg.norm(weights["dense_2.kernel"], axis=1)
    second = np.sort(np.argsort(score)[2:])
    assert found.spec == MLP(hidden=(3, 2))
    np.testing.assert_array_equal(found.weights["dense_1.kernel"], weights["dense_1.kernel"][np.ix_(first, second)])
    np.testing.assert_array_equal(found.weights["dense_2.kernel"], weights["dense_2.kernel"][second])
    np.testing.assert_array_equal(found.weights["dense_0.bias"], weights["dense_0.bias"][first])


def test_a_relu_unit_that_is_rescaled_matters_as_much() -> None:
    spec = MLP(hidden=(6,))
    weights = some_weights(spec, TABLE)
    before = importance(spec.units(TABLE)[0], weights)
    scales = np.array([1, 10, 0.1, 1, 5, 1])
    weights["dense_0.kernel"] *= scales
    weights["dense_0.bias"] *= scales
    weights["dense_1.kernel"] /= scales[:, None]
    np.testing.assert_allclose(importance(spec.units(TABLE)[0], weights), before, rtol=1e-12)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_the_groups_of_a_normalization_lose_equally_many(share: float) -> None:
    spec = CNN(channels=(8, 8, 16), convolutions=2, residual=True, normalization="group", groups=4, pooling="none")
    found = prune_units(spec, IMAGE, some_weights(spec, IMAGE), share)
    kept: tuple[int, ...] = {0.3: (4, 4, 12), 0.5: (4, 4, 8), 0.7: (4, 4, 8)}[share]
    kept = tuple(4 * max(1, round((1 - share) * width / 4)) for width in (8, 8, 16))
    assert isinstance(found.spec, CNN)
    if kept[0] != kept[2]:
        assert found.spec.channels == kept
    assert all(c % 4 == 0 for c in found.spec.channels)
    for units, removed in zip(spec.units(IMAGE), found.removed, strict=True):
        assert len(set(np.bincount(removed // (units.width // 4), minlength=4))) == 1
    assert np.isfinite(outputs("torch", found.spec, IMAGE, found.weights)).all()


def test_skips_and_shortcuts_neither_come_nor_go() -> None:
    def kept(spec: ModelSpec, signature: Signature, share: float) -> ModelSpec:
        return resized(spec, pruned_widths(spec, signature, spec.units(signature), share))

    near = MLP(hidden=(10, 9, 9, 10), residual=True)
    assert kept(near, TABLE, 0.5) == MLP(hidden=(5, 4, 4, 5), residual=True)
    assert kept(near, TABLE, 0.95) == MLP(hidden=(2, 1, 1, 2), residual=True)
    assert kept(MLP(hidden=(10, 9)), TABLE, 0.95) == MLP(hidden=(1, 1))
    rows = CNN(channels=(6, 7), residual=True, pooling="none")  # half of 6 are as many as the rows have
    assert kept(rows, IMAGE, 0.5) == CNN(channels=(4, 5), residual=True, pooling="none")
    tied = CNN(channels=(3, 6), convolutions=2, residual=True, pooling="none")
    assert {field for units in tied.units(IMAGE) for field in units.fields} == {"channels.1"}


def test_some_families_have_no_units_to_take() -> None:
    assert GCN(hidden=()).units(Signature((4,), 2)) == []
    assert MLP(hidden=()).units(TABLE) == []


def test_the_smaller_half_of_all_weights_is_masked() -> None:
    draw = np.random.default_rng(0)
    weights = {
        "a.kernel": draw.normal(size=(5, 7)),
        "a.bias": draw.normal(size=7),
        "b.kernel": draw.normal(size=(7, 2)),
    }
    mask = magnitude_mask(weights, 0.5)
    assert mask.keys() == {"a.kernel", "b.kernel"}
    everything = np.concatenate([np.abs(weights[name]).ravel() for name in mask])
    middle = np.sort(everything)[len(everything) // 2]
    for name, stays in mask.items():
        np.testing.assert_array_equal(stays, np.abs(weights[name]) >= middle)


# -- of a run -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def briefly() -> Iterator[None]:
    """What is pruned is trained on for some steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "MIN_STEPS", 300)
        patch.setattr(prune, "MIN_STEPS", 300)
        yield


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedModel]:
    """Trained runs, one a framework and family."""
    runs = tmp_path_factory.mktemp("runs")
    made = {}
    for framework, model in (("torch", "mlp:small"), ("tensorflow", "mlp:small"), ("torch", "cnn:small")):
        run = lk.train(data="digits", model=model, framework=framework, epochs=10, runs=runs, inline=True)
        assert run.state == "completed"
        made[f"{framework} {model}"] = TrainedModel(run)
    return made


def accuracy(subject: TrainedModel) -> float:
    logits = subject.backend.predict(subject.model, subject.data.test.X)
    return float(np.mean(logits.argmax(axis=1) == subject.data.test.y))


@pytest.mark.parametrize("name", ["torch mlp:small", "tensorflow mlp:small", "torch cnn:small"])
def test_it_is_smaller_and_nearly_as_good(name: str, subjects: dict[str, TrainedModel], tmp_path: Path) -> None:
    subject = subjects[name]
    pruned = subject.then(find("prune-50"))
    before = prune_units(subject.spec, subject.signature, subject.weights, 0.5)
    assert pruned.spec == before.spec
    assert {n: v.shape for n, v in pruned.weights.items()} == {n: v.shape for n, v in before.weights.items()}
    assert accuracy(pruned) > accuracy(subject) - 0.04
    assert pruned.recipe["units_asked"] == 0.5
    removed = 1 - sum(v.size for v in pruned.weights.values()) / sum(v.size for v in subject.weights.values())
    assert pruned.recipe["parameters_removed"] == pytest.approx(removed, abs=1e-4)
    assert removed > 0.5
    for field, width in pruned.recipe["widths_before"].items():
        assert pruned.recipe["widths_after"][field] == width / 2
    assert 0 < pruned.recipe["best_epoch"] <= pruned.recipe["epochs"] <= 30
    for technique in ("baseline", "prune-50"):
        (tmp_path / technique).mkdir()
    whole, small = (
        find(t).make(subject, tmp_path / t).write(tmp_path / t).size(tmp_path / t) for t in ("baseline", "prune-50")
    )
    assert small < 0.55 * whole
    found = Artifact.read(tmp_path / "prune-50")
    assert found.recipe == {"technique": "prune-50", **pruned.recipe}
    X = subject.data.test.X
    logits = load(tmp_path / "prune-50", found, 1).predict(X)
    np.testing.assert_allclose(logits, pruned.backend.predict(pruned.model, X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["torch mlp:small", "tensorflow mlp:small"])
def test_the_share_of_zeros_stays_exact(name: str, subjects: dict[str, TrainedModel]) -> None:
    subject = subjects[name]
    pruned = subject.then(find("prune-unstructured-50"))
    mask = magnitude_mask(subject.weights, 0.5)
    for weight, stays in mask.items():
        assert not pruned.weights[weight][~stays].any()
    zeros = sum(int((pruned.weights[n] == 0).sum()) for n in mask)
    assert zeros == round(0.5 * sum(v.size for v in mask.values()))
    assert pruned.recipe["weights_removed"] == pytest.approx(0.5, abs=1e-4)
    assert accuracy(pruned) > accuracy(subject) - 0.03
    assert pruned.recipe["compressed_bytes_before"] == compressed_bytes(subject.weights)
    assert pruned.recipe["compressed_bytes"] < 0.75 * compressed_bytes(subject.weights)
    assert any(np.any(pruned.weights[n] != subject.weights[n] * mask[n]) for n in mask)  # it was trained on


def test_frameworks_prune_and_train_on_alike(subjects: dict[str, TrainedModel]) -> None:
    one, other = (subjects[f"{framework} mlp:small"].then(find("prune-50")) for framework in FRAMEWORKS)
    assert one.recipe == other.recipe
    for name, values in one.weights.items():
        np.testing.assert_allclose(values, other.weights[name], rtol=0.02, atol=2e-3)


def test_it_is_the_same_again(subjects: dict[str, TrainedModel]) -> None:
    run = subjects["torch mlp:small"].run
    one, other = (TrainedModel(run).then(find("prune-70")) for _ in range(2))
    for name, values in one.weights.items():
        np.testing.assert_array_equal(values, other.weights[name])


def test_a_pruned_model_can_be_exported_and_quantized(subjects: dict[str, TrainedModel], tmp_path: Path) -> None:
    subject = subjects["torch mlp:small"]
    pruned = subject.then(find("prune-50"))
    X = subject.data.test.X
    expected = pruned.backend.predict(pruned.model, X)
    for name, tolerance in (("prune-50+onnx", 1e-5), ("prune-50+onnx-int8-dynamic", 0.2)):
        (tmp_path / name).mkdir()
        technique = find(name)
        assert technique.group == "prune"
        made = technique.make(subject, tmp_path / name).write(tmp_path / name)
        assert made.recipe["technique"] == name
        assert made.recipe["of"] == pruned.recipe
        logits = load(tmp_path / name, made, 1).predict(X)
        assert np.abs(logits - expected).max() <= tolerance * np.abs(expected).max()
        assert np.abs(logits - subject.backend.predict(subject.model, X)).max() > 0.1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("prun-50", r"given 'prun-50', did you mean 'prune-50'"),
        ("prune-50+onx", r"given 'onx', did you mean 'onnx'"),
        ("onnx+prune-50", r"onnx does not produce a model for prune-50; expected before the \+: .*prune-30"),
    ],
)
def test_a_technique_that_there_is_not(name: str, told: str) -> None:
    with pytest.raises(LmkitError, match=told):
        find(name)


draw = np.random.default_rng(6)


@pytest.mark.parametrize(
    ("model", "name", "told"),
    [
        ({"family": "mlp", "hidden": []}, "prune-50", "this mlp has no hidden layer whose units could be removed"),
        ({"family": "mlp", "hidden": [1]}, "prune-50", r"none of hidden\.0 \(1\) can lose 50%"),
        (
            {"family": "cnn", "channels": [4], "normalization": "group", "groups": 4},
            "prune-30",
            r"none of channels\.0 \(4\) can lose 30% and keep at least one unit of each group: nothing would change",
        ),
    ],
)
def test_why_it_cannot_be_pruned(model: dict[str, Any], name: str, told: str) -> None:
    X = draw.normal(size=(60, 6, 5, 2) if model["family"] == "cnn" else (60, 4))
    run = lk.train(data=(X, np.arange(60) % 2), model=model, epochs=1, inline=True)
    assert run.state == "completed", run.status.reason
    with pytest.raises(NotApplicable, match=told):
        TrainedModel(run).then(find(name))


class Joined(nn.Module):
    """With a skip, so that two layers must lose the same units, and running statistics."""

    def __init__(self, features: int, outputs: int, width: int = 12) -> None:
        super().__init__()
        self.first, self.inside, self.last = (
            nn.Linear(features, width),
            nn.Linear(width, width),
            nn.Linear(width, outputs),
        )
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return self.last(x + torch.relu(self.inside(x)))


class Fixed(nn.Module):
    """Its code counts on the width that it was built with."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(features, 12), nn.Linear(12, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x).reshape(-1, 3, 4).softmax(1).reshape(-1, 12))


class Attending(nn.Module):
    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(features // 2, 16), nn.Linear(16, outputs)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x.unflatten(1, (2, -1)))
        return self.last((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


def own_run(model: Any, framework: str = "torch") -> TrainedModel:
    X = draw.normal(size=(120, 6))
    return TrainedModel(lk.train(data=(X, X[:, 0] > 0), model=model, framework=framework, epochs=2, inline=True))


@pytest.mark.parametrize("model", [Joined, Attending])
def test_a_module_of_ones_own_loses_units_wherever_they_appear(model: Any, tmp_path: Path) -> None:
    subject = own_run(model)
    pruned = subject.then(find("prune-50"))
    found = pruned.model.module
    if model is Joined:
        assert (found.first.out_features, found.inside.in_features, found.last.in_features) == (6, 6, 6)
        assert len(found.norm.running_mean) == 6
    else:
        assert (found.attention.embed_dim, found.attention.num_heads, found.first.out_features) == (8, 4, 8)
    assert found.last.out_features == 1
    assert pruned.recipe["parameters_removed"] > 0.4
    X = subject.data.test.X
    expected = pruned.backend.predict(pruned.model, X)
    assert np.isfinite(expected).all()
    for name in ("prune-50", "prune-50+prune-30", "prune-50+onnx", "prune-50+torch-export"):
        (tmp_path / name).mkdir()
        made = find(name).make(subject, tmp_path / name).write(tmp_path / name)
        logits = load(tmp_path / name, Artifact.read(tmp_path / name), 1).predict(X)
        if "30" not in name:
            np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
        assert made.size(tmp_path / name)


def keras_model(features: int, outputs: int) -> Any:
    import keras

    return keras.Sequential([keras.Input((features,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(outputs)])


def test_why_a_model_of_ones_own_is_not_pruned() -> None:
    fixed, of_keras = own_run(Fixed), own_run(keras_model, "tensorflow")
    with pytest.raises(NotApplicable, match="its code counts on the widths that it was built with"):
        fixed.then(find("prune-50"))
    with pytest.raises(NotApplicable, match="Keras does not expose which layers depend"):
        of_keras.then(find("prune-50"))
    with pytest.raises(NotApplicable, match="cannot be converted to the other framework"):
        fixed.then(find("other-framework"))
    with pytest.raises(NotApplicable, match="has no smaller version; pass smaller widths to its builder"):
        fixed.then(find("distil"))
    zeroed = of_keras.then(find("prune-unstructured-50"))
    kernels = [v for v in zeroed.weights.values() if v.ndim > 1]
    assert sum((v == 0).sum() for v in kernels) == sum(v.size for v in kernels) // 2
