"""The policy of predict for rows unlike those of training."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from lmkit.exceptions import DataError
from lmkit.preprocessing.loader import LoaderPreprocessing
from lmkit.preprocessing.predict import UnseenCategory, check_outputs, prepare_rows
from lmkit.preprocessing.table import TablePreprocessing

NUMBER = {"fill": None, "shift": 0.0, "scale": 1.0}


def table(fill=None, known=("Bern", "Uri"), category_fill=""):
    numbers = {"age": {**NUMBER, "fill": fill}}
    categories = {"town": {"fill": category_fill, "known": list(known)}}
    columns = ["town", "age"]
    return TablePreprocessing("regression", numbers, categories, columns, [], [], {"shift": 0.0, "scale": 1.0})


def test_a_missing_number_is_filled_as_in_training_or_refused():
    rows = [{"age": None, "town": "Uri"}, {"age": 3, "town": "Bern"}]
    assert prepare_rows(table(fill=7.0), rows).tolist() == [[7, 0, 1], [3, 1, 0]]
    with pytest.raises(DataError, match="column 'age' has 1 missing values, and the training data had none"):
        prepare_rows(table(), rows)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("fill", [None, 7.0])
def test_an_infinite_number_is_refused(value, fill):
    with pytest.raises(DataError, match="infinite numbers: column 'age' has 2 of 3 rows; expected finite numbers"):
        prepare_rows(table(fill), pd.DataFrame({"age": [value, 1, value], "town": "Uri"}))
    plain = TablePreprocessing("regression", {"age": NUMBER}, {}, ["age"], [], [], {"shift": 0.0, "scale": 1.0})
    with pytest.raises(DataError, match="column 'age' has 1"):
        prepare_rows(plain, np.array([[1.0], [value]]))


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_rows_of_a_loader_are_finite_too(value):
    fitted = LoaderPreprocessing("regression", {}, {}, [], [], [], {"shift": 0.0, "scale": 1.0}, (2,))
    with pytest.raises(DataError, match="the rows have 1 missing or infinite numbers"):
        prepare_rows(fitted, np.array([[1.0, value]]))


def test_unseen_categories_are_counted():
    rows = [{"age": 1, "town": town} for town in ("Bern", "Basel", " Uri", None)]
    with pytest.warns(
        UnseenCategory, match=r"column 'town' has 3 of 4 values that training did not have, first 'Basel'"
    ):
        assert prepare_rows(table(), rows)[:, 1:].tolist() == [[1, 0], [0, 0], [0, 0], [0, 0]]


def test_a_missing_category_is_what_it_was_in_training():
    rows = [{"age": 1, "town": None}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prepare_rows(table(known=("(missing)", "Uri"), category_fill="(missing)"), rows).tolist() == [[1, 1, 0]]
        assert prepare_rows(table(category_fill="Uri"), rows).tolist() == [[1, 0, 1]]


@pytest.mark.parametrize("rows", [[], (), np.empty((0, 2)), pd.DataFrame({"age": [], "town": []}), iter([])])
def test_no_rows_are_no_rows(rows):
    assert prepare_rows(table(), rows).shape == (0, 3)


def test_an_iterator_is_its_rows():
    rows = [{"age": i, "town": "Uri"} for i in range(3)]
    assert prepare_rows(table(), iter(rows)).tolist() == prepare_rows(table(), rows).tolist()
    assert prepare_rows(table(), (row for row in rows)).shape == (3, 3)


def test_outputs_that_are_not_finite_are_no_prediction():
    logits = np.array([[1.0], [np.nan], [np.inf]])
    with pytest.raises(DataError, match="the outputs of the model are not finite for 2 of 3 rows, first row 1"):
        check_outputs(logits)
    assert check_outputs(logits[:1]) is not None
    assert check_outputs(np.empty((0, 3))).shape == (0, 3)
