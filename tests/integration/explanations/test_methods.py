"""Explanations of images, texts and graphs, and neighbours, held to definitions, in both frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from explanation_fixtures import trained
from torch.utils.data import DataLoader, TensorDataset

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.explanations.methods import attention
from lmkit.explanations.methods import nodes as nodes_module
from lmkit.explanations.methods.nodes import edge_effects
from lmkit.explanations.methods.tokens import last_positions
from lmkit.explanations.model import ExplainedModel

IMAGES = {"source": "digits", "test": 0.05}
ROTARY = {"family": "transformer", "depth": 1, "width": 8, "heads": 2, "kv_heads": 1, "positions": "rotary"}
TEXT = "the model reads the text, and the text reads the model. "


@pytest.fixture(params=["torch", "tensorflow"])
def framework(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 12)
    return str(path)


def same(first: np.ndarray, second: np.ndarray) -> None:
    """Hold two results to each other, to 1e-6 of the largest."""
    np.testing.assert_allclose(first, second, atol=1e-6 * float(np.abs(first).max()))


# -- images ---------------------------------------------------------------------------------------


def test_images_have_attributions_that_are_complete_and_equal_in_both_frameworks() -> None:
    model = {"family": "cnn", "channels": [3], "activation": "tanh", "pooling": "average"}
    run = trained(IMAGES, framework="torch", model=model, epochs=1)
    first = run.explain([0, 4], methods=["saliency"]).saliency
    second = lk.convert(run, "tensorflow").explain([0, 4], methods=["saliency"]).saliency
    same(first.attributions, second.attributions)
    same(first.gradients, second.gradients)
    assert first.inputs.shape == first.attributions.shape == (2, 8, 8, 1)
    assert first.attributions.sum(axis=(1, 2, 3)) == pytest.approx(first.scores - first.baseline, rel=0.01)
    assert (first.inputs.min(), first.inputs.max()) == pytest.approx((0, 16))  # as in the data
    assert first.chart.png()[:4] == b"\x89PNG"
    assert [trace.type for trace in first.chart.figure.data] == ["heatmap"] * 3


def test_saliency_is_the_slope_of_the_score(framework: str) -> None:
    run = trained(IMAGES, framework=framework, model={"hidden": [5], "activation": "tanh"}, epochs=1)
    found = run.explain(3, methods=["saliency"], target="4").saliency
    x, backend, model = run.prepare_data().test.X[3:4], get_backend(framework), run.built()
    for pixel in (20, 37):
        moved = []
        for sign in (1, -1):
            other = x.copy()
            other[0, pixel] += sign * 1e-6
            moved.append(backend.predict(model, other)[0, 4])
        assert found.gradients.reshape(-1)[pixel] == pytest.approx((moved[0] - moved[1]) / 2e-6, rel=1e-5, abs=1e-9)


def test_a_model_with_random_weights_looks_elsewhere() -> None:
    """The sanity check of Adebayo et al. (2018): attributions that ignore the weights explain nothing."""
    run = trained(IMAGES, framework="torch", epochs=20)
    explained = ExplainedModel(run)
    backend, X = explained.backend, run.prepare_data().test.X[:20]
    classes = explained.select_classes(X, None)
    rows = np.arange(20)
    learned = explained.slopes(X, classes)(rows, X)[1] * X
    weights = run.experiment.model.initial_weights(run.preprocessing.signature, seed=99)
    backend.set_weights(explained.wrapped, weights)
    random = explained.slopes(X, classes)(rows, X)[1] * X
    ranks = [np.argsort(np.argsort(np.abs(v), axis=1), axis=1) for v in (learned, random)]
    alike = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)])
    again = explained.slopes(X, classes)(rows, X)[1] * X
    assert np.array_equal(random, again)
    assert alike < 0.75  # the image itself is a factor of both
    signs = np.mean(np.sign(learned)[np.abs(learned) > 0] == np.sign(random)[np.abs(learned) > 0])
    assert 0.35 < signs < 0.65


class ChannelsFirst(torch.nn.Module):
    """A convolution over images (3, 6, 5), as PyTorch has them."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.last = torch.nn.Conv2d(3, 2, 3), torch.nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.last(self.convolution(x).relu().mean((2, 3)))
        return outputs


def test_images_with_channels_first_are_shown_as_images() -> None:
    X, y = torch.rand(30, 3, 6, 5, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 2
    loader = DataLoader(TensorDataset(X, y), batch_size=10)
    data = {"training": loader, "validation": loader}
    run = trained(data, framework="torch", model=ChannelsFirst, **{"training.precision": "float32"})
    explanation = run.explain([0, 1])
    np.testing.assert_allclose(explanation.saliency.inputs, X[:2].permute(0, 2, 3, 1).numpy(), rtol=1e-6)
    assert explanation.saliency.attributions.shape == explanation.saliency.gradients.shape == (2, 6, 5, 3)
    assert "of 30 pixels" in explanation.text
    neighbours = explanation.neighbours
    assert neighbours.images[0].shape == neighbours.nearest[0][0].X.shape == (6, 5, 3)
    assert neighbours.chart.png()[:4] == b"\x89PNG"
    images = lk.errors(run).evaluated.images
    assert images is not None
    assert images.shape == (30, 6, 5, 3)


# -- texts ----------------------------------------------------------------------------------------


def test_tokens_have_attributions_that_are_complete_causal_and_equal_in_both_frameworks(text: str) -> None:
    run = trained(text, framework="torch", model=ROTARY, epochs=1, **{"data.text.length": 12})
    rows = run.preprocessing.apply(["the model"])
    first = run.explain(rows, methods=["tokens"]).tokens
    second = lk.convert(run, "tensorflow").explain(rows, methods=["tokens"]).tokens
    same(first.values, second.values)
    assert "".join(first.tokens[0][:9]) == "the model"
    assert first.positions.tolist() == [8]
    assert np.abs(first.values[0, 9:]).max() == 0  # what comes later cannot matter
    assert first.values.sum(axis=1) == pytest.approx(first.scores - first.baseline, rel=0.01)
    logits = get_backend("torch").predict(run.built(), rows)[0, 8]
    assert first.scores[0] == pytest.approx(logits.max(), rel=1e-9)
    assert first.predictions[0] == repr(bytes([int(logits.argmax())]).decode(errors="replace"))


def test_the_last_token_before_the_padding_is_explained() -> None:
    assert last_positions(np.array([[1, 2, 9, 9], [1, 9, 2, 3], [9, 9, 9, 9]]), 9).tolist() == [1, 3, 3]


class Length(torch.nn.Module):
    """A number for each row of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.last = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.last(self.embedding(x).mean(1))
        return outputs


def test_tokens_of_a_regression_add_up_to_the_number() -> None:
    X = torch.randint(0, 9, (40, 5), generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(X, X.float().mean(1, keepdim=True)), batch_size=10)
    run = trained(loader, framework="torch", model=Length, **{"training.precision": "float32"})
    found = run.explain([0, 1]).tokens
    assert found.values.sum(axis=1) == pytest.approx(found.scores - found.baseline, rel=0.01)
    assert found.scores == pytest.approx(run.predict(X[:2].numpy()), rel=1e-5)
    assert found.chart.title == f"training 0: attributions to the prediction {found.scores[0]:.4g}"


def test_attention_maps_that_fit_no_memory_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(text, framework="torch", model=ROTARY, epochs=1, **{"data.text.length": 12})
    monkeypatch.setattr(attention, "MAX_WEIGHTS", 3 * 2 * 12**2)
    assert len(run.explain(range(4), methods=["attention"]).attention.rows) == 3
    monkeypatch.setattr(attention, "MAX_WEIGHTS", 100)
    with pytest.raises(lk.LmkitError, match="maps of a row are 288 numbers, expected at most 100"):
        run.explain(0, methods=["attention"])


@pytest.mark.parametrize(("framework", "kind"), [("torch", "rotary"), ("torch", "patches"), ("tensorflow", "rotary")])
def test_attention_is_recomputed_and_gives_the_outputs_of_the_layers(framework: str, kind: str, text: str) -> None:
    if kind == "rotary":
        run = trained(text, framework=framework, model=ROTARY, epochs=1, **{"data.text.length": 12})
    else:
        model = {"family": "transformer", "depth": 1, "width": 8, "heads": 2, "patch": 2}
        run = trained(IMAGES, framework=framework, model=model, epochs=1)
    found = run.explain([0], methods=["attention"]).attention
    assert max(found.differences) < 1e-9  # p·v is what the layer gives
    for weights in found.weights:
        assert weights.sum(axis=-1) == pytest.approx(np.ones(weights.shape[:-1]))
        if kind == "rotary":
            assert np.triu(weights[0, 0], 1).max() == 0
    assert found.chart.png()[:4] == found.head_chart(0, 1).png()[:4] == b"\x89PNG"


# -- graphs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framework", "weighting"), [("torch", "degree"), ("torch", "attention"), ("tensorflow", "attention")]
)
def test_nodes_and_edges_of_a_graph(framework: str, weighting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_module, "MAX_EDGES", 3)  # a model is built for each
    model: dict[str, Any] = {"family": "gcn", "hidden": [4], "activation": "tanh", "weighting": weighting}
    model |= {"heads": 2} if weighting == "attention" else {}
    run = trained("karate_club", framework=framework, model=model)
    found = run.explain([33], methods=["nodes"]).nodes
    explained = ExplainedModel(run)
    X = run.preprocessing.apply([33])
    logits = explained.outputs(X)[:, 0]
    assert found.values.shape == (1, 34, 34)
    features = run.preprocessing.signature.graph.features  # type: ignore[union-attr]
    start = features.mean(axis=0) * np.ones((34, 1))
    _, slopes = explained.backend.input_gradients(explained.wrapped, X[:1], features, np.ones_like)
    far = np.abs(slopes).sum(axis=1) == 0  # nodes that no message comes from
    assert np.abs(found.by_node[0][far]).max(initial=0) == 0
    begin, _ = explained.backend.input_gradients(explained.wrapped, X[:1], start, np.ones_like)
    assert found.values[0].sum() == pytest.approx(logits[0] - begin[0, 0], rel=0.01)
    (a, b), effect = next(iter(found.edges[0].items()))
    assert "33" in (a, b)
    other = lk.convert(run, "tensorflow") if weighting == "degree" else None
    if other is not None:
        same(found.values, other.explain([33], methods=["nodes"]).nodes.values)
        theirs = edge_effects(ExplainedModel(other), X[:1], np.ones(1, dtype=int))
        assert theirs[int(a), int(b)] == pytest.approx(effect, rel=1e-6)
    assert found.chart.png()[:4] == b"\x89PNG"
    assert found.table.rows[0][0] == "node"


# -- neighbours -----------------------------------------------------------------------------------


def test_neighbours_are_nearest_in_the_last_hidden_layer(framework: str) -> None:
    run = trained("wine", framework=framework)
    found = run.explain([0, 1], methods=["neighbours"]).neighbours
    data, weights = run.prepare_data(), get_backend(framework).weights(run.built())

    def hidden(X: np.ndarray) -> np.ndarray:
        return np.maximum(X @ weights["dense_0.kernel"] + weights["dense_0.bias"], 0)

    def predicted(X: np.ndarray) -> np.ndarray:
        return (hidden(X) @ weights["dense_1.kernel"] + weights["dense_1.bias"]).argmax(axis=1)

    distances = np.linalg.norm(hidden(data.training.X) - hidden(data.test.X[:1]), axis=1)
    assert [n.row for n in found.nearest[0]] == np.argsort(distances)[:5].tolist()
    assert [n.distance for n in found.nearest[0]] == pytest.approx(np.sort(distances)[:5])
    assert found.nearest[0][0].target == f"class_{data.training.y[found.nearest[0][0].row]}"
    otherwise = predicted(data.training.X) != predicted(data.test.X[:1])[0]
    inputs = np.linalg.norm(data.training.X - data.test.X[0], axis=1)
    other = found.counterfactuals[0]
    if not otherwise.any():
        assert other is None
        return
    assert other is not None
    assert other.row == np.flatnonzero(otherwise)[inputs[otherwise].argmin()]
    before, after, size = found.differences[0]["proline"]
    fit = run.preprocessing.numbers["proline"]
    assert after - before == pytest.approx(size * fit["scale"])
    assert found.chart.png()[:4] == b"\x89PNG"


def test_a_regression_has_neighbours_and_no_counterfactual() -> None:
    found = trained("diabetes", framework="torch", epochs=1).explain(0, methods=["neighbours"]).neighbours
    assert found.counterfactuals == (None,)
    assert len(found.nearest[0]) == 5
    assert "predicted otherwise" not in found.text
