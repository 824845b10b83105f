"""Splits by groups and by time, in tables of every origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine

import lmkit as lk
from lmkit.commands import cli
from lmkit.data.preparation import prepare
from lmkit.data.tables.fit import split
from lmkit.data.tables.sources import load
from lmkit.specs.data import DataSpec

draw = np.random.default_rng(4)


@pytest.fixture
def visits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Visits of 40 patients, from one to nine each, in any order."""
    monkeypatch.chdir(tmp_path)
    patients = np.repeat([f"p{i}" for i in range(40)], draw.integers(1, 10, 40))
    rows = len(patients)
    frame = pd.DataFrame({"patient": patients, "a": draw.normal(size=rows), "b": draw.normal(size=rows)})
    frame["when"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(draw.permutation(rows), unit="D")
    frame["ill"] = (frame["a"] > 0).astype(int)
    frame = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    frame.to_csv("visits.csv", index=False)
    return frame


def parts(spec: DataSpec, seed: int = 0) -> tuple[np.ndarray, ...]:
    return split(spec, load(spec), seed)


def test_a_group_is_in_one_part_and_no_feature(visits: pd.DataFrame) -> None:
    spec = DataSpec(source="visits.csv", target="ill", group="patient")
    drawn = []
    for seed in range(5):
        rows = parts(spec, seed)
        np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(len(visits)))
        groups = [set(visits["patient"].iloc[part]) for part in rows]
        assert sum(map(len, groups)) == 40
        for part in rows[1:]:
            assert len(part) == pytest.approx(0.2 * len(visits), abs=5)  # half of the largest group
        drawn.append(groups[2])
    assert len({frozenset(groups) for groups in drawn}) == 5
    assert [set(visits["patient"].iloc[part]) for part in parts(spec, 0)][2] == drawn[0]
    data = prepare(spec, 0, "float32")
    assert data.preprocessing.columns == ["a", "b", "when"]
    counts = [visits["patient"].iloc[part].nunique() for part in parts(spec)]
    expected = f"{counts[0]} in training, {counts[1]} in validation, {counts[2]} in test"
    assert data.notes[-1] == f"split by 'patient', whose rows are in one part each: {expected}"


@pytest.mark.parametrize("column", ["when", "number", "text"])
def test_the_latest_rows_are_the_test_part(visits: pd.DataFrame, column: str) -> None:
    days = (visits["when"] - pd.Timestamp("2020-01-01")).dt.days
    frame = visits.drop(columns="patient")
    frame["number"], frame["text"] = days * 0.5, visits["when"].dt.strftime("%d/%m/%Y")
    frame.to_csv("visits.csv", index=False)
    spec = DataSpec(source="visits.csv", target="ill", time=column)
    training, validation, test = (np.sort(days.iloc[rows]) for rows in parts(spec))
    rows = len(frame)
    assert [len(validation), len(test)] == pytest.approx([0.2 * rows] * 2, abs=1)
    np.testing.assert_array_equal(np.concatenate([training, validation, test]), np.arange(rows))
    note = prepare(spec, 0, "float32").notes[-1]
    first, last = frame[column].iloc[days.argmin()], frame[column].iloc[days.argmax()]
    assert note.startswith(f"split by {column!r}: training {str(first).removesuffix(' 00:00:00')} to ")
    assert note.endswith(f"to {str(last).removesuffix(' 00:00:00')}")


def test_rows_that_are_dropped_and_a_column_that_is_left_out(visits: pd.DataFrame) -> None:
    visits.loc[::7, "a"] = np.nan
    visits.loc[3::11, "ill"] = np.nan
    visits.to_csv("visits.csv", index=False)
    spec = DataSpec(source="visits.csv", target="ill", time="when", drop=("when", "patient"), missing="drop")
    left = visits.dropna()
    table = load(spec)
    rows = split(spec, table, 0)
    assert list(table.X.columns) == ["a", "b"]
    whens = [left["when"].iloc[part] for part in rows]
    assert whens[0].max() < whens[1].min() < whens[1].max() < whens[2].min()
    np.testing.assert_array_equal(table.X["a"].iloc[rows[2]], left["a"].iloc[rows[2]])


def test_equal_times_keep_the_order_of_the_table(tmp_path: Path) -> None:
    pd.DataFrame({"x": np.arange(10.0), "t": [1] * 10, "y": np.arange(10) * 1.5}).to_csv(
        tmp_path / "t.csv", index=False
    )
    rows = parts(DataSpec(source=str(tmp_path / "t.csv"), target="y", time="t"))
    assert [part.tolist() for part in rows] == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]


def test_few_and_large_groups_leave_no_part_empty(tmp_path: Path) -> None:
    frame = pd.DataFrame({"g": list("a" * 80 + "b" * 10 + "c" * 10), "x": np.arange(100.0), "y": np.arange(100) * 1.5})
    frame.to_csv(tmp_path / "t.csv", index=False)
    spec = DataSpec(source=str(tmp_path / "t.csv"), target="y", group="g")
    for seed in range(6):
        groups = [set(frame["g"].iloc[part]) for part in parts(spec, seed)]
        assert sorted(map(len, groups)) == [1, 1, 1]
    frame["g"] = list("a" * 50 + "b" * 50)
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(lk.DataError, match=r"'g' has 2 different values .* expected 3 at least, .*\{validation: 0\}"):
        parts(spec)
    assert len(parts(spec.model_copy(update={"validation": 0.0}))[2]) == 50


PROBLEMS: dict[str, tuple[dict[str, Any], str]] = {
    "no such group": (
        {"group": "patients"},
        "data.group: 'visits.csv' has no column 'patients'; did you mean 'patient'",
    ),
    "no such time": ({"time": "date"}, "data.time: 'visits.csv' has no column 'date'"),
    "gaps": ({"group": "patient", "missing": "drop"}, "data.group: 'patient' is missing in 1 of"),
    "no time": ({"time": "patient"}, "data.time: 'patient' of 'visits.csv' has values such as .*, expected dates or"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_does_not_suit_is_said(visits: pd.DataFrame, problem: str) -> None:
    fields, expected = PROBLEMS[problem]
    if problem == "gaps":
        visits.loc[0, "patient"] = None
        visits.to_csv("visits.csv", index=False)
    with pytest.raises(lk.DataError, match=expected):
        load(DataSpec(source="visits.csv", target="ill", **fields))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"source": "t.csv", "group": "a", "time": "b"}, "expected one of them"),
        ({"source": "t.csv", "group": "a", "target": "a"}, "which is the target"),
        ({"source": "python_docs", "group": "a"}, "given for a text, expected a table"),
        ({"source": "karate_club", "time": "a"}, "given for a graph, expected a table"),
        ({"source": "object:shapes:make", "group": "a"}, "given for a loader, expected a table"),
        ({"source": "t.csv", "sheet": "a"}, r"no \.xlsx file"),
    ],
)
def test_what_cannot_be_split_so_is_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(lk.ConfigError, match=expected):
        lk.Experiment(data=fields)


def test_a_file_that_is_streamed_has_no_groups(visits: pd.DataFrame) -> None:
    with pytest.raises(lk.DataError, match=r"data.group: needs all rows at once, .*\{streaming: off\}"):
        prepare(DataSpec(source="visits.csv", target="ill", group="patient", streaming="on"), 0, "float32")


# -- the four ways --------------------------------------------------------------------------------


def test_a_run_is_split_by_groups_in_memory_and_from_the_command_line(
    visits: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    run = lk.train(data=(visits, "ill"), group="patient", model={"hidden": [4]}, epochs=1, inline=True)
    assert run.state == "completed", run.status.reason
    assert any(e.data.get("text", "").startswith("split by 'patient'") for e in run.events)
    assert run.predict(visits[["a", "b", "when"]].head(3)).shape == (3,)
    assert cli.main(["describe", "visits.csv", "-p", "target", "ill", "-p", "data.time", "when"]) == 0
    assert "split by 'when': training 2020-01-01" in capsys.readouterr().out
    form = lk.configure({"source": "visits.csv", "target": "ill", "group": "patient"})
    assert form.experiment.data.group == "patient"
    assert not form.problems
    assert "split by &#x27;patient&#x27;, whose rows are in one part each" in form._preview.value
    sizes = [len(rows) for rows in parts(form.experiment.data, form.experiment.seed)]
    assert "{} training, {} validation, {} test rows".format(*sizes) in form._preview.value


# -- Excel ----------------------------------------------------------------------------------------


def test_a_sheet_of_excel_trains_as_the_same_table_in_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wine = load_wine(as_frame=True).frame
    wine["bottled"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(len(wine)), unit="D")
    wine["region"] = ["north" if value > 13 else None for value in wine["alcohol"]]
    wine.to_csv("wine.csv", index=False)
    with pd.ExcelWriter("wine.xlsx") as writer:
        pd.DataFrame({"note": ["of a colleague"]}).to_excel(writer, sheet_name="Read me", index=False)
        wine.to_excel(writer, sheet_name="Wine", index=False)
    histories = []
    for source in (
        {"source": "wine.csv"},
        {"source": "wine.xlsx", "sheet": "Wine"},
        {"source": "wine.xlsx", "sheet": 1},
    ):
        run = lk.train({"data": {**source, "target": "target"}, "model": {"hidden": [4]}}, epochs=2, inline=True)
        assert run.state == "completed", run.status.reason
        histories.append(run.history["loss"].tolist())
    assert histories[0] == histories[1] == histories[2]
    assert run.predict(pd.read_excel("wine.xlsx", sheet_name="Wine").head(2)).shape == (2,)


def test_the_first_sheet_is_read_and_others_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"x": np.arange(30.0), "y": np.arange(30) * 1.5})
    with pd.ExcelWriter("t.xlsx") as writer:
        frame.to_excel(writer, sheet_name="2024", index=False)
        frame.head(10).to_excel(writer, sheet_name="0", index=False)
    table = load(DataSpec(source="t.xlsx", target="y"))
    assert len(table.y) == 30
    assert "'t.xlsx': its first sheet, '2024', is read; others by data.sheet: '0'" in table.notes
    assert len(load(DataSpec(source="t.xlsx", target="y", sheet="0")).y) == 10  # a name comes before a number
    with pytest.raises(lk.DataError, match=r"data.sheet: 't.xlsx' has no sheet '2025'; did you mean '2024'"):
        load(DataSpec(source="t.xlsx", target="y", sheet="2025"))
    (tmp_path / "t.xlsx").write_bytes(b"PK no archive")
    with pytest.raises(lk.DataError, match=r"'t\.xlsx' cannot be read"):
        load(DataSpec(source="t.xlsx", target="y"))
