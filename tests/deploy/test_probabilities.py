"""A custom model that ends in a sigmoid, and loses an axis, once it is bundled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lmkit as lk

X = np.random.default_rng(0).normal(size=(200, 4)).astype("float32")
WORDS = np.array(["no", "yes"])[(X[:, 0] + X[:, 1] > 0).astype(int)]


class Net(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.layers(x)).squeeze()


@pytest.mark.usefixtures("here")
def test_a_bundle_reads_probabilities_as_the_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = lk.train(data=(X, WORDS), model=Net, epochs=10, optimizer="adam", lr=0.01, wait=True)
    assert run.state == "completed", run.status.reason
    lk.bundle(run, "onnx", "out")
    bundle = lk.load_bundle("out")
    np.testing.assert_array_equal(bundle.predict(X), run.predict(X))
    np.testing.assert_allclose(bundle.predict_proba(X), run.predict_proba(X), atol=1e-5)
    assert (bundle.predict(X) == WORDS).mean() > 0.85
    assert bundle.predict(X[:1]).shape == (1,)
    shares = bundle.outputs(X)[:, 0].astype(float)
    np.testing.assert_allclose(bundle.logits(X)[:, 0], np.log(shares / (1 - shares)), rtol=1e-4, atol=1e-4)
