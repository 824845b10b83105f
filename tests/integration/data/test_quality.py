"""Constructed faults are found and counted; what is sound is left in peace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmkit as lk
from lmkit.data import overlap, quality
from lmkit.data.preparation import prepare
from lmkit.specs.data import DataSpec

draw = np.random.default_rng(11)


def table(tmp_path: Path, X: Any, y: Any, **fields: Any) -> DataSpec:
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(np.shape(X)[1])]).assign(y=y)
    frame.to_csv(tmp_path / "table.csv", index=False)
    return DataSpec(source=str(tmp_path / "table.csv"), target="y", batch_size=8, **fields)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_hashes_are_equal_where_rows_are(precision: str) -> None:
    X = draw.integers(0, 2, (20_000, 12)).astype(precision) * 0.5
    hashes = overlap.row_hashes(X)
    _, rows = np.unique(X, axis=0, return_inverse=True)
    _, hashed = np.unique(hashes, return_inverse=True)
    assert len(set(zip(rows.tolist(), hashed.tolist(), strict=True))) == rows.max() + 1 == hashed.max() + 1
    assert len(np.unique(overlap.row_hashes(X[:, ::-1]))) == rows.max() + 1
    assert not np.array_equal(np.sort(overlap.row_hashes(X[:100])), np.sort(overlap.row_hashes(X[:100, ::-1])))


def test_zero_has_no_sign_and_whole_numbers_hash_too() -> None:
    assert len(np.unique(overlap.row_hashes(np.array([[0.0, 1.0], [-0.0, 1.0]])))) == 1
    tokens = draw.integers(0, 9, (500, 3))
    assert len(np.unique(overlap.row_hashes(tokens))) == len(np.unique(tokens, axis=0))
    images = draw.normal(size=(5, 4, 4, 2))
    np.testing.assert_array_equal(overlap.row_hashes(images), overlap.row_hashes(images.reshape(5, 32)))
    assert overlap.row_hashes(np.empty((0, 3))).shape == (0,)


def test_rows_in_two_parts_are_counted(tmp_path: Path) -> None:
    X = draw.normal(size=(100, 3))
    X[60:80] = X[20:40]
    data = prepare(table(tmp_path, X, np.arange(100) % 2), 5, "float32")
    training = {tuple(row) for row in data.training.X.tolist()}
    said = quality.warnings(data)
    for name in ("validation", "test"):
        rows = getattr(data, name).X.tolist()
        shared = sum(tuple(row) in training for row in rows)
        assert shared > 0
        told = f"leakage: {shared} of {len(rows)} rows of the {name} part are also in the training part"
        assert any(told in text for text in said)


def test_equal_rows_with_other_targets_are_no_leak() -> None:
    rows = {"training": np.array([1, 2, 3, 4]), "validation": np.array([1, 2, 5, 3]), "test": np.array([4, 9])}
    other = {"training": np.zeros(4), "validation": np.ones(4), "test": np.ones(2)}
    assert overlap.leaks(rows, {name: overlap.row_hashes(y) for name, y in other.items()}) == []
    other["validation"] = np.array([0.0, 1, 0, 0])
    (said,) = overlap.leaks(rows, {name: overlap.row_hashes(y) for name, y in other.items()})
    assert said.startswith("equal rows: 3 of 4 rows of the validation part have the features of a row in the training")
    assert "1 of them only with another target" in said


def test_equal_rows_of_few_values_are_expected_by_chance() -> None:
    draw = np.random.default_rng(5)
    people = np.column_stack([draw.integers(0, 3, 900), draw.integers(0, 2, (900, 2))]).astype(float)
    parts = {"training": people[:600], "validation": people[600:600], "test": people[600:]}
    hashes = {name: overlap.row_hashes(part) for name, part in parts.items()}
    targets = {name: part * 0 for name, part in hashes.items()}
    (said,) = overlap.leaks(hashes, targets, features=parts["training"])
    assert said.startswith("equal rows: 300 of 300 rows of the test part have the features of a row in the training")
    assert "300 of them its target as well; with so few different values about 300 are equal by chance" in said
    assert overlap.leaks(hashes, targets)[0].startswith("leakage: 300 of 300")
    # independent values, against the share that is counted
    for levels, columns in ((3, 4), (6, 4), (10, 3)):
        X = draw.integers(0, levels, (4000, columns)).astype(float)
        counted = np.isin(overlap.row_hashes(X[2000:]), overlap.row_hashes(X[:2000])).mean()
        assert abs(overlap.chance_share(X[:2000], 2000) - counted) < 0.03
        one_hot = (X[:, :, None] == np.arange(levels)).reshape(4000, -1)
        assert abs(overlap.chance_share(one_hot[:2000], 2000, [levels] * columns) - counted) < 0.03
    days = draw.integers(0, 50, 2000)
    dates = np.column_stack([days, days // 7, days % 7, draw.integers(0, 2, 2000)]).astype(float)
    assert overlap.chance_share(dates, 10, [3, 1]) == pytest.approx(1 - 0.99**10, abs=0.01)
    assert overlap.chance_share(np.tile(draw.normal(size=(100, 3)), (9, 1)), 900) < 1e-3  # copies
    assert overlap.chance_share(draw.normal(size=(2000, 30)), 10**6) == 0


def test_a_feature_that_is_the_target_is_named(tmp_path: Path) -> None:
    X = draw.normal(size=(300, 4))
    wage = np.exp(X[:, 0] + draw.normal(size=300))
    for y, column, name in (
        (wage, np.log(wage), "'x4' alone nearly is the target"),
        (wage, wage * 3 + 1, "'x4' alone nearly is the target"),
        (np.where(X[:, 2] > 0.1, "up", "down"), draw.normal(size=300), "'x2' alone nearly is the target"),
        (np.digitize(X[:, 1], [-0.5, 0.5]), draw.normal(size=300), "'x1' alone nearly is the target"),
        (X[:, 0] + 2 * X[:, 3], draw.normal(size=300), "a sum of 'x0', 'x3' nearly is the target"),
    ):
        said = quality.warnings(prepare(table(tmp_path, np.column_stack([X, column]), y), 0, "float64"))
        assert any(text.startswith(name) for text in said), (said, name)
    for y in (X[:, 0] + 0.1 * draw.normal(size=300), X @ [1, 2, 3, 4], draw.integers(0, 2, 300)):
        assert not any("the target" in text for text in quality.warnings(prepare(table(tmp_path, X, y), 0, "float64")))


def test_equal_rows_with_other_targets_are_counted(tmp_path: Path) -> None:
    X = np.repeat(draw.normal(size=(30, 2)), 2, axis=0)
    y = np.tile([0, 0, 0, 1], 15)  # every other pair disagrees
    data = prepare(table(tmp_path, X, y, validation=0, test=0), 0, "float64")
    (told,) = quality.warnings(data)
    assert told.startswith("30 rows of the training part equal other rows except for the target")
    assert (
        quality.warnings(prepare(table(tmp_path, X, np.repeat([0, 1], 30), validation=0, test=0), 0, "float64")) == ()
    )


@pytest.mark.parametrize(("rare", "said"), [(4, True), (10, False)])
def test_uneven_classes_are_told_by_name(tmp_path: Path, rare: int, said: bool) -> None:
    y = np.where(np.arange(60) < rare, "ill", "well")
    data = prepare(table(tmp_path, draw.normal(size=(60, 2)), y, test=0.25, validation=0.25), 0, "float32")
    expected = ("imbalance: 'ill' has 4 of 60 rows, 'well' 56; always predicting 'well' has an accuracy of 93%",)
    assert quality.warnings(data) == (expected if said else ())


def test_of_several_classes_the_rarest_and_the_commonest_are_told() -> None:
    assert quality.imbalance([np.repeat([0, 1, 2], [5, 1, 20]), np.array([2])], ["a", "b", "c"])[0].startswith(
        "imbalance: 'b' has 1 of 27 rows, 'c' 21;"
    )


def test_features_that_never_change_are_named() -> None:
    X = draw.normal(size=(9, 5))
    X[:, [1, 3]] = 7
    (told,) = quality.constant_columns(X, list("abcde"))
    assert told == "2 of 5 features are constant in the training part (b, d)"
    assert quality.constant_columns(X[:, ::2], list("ace")) == quality.constant_columns(X[:0], list("abcde")) == []


@pytest.mark.parametrize("source", ["breast_cancer", "wine", "digits", "diabetes"])
def test_the_bundled_sets_are_sound(source: str) -> None:
    data = prepare(DataSpec(source=source), 0, "float64")
    assert quality.warnings(data) == ()
    rows = np.concatenate([data.training.X, data.validation.X, data.test.X])
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_a_run_warns_once_at_its_start(tmp_path: Path) -> None:
    X = draw.normal(size=(60, 2))
    X[30:] = X[:30]
    run = lk.train(data=(X, np.arange(60) % 30 > 26), epochs=1, batch_size=8, inline=True)
    assert run.state == "completed", run.status.reason
    told = [event.data["text"] for event in run.events if event.type == "warning"]
    assert [text.split(":")[0] for text in told] == ["leakage", "leakage", "imbalance"]
    sound = lk.train(data="wine", epochs=1, inline=True)
    assert [event for event in sound.events if event.type == "warning"] == []


def test_a_large_set_is_not_compared_where_it_would_take_long(tmp_path: Path) -> None:
    X = np.repeat(draw.normal(size=(30, 2)), 2, axis=0)
    data = prepare(table(tmp_path, X, np.arange(60) % 2), 0, "float32")
    assert quality.warnings(data, max_numbers=120) == quality.warnings(data) != ()
    assert quality.warnings(data, max_numbers=119) == ()
