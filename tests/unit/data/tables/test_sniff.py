"""Files of text as people and programs write them: each is the same table, and what was inferred is said."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from lmkit.data.preparation import prepare
from lmkit.data.tables.encodings import find_encoding
from lmkit.data.tables.sources import load
from lmkit.exceptions import DataError
from lmkit.specs.data import DataSpec

draw = np.random.default_rng(3)
ROWS = 40
FRAME = pd.DataFrame(
    {
        "area": draw.normal(80, 20, ROWS).round(2),
        "rooms": draw.integers(1, 6, ROWS),
        "town": draw.choice(["Bern", "Genf", "Uri"], ROWS),
        "price": draw.normal(500, 100, ROWS).round(2),
    }
)
CSV = FRAME.to_csv(index=False)
LINES = CSV.splitlines()


def padded(separator, width):
    return "\n".join(separator.join(cell.ljust(width) for cell in line.split(",")) for line in LINES)


def records(**options):
    return FRAME.to_json(double_precision=15, **options)


FILES = {
    "padded.csv": (padded(", ", 9), ""),
    "padded-right.csv": (padded(";", 9), "semicolons"),
    "spaced quotes.csv": ("\n".join(", ".join(f'"{c}"' for c in line.split(",")) for line in LINES), ""),
    "aligned.txt": (FRAME.to_string(index=False), "separated by spaces"),
    "aligned.dat": (padded("  ", 12).replace("Bern", "Be rn"), "separated by several spaces"),
    "tabs.txt": (CSV.replace(",", "\t"), "separated by tabs"),
    "excel.csv": ("sep=;\n" + CSV.replace(",", ";"), ""),
    "utf-16.csv": (CSV.encode("utf-16"), "encoded as utf-16"),
    "utf-32.csv": (CSV.encode("utf-32"), "encoded as utf-32"),
    "mac.csv": (CSV.replace("\n", "\r"), ""),
    "title.csv": ("Prices of flats, 2024\n\n" + CSV, "1 line above its header, 'Prices of flats, 2024': a title"),
    "titles.csv": ("Prices;;;\n2024;;;\n" + CSV.replace(",", ";"), "2 lines above its header, 'Prices'"),
    "units.csv": ("\n".join([LINES[0], "m2,,,CHF", *LINES[1:]]), "the line below its header has units"),
    "brackets.csv": ("\n".join([LINES[0], "[m²],[-],[-],[kCHF]", *LINES[1:]]), "[m²], [-], [-], [kCHF]"),
    "footer.csv": (CSV + "\nSource: office of statistics\n", "1 line below its rows, 'Source: office of"),
    **{f"{orient}.json": (records(orient=orient), "") for orient in ("records", "columns", "index", "split", "table")},
    "wrapped.json": (f'{{"rows": {records(orient="records")}}}', ""),
    "rows.json": (json.dumps([LINES[0].split(","), *json.loads(records(orient="values"))]), ""),
    "lines.ndjson": (records(orient="records", lines=True), ""),
    "lines.jsonl.gz": (gzip.compress(records(orient="records", lines=True).encode()), ""),
}


@pytest.mark.parametrize("name", FILES)
def test_the_same_table(tmp_path, name):
    content, said = FILES[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    table = load(DataSpec(source=str(tmp_path / name), target="price"))
    assert list(table.X.columns) == ["area", "rooms", "town"]
    assert table.X["area"].tolist() == FRAME["area"].tolist()
    assert table.X["rooms"].tolist() == FRAME["rooms"].tolist()
    assert table.X["town"].str.replace(" ", "").tolist() == FRAME["town"].tolist()
    assert table.y.tolist() == FRAME["price"].tolist()
    assert said in " ".join(table.notes)
    assert table.warnings == ()


def test_parquet_by_its_short_name(tmp_path):
    FRAME.to_parquet(tmp_path / "a.pq")
    assert load(DataSpec(source=str(tmp_path / "a.pq"), target="price")).y.tolist() == FRAME["price"].tolist()


def test_a_sheet_with_a_title(tmp_path):
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "a.xlsx") as writer:
        pd.DataFrame(["Prices in 2024"]).to_excel(writer, index=False, header=False)
        FRAME.to_excel(writer, startrow=2, index=False)
    table = load(DataSpec(source=str(tmp_path / "a.xlsx"), target="price"))
    assert table.y.tolist() == FRAME["price"].tolist()
    assert "2 lines above its header: a title" in table.notes[0]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("town,y\nZürich,1\nGenève,2\nØrsted,3\n", "cp1252"),
        ("miasto,y\nŁódź,1\nBiałystok,2\nCzęstochowa,3\n", "cp1250"),
        ("město,y\nTřebíč,1\nPlzeň,2\nČeské Budějovice,3\n", "cp1250"),
        ("город,y\nМосква,1\nКазань,2\n", "cp1251"),
        ("都市,y\nとうきょう,1\nナゴヤ,2\n", "cp932"),
        ("도시,y\n서울,1\n부산,2\n", "euc_kr"),
        ("城市,y\n北京,1\n上海,2\n", "gb18030"),
    ],
)
def test_encodings_of_the_world(tmp_path, text, encoding):
    assert find_encoding(text.encode(encoding))[0] == encoding
    assert find_encoding(text.encode()) == ("utf-8", "")
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    table = load(DataSpec(source=str(tmp_path / "a.csv"), target="y", task="regression"))
    assert table.X.iloc[:, 0].tolist() == [line.split(",")[0] for line in text.splitlines()[1:]]
    assert f"it is not UTF-8, and read as {encoding}" in table.notes[0]


def test_columns_of_one_name_are_renamed(tmp_path):
    (tmp_path / "a.csv").write_text(CSV.replace("area,rooms", "area,area", 1))
    table = load(DataSpec(source=str(tmp_path / "a.csv"), target="price"))
    assert list(table.X.columns) == ["area", "area.1", "town"]
    assert "columns of the same name are renamed, from the second on: 'area' → 'area.1'" in table.notes[0]
    (tmp_path / "a.csv").write_text(CSV.replace("area,rooms", "area,price", 1))
    with pytest.raises(DataError, match="several columns are named 'price', expected one"):
        load(DataSpec(source=str(tmp_path / "a.csv"), target="price"))


ARFF = """% a comment
@RELATION flats
@attribute area NUMERIC
@attribute 'no of rooms' integer
@attribute town {Bern, 'Neu Genf'}
@attribute built date 'yyyy-MM-dd'
@attribute price real
@data
80.5, 3, Bern, 2020-01-31, 1
70, ?, 'Neu Genf', 2021-05-01, 2.5
60,1,"Neu Genf",2022-12-24,3
"""


def test_arff(tmp_path):
    (tmp_path / "a.arff").write_text(ARFF)
    table = load(DataSpec(source=str(tmp_path / "a.arff"), target="price", missing="median", task="regression"))
    assert table.X["area"].tolist() == [80.5, 70, 60]
    assert np.array_equal(table.X["no of rooms"], [3, np.nan, 1], equal_nan=True)
    assert table.X["town"].tolist() == ["Bern", "Neu Genf", "Neu Genf"]
    assert table.X["built.month"].tolist() == [1, 5, 12]
    sparse = (
        "@relation s\n@attribute a numeric\n@attribute b {x, y}\n@attribute y {no, yes}\n@data\n{0 2, 2 yes}\n{1 y}\n"
    )
    (tmp_path / "s.arff").write_text(sparse)
    table = load(DataSpec(source=str(tmp_path / "s.arff"), target="y"))
    assert table.X.to_numpy().tolist() == [[2, "x"], [0, "y"]]
    assert table.y.tolist() == ["yes", "no"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("@attribute x\n@data\n1\n", "line 1: given '@attribute x', expected @attribute NAME TYPE"),
        ("hello\n", "line 1: given 'hello', expected @attribute"),
        ("@data\n1,2\n", "has no @attribute above @data"),
        ("@attribute a numeric\n@attribute y numeric\n@data\n1\n", "line 4: has 1 values, expected 2"),
        (
            "@attribute a numeric\n@attribute y numeric\n@data\n{7 1}\n",
            "given '7 1', expected the index of",
        ),
        ("@attribute a numeric\n@attribute y numeric\n@data\nx,1\n", "'a' are declared as numeric"),
        ("@attribute a relational\n", "'a' is relational, expected one value a row"),
    ],
)
def test_what_is_no_arff(tmp_path, content, said):
    (tmp_path / "a.arff").write_text(content)
    with pytest.raises(DataError, match=said):
        load(DataSpec(source=str(tmp_path / "a.arff"), target="y"))


def test_nested_records(tmp_path):
    values = [{"house": {"area": i * 1.5, "town": "Bern"}, "price": i} for i in range(30)]
    (tmp_path / "a.json").write_text(json.dumps(values))
    table = load(DataSpec(source=str(tmp_path / "a.json"), target="price"))
    assert list(table.X.columns) == ["house.area", "house.town"]
    assert "records in 'house' are columns house.…" in table.notes[0]


def test_a_stream_reads_such_files_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [*LINES[:3], "?,2,Uri,400", *LINES[3:]]
    text = "\n".join([", ".join(c.ljust(6) for c in line.split(",")) for line in [lines[0], "m2,,,CHF", *lines[1:]]])
    (tmp_path / "a.csv").write_text(f"Prices of flats\n{text}\n".replace("rooms", "area ", 1))
    fields = {"source": "a.csv", "target": "price", "missing": "mean", "validation": 0, "test": 0}
    memory, stream = (prepare(DataSpec(**fields, streaming=on), 0, "float64", tmp_path) for on in ("off", "on"))
    one, other = memory.preprocessing, stream.preprocessing
    assert (one.columns, one.categories.keys()) == (other.columns, other.categories.keys())
    assert one.columns == ["area", "area.1", "town"]
    assert one.missing_values == other.missing_values == {"area": ["?"]}
    for name, fit in one.numbers.items():
        assert other.numbers[name] == pytest.approx(fit)
    assert other.categories["town"]["known"] == ["Bern", "Genf", "Uri"]
