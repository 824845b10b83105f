"""Tables as programs write them: each is the same table, and what was inferred is said."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zipfile
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmkit.data.memory import store_data
from lmkit.data.preparation import prepare
from lmkit.data.tables.sources import load
from lmkit.exceptions import DataError, MissingPackage
from lmkit.specs.data import DataSpec

draw = np.random.default_rng(3)
ROWS = 60
FRAME = pd.DataFrame(
    {
        "area": draw.normal(80, 20, ROWS).round(3),
        "rooms": draw.integers(1, 6, ROWS),
        "town": draw.choice(["Bern", "Genève", "Zürich"], ROWS),
        "price": draw.normal(500, 100, ROWS).round(3),
    }
)


def assert_same(path, **fields):
    """Checks that a file holds the features and the target of FRAME; returns the table."""
    table = load(DataSpec(source=str(path), target="price", **fields))
    assert list(table.X.columns) == ["area", "rooms", "town"]
    assert table.X["area"].tolist() == FRAME["area"].tolist()
    assert table.X["rooms"].tolist() == FRAME["rooms"].tolist()
    assert table.X["town"].tolist() == FRAME["town"].tolist()
    assert table.y.tolist() == FRAME["price"].tolist()
    assert table.task == "regression"
    return table


@pytest.mark.parametrize(
    ("separator", "name"), [(",", ""), (";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars"), (" ", "spaces")]
)
def test_any_separator(tmp_path, separator, name):
    FRAME.to_csv(tmp_path / "a.csv", sep=separator, index=False)
    table = assert_same(tmp_path / "a.csv")
    assert [note for note in table.notes if "separated" in note] == (
        [f"{str(tmp_path / 'a.csv')!r}: its values are separated by {name}"] if name else []
    )


def test_the_words_of_a_text_are_no_columns(tmp_path):
    (tmp_path / "a.csv").write_text("review text\n" + "very good\nso bad\nquite fine\n" * 5)
    with pytest.raises(DataError, match=r"has no column 'text'; .*review text"):
        load(DataSpec(source=str(tmp_path / "a.csv"), target="text"))


def test_a_separator_that_is_configured(tmp_path):
    FRAME.to_csv(tmp_path / "a.csv", sep="~", index=False)
    assert_same(tmp_path / "a.csv", separator="~")
    with pytest.raises(DataError, match="has no column 'price'"):
        load(DataSpec(source=str(tmp_path / "a.csv"), target="price"))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, None], ids=["gz", "bz2", "xz", "zip"])
@pytest.mark.parametrize("stem", ["a.csv", "b.TSV"])
def test_compressed(tmp_path, compress, stem):
    content = FRAME.to_csv(sep="\t" if stem == "b.TSV" else ",", index=False).encode()
    end = {gzip.compress: "gz", bz2.compress: "bz2", lzma.compress: "xz", None: "zip"}[compress]
    path = tmp_path / f"{stem}.{end}"
    if compress:
        path.write_bytes(compress(content))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inner.csv", content)
    assert_same(path)


def test_a_zip_of_two_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("one.csv", "a,y\n1,2\n")
        archive.writestr("two.csv", "a,y\n1,2\n")
    with pytest.raises(DataError, match=r"has 2 files \(one.csv, two.csv\), expected one; unpack it"):
        load(DataSpec(source=str(tmp_path / "a.csv.zip"), target="y"))


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("cp1252", "is not UTF-8")],
)
def test_encodings(tmp_path, encoding, said):
    FRAME.to_csv(tmp_path / "a.csv", index=False, encoding=encoding)
    notes = " ".join(assert_same(tmp_path / "a.csv").notes)
    assert said in notes
    assert ("UTF-8" in notes) == ("UTF-8" in said)
    assert_same(tmp_path / "a.csv", encoding=encoding)


def test_an_encoding_that_begins_late(tmp_path):
    text = "town,price\n" + "Bern,1.5\n" * 40_000 + "Zürich,2.5\n"
    (tmp_path / "a.csv").write_bytes(text.encode("cp1252"))
    table = load(DataSpec(source=str(tmp_path / "a.csv"), target="price"))
    assert table.X["town"].iloc[-1] == "Zürich"
    assert any("cp1252" in note for note in table.notes)


def test_a_wrong_encoding_says_so(tmp_path):
    (tmp_path / "a.csv").write_bytes("town,y\nZürich,1\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"cannot be read: .*data: \{encoding: …\}"):
        load(DataSpec(source=str(tmp_path / "a.csv"), target="y", encoding="utf-8"))
    with pytest.raises(ValueError, match="given 'klingon', expected an encoding such as utf-8"):
        load(DataSpec(source=str(tmp_path / "a.csv"), target="y", encoding="klingon"))


def test_records_feather_and_excel(tmp_path, monkeypatch):
    FRAME.to_json(tmp_path / "a.json", orient="records", double_precision=15)
    FRAME.to_json(tmp_path / "a.jsonl", orient="records", lines=True, double_precision=15)
    FRAME.to_json(tmp_path / "b.json", double_precision=15)
    FRAME.to_feather(tmp_path / "a.feather")
    for name in ("a.json", "a.jsonl", "b.json", "a.feather"):
        assert_same(tmp_path / name)
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingPackage, match=r"openpyxl, which is not installed; install it: .*\[excel\]"):
        load(DataSpec(source=str(tmp_path / "a.xlsx"), target="price"))
    (tmp_path / "c.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="has no table, expected a list of records"):
        load(DataSpec(source=str(tmp_path / "c.json"), target="price"))


def test_jsonl_without_a_target_is_a_text():
    assert DataSpec(source="a.jsonl").kind == "text"
    assert DataSpec(source="a.jsonl", target="y").kind == "table"


@pytest.mark.parametrize(
    ("lines", "columns", "rows"),
    [
        (["5.1,3.5,setosa", "4.9,3.0,setosa", "6.3,3.3,virginica"], ["x0", "x1"], 3),
        (["a,b,y", "5.1,3.5,u", "4.9,3.0,v"], ["a", "b"], 2),
        (["country,2019,2020,y", "CH,1,2,u", "CH,3,4,v"], ["country", "2019", "2020"], 2),
        (["0,1,y", "5,3,u", "4,3,v"], ["0", "1"], 2),
        (["7,9,y", "5,3,u", "4,3,v"], ["7", "9"], 2),  # the target is in it
        (["# made in May", "# by hand", "a,b,y", "1,2,u", "3,4,v"], ["a", "b"], 2),
        (["#a,b,y", "1,2,u", "3,4,v"], ["#a", "b"], 2),
    ],
)
def test_headers_and_comments(tmp_path, lines, columns, rows):
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    target = "y" if any("y" in line.split(",") for line in lines) else "x2"
    table = load(DataSpec(source=str(tmp_path / "a.csv"), target=target))
    assert (list(table.X.columns), len(table.y)) == (columns, rows)


def test_a_header_that_is_configured(tmp_path):
    (tmp_path / "a.csv").write_text("a,u\nb,v\na,v\n")
    assert len(load(DataSpec(source=str(tmp_path / "a.csv"), target="x1", header=False)).y) == 3
    (tmp_path / "b.csv").write_text("1,2\n3,4.5\n5,6.5\n")
    table = load(DataSpec(source=str(tmp_path / "b.csv"), target="2", header=True))
    assert table.y.tolist() == [4.5, 6.5]


def test_numbers_as_people_write_them(tmp_path):
    frame = pd.DataFrame(
        {
            "dollars": ["$1,234.50", "$44,898", "($12)"] * 10,
            "share": ["12%", "3.5 %", "100%"] * 10,
            "y": ["€ 1,200.5", "€ 900", "€ 1,000"] * 10,
        }
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    table = load(DataSpec(source=str(tmp_path / "a.csv"), target="y"))
    assert table.X["dollars"].tolist()[:3] == [1234.5, 44898, -12]
    assert table.X["share"].tolist()[:3] == [12, 3.5, 100]
    assert table.y.tolist()[:3] == [1200.5, 900, 1000]
    assert table.task == "regression"
    preprocessing = prepare(
        DataSpec(source=str(tmp_path / "a.csv"), target="y", scale="none"), 0, "float64"
    ).preprocessing
    assert preprocessing.apply([{"dollars": "$7", "share": "1 %"}, {"dollars": 8, "share": 2.0}]).tolist() == [
        [7, 1],
        [8, 2],
    ]
    with pytest.raises(DataError, match="column 'dollars' contains 'many', expected a number as in training"):
        preprocessing.apply([{"dollars": "many", "share": "1 %"}])


def test_decimal_commas(tmp_path):
    (tmp_path / "a.csv").write_text("a;b;y\n" + "1,5;1.234,5;0,25\n2,5;1.000;0,75\n" * 20)
    table = load(DataSpec(source=str(tmp_path / "a.csv"), target="y"))
    assert table.X.iloc[:2].to_numpy().tolist() == [[1.5, 1234.5], [2.5, 1000]]
    assert table.y.tolist()[:2] == [0.25, 0.75]
    assert any("its decimal sign is a comma" in note for note in table.notes)


@pytest.mark.parametrize("layout", ["iso", "%d.%m.%Y", "%m/%d/%Y", "%d-%b-%Y", "%Y/%m/%d %H:%M", "datetime"])
def test_dates_are_their_parts_and_an_age(tmp_path, layout):
    days = pd.Series(pd.date_range("2023-12-01", periods=ROWS, freq="17h" if "H" in layout else "3D"))
    texts = days if layout == "datetime" else days.dt.strftime("%Y-%m-%d" if layout == "iso" else layout)
    frame = pd.DataFrame({"when": texts, "y": draw.normal(size=ROWS)})
    path = tmp_path / "a.parquet"
    frame.to_parquet(path)
    spec = DataSpec(source=str(path), target="y", scale="none", validation=0, test=0)
    table = load(spec)
    assert table.X["when.month"].tolist() == days.dt.month.tolist()
    assert table.X["when.weekday"].tolist() == days.dt.day_of_week.tolist()
    assert table.X["when.year"].tolist() == days.dt.year.tolist()
    age = (days.max() - days).dt.total_seconds() / 86_400
    np.testing.assert_allclose(table.X["when.age"], age, atol=1e-9)
    data = prepare(spec, 0, "float64")
    assert data.preprocessing.columns == ["when"]
    rows = frame[["when"]].to_dict("records")
    np.testing.assert_array_equal(np.sort(data.training.X, axis=0), np.sort(data.preprocessing.apply(rows), axis=0))
    np.testing.assert_array_equal(data.preprocessing.apply(rows), data.preprocessing.apply(frame))


def test_row_numbers_are_left_out(tmp_path):
    FRAME.to_csv(tmp_path / "a.csv")
    table = assert_same(tmp_path / "a.csv")
    assert table.warnings == (
        "'Unnamed: 0' numbers the rows (0 … 59) and is left out; to learn from it use data: {ids: []}",
    )


def test_rows_without_a_target_can_be_dropped(tmp_path):
    frame = FRAME.assign(price=FRAME["price"].mask(FRAME.index % 6 == 0))
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r"'price' is missing in 10 of 60 rows of .*; use data: \{missing: drop\}"):
        load(DataSpec(source=str(tmp_path / "a.csv"), target="price"))
    table = load(DataSpec(source=str(tmp_path / "a.csv"), target="price", missing="drop"))
    assert table.y.tolist() == frame["price"].dropna().tolist()
    assert "10 of 60 rows have no 'price', and are dropped" in table.notes


def test_missing_categories_are_a_category(tmp_path):
    frame = FRAME.assign(town=FRAME["town"].mask(FRAME.index % 6 == 0))
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = prepare(DataSpec(source=str(tmp_path / "a.csv"), target="price"), 0, "float64")
    assert data.preprocessing.categories["town"]["known"] == ["(missing)", "Bern", "Genève", "Zürich"]
    row = {"area": 80, "rooms": 3}
    assert data.preprocessing.apply([{**row, "town": None}])[0, 2:].tolist() == [1, 0, 0, 0]
    assert data.preprocessing.apply([{**row, "town": "Bern"}])[0, 2:].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("kind", ["csv", "semicolons", "tsv.gz", "numbers", "prices", "dates", "headless", "latin"])
def test_a_stream_agrees_with_memory(tmp_path, kind):
    frame = FRAME.assign(town=FRAME["town"].mask(FRAME.index % 7 == 0, "None"), area=FRAME["area"].round(1))
    path = tmp_path / "a.csv"
    options: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    if kind == "semicolons":
        options = {"sep": ";", "decimal": ","}
    elif kind == "tsv.gz":
        path, options = tmp_path / "a.tsv.gz", {"sep": "\t"}
    elif kind == "numbers":
        frame = frame.assign(rooms=[f"$1,{v:03d}" for v in frame["rooms"]])
    elif kind == "prices":
        frame = frame.assign(price=[f"$ {v:,.2f}" for v in 10 * frame["price"]])
    elif kind == "dates":
        frame = frame.assign(rooms=[f"{v:02d}.03.2024" for v in range(1, 31)] * 2)
    elif kind == "headless":
        options, fields = {"header": False}, {"target": "x3"}
    elif kind == "latin":
        options = {"encoding": "cp1252"}
    frame.to_csv(path, index=False, **options)
    parts = {"target": "price", "validation": 0, "test": 0, **fields}
    memory, stream = (
        prepare(DataSpec(source=str(path), streaming=mode, **parts), 0, "float64", tmp_path) for mode in ("off", "on")
    )
    assert stream.preprocessing.categories == memory.preprocessing.categories
    assert stream.preprocessing.formats == memory.preprocessing.formats
    assert stream.preprocessing.columns == memory.preprocessing.columns
    np.testing.assert_allclose(stream.training.X, memory.training.X, atol=1e-12)
    np.testing.assert_allclose(stream.training.y, memory.training.y, atol=1e-12)
    assert set(stream.notes) <= set(memory.notes)


@pytest.mark.parametrize(
    ("values", "features"),
    [
        (pd.Categorical(["p", "q"] * 30), ["c=p", "c=q"]),
        (pd.array([Decimal("1.5"), Decimal("2.5")] * 30), ["c"]),
        (pd.period_range("2024-01", periods=60, freq="M"), ["c.year", "c.month", "c.weekday", "c.age"]),
        (pd.date_range("2024-01-01", periods=60, tz="Europe/Zurich"), ["c.month", "c.day", "c.weekday", "c.age"]),
        (pd.to_timedelta(np.arange(60) * 7, unit="h"), ["c"]),
        ([str(v) for v in range(1000, 1060)], ["c"]),
    ],
    ids=["categorical", "decimal", "period", "time zone", "duration", "digits"],
)
def test_columns_of_any_type_in_memory(tmp_path, values, features):
    frame = pd.DataFrame({"c": values, "y": pd.Categorical(["u", "v"] * 30)})
    spec = DataSpec(**store_data((frame, "y"), tmp_path), validation=0, test=0)
    data = prepare(spec, 0, "float64", tmp_path)
    assert [name for name in data.preprocessing.features if name not in ("c.year", "c.hour")] == [
        name for name in features if name != "c.year"
    ]
    assert data.preprocessing.classes == ["u", "v"]
    given = data.preprocessing.apply(frame[["c"]])
    np.testing.assert_allclose(np.sort(given, axis=0), np.sort(data.training.X, axis=0), atol=1e-9)


def test_missing_dates_are_counted_by_their_column(tmp_path):
    days = pd.Series(pd.date_range("2024-01-01", periods=60)).mask(FRAME.index % 6 == 0)
    FRAME.assign(day=days).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"has 10 missing values \(day: 10\)"):
        load(DataSpec(source=str(tmp_path / "a.parquet"), target="price"))
