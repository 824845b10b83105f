"""Interpolated surfaces: exact for quadratics, with the gradient of differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lmkit.exceptions import DataError
from lmkit.specs.models import MLP
from lmkit.specs.signature import Signature
from lmkit.surfaces.base import SurfaceInfo
from lmkit.surfaces.grid import GridSurface
from lmkit.surfaces.landscape import _filter_normalized
from lmkit.surfaces.path import DescentSettings, descend

INFO = SurfaceInfo("landscape", "Loss", "", ((-2, 2), (-1, 3)), (-1.5, 2.5), 0.1, escape=1.0)


def quadratic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0.5 * x**2 + x * y + 2 * (y - 1) ** 2 + 3


def surface() -> GridSurface:
    x, y = np.meshgrid(np.linspace(-2, 2, 9), np.linspace(-1, 3, 11))
    return GridSurface(INFO, quadratic(x, y))


def test_a_quadratic_is_reproduced_away_from_the_edge() -> None:
    points = np.random.default_rng(0).uniform([-1.4, -0.5], [1.4, 2.5], (30, 2))
    np.testing.assert_allclose(surface().loss(points), quadratic(*points.T), rtol=1e-12)
    x, y = points.T
    gradients = np.stack([x + y, x + 4 * (y - 1)], axis=1)
    np.testing.assert_allclose([surface().gradient(p) for p in points], gradients, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(surface().curvatures(points[0]), np.linalg.eigvalsh([[1, 1], [1, 4]]), rtol=1e-10)


def test_it_goes_through_all_points_of_the_grid() -> None:
    random = np.random.default_rng(1).uniform(size=(5, 4))
    rough = GridSurface(INFO, random)
    x, y = np.meshgrid(*rough.axes)
    np.testing.assert_allclose(rough.loss(np.stack([x, y], axis=-1)), random, rtol=1e-12)


def test_a_path_that_leaves_the_slice() -> None:
    path = descend(surface(), "sgd", DescentSettings(lr=50, start=(-1.5, 2.5), steps=9))
    assert (path.state, path.reason) == ("diverged", "left the window after 1 step: what lies beyond is unknown")


def test_a_loss_that_overflows() -> None:
    losses = np.ones((6, 6))
    losses[2, 3] = np.inf
    with pytest.raises(DataError, match=r"overflows at 1 of 36 points; draw a smaller slice: span=0\.3"):
        GridSurface(replace(INFO, lr=0.2), losses)


def test_random_directions_have_the_norms_of_the_filters() -> None:
    model, signature = MLP(hidden=(5,)), Signature((7,), 3)
    weights = model.initial_weights(signature, 0)
    direction = _filter_normalized(weights, sorted(weights), np.random.default_rng(0))
    for name, values in weights.items():
        if values.ndim > 1:
            np.testing.assert_allclose(
                np.linalg.norm(direction[name], axis=0), np.linalg.norm(values, axis=0), rtol=1e-6
            )
        else:
            assert not direction[name].any()
