"""Data handed over in memory is kept once per content."""

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmkit as lk
from lmkit import DataError
from lmkit.data.memory import store_data
from lmkit.data.tables.sources import load
from lmkit.specs.data import DataSpec

X = np.arange(120.0).reshape(40, 3)
Y = np.tile([0, 1], 20)


def kept(root):
    return sorted(p.name for p in (root / ".data").iterdir())


def test_ten_runs_share_one_copy(tmp_path):
    runs = [lk.train(data=(X, Y), epochs=1, inline=True, runs=tmp_path, batch_size=8) for _ in range(2)]
    for _ in range(8):
        store_data((X.copy(), Y.tolist()), tmp_path)
    assert len(kept(tmp_path)) == 1
    assert runs[0].experiment.data.source == runs[1].experiment.data.source
    assert [r.state for r in runs] == ["completed", "completed"]
    assert runs[0].path != runs[1].path


def test_the_name_says_the_content_and_another_content_has_another(tmp_path):
    other = X.copy()
    other[17, 1] += 1e-12
    frame = pd.DataFrame(X, columns=list("abc")).assign(y=Y)
    different = [
        (X, Y),
        (other, Y),
        (X, 1 - Y),
        (X.astype(np.float32), Y),
        (X, Y.astype(str)),
        (frame, "y"),
        (frame.rename(columns={"a": "d"}), "y"),
        (frame[["b", "a", "c", "y"]], "y"),
    ]
    names = {store_data(data, tmp_path)["source"] for data in different}
    assert len(names) == len(different) == len(kept(tmp_path))


COLUMNS = """
import numpy as np, pandas as pd
columns = [
    np.array([0.1, np.nan, -0.0] * 4),
    pd.array([1000, None, 3000] * 4, dtype="Int64"),
    pd.array([True, None, False] * 4, dtype="boolean"),
    pd.Categorical(["a", "b", None] * 4),
    np.array(["a", None, "é"] * 4, dtype=object),
    pd.array(["a", None, "b"] * 4, dtype="string"),
    pd.date_range("2024-01-01", periods=12),
]
"""


def test_another_process_gives_the_same_content_the_same_name(tmp_path):
    code = COLUMNS + (
        "import sys\nfrom lmkit.data.memory import store_data\n"
        "for c in columns: print(store_data((pd.DataFrame({'c': c, 'y': range(12)}), 'y'), sys.argv[1])['source'])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=100
    )
    space: dict[str, Any] = {}
    exec(COLUMNS, space)
    here = [store_data((pd.DataFrame({"c": c, "y": range(12)}), "y"), tmp_path)["source"] for c in space["columns"]]
    assert here == told.stdout.split()
    assert len(set(here)) == len(here) == len(kept(tmp_path))


def test_what_was_handed_over_may_change_afterwards(tmp_path):
    mine = X.copy()
    fields = store_data((mine, Y), tmp_path)
    mine[:] = 0
    assert np.array_equal(load(DataSpec(**fields), tmp_path).X.to_numpy(), X)


def test_a_target_beside_a_column_called_y(tmp_path):
    frame = pd.DataFrame({"y": X[:, 0], "x": X[:, 1]})
    table = load(DataSpec(**store_data((frame, Y), tmp_path)), tmp_path)
    assert table.X["y"].tolist() == X[:, 0].tolist()
    assert table.y.tolist() == Y.tolist()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"X": X, "y": Y}, "given dict, expected"),
        (X, "given ndarray, expected"),
        ((X, Y, Y), "given tuple, expected"),
        ((X[None, None, None], Y), r"given X of shape \(1, 1, 1, 40, 3\), expected \(rows, features\)"),
        ((X, Y[:-1]), "given 40 rows of X and 39 of y"),
        ((X, np.stack([Y, Y], axis=1)), r"given y of shape \(40, 2\), expected \(rows,\)"),
        ((X.astype(str), Y), "given X of type <U.*, expected numbers"),
        ((pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "a"), "several columns are named 'a', expected one"),
        ((pd.DataFrame({"a": [1, "x"]}), [0, 1]), "cannot be stored as a table"),
    ],
)
def test_what_is_no_data(tmp_path, data, said):
    with pytest.raises(DataError, match=said):
        store_data(data, tmp_path)
    assert not (tmp_path / ".data").exists() or kept(tmp_path) == []


def test_data_that_is_kept_elsewhere(tmp_path):
    fields = store_data((X, Y), tmp_path / "here")
    with pytest.raises(DataError, match=r"stored:\w+ is not in this folder of runs; pass the data again"):
        load(DataSpec(**fields), tmp_path / "there")


@pytest.mark.parametrize("digest", ["../../secret", "", "a/b", "a.b"])
def test_a_name_leads_nowhere_else(tmp_path, digest):
    with pytest.raises(DataError, match="expected stored:<hash>"):
        load(DataSpec(source=f"stored:{digest}", target="y"), tmp_path)
