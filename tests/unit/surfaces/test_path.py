"""Paths against closed forms: powers of matrices, limits of stability, how a path ends."""

from __future__ import annotations

from itertools import chain, islice

import numpy as np
import pytest

from lmkit.surfaces.catalogue import bowl, plateau, ravine, regression, saddle
from lmkit.surfaces.path import (
    MODULUS,
    DescentSettings,
    descend,
    largest_stable_rate,
    row_batches,
    uniforms,
)

START = (-2.5, 1.2)


def settings(**changes: object) -> DescentSettings:
    return DescentSettings(**({"lr": 0.07, "start": START, "steps": 60} | changes))


def test_plain_steps_multiply_each_direction_by_1_minus_alpha_lambda() -> None:
    path = descend(ravine(25), "sgd", settings())
    t = np.arange(61)[:, None]
    np.testing.assert_allclose(path.points, np.array(START) * (1 - 0.07 * np.array([1, 25])) ** t, atol=1e-12)


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_momentum_is_a_power_of_a_matrix(name: str) -> None:
    mu, lr, curvatures = 0.8, 0.05, (1.0, 25.0)
    path = descend(ravine(25), name, settings(lr=lr, momentum=mu))
    for k, curvature in enumerate(curvatures):
        # the state is (θ, v): v ← μv + λθ, then θ ← θ − αv, or θ − α (λθ + μv)
        step = np.array([[1 - lr * curvature, -lr * mu], [curvature, mu]])
        if name == "nesterov":
            step[0] = 1 - lr * curvature * (1 + mu), -lr * mu * mu
        expected = [(np.linalg.matrix_power(step, t) @ [START[k], 0])[0] for t in range(61)]
        np.testing.assert_allclose(path.points[:, k], expected, atol=1e-12)


def test_the_first_steps_of_adam_have_the_length_of_alpha() -> None:
    path = descend(bowl(), "adam", settings(lr=0.01, steps=1))
    np.testing.assert_allclose(path.points[1] - path.points[0], [0.01, -0.01], rtol=1e-7)
    decayed = descend(bowl(), "adamw", settings(lr=0.01, steps=1))
    np.testing.assert_allclose(decayed.points[1] - path.points[1], -0.01 * 0.01 * np.array(START), atol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov"])
@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_the_largest_stable_rate_divides_convergence_from_divergence(name: str, momentum: float) -> None:
    surface = ravine(25)
    limit = largest_stable_rate(name, surface.largest_curvature, momentum)
    assert limit is not None
    for factor, state in ((0.98, "converged"), (1.02, "diverged")):
        path = descend(surface, name, settings(lr=factor * limit, momentum=momentum, steps=5000))
        assert path.state == state


def test_how_a_path_ends() -> None:
    assert descend(bowl(), "sgd", settings(lr=1)).reason == "converged after 1 step: ‖∇J‖ ≤ 1e-6"
    assert descend(bowl(), "sgd", settings(steps=3)).reason == "all 3 steps taken"
    assert descend(bowl(), "sgd", settings(start=(0, 0))).reason == "converged after 0 steps: ‖∇J‖ ≤ 1e-6"
    assert "outside 10 times the window" in descend(bowl(), "sgd", settings(lr=3)).reason
    ridge = descend(saddle(), "sgd", settings(lr=0.1, start=(-2, 0), steps=500))
    assert (ridge.state, "at a saddle point" in ridge.reason) == ("saddle", True)
    assert ridge.losses[-1] == pytest.approx(0.25)
    left = descend(saddle(), "sgd", settings(lr=0.1, start=(-2, 0), steps=500, noise=0.1))
    assert left.losses[-1] < 0.05


@pytest.mark.parametrize("lr", [1e30, 1e300])
def test_a_surface_that_overflows_ends_the_path_without_a_warning(lr: float) -> None:
    path = descend(bowl(), "sgd", settings(lr=lr))
    assert path.state == "diverged"
    assert len(path.points) == 2
    assert path.reason.startswith("diverged after 1 step")


def test_the_plateau_is_slow_at_first() -> None:
    path = descend(plateau(), "sgd", settings(lr=0.5, start=(-5, 3), steps=200))
    assert path.losses[100] > 0.9 > 0.01 > path.losses[200]


def test_random_numbers_are_those_of_park_and_miller() -> None:
    # the 10,000th of C++'s std::minstd_rand, which starts at 1; the first is the state that seed 0 starts with
    *_, last = islice(uniforms(0), 9999)
    assert round(last * MODULUS) == 399_268_537


def test_every_epoch_has_every_row_once() -> None:
    batches = row_batches(10, 4, uniforms(3))
    epochs = [list(islice(batches, 3)) for _ in range(2)]
    assert [[len(b) for b in epoch] for epoch in epochs] == [[4, 4, 2]] * 2
    assert all(sorted(chain(*epoch)) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_batches_change_the_path_and_the_seed_repeats_it() -> None:
    surface = regression()
    paths = [
        descend(surface, "sgd", settings(start=surface.info.start, lr=0.2, batch=4, seed=seed)) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(paths[0].points, paths[1].points)
    assert not np.allclose(paths[0].points[1:], paths[2].points[1:])
