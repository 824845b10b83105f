"""``lk.descent``: what is refused."""

from __future__ import annotations

from typing import Any

import pytest

import lmkit as lk
from lmkit.widgets.descent_page import player_page


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"surface": "valley"}, "surface: given 'valley', .*bowl, ravine, saddle, rosenbrock, beale, plateau"),
        ({"lr": 0}, "lr: given 0, expected a number greater than 0"),
        ({"lr": -0.1}, "lr: given -0.1"),
        ({"lr": float("inf")}, "lr: given inf"),
        ({"lr": float("nan")}, "lr: given nan"),
        ({"lr": "fast"}, "lr: given 'fast'"),
        ({"lr": True}, "lr: given True"),
        ({"momentum": 1}, "momentum: given 1, expected a number from 0 to below 1"),
        ({"start": (9, 9)}, r"start: given \(9, 9\), expected a point of ravine: -3 ≤ θ₁ ≤ 3 and -3 ≤ θ₂ ≤ 3"),
        ({"start": (1, float("nan"))}, "start: given"),
        ({"start": 3}, "start: given 3, expected two numbers"),
        ({"start": (1, 2, 3)}, "expected two numbers"),
        ({"optimizers": "adm"}, "optimizers: given 'adm', did you mean 'adam'"),
        ({"optimizers": []}, "optimizers: given none"),
        ({"steps": 0}, "steps: given 0, expected a whole number from 1 to 10000"),
        ({"steps": 1.5}, "steps: given 1.5"),
        ({"noise": -1}, "noise: given -1"),
        ({"batch": 4}, "batch: ravine has no rows; use noise=0.1, or surface='regression'"),
        ({"surface": "regression", "batch": 41}, "batch: given 41, expected a whole number from 1 to 40"),
        ({"seed": -1}, "seed: given -1"),
        ({"condition": 0}, "condition: given 0, expected a number from 1 to 1000"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(lk.ConfigError, match=problem):
        lk.descent(**arguments)


def test_a_framework_that_there_is_not() -> None:
    with pytest.raises(lk.MissingPackage, match="framework: given 'jax'"):
        lk.descent(framework="jax")


def test_nesterov_without_momentum_is_plain() -> None:
    shown = lk.descent("bowl", optimizers=["sgd", "nesterov", "sgd"], momentum=0)
    assert list(shown.paths) == ["sgd", "nesterov"]
    assert (shown.paths["sgd"].points == shown.paths["nesterov"].points).all()


def test_no_text_of_the_settings_is_markup_in_the_page() -> None:
    page = player_page({"title": "</script><!--<script>"}, "<b>")
    assert "<!--<script>" not in page
    assert "\\u003c/script>" in page
    assert "<title>&lt;b&gt;</title>" in page
