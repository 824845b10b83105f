"""People think in their own columns: one-hot encoding, scaling and parts of dates are undone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmkit.data.tables.fit import prepare_table
from lmkit.data.tables.table import as_table
from lmkit.exceptions import DataError
from lmkit.explanations.columns import list_columns, select_columns, sum_features
from lmkit.explanations.methods.permutation import correlated_columns
from lmkit.preprocessing.table import TablePreprocessing
from lmkit.specs.data import DataSpec

FRAME = pd.DataFrame(
    {
        "town": ["Bern", "Uri", "Zug", "Uri", "Bern", "Zug"] * 5,
        "age": np.arange(30.0),
        "seen": pd.date_range("2024-01-01", periods=30, freq="17D").strftime("%Y-%m-%d"),
        "y": np.arange(30.0) ** 2,
    }
)


def prepared() -> tuple[TablePreprocessing, np.ndarray]:
    spec = DataSpec(source="stored:x", target="y", validation=0, test=0)
    data = prepare_table(spec, as_table(FRAME, spec), 0, "float64")
    return data.preprocessing, data.preprocessing.apply(FRAME)


def test_columns_are_in_the_order_of_the_source_and_cover_every_feature_once() -> None:
    preprocessing, X = prepared()
    columns = list_columns(preprocessing)
    assert [column.name for column in columns] == ["town", "age", "seen"]
    assert sorted(i for column in columns for i in column.features) == list(range(X.shape[1]))
    for column in columns:
        assert [preprocessing.features[i] for i in column.features] == list(column.names)


def test_values_are_in_their_own_unit() -> None:
    preprocessing, X = prepared()
    town, age, seen = list_columns(preprocessing)
    assert town.original(X) == FRAME["town"].tolist()
    assert age.original(X) == pytest.approx(FRAME["age"].tolist())
    assert all(text.startswith(("year 2024", "year 2025")) for text in seen.original(X)) or len(seen.features) == 1
    X[:, town.features] = 0
    assert set(town.original(X)) == {"(other)"}


def test_features_are_summed_to_their_column() -> None:
    preprocessing, X = prepared()
    columns = list_columns(preprocessing)
    sums = sum_features(X, columns)
    assert sums[:, 0] == pytest.approx(np.ones(30))  # one of the one-hot columns is 1
    assert sums.sum(axis=1) == pytest.approx(X.sum(axis=1))


def test_an_unknown_column_is_named_with_the_nearest() -> None:
    columns = list_columns(prepared()[0])
    with pytest.raises(DataError, match=r"columns: no column 'agee'; did you mean 'age'\? Columns: town, age, seen"):
        select_columns(columns, ["agee"])


def test_columns_of_a_loader_are_numbered() -> None:
    bare = TablePreprocessing("regression", {}, {}, [], [], [], {}, (3,))
    assert [column.name for column in list_columns(bare)] == ["feature 0", "feature 1", "feature 2"]


def test_correlated_columns_are_one_group() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 200))
    fits = {name: {"fill": None, "shift": 0.0, "scale": 1.0} for name in ("a", "b", "a cubed", "c")}
    preprocessing = TablePreprocessing("regression", fits, {}, list(fits), [], [], {})
    columns = list_columns(preprocessing)
    X = np.stack([a, b, -(a**3), np.ones(200)], axis=1)  # the ranks of a and −a³ are opposite
    groups = correlated_columns(columns, X)
    assert {name: [c.name for c in members] for name, members in groups.items()} == {
        "a + 1 correlated": ["a", "a cubed"]
    }
