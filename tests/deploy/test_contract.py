"""What every technique owes of every family in every framework: answers of its own runtime, or a reason.

The matrix comes from the registry, so a new technique is in it. Each variant is made in this process, and what was made
is run without lmkit: by the library that the artifact is for, or, where a framework builds the model anew, by the NumPy
references of ``tests/backends``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy_graph
import numpy_models
import pytest
import torch
from concurrent_calls import wrong_answers
from numpy_transformer import transformer
from safetensors.numpy import load_file
from torch import nn

import lmkit as lk
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import RUNTIMES, load
from lmkit.deploy.techniques import NotApplicable, distil, prune
from lmkit.deploy.techniques.base import FAITHFUL, find, techniques
from lmkit.deploy.trained_model import TrainedModel
from lmkit.training import finetune

FRAMEWORKS = ("torch", "tensorflow")
draw = np.random.default_rng(5)
CLASSES = np.arange(96) % 3


def rows(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of three classes, each about a place of its own."""
    return draw.normal(size=(96, *shape)) + draw.normal(size=(3, *shape))[CLASSES], CLASSES


class Net(nn.Module):
    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(features, 16), nn.Linear(16, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)))


def keras_net(features: int, outputs: int) -> Any:
    import keras

    return keras.Sequential([keras.Input((features,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(outputs)])


SHARED = ("mlp", "cnn", "decoder")
"""Families whose runs, and what is made of them, other tests take too: those of ``conftest``."""

FAMILIES: dict[str, tuple[Any, Any]] = {
    **dict.fromkeys(SHARED, (None, None)),
    "cnn, sequence": (rows(12, 2), {"family": "cnn", "channels": [8], "kernel": 3}),
    "encoder": (rows(8, 2), {"family": "transformer", "depth": 1, "width": 16, "heads": 2, "patch": 2}),
    "gcn": ("karate_club", {"family": "gcn", "hidden": [8]}),
    "own": (rows(6), None),
}
"""Family → its data and model."""

OWN = {"torch": Net, "tensorflow": keras_net}

TRIED: dict[str, tuple[str, ...]] = {
    "baseline": tuple(FAMILIES),
    "compile|aot-inductor|pt2e-.*|torchao-.*|executorch-.*|prune-(30|70)": ("mlp",),
    "executorch": ("mlp", "decoder"),
    "onnx": ("cnn", "decoder", "encoder", "gcn", "own"),
    "onnx-.*": ("cnn", "decoder"),
    "torch-export|saved-model": ("decoder", "gcn"),
    "litert": ("cnn, sequence", "decoder", "gcn"),
    "litert-.*": ("mlp", "decoder"),
    "openvino": ("cnn", "cnn, sequence", "decoder"),
    "openvino-.*": ("cnn", "gcn"),
    "prune-50": ("decoder", "own"),
    "prune-unstructured-.*": ("cnn",),
    "distil|other-framework": ("mlp", "own"),
}
"""Technique, as a pattern → the families that it is tried on, each in both frameworks; a new one is tried on all.

What takes a compiler is tried on the smallest; what begins with another's file, or differs by a number, on few.
"""

FRAMEWORK = (
    r"PyTorch does not write|TensorFlow does not write|is for PyTorch|is for TensorFlow|convert RUN|other-framework\+"
)

REASONS: list[tuple[str, str, str, str]] = [
    ("other-framework", "own", ".*", "cannot be converted to the other framework"),
    ("distil", "own", ".*", "has no smaller version; pass smaller widths to its builder"),
    ("openvino-int8-static", "gcn", ".*", "finds nothing to quantize"),
    (r"prune-\d+", "own", "tensorflow", "Keras does not expose which layers depend"),
]
"""Technique, family, framework → why not, as patterns; besides what a framework does not write."""

ONLY = {
    "torch": ("saved-model", "litert", "litert-.*"),
    "tensorflow": ("torch-export", "aot-inductor", "pt2e-.*", "torchao-.*", "executorch.*"),
}
"""Framework → techniques that are tools of the other."""


def reason(technique: str, family: str, framework: str) -> str:
    """The pattern of why a technique cannot be used; empty where it can."""
    if any(re.fullmatch(pattern, technique) for pattern in ONLY[framework]):
        return FRAMEWORK
    where = (technique, family, framework)
    found = [r[3] for r in REASONS if all(re.fullmatch(p, w) for p, w in zip(r, where, strict=False))]
    return found[0] if found else ""


# -- what is made ---------------------------------------------------------------------------------


@dataclass
class Trained:
    """A run, the rows of its test part and what the framework's own model answers."""

    subject: TrainedModel

    def __post_init__(self) -> None:
        self.X = np.asarray(self.subject.data.test.X)[:20]
        self.logits = self.answers(self.subject)

    def answers(self, subject: TrainedModel) -> np.ndarray:
        return np.asarray(subject.backend.predict(subject.model, self.X))


Made = Callable[[str, str, str], tuple[Path, Artifact]]


@pytest.fixture(scope="module")
def trained(
    subjects: Callable[[str, str], TrainedModel], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, str], Trained]]:
    """A run of a family in a framework, trained for a moment; made once."""
    patch = pytest.MonkeyPatch()
    for module, name, value in (
        (finetune, "MIN_STEPS", 4),
        (prune, "MIN_STEPS", 4),
        (prune, "EPOCHS", 1),
        (prune, "STEPS", 4),
        (distil, "EPOCHS", 1),
        (distil, "STEPS", 20),
    ):
        patch.setattr(module, name, value)

    @cache
    def make(framework: str, family: str) -> Trained:
        if family in SHARED:
            return Trained(subjects(framework, family))
        data, model = FAMILIES[family]
        run = lk.train(
            data=data,
            model=model or OWN[framework],
            framework=framework,
            epochs=1,
            inline=True,
            runs=tmp_path_factory.mktemp("contract"),
        )
        assert run.state == "completed", run.status.reason
        return Trained(TrainedModel(run))

    yield make
    patch.undo()


# -- an independent run ---------------------------------------------------------------------------


def by_numpy(folder: Path, artifact: Artifact) -> Callable[[np.ndarray], np.ndarray]:
    """What the weights of a model that is built anew answer by its definition."""
    told, weights = json.loads((folder / artifact.entry).read_text()), load_file(folder / "weights.safetensors")
    spec, shape = told["model"], tuple(told["signature"]["shape"])
    wide = {name: values.astype(np.float64) for name, values in weights.items()}
    match spec["family"]:
        case "mlp":
            return lambda X: numpy_models.mlp(wide, X, spec)
        case "cnn":
            return lambda X: numpy_models.cnn(wide, X, spec, shape)
        case "transformer":
            language = told["signature"]["task"] == "language"
            return lambda X: transformer(wide, X, spec, shape, language)
        case "gcn":
            graph = load_file(folder / "graph.safetensors")
            A = numpy_graph.adjacency(graph["edges"], len(graph["features"]))
            return lambda X: numpy_graph.gcn(wide, graph["features"].astype(np.float64), A, spec)[X[:, 0]]
    first, bias, last, shift = (
        wide.values()
        if "0.kernel" in wide
        else (wide["first.weight"].T, wide["first.bias"], wide["last.weight"].T, wide["last.bias"])
    )
    return lambda X: np.maximum(X @ first + bias, 0) @ last + shift


def by_onnxruntime(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda X: session.run(None, {session.get_inputs()[0].name: X})[0]


def by_litert(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    def answer(X: np.ndarray) -> np.ndarray:
        lite = Interpreter(str(path))
        lite.resize_tensor_input(lite.get_input_details()[0]["index"], X.shape)
        lite.allocate_tensors()
        given, taken = lite.get_input_details()[0], lite.get_output_details()[0]
        scale, zero = given["quantization"]
        lite.set_tensor(
            given["index"], (X if not scale else np.clip(np.round(X / scale) + zero, -128, 127)).astype(given["dtype"])
        )
        lite.invoke()
        found, (scale, zero) = lite.get_tensor(taken["index"]), taken["quantization"]
        return (found.astype(np.float64) - zero) * scale if scale else found

    return answer


def by_openvino(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import openvino

    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda X: compiled([X])[0]


def by_tensorflow(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    return lambda X: loaded.serve(tf.constant(X)).numpy()


def by_torch(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    module = torch.export.load(path).module()
    return lambda X: module(torch.from_numpy(X)).detach().numpy()


def independent(folder: Path, artifact: Artifact) -> Callable[[np.ndarray], np.ndarray] | None:
    """Runs an artifact by its own library; None where lmkit's runtime is the only way to it."""
    path = folder / artifact.entry
    if artifact.entry == "model.json":
        return by_numpy(folder, artifact) if artifact.runtime in FRAMEWORKS else None
    if artifact.runtime == "torch" and path.suffix == ".pt2":
        return by_torch(path)
    tools = {"onnxruntime": by_onnxruntime, "litert": by_litert, "openvino": by_openvino, "tensorflow": by_tensorflow}
    return tools[artifact.runtime](path) if artifact.runtime in tools else None


# -- the contract ---------------------------------------------------------------------------------


def cases() -> Iterator[tuple[str, str, str]]:
    for name in techniques():
        tried = [families for pattern, families in TRIED.items() if re.fullmatch(pattern, name)]
        for family in tried[0] if tried else FAMILIES:
            for framework in FRAMEWORKS:
                yield framework, family, name


TOLERANCE = 1e-4
QUANTIZED = {"float16": 0.01, "int8": 0.25}
"""Claimed or stored type → how far outputs may be off, as a share of their root mean square."""


def off(found: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the difference over that of what was expected."""
    return float(np.sqrt(np.mean((found - expected) ** 2)) / np.sqrt(np.mean(expected**2)))


@pytest.mark.parametrize(("framework", "family", "name"), list(cases()))
def test_it_answers_or_says_why_not(
    framework: str, family: str, name: str, trained: Callable[[str, str], Trained], made: Made, tmp_path: Path
) -> None:
    run, technique, why = trained(framework, family), find(name), reason(name, family, framework)
    if why:
        with pytest.raises(NotApplicable, match=why):
            technique.make(run.subject, tmp_path)
        return
    if family in SHARED:
        folder, artifact = made(framework, family, name)
    else:
        folder, artifact = tmp_path, technique.make(run.subject, tmp_path).write(tmp_path)
    loaded, itself = load(folder, artifact, 1), independent(folder, artifact)
    X = run.X.astype(artifact.dtype)
    several = {n: np.asarray(loaded.predict(X[:n])) for n in (1, 3, len(X))}
    whole = several[len(X)]
    assert whole.shape == run.logits.shape
    assert np.isfinite(whole).all()
    if itself:
        assert off(whole, itself(X)) < TOLERANCE
    by_call = "dynamic" in name  # ranges are those of the rows of a call
    for n, found in several.items():
        assert off(found, whole[:n]) < (0.1 if by_call else TOLERANCE)
    operations = loaded.executed()
    assert operations
    narrow = artifact.weight_dtype or artifact.compute_dtype
    if technique.group in FAITHFUL:
        near = 1e-3 if artifact.runtime == "executorch" else TOLERANCE  # its kernels approximate exponentials
        assert off(whole, run.logits) < near
    elif technique.group == "quantize":
        assert 1e-9 < off(whole, run.logits) < QUANTIZED[narrow]
        if (kept := loaded.stored()) is not None:
            narrowed = sum(n for kind, n in kept.items() if narrow in kind)
            assert narrowed >= 0.4 * sum(kept.values()), kept  # tables stay wide
    else:
        smaller(run, technique, artifact, folder, whole)


def smaller(run: Trained, technique: Any, artifact: Artifact, folder: Path, found: np.ndarray) -> None:
    """A pruned or distilled model: its answers are those of what is left, and it has lost what it says."""
    made = run.subject.then(technique)
    assert off(found, run.answers(made)) < TOLERANCE
    before, after = (sum(v.size for v in s.weights.values()) for s in (run.subject, made))
    if "unstructured" in technique.name:
        learned = [v for v in made.weights.values() if v.ndim > 1]
        assert sum(int((v == 0).sum()) for v in learned) == round(0.5 * sum(v.size for v in learned))
        assert after == before
        return
    assert after < before
    assert artifact.recipe["parameters_removed"] == pytest.approx(1 - after / before, abs=1e-4)
    size = sum(p.stat().st_size for p in folder.glob("weights.safetensors"))
    assert size < 4 * before


# -- threads --------------------------------------------------------------------------------------

SERVED = {
    "aot_inductor": ("torch", "mlp", "aot-inductor"),
    "executorch": ("torch", "mlp", "executorch"),
    "litert": ("tensorflow", "mlp", "litert-float16"),
    "onnxruntime": ("torch", "cnn", "onnx"),
    "openvino": ("torch", "cnn", "openvino"),
    "tensorflow": ("tensorflow", "decoder", "saved-model"),
    "torch": ("torch", "mlp", "baseline"),
    "torchao": ("torch", "mlp", "torchao-int8-weights"),
}
"""Runtime → the framework, the family and the technique of a model for it."""


@pytest.mark.parametrize("runtime", RUNTIMES.names())
def test_eight_threads_get_the_answers_of_one(runtime: str, trained: Callable[[str, str], Trained], made: Made) -> None:
    framework, family, technique = SERVED[runtime]
    folder, artifact = made(framework, family, technique)
    assert artifact.runtime == runtime
    X = trained(framework, family).X.astype(artifact.dtype)
    assert not wrong_answers(load(folder, artifact, 1).predict, X, calls=150)
