"""Data that cannot be trained on is refused before anything starts, with what is wrong and what to write."""

import re

import numpy as np
import pandas as pd
import pytest

import lmkit as lk
from lmkit import ConfigError, DataError

draw = np.random.default_rng(2)
ROWS = 40
GOOD = pd.DataFrame(
    {"age": draw.integers(20, 80, ROWS), "income": draw.normal(50, 10, ROWS).round(2), "bought": [0, 1] * (ROWS // 2)}
)


@pytest.fixture
def refused(tmp_path):
    """Trains on a CSV of what it is given, and returns what is said; no run may be there afterwards."""

    def refuse(frame, error=DataError, **changes):
        path = tmp_path / "people.csv"
        path.write_text(frame) if isinstance(frame, str) else frame.to_csv(path, index=False)
        with pytest.raises(error) as caught:
            lk.train({"data": {"source": str(path), "target": "bought"}}, runs=tmp_path / "runs", **changes)
        assert not (tmp_path / "runs").exists()
        return str(caught.value)

    return refuse


def test_the_good_table_trains(tmp_path):
    GOOD.to_csv(tmp_path / "people.csv", index=False)
    data = {"source": str(tmp_path / "people.csv"), "target": "bought", "batch_size": 8}
    run = lk.train({"data": data, "training": {"epochs": 1}}, runs=tmp_path / "runs", inline=True)
    assert run.state == "completed"


# -- the target -----------------------------------------------------------------------------------


def test_a_target_column_that_is_not_there(refused):
    said = refused(GOOD.rename(columns={"bought": "buoght"}))
    assert said.startswith("data.target: ")
    assert "people.csv' has no column 'bought'; did you mean 'buoght'? (known: age, income, buoght)" in said


def test_no_target_named(refused):
    said = refused(GOOD, target=None)
    assert "needs the column to predict; write data: {target: …}" in said
    assert "(known: age, income, bought)" in said


def test_missing_targets(refused):
    said = refused(GOOD.assign(bought=GOOD["bought"].where(GOOD.index % 8 != 0)))
    assert "data.target: 'bought' is missing in 5 of 40 rows" in said


def test_infinite_targets(refused):
    said = refused(GOOD.assign(bought=GOOD["income"].mask(GOOD.index == 3, np.inf)))
    assert "data.target: 'bought' is infinite in 1 of 40 rows" in said


@pytest.mark.parametrize("value", [1, "yes"])
def test_one_class_only(refused, value):
    said = refused(GOOD.assign(bought=value))
    assert said == f"data.target: 'bought' holds one class only ({value!r}); two or more are needed"


def test_one_class_after_rows_were_dropped(refused):
    frame = GOOD.assign(income=GOOD["income"].where(GOOD["bought"] == 1))
    assert "holds one class only (1)" in refused(frame, missing="drop")


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("multiclass", "given multiclass, but the target of .* holds two classes; write binary"),
        ("regression", "regression needs numbers, and the target of .* holds text such as 'yes'"),
    ],
)
def test_a_task_that_the_target_is_not_for(refused, task, said):
    text = GOOD.assign(bought=["yes", "no"] * (ROWS // 2))
    assert re.search(f"data.task: {said}", refused(text, task=task))


def test_three_classes_called_binary(refused):
    assert "holds 3 classes; write multiclass" in refused(GOOD.assign(bought=GOOD.index % 3), task="binary")


def test_a_loss_that_the_target_is_not_for(refused):
    said = refused(GOOD, ConfigError, batch_size=8, loss="categorical_crossentropy")
    assert "a softmax over a single output is always 1" in said
    assert "write loss: binary_crossentropy" in said


# -- the features ---------------------------------------------------------------------------------


def test_text_in_a_column_of_numbers(refused):
    said = refused(GOOD.astype({"income": object}).replace({"income": {GOOD["income"][7]: "much"}}))
    assert "column 'income' of" in said
    assert "holds text in 1 of 40 numbers, first 'much' in row 7" in said
    assert "data: {categorical: [income]} or {drop: [income]}" in said


def test_names_of_single_rows_are_no_categories(refused):
    said = refused(GOOD.assign(name=[f"person {i}" for i in range(ROWS)]))
    assert "column 'name' of" in said
    assert (
        "holds 40 different texts in 40 rows, too many to learn from as categories; write data: {drop: [name]}" in said
    )


def test_missing_values(refused):
    said = refused(GOOD.assign(income=GOOD["income"].where(GOOD.index % 10 != 0)))
    assert "misses 4 values (income: 4); say what to do: data: {missing: drop}, or mean, median" in said


def test_infinite_values(refused):
    assert "column 'age' of" in (said := refused(GOOD.assign(age=np.inf)))
    assert "holds 40 infinite values" in said


def test_dates(tmp_path):
    frame = GOOD.assign(day=pd.date_range("2024-01-01", periods=ROWS))
    with pytest.raises(DataError, match=r"column 'day' of the data holds dates; .* data: {drop: \[day\]}"):
        lk.train(data=(frame, "bought"), runs=tmp_path)


def test_no_column_besides_the_target(refused):
    assert "has no column besides the target 'bought'" in refused(GOOD[["bought"]])


@pytest.mark.parametrize("field", ["drop", "categorical"])
def test_a_column_that_is_not_there(refused, field):
    said = refused(GOOD, **{field: ["agee"]})
    assert f"data.{field}: " in said
    assert "has no column 'agee'; did you mean 'age'?" in said


# -- the rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "\n", "age,income,bought\n"], ids=["nothing", "an empty line", "a header"])
def test_zero_rows(refused, text):
    said = refused(text)
    assert said.startswith("data.source: ")
    assert said.endswith("has no rows")


@pytest.mark.parametrize("batch_size", [25, 1000])
def test_a_batch_larger_than_the_training_part(refused, batch_size):
    said = refused(GOOD, batch_size=batch_size)
    assert said == (
        f"data.batch_size: given {batch_size}, but only 24 of 40 rows are left to train on; write at most 24"
    )


def test_a_batch_larger_than_a_bundled_set(tmp_path):
    with pytest.raises(DataError, match="only 106 of 178 rows are left to train on; write at most 106"):
        lk.train(data="wine", batch_size=107, runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_class_too_small_to_be_split(tmp_path):
    frame = GOOD.assign(bought=[1] + [0] * (ROWS - 1))
    run = lk.train(data=(frame, "bought"), batch_size=8, runs=tmp_path, inline=True)
    assert run.state == "failed"
    assert "the smallest class, 1, has 1; give each class more rows" in run.status.reason


# -- the source -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("digitz", r"data.source: given 'digitz', did you mean 'digits'\? .*; or a file that ends in .csv, .parquet"),
        ("nowhere.csv", r"data.source: there is no file 'nowhere.csv'; the current folder is '.+'"),
        ("prices.xlsx", r"given 'prices.xlsx', .*; or a file that ends in .csv, .parquet, .npz"),
    ],
)
def test_a_source_that_is_not_there(tmp_path, source, said):
    with pytest.raises(DataError, match=said):
        lk.train(data=source, runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_target_for_a_bundled_set(tmp_path):
    with pytest.raises(ConfigError, match="given 'alcohol', but wine has a target of its own; leave target out"):
        lk.train(data="wine", target="alcohol", runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("field", ["drop", "categorical"])
def test_a_column_that_a_bundled_set_has_not(tmp_path, field):
    with pytest.raises(DataError, match=rf"data.{field}: wine has no column 'alcool'; did you mean 'alcohol'\?"):
        lk.train({"data": {"source": "wine", field: ["alcool"]}}, runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"features": np.zeros((4, 2)), "y": np.zeros(4)}, "holds the arrays features, y; expected X .* and y"),
        ({"X": np.zeros((4, 2))}, "holds the arrays X; expected X .* and y"),
        ({"X": np.zeros(4), "y": np.zeros(4)}, r"holds X of shape \(4,\) and y of shape \(4,\)"),
        ({"X": np.zeros((4, 2)), "y": np.zeros(3)}, r"holds X of shape \(4, 2\) and y of shape \(3,\)"),
        ({"X": np.zeros((0, 2)), "y": np.zeros(0)}, "has no rows"),
        ({"X": np.array([[{}]], dtype=object), "y": np.zeros(1)}, "cannot be read: .*allow_pickle=False"),
    ],
)
def test_an_npz_that_is_not_x_and_y(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=said):
        lk.train(data=str(tmp_path / "a.npz"), runs=tmp_path / "runs")


@pytest.mark.parametrize("name", ["broken.parquet", "broken.npz", "broken.csv"])
def test_a_file_that_is_not_what_its_name_says(tmp_path, name):
    (tmp_path / name).write_bytes(b'\xff\xfe"\x00not a table\n1,2,3\n"')
    with pytest.raises(DataError, match=r"broken\.\w+' cannot be read: "):
        lk.train(data=str(tmp_path / name), target="y", runs=tmp_path / "runs")
