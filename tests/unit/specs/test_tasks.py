"""Tasks: each is one class, and a new one flows through the data and the schema."""

import numpy as np
import pytest

import lmkit as lk
from lmkit.custom.checks import check_outputs
from lmkit.data.preparation import prepare
from lmkit.specs.data import DataSpec


def test_a_new_task_is_prepared_and_restored(multilabel, tags):
    data = prepare(DataSpec(**tags), 0, "float32")
    known = data.preprocessing
    assert known.classes == ["none", "right", "up"]
    assert known.signature.outputs == 3
    assert data.training.y.shape == (72, 3)
    assert set(known.restore(data.training.y)) == {"none", "right", "up", "right|up"}
    assert known.probabilities(np.zeros((2, 3))).tolist() == [[0.5] * 3] * 2
    with pytest.raises(lk.ConfigError, match="a logit for each of 3 classes"):
        check_outputs((2, 1), known.signature, "net")


def test_a_new_task_is_a_choice_of_the_schema(multilabel):
    assert "multilabel" in DataSpec.model_json_schema()["properties"]["task"]["enum"]
    assert lk.Experiment(data={"source": "a.csv", "target": "t", "task": "multilabel"}).data.task == "multilabel"


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(lk.ConfigError, match=r"data.task: given 'binari', did you mean 'binary'\?"):
        lk.Experiment(data={"source": "a.csv", "task": "binari"})
    with pytest.raises(lk.ConfigError, match=r"data.task: given 'language'"):
        lk.Experiment(data={"source": "a.csv", "task": "language"})


def test_a_new_task_is_described(multilabel, tags):
    assert "classification with 3 labels" in str(lk.describe(lk.Experiment(data=tags)))
