"""A table read piece by piece is prepared like one in memory, in a memory that does not grow with the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

import lmkit as lk
from lmkit.data.preparation import prepare
from lmkit.data.tables import pieces, streaming
from lmkit.data.tables.sources import part_sizes
from lmkit.runfolder.commands import Stop
from lmkit.runfolder.folder import RunFolder
from lmkit.specs import data as data_spec
from lmkit.specs.data import DataSpec
from lmkit.training.control import Control
from lmkit.training.fit import Fit
from lmkit.training.train import train

draw = np.random.default_rng(21)
N = 2_300


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PIECE_ROWS", 500)
    monkeypatch.setattr(pieces, "PIECE_ROWS", 500)


def frame() -> pd.DataFrame:
    x = draw.normal(3, 5, N)
    return pd.DataFrame(
        {
            "x": x,
            "n": draw.integers(0, 50, N),
            "town": draw.choice(["Bern", "Chur", "Uri"], N),
            "same": 4.5,
            "kind": draw.choice(["a", "b", "c"], N),
            "price": 7 * x + draw.normal(size=N),
        }
    )


def write(table: pd.DataFrame, folder: Path, ending: str = "parquet") -> str:
    path = folder / f"table.{ending}"
    if ending == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, row_group_size=333)  # which no piece is
    return str(path)


def rows_of(spec: DataSpec, rows: int, seed: int) -> list[np.ndarray]:
    """Which rows are in training, validation and test."""
    parts = np.concatenate(list(streaming.split_pieces(spec, rows, seed)))
    return [np.flatnonzero(parts == number) for number in range(3)]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("scale", ["standard", "minmax"])
def test_what_is_prepared_is_what_scikit_learn_makes_of_the_whole(tmp_path: Path, ending: str, scale: Any) -> None:
    table = frame()
    source = write(table, tmp_path, ending)
    spec = DataSpec(source=source, target="kind", drop=("price",), scale=scale, streaming="on")
    data = prepare(spec, 3, "float64", tmp_path)
    training, *others = rows_of(spec, N, 3)
    numbers, towns = table[["x", "n", "same"]].to_numpy(dtype=float), table[["town"]]
    scaler = (StandardScaler() if scale == "standard" else MinMaxScaler()).fit(numbers[training])
    one_hot = OneHotEncoder(sparse_output=False).fit(towns.iloc[training])
    expected = np.hstack([scaler.transform(numbers), one_hot.transform(towns)])
    for part, rows in zip((data.training, data.validation, data.test), (training, *others), strict=True):
        assert isinstance(part.X, np.memmap)
        np.testing.assert_allclose(part.X, expected[rows], rtol=1e-12, atol=1e-12)
        assert [data.preprocessing.classes[i] for i in part.y] == table["kind"].iloc[rows].tolist()
    assert data.preprocessing.features == ["x", "n", "same", "town=Bern", "town=Chur", "town=Uri"]


def test_a_number_as_target_is_scaled_and_gaps_are_filled_with_the_mean(tmp_path: Path) -> None:
    table = frame().drop(columns=["town", "kind"])
    table.loc[draw.choice(N, 400, replace=False), "x"] = np.nan
    source = write(table, tmp_path)
    spec = DataSpec(source=source, target="price", missing="mean", streaming="on")
    data = prepare(spec, 0, "float64", tmp_path)
    training, _, test = rows_of(spec, N, 0)
    mean = table["x"].iloc[training].mean()
    filled = table[["x", "n", "same"]].fillna({"x": mean}).to_numpy(dtype=float)
    scaler = StandardScaler().fit(filled[training])
    np.testing.assert_allclose(data.training.X, scaler.transform(filled[training]), rtol=1e-11, atol=1e-12)
    target = StandardScaler().fit(table[["price"]].iloc[training].to_numpy())
    np.testing.assert_allclose(data.test.y, target.transform(table[["price"]].iloc[test].to_numpy()), rtol=1e-11)


def test_rows_with_gaps_can_be_dropped(tmp_path: Path) -> None:
    table = frame().drop(columns=["price"])
    table.loc[::3, "x"] = np.nan
    table.loc[1::6, "town"] = None
    whole = table.dropna()
    spec = DataSpec(source=write(table, tmp_path), target="kind", missing="drop", streaming="on")
    data = prepare(spec, 1, "float64", tmp_path)
    training, _, test = rows_of(spec, len(whole), 1)
    x = whole["x"].to_numpy()
    assert len(data.training.X) + len(data.validation.X) + len(data.test.X) == len(whole)
    np.testing.assert_allclose(data.test.X[:, 0], (x[test] - x[training].mean()) / x[training].std(), rtol=1e-11)


@pytest.mark.parametrize("rows", [10, 500, 2_300, 2_500])
def test_the_split_is_exact_even_and_repeatable(rows: int) -> None:
    spec = DataSpec(source="a.csv", validation=0.25, test=0.1)
    pieces = list(streaming.split_pieces(spec, rows, 4))
    assert [len(p) for p in pieces] == [500] * (rows // 500) + [rows % 500] * (rows % 500 > 0)
    assert [(np.concatenate(pieces) == i).sum() for i in range(3)] == list(part_sizes(spec, rows).values())
    for again, piece in zip(streaming.split_pieces(spec, rows, 4), pieces, strict=True):
        np.testing.assert_array_equal(again, piece)
    assert not np.array_equal(np.concatenate(list(streaming.split_pieces(spec, rows, 5))), np.concatenate(pieces))


def test_every_row_is_as_likely_in_every_part() -> None:
    spec = DataSpec(source="a.csv", validation=0.3, test=0.2)
    drawn = np.array([np.concatenate(list(streaming.split_pieces(spec, 520, seed))) for seed in range(2_000)])
    for number, share in enumerate((0.5, 0.3, 0.2)):
        found = (drawn == number).mean(axis=0)
        assert np.abs(found - share).max() < 5 * np.sqrt(share * (1 - share) / 2_000)


@pytest.fixture
def learnable(tmp_path: Path) -> lk.Experiment:
    X = draw.normal(size=(N, 4))
    table = pd.DataFrame(X, columns=list("abcd")).assign(y=(X[:, 0] + X[:, 1] > 0).astype(int))
    return lk.Experiment(
        data={"source": write(table, tmp_path), "target": "y", "streaming": "on", "augment": {"noise": 0.01}},
        model="mlp:small",
        training={"epochs": 4, "precision": "float64"},
    )


def test_runs_train_predict_and_move_to_the_other_framework(learnable: lk.Experiment) -> None:
    run, other = (lk.train(learnable.override({"framework": f}), inline=True) for f in ("torch", "tensorflow"))
    assert run.state == "completed", run.status.reason
    np.testing.assert_allclose(run.steps["loss"], other.steps["loss"], rtol=1e-9)
    assert run.metrics["accuracy"] > 0.9
    rows = pd.read_parquet(learnable.data.source).head(50)
    assert (run.predict(rows) == rows["y"]).mean() > 0.9
    moved = lk.convert(run, to="tensorflow")
    assert moved.metrics == pytest.approx(run.metrics, rel=1e-9)
    kept = list((run.path.parent / ".data").iterdir())
    assert len(kept) == 1  # all three read the same prepared rows


def stop_after_the_first_call(control: Control, fit: Fit) -> None:
    """Stops a run as the command does, once it has taken steps."""
    if fit.progress.step:
        control.handle(Stop(), fit)


def test_a_run_that_was_stopped_in_an_epoch_goes_on(
    learnable: lk.Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lk.train(learnable, inline=True)
    folder = RunFolder.create(learnable)
    with monkeypatch.context() as patch:
        patch.setattr(Control, "handle_commands", stop_after_the_first_call)
        train(folder)
    begun = lk.attach(folder.path)
    assert begun.state == "stopped"
    assert 0 < begun.status.step < 44  # of an epoch
    train(folder)
    assert begun.state == "completed", begun.status.reason
    np.testing.assert_array_equal(begun.steps["loss"], whole.steps["loss"])


def test_large_files_are_read_piece_by_piece_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(frame(), tmp_path)
    size = Path(source).stat().st_size
    monkeypatch.setattr(data_spec, "STREAM_BYTES", size)
    assert not DataSpec(source=source).streams
    monkeypatch.setattr(data_spec, "STREAM_BYTES", size - 1)
    assert DataSpec(source=source).streams
    assert not DataSpec(source=source, streaming="off").streams
    monkeypatch.setattr("lmkit.data.tables.sources.read", lambda *_: pytest.fail("read whole"))
    run = lk.train({"data": {"source": source, "target": "kind", "drop": ["price"]}}, epochs=1, inline=True)
    assert run.state == "completed", run.status.reason
    told = lk.describe(source, target="kind")
    assert dict(told.facts.rows)["rows"] == N


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"target": None}, "needs the column to predict"),
        ({"target": "prize"}, "has no column 'prize'; did you mean 'price'"),
        ({"drop": ["tow"]}, "data.drop: .* has no column 'tow'; did you mean 'town'"),
        ({"missing": "median"}, "median needs all values of a column at once.*missing: mean.*streaming: off"),
        ({"augment": {"shift": 1}}, "data.augment: given shift: 1, which moves pixels"),
    ],
)
def test_what_names_and_numbers_tell_is_refused_at_once(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    spec = {"source": write(frame(), tmp_path), "target": "price", "streaming": "on", **fields}
    with pytest.raises(lk.DataError, match=said):
        lk.train({"data": spec})
    assert not (tmp_path / "runs").exists()


def faulty(fault: str) -> pd.DataFrame:
    table = frame().drop(columns="price")
    if fault == "gap":
        table.loc[1_700, "x"] = np.nan
    elif fault == "infinite":
        table.loc[1_700, "x"] = np.inf
    elif fault == "no target":
        table.loc[1_700, "kind"] = None
    elif fault == "one class":
        table["kind"] = "a"
    elif fault == "names":
        table["town"] = [f"town {i // 3}" for i in range(N)]
    elif fault == "missing category":
        table.loc[1_700, "town"] = None
    return table


@pytest.mark.parametrize(
    ("fault", "fields", "said"),
    [
        ("gap", {}, r"has missing values \(x\)\. Choose how to handle them: data: \{missing: drop\}, or mean"),
        ("infinite", {}, "column 'x' of .* has 1 infinite values"),
        ("no target", {}, "'kind' is missing in rows of"),
        ("one class", {}, r"has only one class \('a'\)"),
        ("names", {}, r"column 'town' of .* has more than 200 different texts.*drop: \[town\]"),
        ("missing category", {"missing": "mean"}, r"has missing categories, which have no mean; .*missing: drop"),
    ],
)
def test_what_only_reading_tells_ends_the_run_and_leaves_nothing(
    tmp_path: Path, fault: str, fields: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MAX_CATEGORIES", 200)
    spec = DataSpec(source=write(faulty(fault), tmp_path), target="kind", streaming="on", **fields)
    with pytest.raises(lk.DataError, match=said):
        prepare(spec, 0, "float32", tmp_path)
    assert list((tmp_path / ".data").iterdir()) == []


def test_text_among_the_numbers_of_a_csv_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(900)) + "oops,1\n")
    with pytest.raises(lk.DataError, match=r"column 'x' of .* has text among its numbers; .*drop: \[x\]"):
        prepare(DataSpec(source=str(path), target="y", streaming="on"), 0, "float32", tmp_path)


MEASURED = """
import sys
from pathlib import Path
import pandas, pyarrow.parquet, sklearn.impute, sklearn.preprocessing, sklearn.model_selection
from lmkit.data.tables import pieces, streaming
from lmkit.data.preparation import prepare
from lmkit.specs.data import DataSpec

def most():  # getrusage would tell of the process that started this one
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

streaming.PIECE_ROWS = pieces.PIECE_ROWS = 4096
before = most()
data = prepare(DataSpec(source=sys.argv[1], target="y", streaming="on"), 0, "float32", sys.argv[2])
print(most() - before, len(data.training.X))
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    block = draw.normal(size=(10_000, 50))
    table = pa.table({**{f"x{i}": column for i, column in enumerate(block.T)}, "y": np.arange(10_000) % 2})
    path = tmp_path / "large.parquet"
    with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
        for _ in range(40):
            writer.write_table(table)
    megabytes = path.stat().st_size / 2**20
    assert megabytes > 150

    command = [sys.executable, "-c", MEASURED, str(path), str(tmp_path / "runs")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    print(told)
    assert int(told[1]) == 240_000
    assert float(told[0]) < megabytes / 3
