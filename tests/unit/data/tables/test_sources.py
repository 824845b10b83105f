"""Every source gives the same table: features, target, task."""

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from lmkit.data.memory import store_data
from lmkit.data.preparation import prepare
from lmkit.data.tables import sources
from lmkit.data.tables.sources import load, load_once, part_sizes
from lmkit.specs.data import BUNDLED, DataSpec

draw = np.random.default_rng(11)
ROWS = 60
FRAME = pd.DataFrame(
    {
        "area": draw.normal(80, 20, ROWS).round(3),
        "rooms": draw.integers(1, 6, ROWS),
        "town": draw.choice(["Bern", "Genf", "Uri"], ROWS),
        "garden": draw.choice([True, False], ROWS),
        "price": draw.normal(500, 100, ROWS).round(3),
    }
)
NUMBERS = FRAME[["area", "rooms"]]


def same(frame, source, tmp_path, **fields):
    """Checks that ``source`` holds the features and the target of ``frame``, whose last column is the target."""
    table = load(DataSpec(source=source, **fields), tmp_path)
    assert list(table.X.columns) == list(map(str, frame.columns[:-1]))
    for name in frame.columns[:-1]:
        expected = frame[name].to_numpy()
        numeric = expected.dtype.kind in "biuf"
        assert table.X[str(name)].tolist() == (expected.astype(float) if numeric else expected).tolist()
    assert table.y.tolist() == frame.iloc[:, -1].tolist()
    return table


# -- bundled --------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [name for name, known in BUNDLED.items() if not known.edges])
def test_a_bundled_set_is_scikit_learns(source):
    bunch = getattr(datasets, f"load_{source}")()
    table = load(DataSpec(source=source))
    assert np.array_equal(table.X.to_numpy(), bunch.data)
    assert np.array_equal(table.y.to_numpy(), bunch.target)
    assert list(table.X.columns) == list(bunch.feature_names)
    known = BUNDLED[source]
    assert (known.rows, known.signature.features) == bunch.data.shape
    if known.task == "regression":
        assert table.labels == {}
        assert known.outputs == 1
    else:
        assert list(table.labels.values()) == [str(n) for n in bunch.target_names]
        assert known.outputs == (1 if known.task == "binary" else len(bunch.target_names))


@pytest.mark.parametrize("source", [name for name, known in BUNDLED.items() if not known.edges])
def test_a_bundled_set_prepares(source):
    dataset = prepare(DataSpec(source=source), 0, "float32")
    known = BUNDLED[source]
    sizes = part_sizes(DataSpec(source=source), known.rows)
    assert [len(p.X) for p in dataset[:3]] == list(sizes.values())
    assert sum(sizes.values()) == known.rows
    assert dataset.training.X.dtype == np.float32
    assert dataset.preprocessing.outputs == known.outputs
    assert dataset.training.X.shape[1] == len(dataset.preprocessing.features) == known.signature.features


def test_columns_of_a_bundled_set_can_be_dropped_and_be_categories():
    spec = DataSpec(source="digits", drop=["pixel_0_0"], categorical=["pixel_0_1"])
    table = load(spec)
    raw = datasets.load_digits()
    assert list(table.X.columns) == raw.feature_names[1:]
    assert table.X["pixel_0_1"].tolist() == [str(int(v)) for v in raw.data[:, 1]]


# -- files and memory -----------------------------------------------------------------------------


def test_csv(tmp_path):
    FRAME.to_csv(tmp_path / "Houses.CSV", index=False)
    assert same(FRAME, str(tmp_path / "Houses.CSV"), tmp_path, target="price").task == "regression"


def test_parquet(tmp_path):
    FRAME.to_parquet(tmp_path / "houses.parquet")
    assert same(FRAME, str(tmp_path / "houses.parquet"), tmp_path, target="price").task == "regression"


@pytest.mark.parametrize(("target", "named"), [("y", None), ("price", "price")])
def test_npz(tmp_path, target, named):
    np.savez(tmp_path / "a.npz", X=NUMBERS.to_numpy(), **{target: FRAME["price"].to_numpy()[:, None]})
    expected = NUMBERS.astype(float).set_axis(["x0", "x1"], axis=1).assign(price=FRAME["price"])
    same(expected, str(tmp_path / "a.npz"), tmp_path, target=named)


@pytest.mark.parametrize(
    "make",
    [
        lambda X, y: (X.to_numpy(), y.to_numpy()),
        lambda X, y: (X.to_numpy().tolist(), y.tolist()),
        lambda X, y: [X.to_numpy(), y.to_numpy()[:, None]],
    ],
    ids=["arrays", "lists", "a column"],
)
def test_arrays(tmp_path, make):
    expected = NUMBERS.astype(float).set_axis(["x0", "x1"], axis=1).assign(price=FRAME["price"])
    fields = store_data(make(NUMBERS, FRAME["price"]), tmp_path)
    same(expected, tmp_path=tmp_path, **fields)


@pytest.mark.parametrize(
    "make",
    [
        lambda f: ((f, "price"), {}),
        lambda f: (f, {"target": "price"}),
        lambda f: ((f.drop(columns="price"), f["price"]), {}),
        lambda f: ((f.drop(columns="price"), f["price"].to_list()), {}),
        lambda f: ((f.drop(columns="price").set_index(f.index + 7), f["price"]), {}),  # rows go by place
        lambda f: ((f.astype({"rooms": "Int64", "garden": "boolean", "town": "category"}), "price"), {}),
    ],
    ids=["frame and name", "frame", "frame and series", "frame and list", "other index", "other dtypes"],
)
def test_a_data_frame(tmp_path, make):
    data, more = make(FRAME)
    fields = store_data(data, tmp_path) | more
    same(FRAME, tmp_path=tmp_path, **fields)


def test_columns_without_texts_as_names(tmp_path):
    frame = pd.DataFrame({0: [1.0, 2.0, 3.0], 1: [0, 1, 0]})
    same(frame, tmp_path=tmp_path, **store_data((frame, "1"), tmp_path))


def test_drop_and_categorical(tmp_path):
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    spec = DataSpec(source=str(tmp_path / "a.csv"), target="price", drop=["area", "garden"], categorical=["rooms"])
    table = load(spec)
    assert list(table.X.columns) == ["rooms", "town"]
    assert table.X["rooms"].tolist() == [str(v) for v in FRAME["rooms"]]


# -- the task -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "task"),
    [
        ([0, 1] * 15, "binary"),
        ([-1.0, 1.0] * 15, "binary"),
        ([True, False] * 15, "binary"),
        (["yes", "no"] * 15, "binary"),
        ([0, 1, 2] * 10, "multiclass"),
        (["a", "b", "c"] * 10, "multiclass"),
        ([3.0, 1.0, 2.0] * 10, "multiclass"),
        ([0.5, 1.0] * 15, "regression"),
        (list(range(30)), "regression"),
    ],
)
def test_auto_tells_classes_from_numbers(tmp_path, target, task):
    fields = store_data((np.arange(30.0), target), tmp_path)
    assert load(DataSpec(**fields), tmp_path).task == task


def test_whole_numbers_can_be_said_to_be_quantities(tmp_path):
    fields = store_data((np.arange(30.0), [0, 1, 2] * 10), tmp_path)
    assert load(DataSpec(**fields, task="regression"), tmp_path).task == "regression"


# -- once -----------------------------------------------------------------------------------------


def test_a_source_that_is_checked_and_then_used_is_read_once(tmp_path, monkeypatch):
    FRAME.to_csv(tmp_path / "rents.csv", index=False)
    spec = DataSpec(source=str(tmp_path / "rents.csv"), target="price")
    reads: list[DataSpec] = []
    read = sources.read

    def count(*args):
        reads.append(args[0])
        return read(*args)

    monkeypatch.setattr(sources, "read", count)
    load(spec)
    with load_once():
        table = load(spec)
        assert load(spec.model_copy(update={"drop": ["town"]})).columns != table.columns
        assert load(spec.model_copy()) is table
        assert len(reads) == 3
        assert load(spec) is not table  # nothing is held for longer than one use
    load(spec)
    assert len(reads) == 5
