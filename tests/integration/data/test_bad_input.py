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
    assert "people.csv' has no column 'bought'; did you mean 'buoght'? Columns: age, income, buoght" in said


def test_no_target_named(refused):
    said = refused(GOOD, target=None)
    assert "needs the column to predict; use data: {target: …}" in said
    assert "olumns: age, income, bought" in said


def test_missing_targets(refused):
    said = refused(GOOD.assign(bought=GOOD["bought"].where(GOOD.index % 8 != 0)))
    assert "data.target: 'bought' is missing in 5 of 40 rows" in said


def test_infinite_targets(refused):
    said = refused(GOOD.assign(bought=GOOD["income"].mask(GOOD.index == 3, np.inf)))
    assert "data.target: 'bought' is infinite in 1 of 40 rows" in said


@pytest.mark.parametrize("value", [1, "yes"])
def test_one_class_only(refused, value):
    said = refused(GOOD.assign(bought=value))
    assert said == f"data.target: 'bought' has only one class ({value!r}); expected two or more"


def test_one_class_after_rows_were_dropped(refused):
    frame = GOOD.assign(income=GOOD["income"].where(GOOD["bought"] == 1))
    assert "has only one class (1)" in refused(frame, missing="drop")


def test_a_task_that_the_target_is_not_for(refused):
    text = GOOD.assign(bought=["yes", "no"] * (ROWS // 2))
    expected = "data.task: given regression, but the target of .* contains text such as 'yes'"
    assert re.search(expected, refused(text, task="regression"))


def test_three_classes_called_binary(refused):
    assert "has 3 classes; use multiclass" in refused(GOOD.assign(bought=GOOD.index % 3), task="binary")


def test_a_loss_that_the_target_is_not_for(refused):
    said = refused(GOOD, ConfigError, batch_size=8, loss="categorical_crossentropy")
    assert "a softmax over a single output is always 1" in said
    assert "write loss: binary_crossentropy" in said


# -- the features ---------------------------------------------------------------------------------


def test_text_in_a_column_of_numbers(refused):
    said = refused(GOOD.astype({"income": object}).replace({"income": {GOOD["income"][7]: "much"}}))
    assert "column 'income' of" in said
    assert "has text in 1 of 40 numbers, first 'much' in row 7" in said
    assert "data: {categorical: [income]} or {drop: [income]} or {missing_values: ['much']}" in said


def test_names_of_single_rows_are_no_categories(refused):
    said = refused(GOOD.assign(name=[f"person {i}" for i in range(ROWS)]), ids=[])
    assert "column 'name' of" in said
    assert "has 40 different texts in 40 rows, too many categories to learn from; use data: {drop: [name]}" in said


def test_missing_values(refused):
    said = refused(GOOD.assign(income=GOOD["income"].where(GOOD.index % 10 != 0)))
    assert "has 4 missing values (income: 4). Choose how to handle them: data: {missing: drop}, or mean, median" in said


def test_infinite_values(refused):
    assert "column 'age' of" in (said := refused(GOOD.assign(age=np.inf)))
    assert "has 40 infinite values" in said


def test_all_problems_are_in_one_message(refused):
    said = refused(
        GOOD.assign(
            name=[f"person {i}" for i in range(ROWS)],
            street=[f"street {i}" for i in range(ROWS)],
            income=GOOD["income"].where(GOOD.index % 10 != 0),
            bought=GOOD["bought"].where(GOOD.index % 8 != 0),
        ),
        ids=[],
    )
    first, *reasons, last = said.splitlines()
    assert first.endswith("people.csv' cannot be trained on, for 4 reasons:")
    assert [
        part in reason
        for part, reason in zip(("'bought' is missing", "'name'", "'street'", "income: 4"), reasons, strict=True)
    ]
    assert last == "without these columns: data: {drop: [name, street]}"


def test_all_columns_that_are_not_there_are_in_one_message(refused):
    said = refused(GOOD, target="bougt", drop=["agee"], categorical=["incom"])
    assert [line.split(":")[0] for line in said.splitlines()[1:]] == [
        "- data.target",
        "- data.drop",
        "- data.categorical",
    ]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([[1, 2]] * ROWS, "column 'cell' of the data has lists in its cells"),
        ([1j] * ROWS, "column 'cell' of the data has complex numbers"),
    ],
)
def test_cells_that_are_no_values(tmp_path, cells, said):
    with pytest.raises(DataError, match=said):
        lk.train(data=(GOOD.assign(cell=cells), "bought"), runs=tmp_path)


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
@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_batch_larger_than_the_training_part_is_lowered(tmp_path, batch_size, framework):
    fields = {"data": (GOOD, "bought"), "epochs": 2, "framework": framework, "runs": tmp_path, "inline": True}
    run = lk.train(batch_size=batch_size, **fields)
    expected = lk.train(batch_size=24, **fields)
    assert run.state == "completed", run.status.reason
    assert run.steps["loss"].tolist() == expected.steps["loss"].tolist()
    texts = [event.data["text"] for event in run.events if event.type == "warning"]
    assert f"batch_size: given {batch_size}, lowered to the 24 rows of the training part: an epoch is one step" in texts


def test_a_class_of_one_row_is_in_the_training_part(tmp_path):
    frame = GOOD.assign(bought=[2] + [0, 1] * (ROWS // 2 - 1) + [0])
    run = lk.train(data=(frame, "bought"), batch_size=8, epochs=1, runs=tmp_path, inline=True)
    assert run.state == "completed", run.status.reason
    assert 2 not in run.predictions["target"].tolist()
    assert len(run.predictions) == 8
    texts = [event.data["text"] for event in run.events if event.type == "warning"]
    assert "rare classes: 2 has one row, in the training part alone" in texts


def test_classes_that_cannot_be_split_name_the_task(tmp_path):
    frame = GOOD.assign(bought=[f"k{i // 2}" for i in range(ROWS)])
    run = lk.train(data=(frame, "bought"), batch_size=8, runs=tmp_path, inline=True)
    assert run.state == "failed"
    assert "the task is multiclass; for a target that is a number use data: {task: regression}" in run.status.reason


# -- the source -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("digitz", r"data.source: given 'digitz', did you mean 'digits'\? .*; or a file that ends in .csv, .parquet"),
        ("nowhere.csv", r"data.source: no file 'nowhere.csv'; the current folder is '.+'"),
        ("prices.ods", r"given 'prices.ods', .*; or a file that ends in .csv, .parquet, .npz"),
        ("prices.xlsx", r"data.source: no file 'prices.xlsx'"),
    ],
)
def test_a_source_that_is_not_there(tmp_path, source, said):
    with pytest.raises(DataError, match=said):
        lk.train(data=source, runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_target_for_a_bundled_set(tmp_path):
    with pytest.raises(ConfigError, match="given 'alcohol', but wine already has a target; leave target out"):
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
        ({"features": np.zeros((4, 2)), "y": np.zeros(4)}, "contains the arrays features, y; expected X .* and y"),
        ({"X": np.zeros((4, 2))}, "contains the arrays X; expected X .* and y"),
        ({"X": np.zeros(4), "y": np.zeros(4)}, r"contains X of shape \(4,\) and y of shape \(4,\)"),
        ({"X": np.zeros((4, 2)), "y": np.zeros(3)}, r"contains X of shape \(4, 2\) and y of shape \(3,\)"),
        ({"X": np.zeros((0, 2)), "y": np.zeros(0)}, "has no rows"),
        ({"X": np.array([[{}]], dtype=object), "y": np.zeros(1)}, "type object, .*expected an array of numbers"),
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
