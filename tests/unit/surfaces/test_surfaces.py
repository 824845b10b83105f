"""The surfaces: their gradients, their curvature and their minima against SciPy, NumPy and differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from lmkit.exceptions import ConfigError, DataError
from lmkit.surfaces.catalogue import SURFACES, find_surface, ravine, regression, rosenbrock

POINTS = np.random.default_rng(0).uniform(-1.9, 1.9, (20, 2))


def test_rosenbrock_against_scipy() -> None:
    surface = rosenbrock()
    np.testing.assert_allclose(surface.loss(POINTS), [rosen(p) for p in POINTS], rtol=1e-12)
    np.testing.assert_allclose([surface.gradient(p) for p in POINTS], [rosen_der(p) for p in POINTS], rtol=1e-11)


@pytest.mark.parametrize("name", SURFACES)
def test_gradient_and_curvature_against_central_differences(name: str) -> None:
    surface, h = SURFACES[name](), 1e-5
    for point in (*POINTS[:5], np.array(surface.info.start)):
        differences = [(surface.loss(point + h * e) - surface.loss(point - h * e)) / (2 * h) for e in np.eye(2)]
        np.testing.assert_allclose(surface.gradient(point), differences, rtol=1e-5, atol=1e-7)
    minimum = np.array(surface.minimum, dtype=float)
    columns = [(surface.gradient(minimum + h * e) - surface.gradient(minimum - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(surface.curvatures(minimum), np.linalg.eigvalsh(np.array(columns)), rtol=1e-5)
    np.testing.assert_allclose(surface.gradient(minimum), 0, atol=1e-12)
    assert surface.largest_curvature == surface.curvatures(minimum)[1]


def test_the_start_and_the_minimum_are_in_the_window() -> None:
    for make in SURFACES.values():
        surface = make()
        assert surface.check_start(None) == surface.info.start
        for value, (low, high) in zip(surface.minimum, surface.info.window, strict=True):
            assert low < value < high


def test_the_ravine_has_its_condition_number() -> None:
    low, high = ravine(400.0).curvatures(np.zeros(2))
    assert high / low == pytest.approx(400, rel=1e-12)


def test_the_minimum_of_the_regression_is_the_fitted_line() -> None:
    x, y = np.array([0.0, 1, 2, 5]), np.array([1.0, 3, 2, 8])
    surface = regression((x, y))
    np.testing.assert_allclose(surface.minimum, np.polyfit(x, y, 1), rtol=1e-12)
    w, b = 0.3, 0.7
    assert surface.loss(np.array([w, b])) == pytest.approx(np.mean((w * x + b - y) ** 2), rel=1e-12)
    r = w * x[[1, 3]] + b - y[[1, 3]]
    np.testing.assert_allclose(
        surface.gradient(np.array([w, b]), [1, 3]), [2 * np.mean(r * x[[1, 3]]), 2 * np.mean(r)], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (3, "data: given 3, expected two columns x and y"),
        (([0, 1], [1, 2, 3]), r"given arrays of shapes \(2,\) and \(3,\)"),
        (([0, 1], ["a", "b"]), "expected two columns"),
        (([0, float("nan")], [1, 2]), "not finite"),
        (([2, 2, 2], [1, 2, 3]), "all values of x are equal"),
        (([0, 1e200, 3e200], [0, 1e200, -1e200]), "the squared error overflows; standardize"),
        ((list(range(501)), list(range(501))), "2 to 500 numbers"),
    ],
)
def test_data_that_make_no_regression(data: object, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        regression(data)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"surface": "bowll"}, "did you mean 'bowl'. Expected one of bowl, ravine, saddle, rosenbrock, beale, plateau"),
        ({"surface": 3}, "surface: given 3, expected one of bowl"),
        ({"surface": "bowl", "condition": 3}, "condition: bowl has none; use it with surface='ravine'"),
        ({"surface": "ravine", "data": ([0, 1], [1, 2])}, "data: ravine has none; use it with surface='regression'"),
        ({"surface": "ravine", "condition": 0.5}, "condition: given 0.5, expected a number from 1 to 1000"),
        ({"surface": "ravine", "condition": float("nan")}, "condition: given nan"),
    ],
)
def test_surfaces_that_there_are_not(arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        find_surface(**arguments)
