"""The steps of each backend's own optimizers against the rules in NumPy, and gradients by their differentiation."""

from __future__ import annotations

import numpy as np
import pytest

import lmkit as lk
from lmkit.surfaces.catalogue import SURFACES
from lmkit.surfaces.path import TITLES


@pytest.mark.parametrize(
    ("framework", "name"),
    [*(("torch", name) for name in SURFACES), ("tensorflow", "rosenbrock"), ("tensorflow", "regression")],
)
def test_paths_are_those_of_the_frameworks_optimizers(name: str, framework: str) -> None:
    noise = {"batch": 8} if name == "regression" else {"noise": 0.05}
    for changes in ({}, noise):
        settings = {"optimizers": list(TITLES), "steps": 60, "momentum": 0.8, **changes}
        expected = lk.descent(name, **settings)
        computed = lk.descent(name, framework=framework, **settings)
        for optimizer in TITLES:
            a, b = expected.paths[optimizer], computed.paths[optimizer]
            assert (a.state, a.reason) == (b.state, b.reason)
            np.testing.assert_allclose(b.points, a.points, rtol=0, atol=1e-12)


def test_beale_and_the_plateau_by_automatic_differentiation() -> None:
    import torch

    def beale(x, y):
        return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2

    def plateau(x, y):
        return (x**2 + y**2) / 2 / (1 + (x**2 + y**2) / 2)

    for name, formula in (("beale", beale), ("plateau", plateau)):
        surface = SURFACES[name]()
        for point in np.random.default_rng(1).uniform(-2, 2, (10, 2)):
            weights = torch.tensor(point, requires_grad=True)
            loss = formula(*weights)
            (gradient,) = torch.autograd.grad(loss, weights)
            assert float(surface.loss(point)) == pytest.approx(loss.item(), rel=1e-12)
            np.testing.assert_allclose(surface.gradient(point), gradient.numpy(), rtol=1e-11, atol=1e-13)
