"""A student is smaller, learns what its teacher answers, and a run's weights work in the other framework."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques import NotApplicable
from lmkit.deploy.techniques.base import find
from lmkit.deploy.techniques.distil import TeacherBatches, targets
from lmkit.deploy.trained_model import TrainedModel
from lmkit.specs.models import CNN, GCN, MLP, Transformer
from lmkit.specs.signature import Signature

draw = np.random.default_rng(2)
FRAMEWORKS = ("torch", "tensorflow")


def test_targets_are_the_teachers_answers_mixed_with_the_truth() -> None:
    z, y = draw.normal(size=(6, 4)) * 3, np.arange(6) % 4
    np.testing.assert_allclose(
        targets(z, y, "multiclass", 2.0, soft=0.7), 0.7 * softmax(z / 2, axis=1) + 0.3 * np.eye(4)[y], rtol=1e-12
    )
    pair = y[:, None] % 2
    np.testing.assert_allclose(
        targets(z[:, :1], pair, "binary", 4.0, soft=0.7), 0.7 * expit(z[:, :1] / 4) + 0.3 * pair, rtol=1e-12
    )
    np.testing.assert_allclose(
        targets(z[:, :1], z[:, 1:2], "regression", 1.0, soft=0.7), 0.7 * z[:, :1] + 0.3 * z[:, 1:2], rtol=1e-12
    )
    places = targets(draw.normal(size=(2, 5, 4)).astype(np.float32), draw.integers(0, 4, (2, 5)), "language", 1.0)
    assert places.shape == (2, 5, 4)
    assert places.dtype == np.float32
    np.testing.assert_allclose(places.sum(2), 1, rtol=1e-6)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("kind", ["classes", "tokens"])
def test_trainers_take_shares_of_classes(framework: str, kind: str) -> None:
    """The loss and its gradient, held to NumPy: −Σ q log softmax(z), and Xᵀ(softmax(z) − q)/n of a linear layer."""
    backend = get_backend(framework)
    spec: MLP | Transformer
    X: np.ndarray
    if kind == "classes":
        spec, signature = MLP(hidden=()), Signature((5,), 3)
        X, q = draw.normal(size=(8, 5)), draw.dirichlet(np.ones(3), 8)
    else:
        spec, signature = Transformer(depth=1, width=4, heads=1), Signature((6,), 7, "language", 7)
        X, q = draw.integers(0, 7, (8, 6)), draw.dirichlet(np.ones(7), (8, 6))
    weights = spec.initial_weights(signature, 1)
    model = backend.build(spec, signature, "float64")
    backend.set_weights(model, weights)
    part = Part(X, q)
    experiment = lk.Experiment(framework=framework, training={"precision": "float64"}, data={"batch_size": 8})
    trainer = backend.trainer(model, experiment, Dataset(part, part, part, None), "categorical_crossentropy")  # type: ignore[arg-type]
    z = trainer.outputs("test")
    expected = -(q * log_softmax(z, axis=-1)).sum(axis=-1)
    np.testing.assert_allclose(
        trainer.losses("test").values, expected if kind == "classes" else expected.mean(axis=1), rtol=1e-10
    )
    if kind == "classes":
        gradient = trainer.gradients(np.arange(8))["dense_0.kernel"]
        np.testing.assert_allclose(gradient, X.T @ (softmax(z, axis=1) - q) / 8, rtol=1e-9, atol=1e-12)
    trainer.epoch(np.arange(8))
    assert trainer.advance(0, np.array([0.1])).loss[0] == pytest.approx(expected.mean(), rel=1e-10)


def test_a_teacher_sees_the_rows_that_its_student_sees() -> None:
    class Changed:
        rows, count = 6, 2

        def epoch(self, number: int, order: np.ndarray) -> None:
            self.number = number

        def take(self, first: int) -> list[Part]:
            return [Part(np.full((3, 1), 10 * self.number + b), np.zeros(3)) for b in range(first, 2)]

    taught = TeacherBatches(Changed(), lambda part: Part(part.X, 2 * part.X))  # type: ignore[arg-type]
    taught.epoch(4, np.arange(6))
    assert (taught.rows, taught.count) == (6, 2)
    assert [(int(x[0, 0]), int(y[0, 0])) for x, y in taught.take(1)] == [(41, 82)]


def test_students_of_each_family() -> None:
    image = Signature((8, 8, 1), 3)
    assert MLP(hidden=(64, 32)).smaller(image) == MLP(hidden=(32, 16))
    assert CNN(channels=(16, 32), dense=(10,)).smaller(image) == CNN(channels=(8, 16), dense=(5,))
    deep, flat = Transformer(depth=4, width=8, heads=2), Transformer(depth=1, width=8, heads=2)
    assert deep.smaller(image) == Transformer(depth=2, width=8, heads=2)
    assert flat.smaller(image) == Transformer(depth=1, width=8, heads=2, feedforward=16)
    assert GCN().smaller(Signature((4,), 2)) == GCN(hidden=(8,))


SGD = {"name": "sgd", "momentum": 0.9}

# -- of a run -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedModel]:
    """Trained runs, one a framework, task and kind of data."""
    runs = tmp_path_factory.mktemp("runs")
    X = draw.normal(size=(200, 4))
    line = X @ [1.0, -2.0, 0.5, 0.0] + 0.1 * draw.normal(size=200)
    asked = {
        "torch digits": {"framework": "torch", "data": "digits", "model": "mlp:small"},
        "tensorflow digits": {"framework": "tensorflow", "data": "digits", "model": "mlp:small"},
        "binary": {"data": (X, line > 0), "model": {"hidden": [16]}},
        "regression": {"data": (X, line), "model": {"hidden": [16]}, "optimizer": SGD},
        "augmented": {"data": "digits", "model": "mlp:small", "data.augment": {"noise": 0.1}},
    }
    made = {}
    for name, given in asked.items():
        run = lk.train(**given, epochs=15, runs=runs, inline=True)  # type: ignore[arg-type]
        assert run.state == "completed", run.status.reason
        made[name] = TrainedModel(run)
    return made


@pytest.mark.parametrize("name", ["torch digits", "tensorflow digits", "augmented"])
def test_a_student_is_smaller_and_has_learnt(name: str, subjects: dict[str, TrainedModel]) -> None:
    subject = subjects[name]
    student = subject.then(find("distil"))
    assert student.spec == MLP(hidden=(32, 32))
    X, y = subject.data.test

    def accuracy(model: object) -> float:
        return float(np.mean(student.backend.predict(model, X).argmax(axis=1) == y))

    first = student.build(student.spec, student.spec.initial_weights(student.signature, 0))
    assert accuracy(student.model) > 0.9 > 0.4 > accuracy(first)
    assert accuracy(student.model) > accuracy(subject.model) - 0.04
    told = student.recipe
    assert told["student"]["hidden"] == [32, 32]
    assert (told["temperature"], told["soft_share"]) == (2.0, 0.5)
    assert 0 < told["best_epoch"] <= told["epochs"] <= 60
    removed = 1 - sum(v.size for v in student.weights.values()) / sum(v.size for v in subject.weights.values())
    assert told["parameters_removed"] == pytest.approx(removed, abs=1e-4)


def test_a_student_is_as_sure_as_it_should_be(subjects: dict[str, TrainedModel]) -> None:
    """What was learnt at a temperature is scaled to the validation part: no other scale fits that better."""
    student = subjects["torch digits"].then(find("distil"))
    X, y = student.data.validation
    z = student.backend.predict(student.model, X).astype(np.float64)
    losses = {s: -log_softmax(s * z, axis=1)[np.arange(len(y)), y].mean() for s in (0.8, 0.95, 1.0, 1.05, 1.25)}
    assert min(losses, key=lambda s: losses[s]) == 1.0


@pytest.mark.parametrize("name", ["binary", "regression"])
def test_other_tasks(name: str, subjects: dict[str, TrainedModel]) -> None:
    subject = subjects[name]
    student = subject.then(find("distil"))
    X, y = subject.data.test
    z = student.backend.predict(student.model, X)
    assert student.spec == MLP(hidden=(8,))
    if name == "binary":
        assert np.mean((z > 0) == y) > 0.9
    else:
        assert student.recipe["temperature"] == student.recipe["output_scale"] == 1.0
        assert np.mean((z - y) ** 2) < 0.2 * np.var(y)


def test_why_it_cannot_be_taught() -> None:
    run = lk.train(data=(draw.normal(size=(60, 3)), np.arange(60) % 2), model={"hidden": []}, epochs=1, inline=True)
    with pytest.raises(NotApplicable, match="this mlp has no smaller version"):
        TrainedModel(run).then(find("distil"))


# -- both ways ------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_other_framework_answers_alike(framework: str, subjects: dict[str, TrainedModel], tmp_path: Path) -> None:
    subject = subjects[f"{framework} digits"]
    (other,) = {*FRAMEWORKS} - {framework}
    X = subject.data.test.X
    expected = subject.backend.predict(subject.model, X)
    tool = {"torch": "torch-export", "tensorflow": "saved-model"}[other]
    for name in ("other-framework", f"other-framework+{tool}", "other-framework+onnx"):
        (tmp_path / name).mkdir()
        technique = find(name)
        assert technique.group == "both ways"
        made = technique.make(subject, tmp_path / name).write(tmp_path / name)
        assert made.runtime == ("onnxruntime" if name.endswith("onnx") else other)
        logits = load(tmp_path / name, Artifact.read(tmp_path / name), 1).predict(X)
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert made.recipe["of"] == {"technique": "other-framework", "converted_from": framework}
    assert find("other-framework+onnx-int8-static").group == "quantize"


def test_changes_can_follow_each_other(subjects: dict[str, TrainedModel], tmp_path: Path) -> None:
    subject = subjects["torch digits"]
    made = find("other-framework+prune-70+onnx").make(subject, tmp_path)
    pruned = subject.then(find("other-framework")).then(find("prune-70"))
    assert pruned.framework == "tensorflow"
    assert pruned.recipe["of"]["technique"] == "other-framework"
    assert made.recipe["technique"] == "other-framework+prune-70+onnx"
    X = subject.data.test.X
    logits = load(tmp_path, made, 1).predict(X)
    np.testing.assert_allclose(logits, pruned.backend.predict(pruned.model, X), rtol=1e-4, atol=1e-4)
