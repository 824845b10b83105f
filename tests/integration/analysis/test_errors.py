"""The errors of trained runs: planted wrong labels and slices are found, and both frameworks say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from written_run import written_run

import lmkit as lk
from lmkit.commands import cli

FLIPPED = 0.08
"""The share of wrong labels."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("errors") / "runs"


@pytest.fixture(scope="module")
def flipped() -> np.ndarray:
    return np.random.default_rng(0).random(1797) < FLIPPED


@pytest.fixture(scope="module")
def mislabelled(root: Path, flipped: np.ndarray) -> lk.Run:
    """A run on digits of which some labels are wrong, in all parts."""
    digits = load_digits()
    wrong = (digits.target + np.random.default_rng(1).integers(1, 10, 1797)) % 10
    y = np.where(flipped, wrong, digits.target)
    data = (digits.images, y)
    return lk.train(data=data, model="mlp:small", epochs=6, task="multiclass", inline=True, runs=root)


@pytest.fixture(scope="module")
def towns() -> pd.DataFrame:
    draw = np.random.default_rng(2)
    frame = pd.DataFrame({"town": draw.choice(["Bern", "Genf", "Uri"], 900, p=[0.5, 0.3, 0.2])})
    frame["a"], frame["b"] = draw.normal(size=(2, 900))
    frame["opened"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(draw.integers(0, 900, 900), unit="D")
    chance = draw.random(900) < np.where(frame["town"] == "Uri", 0.5, 0.02)
    frame["open"] = np.where((frame["a"] + frame["b"] > 0) ^ chance, "yes", "no")
    return frame


@pytest.fixture(scope="module")
def sliced(root: Path, towns: pd.DataFrame) -> lk.Run:
    return lk.train(data=(towns, "open"), model="mlp:small", epochs=6, inline=True, runs=root)


def test_planted_wrong_labels_are_found(mislabelled: lk.Run, flipped: np.ndarray) -> None:
    result = lk.errors(mislabelled)
    suspects = result.labels["row"].to_numpy()
    looked_at = result.rows["row"].to_numpy()
    assert len(looked_at) == 720
    precision, recall = flipped[suspects].mean(), np.isin(suspects, np.flatnonzero(flipped)).sum()
    recall = recall / flipped[looked_at].sum()
    assert precision > 0.7, f"precision {precision:.2f}, recall {recall:.2f}"
    assert recall > 0.65, f"precision {precision:.2f}, recall {recall:.2f}"
    assert flipped[suspects[:20]].mean() >= max(0.8, precision - 0.05), "the most suspicious ones first"
    true = load_digits().target
    assert (result.labels["suggested"].to_numpy() == true[suspects]).mean() > 0.8
    assert f"{len(suspects)} labels look wrong: check them first" in result.advice


def test_labels_that_were_trained_on_are_not_judged(mislabelled: lk.Run) -> None:
    result = lk.errors(mislabelled, part="training")
    assert not len(result.labels)
    assert "the model has learned them, the wrong ones too" in result.advice


def test_rows_are_those_of_the_source_and_the_worst_come_first(sliced: lk.Run, towns: pd.DataFrame) -> None:
    result = lk.errors(sliced, part="test")
    assert set(result.rows["part"]) == {"test"}
    assert result.rows["loss"].is_monotonic_decreasing
    source = towns.iloc[result.rows["row"]]
    for name in ("town", "a", "opened"):
        assert result.rows[name].tolist() == source[name].tolist(), "in the units of the source"
    assert result.rows["target"].tolist() == source["open"].tolist()
    assert result.rows["prediction"].tolist() == sliced.predict(source).tolist()
    shares = sliced.predict_proba(source)
    of_target = shares[np.arange(len(source)), (source["open"] == "yes").astype(int)]
    assert result.rows["loss"].to_numpy() == pytest.approx(-np.log(of_target), rel=1e-4)


def test_the_planted_slice_is_the_advice(sliced: lk.Run) -> None:
    result = lk.errors(sliced)
    assert [s.name for s in result.slices if s.stands_out] == ["town = 'Uri'"]
    assert "most often where town = 'Uri'" in result.advice
    assert "* (" in json.dumps(result.chart().figure.to_plotly_json(), default=str)


def test_both_frameworks_say_the_same_for_the_same_weights(mislabelled: lk.Run, root: Path) -> None:
    first, second = lk.errors(mislabelled), lk.errors(lk.convert(mislabelled, "tensorflow", runs=root))
    assert second.rows["row"].tolist()[:50] == first.rows["row"].tolist()[:50]
    assert second.evaluated.losses == pytest.approx(first.evaluated.losses, rel=1e-3, abs=1e-5)
    assert second.labels["row"].tolist() == first.labels["row"].tolist()
    assert [s[:4] for s in second.slices] == [s[:4] for s in first.slices]


def test_pictures_tables_and_json(mislabelled: lk.Run, capsys: pytest.CaptureFixture[str]) -> None:
    result = lk.errors(mislabelled, count=7)
    data, _ = result.chart()._repr_mimebundle_()
    assert {"application/vnd.plotly.v1+json", "image/png", "text/plain"} == set(data)
    assert data["application/vnd.plotly.v1+json"]["data"][0]["type"] == "image"
    assert [len(table.rows) for table in result.tables] == [7, 7, 7]
    assert cli.main(["errors", str(mislabelled.path), "--count", "7", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (len(printed["worst"]), printed["advice"]) == (7, result.advice)


def test_numbers_have_residuals(root: Path) -> None:
    run = lk.train(data="diabetes", model="mlp:small", epochs=3, inline=True, runs=root)
    result = run.errors()
    rows = result.rows
    assert rows["loss"].to_numpy() == pytest.approx(abs(rows["prediction"] - rows["target"]).to_numpy())
    assert result.advice.startswith(f"mean absolute error {rows['loss'].mean():.4g} in 178 rows")
    assert not len(result.labels)
    assert {s["name"] for s in result.chart().figure.to_plotly_json()["data"]} == {"exact", "row", "worst 12 rows"}


def test_a_streamed_file_a_graph_and_a_text(root: Path, towns: pd.DataFrame, tmp_path: Path) -> None:
    towns.drop(columns="opened").to_parquet(tmp_path / "towns.parquet")
    table = {"source": str(tmp_path / "towns.parquet"), "target": "open", "streaming": "on"}
    streamed = lk.errors(lk.train(data=table, model="mlp:small", epochs=6, inline=True, runs=root))
    assert [s.name for s in streamed.slices if s.stands_out] == ["town = 'Uri'"]
    first = streamed.rows.iloc[0]
    matches = towns[(towns["a"] - first["a"]).abs() < 1e-4]
    assert matches["town"].tolist() == [first["town"]], "in the units of the source"

    graph = lk.errors(lk.train(data="karate_club", epochs=3, inline=True, runs=root))
    assert list(graph.rows.columns[-2:]) == ["node", "neighbours"]
    assert "14 rows are too few to judge labels" in graph.advice

    (tmp_path / "text.txt").write_text("a line of text that repeats\n" * 300)
    text = {"source": str(tmp_path / "text.txt"), "text": {"length": 16}}
    language = lk.train(data=text, model="transformer:nano", steps=2, inline=True, runs=root)
    result = lk.errors(language, part="test")
    assert "text" in result.rows.columns
    assert "that repeats" in result.rows["text"].str.cat()
    assert "mean loss" in result.advice
    assert "no labels to doubt" in result.advice
    assert result.evaluated.losses.mean() == pytest.approx(language.metrics["loss"], rel=1e-3)
    assert result.chart().png()


def test_columns_of_the_source_may_be_called_as_those_of_the_tables(root: Path) -> None:
    draw = np.random.default_rng(3)
    frame = pd.DataFrame(draw.normal(size=(200, 3)), columns=["suggested", "p", "loss"])
    frame["y"] = np.where(frame["p"] + 0.3 * draw.normal(size=200) > 0, "yes", "no")
    result = lk.errors(lk.train(data=(frame, "y"), model="mlp:small", epochs=20, inline=True, runs=root))
    names = ["source suggested", "source p", "source loss"]
    assert result.rows.columns.tolist() == ["part", "row", "target", "prediction", "p", "loss", *names]
    assert result.rows["source p"].tolist() == frame["p"].iloc[result.rows["row"]].tolist()
    assert result.labels.columns.tolist() == ["part", "row", "target", "suggested", "p", *names]


def test_a_model_that_has_learned_nothing_judges_no_labels(root: Path) -> None:
    frame = pd.DataFrame({"constant": np.ones(100), "y": np.arange(100) % 2})
    result = lk.errors(lk.train(data=(frame, "y"), model="mlp:small", epochs=1, inline=True, runs=root))
    assert not len(result.labels)
    assert result.advice.endswith(
        "no labels are judged: the model tells rows of a class no better from others than by chance"
    )


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"part": "tset"}, "part: given 'tset', expected training, validation, test"),
        ({"count": 0}, "count: given 0, expected a whole number, at least 1"),
    ],
)
def test_wrong_arguments_are_refused(sliced: lk.Run, options: dict[str, Any], words: str) -> None:
    with pytest.raises(lk.ConfigError, match=words):
        lk.errors(sliced, **options)


def test_a_run_without_checkpoints(tmp_path: Path) -> None:
    run = written_run(tmp_path / "runs", data="wine", state="failed")
    with pytest.raises(lk.LmkitError, match="has no checkpoint 'last' yet; it is failed"):
        lk.errors(run)


def test_data_that_is_gone_and_parts_without_rows(root: Path, towns: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "towns.csv"
    towns.to_csv(path, index=False)
    data = {"source": str(path), "target": "open", "test": 0}
    run = lk.train(data=data, model="mlp:small", epochs=1, inline=True, runs=root)
    with pytest.raises(lk.DataError, match="has no rows in test"):
        lk.errors(run, part="test")
    assert set(lk.errors(run).rows["part"]) == {"validation"}
    path.unlink()
    with pytest.raises(lk.DataError, match="no longer there"):
        lk.errors(run)
