"""Reported numbers: those that are not finite are never the best, and no JSON holds them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lmkit.system.numbers import finite_number, index_of_best, order_key, to_json

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [NAN, INF, -INF, np.float32("nan"), None, True, "1", [1.0]])
def test_what_is_no_finite_number_is_none(value: Any) -> None:
    assert finite_number(value) is None


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2)])
def test_numbers_of_any_library_are_floats(value: Any) -> None:
    assert finite_number(value) == 2.0


@pytest.mark.parametrize(
    ("values", "sign", "best"),
    [
        ([NAN, 0.2, 0.1], 1, 2),
        ([NAN, 0.2, 0.1], -1, 1),
        ([-INF, 3.0], 1, 1),
        ([INF, 3.0], -1, 1),
        ([0.1, 0.1], 1, 0),
        ([None, "a", NAN], 1, None),
        ([], 1, None),
    ],
)
def test_the_best_is_finite(values: list[Any], sign: int, best: int | None) -> None:
    assert index_of_best(values, sign) == best


@pytest.mark.parametrize(("sign", "order"), [(1, [2, 0, 3, 1, 4]), (-1, [3, 0, 2, 1, 4])])
def test_what_is_not_finite_comes_last_and_leaves_the_order_of_the_others(sign: int, order: list[int]) -> None:
    values = [0.2, NAN, 0.1, 0.3, INF]
    assert sorted(range(5), key=lambda i: order_key(values[i], sign)) == order


def test_json_has_no_nan_and_no_infinity_at_any_depth() -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = to_json({"a": NAN, "b": [INF, (np.float64("nan"), 1.5)], "c": {"d": -INF}}, indent=1)
    assert json.loads(text, parse_constant=refuse) == {"a": None, "b": [None, [None, 1.5]], "c": {"d": None}}
