"""What is configured of a text, what is known of it beforehand, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from narrowing import require_type, require_value

import lmkit as lk
from lmkit.specs.data import DataSpec
from lmkit.specs.optimizers import Adam
from lmkit.specs.schedules import Cosine
from lmkit.specs.signature import Signature


def test_what_is_text_by_its_name_is_text(tmp_path: Path) -> None:
    for source in ("python_docs", "a.txt", "folder/B.JSONL"):
        assert DataSpec(source=source).kind == "text"
    for source in ("digits", "a.csv", "a.parquet"):
        assert DataSpec(source=source).kind == "table"
    (tmp_path / "a.txt").write_text("a")
    folder = DataSpec(source=str(tmp_path))
    assert folder.kind == "text"
    (tmp_path / "a.txt").unlink()
    assert DataSpec.model_validate(folder.model_dump()).kind == "text"  # it remembers


def test_a_table_is_text_where_that_is_asked_for() -> None:
    assert DataSpec(source="a.parquet", text={"column": "body"}).kind == "text"
    assert require_value(DataSpec.model_validate({"source": "a.csv", "text": "bpe"}).text).tokenizer == "bpe"


def test_the_signature_of_bytes_is_known_beforehand_and_that_of_pairs_is_not() -> None:
    assert DataSpec(source="python_docs").signature == Signature((128,), 257, "language", 257)
    assert require_value(DataSpec(source="a.txt", text={"length": 16}).signature).shape == (16,)
    assert DataSpec(source="a.txt", text={"tokenizer": "bpe"}).signature is None


def test_a_text_has_defaults_of_its_own() -> None:
    made = DataSpec(source="a.txt")
    assert (made.batch_size, made.validation, made.test) == (16, 0.1, 0.1)
    assert DataSpec(source="a.txt", batch_size=4).batch_size == 4
    assert DataSpec(source="a.csv").batch_size == 32


def test_model_and_text_bring_each_other_and_how_to_train() -> None:
    by_model, by_data = lk.Experiment(model="transformer:nano"), lk.Experiment(data="python_docs")
    assert by_model == by_data
    assert by_model.data.source == "python_docs"
    assert by_model.training.validate_every == 50
    assert by_model.training.optimizer.name == "adamw"
    assert lk.Experiment(model="transformer", data="digits").training.validate_every is None


def test_what_is_given_alone_suits_too_where_paths_are_given() -> None:
    made = lk.Experiment.of({"data.source": "python_docs", "lr": 0.1, "steps": 10})
    assert made.model.family == "transformer"
    assert (made.training.optimizer.name, made.training.optimizer.lr) == ("adamw", 0.1)
    assert made.training.steps == 10
    assert require_type(made.training.schedule, Cosine).warmup < 10
    assert lk.Experiment.of({}) == lk.Experiment()
    assert lk.Experiment.of({"lr": 0.1}).training.optimizer == Adam(lr=0.1)


def test_an_optimizer_without_a_name_is_of_the_kind_that_suits() -> None:
    made = lk.Experiment(model="transformer:nano", training={"optimizer": {"lr": 0.1}})
    assert (made.training.optimizer.name, made.training.optimizer.lr) == ("adamw", 0.1)
    assert lk.Experiment(model="transformer:nano", training={"optimizer": "sgd"}).training.optimizer.name == "sgd"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": {"source": "python_docs", "target": "y"}}, "data.target: given 'y', but of a text the next token"),
        ({"data": {"source": "a.txt", "drop": ["y"]}}, "data.drop: given, but the data is text"),
        ({"data": {"source": "a.txt", "task": "regression"}}, "data.task: given, but the data is text"),
        ({"data": {"source": "wine", "text": "bpe"}}, "data.text: given, but 'wine' holds numbers, no text"),
        ({"data": {"source": "a.npz", "text": {}}}, "data.text: given, but 'a.npz' holds numbers, no text"),
        ({"data": {"source": "a.txt", "text": "words"}}, "data.text.tokenizer: given 'words', .*bytes, bpe"),
        ({"data": {"source": "a.txt", "text": {"length": 1}}}, "data.text.length: given 1, expected a number of at"),
        ({"data": {"source": "a.txt", "text": {"vocabulary": 256}}}, "data.text.vocabulary: given 256, expected"),
        ({"data": {"source": "a.txt", "text": {"column": ""}}}, "data.text.column: given an empty name"),
        ({"data": "python_docs", "model": "mlp"}, "model.family: 'mlp' needs rows of numbers, and the data is text"),
        ({"data": "python_docs", "model": "cnn"}, "model.family: 'cnn' needs images"),
        ({"data": "python_docs", "training": {"loss": "mse"}}, "training.loss: given 'mean_squared_error' for a lang"),
        ({"data": "wine", "model": "transformer"}, "model.family: 'transformer' needs"),
        ({"data": "python_docs", "training": {"validate_every": 0}}, "training.validate_every: given 0, expected"),
    ],
)
def test_what_cannot_be_is_refused_and_says_why(values: dict[str, Any], said: str) -> None:
    with pytest.raises(lk.ConfigError, match=said):
        lk.Experiment(**values)


def test_train_takes_a_mapping_that_describes_the_data(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("too short")
    with pytest.raises(lk.DataError, match=r"the training part of .* too few for a row of 64"):
        lk.train(data={"source": str(tmp_path / "a.txt"), "text": {"length": 64}})
