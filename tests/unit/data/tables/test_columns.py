"""What a column holds: missing values and their signs, identifiers, dates, numbers with units; inferred and said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmkit.data.memory import store_data
from lmkit.data.preparation import prepare
from lmkit.data.tables.sources import load
from lmkit.exceptions import DataError
from lmkit.specs.data import DataSpec

draw = np.random.default_rng(3)
ROWS = 60
AREA, PRICE = draw.normal(80, 20, ROWS).round(2), draw.normal(500, 100, ROWS).round(2)


@pytest.fixture
def spec(tmp_path):
    """Write a table with an area, a price and other columns, and return what describes it."""

    def write(columns, separator=",", **fields):
        frame = pd.DataFrame({**columns, "area": AREA, "price": PRICE})
        frame.to_csv(tmp_path / "a.csv", index=False, sep=separator)
        return DataSpec(**{"source": str(tmp_path / "a.csv"), "target": "price", **fields})

    return write


def some(sign, values, every=9):
    return [sign if i % every == 0 else values[i % len(values)] for i in range(ROWS)]


@pytest.mark.parametrize("sign", ["?", "-", "N.A.", "unknown", "Missing", "#DIV/0!", ".."])
@pytest.mark.parametrize("values", [range(20, 50), ["1.234,5", "7,25"], ["31.12.2024", "01.02.2023"]])
def test_signs_among_numbers_and_dates_are_missing_values(spec, sign, values):
    config = spec({"x": some(sign, values)}, ";")
    with pytest.raises(DataError, match=r"has 7 missing values \(x: 7\)"):
        load(config)
    table = load(config.model_copy(update={"missing": "mean"}))
    assert table.X.iloc[:, 0].isna().sum() == 7
    assert f"read as missing values: {sign!r} in 'x' (7 rows)" in table.notes
    preprocessing = prepare(config.model_copy(update={"missing": "mean"}), 0, "float64").preprocessing
    rows = preprocessing.apply([{"x": value, "area": 80} for value in (sign, None, values[0])])
    assert rows[0].tolist() == rows[1].tolist()  # the mean is at 0, up to rounding
    assert rows[0, 0] == pytest.approx(0)
    assert rows[2, 0] != pytest.approx(0)


@pytest.mark.parametrize(("sign", "is_missing"), [("?", True), ("N/a", True), ("-", False), ("unknown", False)])
def test_of_categories_only_clear_signs(spec, sign, is_missing):
    preprocessing = prepare(spec({"x": some(sign, ["a", "b"])}), 0, "float64").preprocessing
    assert preprocessing.categories["x"]["known"] == sorted(["(missing)" if is_missing else sign, "a", "b"])


def test_configured_signs_take_the_place_of_inferred_ones(spec):
    columns = {"x": some(-999, [1, 2, 3]), "y": some("none", ["a", "b"]), "z": some("?", ["u", "v"])}
    config = spec(columns, missing_values=[-999, "none"], missing="median")
    table = load(config)
    assert table.X["x"].isna().sum() == table.X["y"].isna().sum() == 7
    assert set(table.X["z"]) == {"?", "u", "v"}
    preprocessing = prepare(config, 0, "float64").preprocessing
    row = {"x": 2, "y": "a", "z": "u", "area": 80}
    given = preprocessing.apply([{**row, "x": -999}, {**row, "x": None}, {**row, "y": "none"}, {**row, "y": None}])
    assert given[0].tolist() == given[1].tolist()
    assert given[2].tolist() == given[3].tolist()


@pytest.mark.parametrize("code", [-999, -9, 9999])
def test_codes_are_said_not_guessed(spec, code):
    table = load(spec({"x": some(code, range(20, 50))}))
    assert (table.X["x"] == code).sum() == 7
    assert table.warnings[0].startswith(f"'x' is {code} in 7 rows, and 20 to 49 in the others: if that stands for a")
    assert f"data: {{missing_values: [{code}]}}" in table.warnings[0]
    assert load(spec({"x": some(code, range(20, 50))}, missing_values=[])).warnings == ()


@pytest.mark.parametrize("values", [[4, 9, 13], [-5, 5, 20], [99, 98, 97]])
def test_ordinary_numbers_are_no_codes(spec, values):
    assert load(spec({"x": some(-9, values, 70) if -5 in values else some(values[0], values)})).warnings == ()


IDS = {
    "name": [f"Person {i}, Mr." for i in range(ROWS)],
    "uuid": [f"{i * 7919:08x}-{i:04x}" for i in range(ROWS)],
    "customer_id": draw.permutation(ROWS) + 1000,
    "PassengerId": np.arange(ROWS) + 1,
    "n": np.arange(ROWS),
}


def test_columns_that_identify_rows_are_left_out(spec):
    table = load(spec(IDS))
    assert list(table.X.columns) == ["area"]
    assert table.warnings == (
        "'PassengerId' numbers the rows (1 … 60) and is left out; to learn from it use data: {ids: []}",
        "'n' numbers the rows (0 … 59) and is left out; to learn from it use data: {ids: []}",
        "left out, as they identify the rows: 'name', 'uuid', 'customer_id', such as 'Person 0, Mr.'; to learn from "
        "them use data: {ids: []}",
    )
    assert table.columns == ["area"]


def test_identifiers_can_be_named(spec):
    table = load(spec(IDS, ids=["name", "uuid"]))
    assert list(table.X.columns) == ["customer_id", "PassengerId", "n", "area"]
    assert "left out, as they identify the rows: 'name', 'uuid'" in table.notes
    assert table.warnings == ()
    with pytest.raises(DataError, match=r"data.ids: .* has no column 'nme'; did you mean 'name'"):
        load(spec(IDS, ids=["nme"]))
    with pytest.raises(DataError, match=r"data.ids: 'price' is the target"):
        load(spec(IDS, ids=["price"]))


@pytest.mark.parametrize(
    "columns",
    [
        {"day": range(ROWS)},
        {"store_id": [i % 7 for i in range(ROWS)]},
        {"kind": [f"kind {i % 12}" for i in range(ROWS)]},
        {"when": pd.date_range("2024-01-01", periods=ROWS).strftime("%Y-%m-%d")},
        {"mass": [f"{50 + i / 7:.2f} kg" for i in range(ROWS)]},
        {"id": AREA + 0.5},
    ],
    ids=lambda columns: next(iter(columns)),
)
def test_these_are_no_identifiers(spec, columns):
    table = load(spec(columns))
    assert table.columns[0] == next(iter(columns))
    assert table.warnings == ()


def test_the_only_column_may_count_the_rows(tmp_path):
    pd.DataFrame({"x": range(ROWS), "price": PRICE}).to_csv(tmp_path / "a.csv", index=False)
    assert load(DataSpec(source=str(tmp_path / "a.csv"), target="price")).columns == ["x"]


def test_nothing_but_identifiers(tmp_path):
    pd.DataFrame({"name": IDS["name"], "price": PRICE}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match="has no column to learn from; left out, as it identifies the rows: 'name'"):
        load(DataSpec(source=str(tmp_path / "a.csv"), target="price"))


WHEN = {"when": pd.date_range("2024-01-01", periods=ROWS, freq="37h").strftime("%d.%m.%Y %H:%M")}


def test_parts_of_dates_can_be_dropped(spec):
    config = spec(WHEN, drop=["when.age", "when.hour"])
    assert list(load(config).X.columns) == ["when.month", "when.day", "when.weekday", "area"]
    preprocessing = prepare(config, 0, "float64").preprocessing
    assert preprocessing.apply([{"when": "24.12.2024 18:30", "area": 80}]).shape == (1, 4)
    parts = [f"when.{part}" for part in ("year", "month", "day", "weekday", "hour", "age")]
    assert list(load(spec(WHEN, drop=parts)).X.columns) == ["area"]
    with pytest.raises(DataError, match=r"data.drop: 'area.age' is no part of 'area', which has no dates"):
        load(spec(WHEN, drop=["area.age"]))
    with pytest.raises(DataError, match=r"data.drop: .* has no column 'wen.age'"):
        load(spec(WHEN, drop=["wen.age"]))


@pytest.mark.parametrize(
    ("cell", "text", "number"),
    [
        (lambda v: f"{v} kg", "7.5kg", 7.5),
        (lambda v: f"{v}°C".replace(".", ","), "7,5 °C", 7.5),
        (lambda v: f"{v} m²", 12, 12),
        (lambda v: str(v) if v % 2 > 1 else str(v).replace(".", ","), "7,5", 7.5),
    ],
    ids=["kg", "degrees", "square", "mixed"],
)
def test_numbers_with_units_and_of_either_sign(spec, cell, text, number):
    config = spec({"x": [cell(v) for v in AREA]}, ";")
    assert load(config).X["x"].tolist() == AREA.tolist()
    preprocessing = prepare(config, 0, "float64").preprocessing
    scaling = preprocessing.numbers["x"]
    row = preprocessing.apply([{"x": text, "area": 80}])
    assert row[0, 0] == pytest.approx((number - scaling["shift"]) / scaling["scale"])
    assert type(preprocessing).from_dict(preprocessing.to_dict()) == preprocessing


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([f"{v} {'kg' if i % 2 else 'g'}" for i, v in enumerate(AREA)], r"has numbers in several units \(g, kg\)"),
        (
            ["1,234", "5.5", "2,5"] * (ROWS // 3),
            "has decimal points and commas, and '.*' may be read both",
        ),
        ([f"a very long sentence about the flat number {i}" for i in range(ROWS)], "sentences rather than categories"),
    ],
    ids=["units", "signs", "sentences"],
)
def test_what_cannot_be_read_is_said(spec, cells, said):
    with pytest.raises(DataError, match=said + r".*data: \{drop: \[x\]\}"):
        load(spec({"x": cells}, ";"))


def test_all_problems_at_once(spec):
    columns = {
        "x": [f"{v} {'kg' if i % 2 else 'g'}" for i, v in enumerate(AREA)],
        "y": some(None, range(20, 50)),
        "z": [np.inf, *AREA[1:]],
    }
    with pytest.raises(DataError) as error:
        load(spec(columns, drop=["area.age"]))
    first, *lines = str(error.value).splitlines()
    assert "for 4 reasons" in first
    for text in ("several units", "'area.age' is no part", "1 infinite value", "y: 7"):
        assert sum(text in line for line in lines) == 1


def test_a_frame_with_two_columns_of_one_name(tmp_path):
    frame = pd.DataFrame(np.stack([AREA, AREA[::-1], PRICE], 1), columns=["a", "a", "price"])
    fields = store_data((frame, "price"), tmp_path)
    table = load(DataSpec(**fields), tmp_path)
    assert list(table.X.columns) == ["a", "a.1"]
    assert any("'a' → 'a.1'" in note for note in table.notes)
