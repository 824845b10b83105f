"""Integrated gradients and saliency of a run in PyTorch are those of Captum, an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.explanations.integrated_gradients import integrated_gradients


@pytest.fixture(scope="module", params=["tanh", "relu"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> lk.Run:
    return lk.train(
        data="wine",
        model={"hidden": [8, 8], "activation": request.param},
        framework="torch",
        epochs=4,
        inline=True,
        precision="float64",
        runs=tmp_path_factory.mktemp("runs"),
    )


def test_integrated_gradients_are_those_of_captum(run: lk.Run) -> None:
    X = run.prepare_data().test.X[:6].astype(np.float64)
    backend, model = get_backend("torch"), run.built()

    def slopes(_: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs, gradients = backend.input_gradients(model, x, x, lambda z: np.eye(z.shape[1])[[1] * len(z)])
        return outputs[:, 1], gradients

    result = integrated_gradients(slopes, X, np.zeros((1, X.shape[1])))
    for row, points in zip(range(len(X)), result.points.tolist(), strict=True):
        other = IntegratedGradients(run.model).attribute(
            torch.as_tensor(X[row : row + 1]), target=1, n_steps=points, method="gausslegendre"
        )
        np.testing.assert_allclose(result.values[row], other[0].detach().numpy(), atol=1e-9)


def test_gradients_are_those_of_captum(run: lk.Run) -> None:
    X = run.prepare_data().test.X[:6].astype(np.float64)
    _, gradients = get_backend("torch").input_gradients(run.built(), X, X, lambda z: np.eye(z.shape[1])[[2] * len(z)])
    other = Saliency(run.model).attribute(torch.as_tensor(X), target=2, abs=False)
    np.testing.assert_allclose(gradients, other.numpy(), atol=1e-12)
