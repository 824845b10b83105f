"""A run answers rows unlike those of training by one policy; a bundle by the same function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmkit as lk
from lmkit.preprocessing.predict import UnseenCategory

draw = np.random.default_rng(5)
FRAME = pd.DataFrame(
    {
        "when": pd.date_range("2024-01-01", periods=60).strftime("%d.%m.%Y"),
        "town": draw.choice(["Bern", "Uri"], 60),
        "age": draw.normal(size=60),
        "y": draw.choice(["a", "b"], 60),
    }
)
ROW = {"when": "03.02.2024", "town": "Uri", "age": 0.5}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lk.Run:
    run = lk.train(data=(FRAME, "y"), epochs=1, runs=tmp_path_factory.mktemp("runs"), inline=True)
    assert run.state == "completed", run.status.reason
    return run


@pytest.mark.parametrize("rows", [[], iter([]), FRAME.iloc[:0]])
def test_no_rows(run: lk.Run, rows: Any) -> None:
    assert run.predict(rows).shape == (0,)


def test_no_rows_have_no_probabilities(run: lk.Run) -> None:
    assert run.predict_proba([]).shape == (0, 2)


def test_an_iterator(run: lk.Run) -> None:
    assert run.predict(iter([ROW, ROW])).tolist() == run.predict([ROW, ROW]).tolist()


def test_what_cannot_be_answered_is_refused(run: lk.Run) -> None:
    with pytest.raises(lk.DataError, match="infinite numbers: column 'age' has 1"):
        run.predict([{**ROW, "age": np.inf}])
    with pytest.raises(lk.DataError, match=r"column 'when' contains 'soon', expected a date as %d\.%m\.%Y as in"):
        run.predict([{**ROW, "when": "soon"}])
    with pytest.raises(lk.DataError, match="column 'age' has 1 missing values"):
        run.predict([{**ROW, "age": None}])


def test_an_unseen_category_is_said(run: lk.Run) -> None:
    with pytest.warns(UnseenCategory, match="column 'town' has 1 of 2 values"):
        assert len(run.predict([ROW, {**ROW, "town": "Basel"}])) == 2
