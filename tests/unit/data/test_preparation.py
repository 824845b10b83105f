"""Split, scaling, categories and missing values, against scikit-learn fitted on the training part alone."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from lmkit import DataError
from lmkit.data.dataset import batch_order
from lmkit.data.preparation import prepare
from lmkit.data.tables.sources import part_sizes
from lmkit.preprocessing.table import TablePreprocessing
from lmkit.specs.data import DataSpec

draw = np.random.default_rng(5)
ROWS = 203
NUMBERS = ["a", "b"]
TOWNS = ["Bern", "Genf", "Uri"]
FRAME = pd.DataFrame(
    {
        "row": np.arange(ROWS),
        "a": draw.normal(50, 20, ROWS),
        "b": draw.exponential(3, ROWS),
        "town": draw.choice(TOWNS, ROWS, p=[0.6, 0.3, 0.1]),
        "level": draw.integers(1, 4, ROWS),
        "kind": draw.choice(["x", "y", "z"], ROWS, p=[0.7, 0.2, 0.1]),
        "price": draw.normal(500, 100, ROWS),
    }
)


@pytest.fixture
def table(tmp_path):
    """Writes a table, and returns what makes a spec of it."""

    def write(frame=FRAME, target="price", drop=(), **fields):
        frame.to_parquet(tmp_path / "table.parquet")
        drop = [c for c in ({"row", "kind", "price"} - {target}) | set(drop) if c in frame]
        return DataSpec(source=str(tmp_path / "table.parquet"), target=target, drop=drop, ids=[], **fields)

    return write


def split_rows(spec, seed=0):
    """Which rows of the table each part holds: the column ``row``, unscaled, says so."""
    plain = spec.model_copy(update={"scale": "none", "drop": tuple(c for c in spec.drop if c != "row")})
    dataset = prepare(plain, seed, "float64")
    column = dataset.preprocessing.features.index("row")
    return [part.X[:, column].astype(int) for part in dataset[:3]]


# -- the split ------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["price", "kind"])
def test_every_row_is_in_one_part(table, target):
    spec = table(target=target, validation=0.25, test=0.1)
    parts = split_rows(spec)
    assert [len(p) for p in parts] == list(part_sizes(spec, ROWS).values()) == [131, 51, 21]
    assert sorted(np.concatenate(parts)) == list(range(ROWS))


def test_the_seed_decides_the_split(table):
    spec = table()
    first, again, other = (split_rows(spec, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(set(a) == set(b) for a, b in zip(first, other, strict=True))


def test_the_split_does_not_depend_on_how_data_is_prepared(table):
    plain = split_rows(table())
    other = split_rows(table(scale="minmax", batch_size=7, missing="median"))
    assert all(np.array_equal(a, b) for a, b in zip(plain, other, strict=True))


def test_classes_are_spread_evenly(table):
    parts = split_rows(table(target="kind"))
    for kind in ("x", "y", "z"):
        share = (FRAME["kind"] == kind).mean()
        for rows in parts:
            assert abs((FRAME["kind"][rows] == kind).sum() - share * len(rows)) <= 1.5


@pytest.mark.parametrize("target", ["price", "kind"])
def test_shares_of_the_training_part_lie_in_each_other_and_leave_the_other_parts(table, target):
    shares = (0.05, 0.3, 0.7, 1.0)
    parts = [split_rows(table(target=target, training_share=share)) for share in shares]
    training = [set(rows) for rows, _, _ in parts]
    assert [len(rows) for rows in training] == [6, 36, 85, 121]
    assert training[0] < training[1] < training[2] < training[3]
    for _, validation, test in parts[:-1]:
        assert np.array_equal(validation, parts[-1][1])
        assert np.array_equal(test, parts[-1][2])
    assert split_rows(table(target=target, training_share=0.3), 1)[0].tolist() != parts[1][0].tolist()


def test_a_share_has_every_class_as_often_as_the_training_part(table):
    (everything, _, _), (share, _, _) = (split_rows(table(target="kind", training_share=s)) for s in (1, 0.25))
    for kind in ("x", "y", "z"):
        expected = (FRAME["kind"][everything] == kind).mean() * len(share)
        assert abs((FRAME["kind"][share] == kind).sum() - expected) <= 1


def test_preprocessing_is_fitted_on_the_share_alone(table):
    spec = table(training_share=0.2)
    rows = split_rows(spec)[0]
    fitted = prepare(spec, 0, "float64").preprocessing.numbers["a"]
    assert fitted["shift"] == pytest.approx(FRAME["a"][rows].mean())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source": "python_docs"}, "for a text"),
        ({"source": "x.parquet", "streaming": "on"}, "for a streamed file"),
        ({"source": "object:0123"}, "for a loader"),
    ],
)
def test_no_share_of_what_is_not_drawn_by_rows(fields, words):
    with pytest.raises(ValueError, match=words):
        DataSpec(training_share=0.5, **fields)


def test_parts_can_be_left_out(table):
    dataset = prepare(table(validation=0.0, test=0.0), 0, "float32")
    assert [p.X.shape for p in dataset[:3]] == [(ROWS, 6), (0, 6), (0, 6)]
    assert [len(p.y) for p in dataset[:3]] == [ROWS, 0, 0]


def test_the_order_of_batches_is_a_permutation_by_seed_and_epoch():
    order = batch_order(1, 2, 50)
    assert sorted(order) == list(range(50))
    assert np.array_equal(order, np.random.default_rng([1, 1, 2]).permutation(50))
    assert not np.array_equal(order, batch_order(1, 3, 50))
    assert not np.array_equal(order, batch_order(2, 2, 50))


# -- scaling --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "Scaler"), [("standard", StandardScaler), ("minmax", MinMaxScaler)])
def test_numbers_are_scaled_by_the_training_part_alone(table, scale, Scaler):
    spec = table(drop=["town", "level"], scale=scale)
    rows = split_rows(spec)
    dataset = prepare(spec, 0, "float64")
    reference = Scaler().fit(FRAME[NUMBERS].to_numpy()[rows[0]])
    for part, of in zip(dataset[:3], rows, strict=True):
        np.testing.assert_allclose(part.X, reference.transform(FRAME[NUMBERS].to_numpy()[of]), rtol=1e-12, atol=1e-12)
    everything = Scaler().fit(FRAME[NUMBERS].to_numpy())
    assert not np.allclose(dataset.test.X, everything.transform(FRAME[NUMBERS].to_numpy()[rows[2]]), rtol=1e-3)


def test_no_scaling_leaves_the_numbers(table):
    spec = table(drop=["town", "level"], scale="none", scale_target=False)
    rows = split_rows(spec)
    dataset = prepare(spec, 0, "float64")
    assert np.array_equal(dataset.validation.X, FRAME[NUMBERS].to_numpy()[rows[1]])
    assert np.array_equal(dataset.validation.y[:, 0], FRAME["price"].to_numpy()[rows[1]])


@pytest.mark.parametrize("scale", ["standard", "minmax"])
def test_a_constant_column_does_not_divide_by_zero(table, scale):
    dataset = prepare(table(FRAME.assign(a=7.0), scale=scale), 0, "float64")
    assert np.array_equal(dataset.training.X[:, 0], np.zeros(len(dataset.training.X)))


def test_a_target_is_scaled_by_the_training_part_alone_and_comes_back(table):
    spec = table()
    rows = split_rows(spec)
    dataset = prepare(spec, 0, "float64")
    prices = FRAME["price"].to_numpy()
    reference = StandardScaler().fit(prices[rows[0], None])
    np.testing.assert_allclose(dataset.test.y, reference.transform(prices[rows[2], None]), rtol=1e-12)
    np.testing.assert_allclose(dataset.preprocessing.restore(dataset.test.y), prices[rows[2]], rtol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_precision(table, precision):
    dataset = prepare(table(), 0, precision)
    assert {a.dtype.name for p in dataset[:3] for a in p} == {precision}
    wide = prepare(table(), 0, "float64")
    assert np.array_equal(dataset.training.X, wide.training.X.astype(precision))


# -- categories -----------------------------------------------------------------------------------


def test_categories_are_one_hot_as_in_scikit_learn(table):
    spec = table(drop=["a", "b"], categorical=["level"])
    rows = split_rows(spec)
    dataset = prepare(spec, 0, "float64")
    texts = FRAME[["town", "level"]].astype(str)
    reference = OneHotEncoder(sparse_output=False).fit(texts.iloc[rows[0]])
    for part, of in zip(dataset[:3], rows, strict=True):
        assert np.array_equal(part.X, reference.transform(texts.iloc[of]))
    assert dataset.preprocessing.features == [f"town={t}" for t in TOWNS] + [f"level={i}" for i in (1, 2, 3)]


def test_numbers_come_first_and_every_feature_has_a_name(table):
    dataset = prepare(table(), 0, "float64")
    assert dataset.preprocessing.features == ["a", "b", "level", "town=Bern", "town=Genf", "town=Uri"]
    assert dataset.training.X.shape[1] == 6


def test_a_category_that_training_never_saw_is_no_column(table):
    known = prepare(table(), 0, "float64").preprocessing
    rows = FRAME.head(2).assign(town=["Zug", "Uri"])
    assert known.apply(rows)[:, 3:].tolist() == [[0, 0, 0], [0, 0, 1]]


def test_a_category_is_the_same_as_integer_as_float_and_as_text(table):
    known = prepare(table(categorical=["level"], drop=["town"]), 0, "float64").preprocessing
    wanted = known.apply(FRAME.head(20))
    assert wanted[:, 2:].sum() == 20
    for dtype in (float, "Int64", str, object):
        assert np.array_equal(known.apply(FRAME.head(20).astype({"level": dtype})), wanted)
    assert np.array_equal(known.apply(FRAME[["a", "b", "level"]].head(20).to_numpy()), wanted)


# -- missing values -------------------------------------------------------------------------------

HOLES = FRAME.assign(
    a=FRAME["a"].mask(FRAME["row"] % 7 == 0),
    b=FRAME["b"].mask(FRAME["row"] % 11 == 0),
    town=FRAME["town"].mask(FRAME["row"] % 13 == 0),
    level=FRAME["level"].mask(FRAME["row"] % 17 == 0),
)


def test_by_default_missing_values_are_counted_and_refused(table):
    with pytest.raises(DataError) as caught:
        prepare(table(HOLES), 0, "float64")
    counts = {c: int(HOLES[c].isna().sum()) for c in ("a", "b", "level")}  # a missing town is a town of its own
    assert f"has {sum(counts.values())} missing values (a: {counts['a']}, b: {counts['b']}, level: " in str(
        caught.value
    )
    assert "data: {missing: drop}, or mean, median, most_frequent" in str(caught.value)


def test_rows_can_be_dropped(table):
    rows = np.concatenate(split_rows(table(HOLES, missing="drop")))
    assert sorted(rows) == HOLES.index[HOLES.notna().all(axis=1)].to_list()


@pytest.mark.parametrize("policy", ["mean", "median", "most_frequent"])
def test_numbers_are_filled_from_the_training_part_alone(table, policy):
    spec = table(HOLES, missing=policy, drop=["town", "level"])
    rows = split_rows(spec)
    dataset = prepare(spec, 0, "float64")
    values = HOLES[NUMBERS].to_numpy()
    imputer = SimpleImputer(strategy=policy).fit(values[rows[0]])
    scaler = StandardScaler().fit(imputer.transform(values[rows[0]]))
    for part, of in zip(dataset[:3], rows, strict=True):
        np.testing.assert_allclose(part.X, scaler.transform(imputer.transform(values[of])), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("policy", ["mean", "median", "most_frequent"])
def test_categories_are_filled_with_the_most_frequent(table, policy):
    spec = table(HOLES, missing=policy, drop=["a", "b"], categorical=["level"])
    rows = split_rows(spec)
    dataset = prepare(spec, 0, "float64")
    level = HOLES["level"].map(lambda v: str(int(v)), na_action="ignore")
    texts = pd.DataFrame({"town": HOLES["town"], "level": level}).astype(object)
    usual = texts.iloc[rows[0]].mode().iloc[0]
    reference = OneHotEncoder(sparse_output=False).fit(texts.iloc[rows[0]].fillna(usual))
    for part, of in zip(dataset[:3], rows, strict=True):
        assert np.array_equal(part.X, reference.transform(texts.iloc[of].fillna(usual)))


def test_a_value_that_misses_only_at_prediction_is_refused_without_a_policy(table):
    known = prepare(table(), 0, "float64").preprocessing
    with pytest.raises(DataError, match="column 'a' has 1 missing values, and the training data had none"):
        known.apply(FRAME.head(3).assign(a=[1.0, np.nan, 2.0]))


def test_every_value_missing(table):
    with pytest.raises(DataError, match=r"every row of .* has a missing value"):
        prepare(table(FRAME.assign(a=np.nan), missing="drop"), 0, "float64")
    with pytest.raises(DataError, match=r"column 'a' of .* is empty; use data: {drop: "):
        prepare(table(FRAME.assign(a=np.nan), missing="mean"), 0, "float64")


@pytest.mark.parametrize("column", ["a", "town"])
def test_a_column_without_a_value_in_the_training_part_is_refused(table, column):
    rows = split_rows(table())
    lonely = FRAME.assign(**{column: FRAME[column].where(FRAME["row"] == rows[2][0])})
    with pytest.raises(DataError, match=rf"column '{column}' has no value in the \d+ rows of the training part"):
        prepare(table(lonely, missing="most_frequent"), 0, "float64")


# -- applied again --------------------------------------------------------------------------------


def test_what_was_fitted_is_plain_data_and_is_applied_again_at_prediction(table):
    spec = table(HOLES, missing="median")
    rows = split_rows(spec)
    dataset = prepare(spec, 0, "float64")
    again = TablePreprocessing(**json.loads(json.dumps(asdict(dataset.preprocessing), allow_nan=False)))
    for part, of in zip(dataset[:3], rows, strict=True):
        assert np.array_equal(again.apply(HOLES.iloc[of]), part.X)
        shuffled = HOLES.iloc[of][["price", "town", "level", "b", "a"]].assign(more=1)  # columns go by name
        assert np.array_equal(again.apply(shuffled), part.X)


def test_rows_as_an_array_have_the_columns_in_order(table):
    known = prepare(table(drop=["town"]), 0, "float64").preprocessing
    array = FRAME[["a", "b", "level"]].to_numpy()
    assert np.array_equal(known.apply(array), known.apply(FRAME))
    assert np.array_equal(known.apply(array[0]), known.apply(FRAME.head(1)))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (FRAME.drop(columns="b"), "the rows have no column b; expected a, b, town, level"),
        (np.zeros((2, 3)), r"given rows of shape \(2, 3\), expected \(rows, 4\): a, b, town, level"),
        (np.zeros((2, 4, 1)), r"given rows of shape \(2, 4, 1\), expected \(rows, 4\)"),
        (FRAME.head(2).assign(a=["1", "much"]), "column 'a' contains text, expected numbers as in training"),
    ],
)
def test_rows_that_do_not_fit(table, rows, said):
    known = prepare(table(), 0, "float64").preprocessing
    with pytest.raises(DataError, match=said):
        known.apply(rows)


# -- predictions decode ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes",
    [["no", "yes"], [0, 1], [-1.0, 1.0], [False, True], [3, 8]],
    ids=str,
)
def test_a_prediction_of_two_classes_is_one_of_the_targets_own_values(table, classes):
    target = np.array(classes)[FRAME["row"] % 2]
    dataset = prepare(table(FRAME.assign(t=target), target="t"), 0, "float64")
    known = dataset.preprocessing
    assert (known.task, known.outputs) == ("binary", 1)
    assert known.decode(np.array([[-0.1], [5.0], [0.1]])).tolist() == [classes[0], classes[1], classes[1]]
    rows = split_rows(table(FRAME.assign(t=target), target="t"))
    assert dataset.test.y[:, 0].tolist() == (FRAME["row"][rows[2]] % 2).tolist()
    assert known.restore(dataset.test.y).tolist() == target[rows[2]].tolist()


@pytest.mark.parametrize("classes", [["b", "c", "a"], [10, 2, 1], [0.0, 2.0, 1.0]], ids=str)
def test_a_prediction_of_more_classes_is_one_of_the_targets_own_values(table, classes):
    target = np.array(classes)[FRAME["row"] % 3]
    dataset = prepare(table(FRAME.assign(t=target), target="t", task="multiclass"), 0, "float64")
    known = dataset.preprocessing
    assert known.outputs == 3
    assert known.classes == sorted(classes)
    assert known.decode(np.eye(3)).tolist() == sorted(classes)
    rows = split_rows(table(FRAME.assign(t=target), target="t", task="multiclass"))
    assert [known.classes[i] for i in dataset.test.y] == target[rows[2]].tolist()
    assert known.restore(dataset.test.y).tolist() == target[rows[2]].tolist()


def test_a_predicted_number_is_in_the_targets_own_unit(table):
    spec = table()
    rows = split_rows(spec)
    known = prepare(spec, 0, "float64").preprocessing
    prices = FRAME["price"].to_numpy()[rows[0]]
    assert known.decode(np.array([[0.0], [1.0]])) == pytest.approx([prices.mean(), prices.mean() + prices.std()])


def test_probabilities_sum_to_one_and_agree_with_the_decision(table):
    two = prepare(table(FRAME.assign(t=FRAME["row"] % 2), target="t"), 0, "float64").preprocessing
    logits = np.array([[-1000.0], [-1.0], [0.0], [3.0], [1000.0]])
    shares = two.probabilities(logits)
    assert shares[:, 1] == pytest.approx([0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-3)), 1])
    assert shares.sum(axis=1) == pytest.approx(np.ones(5))
    three = prepare(table(target="kind"), 0, "float64").preprocessing
    logits = draw.normal(0, 5, (20, 3))
    shares = three.probabilities(logits)
    by_hand = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, by_hand, rtol=1e-12)
    assert [three.classes[i] for i in shares.argmax(axis=1)] == three.decode(logits).tolist()


def test_a_number_has_no_probabilities(table):
    with pytest.raises(DataError, match="a regression has no classes"):
        prepare(table(), 0, "float64").preprocessing.probabilities(np.zeros((2, 1)))
