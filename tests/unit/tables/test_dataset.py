"""What is told of data is what a run will see."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import datasets

import lmkit as lk
from lmkit.commands.cli import main
from lmkit.tables.dataset import sheet


def test_parts_and_classes_are_counted() -> None:
    told = lk.describe("wine", seed=3)
    facts = dict(told.facts.rows)
    assert (facts["rows"], facts["training"], facts["validation"], facts["test"]) == (178, 106, 36, 36)
    assert (facts["row"], facts["task"]) == ("13 features", "classification into 3 classes")
    totals = [sum(row[1:]) for row in told.balance.rows]
    assert totals == np.bincount(datasets.load_wine().target).tolist()
    assert (told.warnings, told.picture) == ((), b"")


def test_examples_are_rows_as_they_came(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"area": draw.normal(90, 20, 60), "town": ["Bern", "Chur", "Uri"] * 20})
    frame["price"] = frame["area"] * 3
    frame.to_csv(tmp_path / "a.csv", index=False)
    told = lk.describe(str(tmp_path / "a.csv"), target="price")
    assert told.examples.columns == ("target", "area", "town")
    known = {(round(a, 2), t): p for a, t, p in zip(frame["area"], frame["town"], frame["price"], strict=True)}
    assert len(told.examples.rows) == 5
    for price, area, town in told.examples.rows:
        assert known[round(area, 2), town] == pytest.approx(price, rel=1e-4)
    counted = np.array([row[1:] for row in told.balance.rows])
    assert counted.sum(axis=0).tolist() == [36, 12, 12]


def test_images_are_shown_and_below_as_they_are_augmented() -> None:
    plain, augmented = (
        np.asarray(Image.open(io.BytesIO(lk.describe("digits", **how).picture)))
        for how in ({}, {"augment": {"flip": True, "mixup": 1.0}})
    )
    assert augmented.shape == (2 * plain.shape[0], plain.shape[1])
    np.testing.assert_allclose(augmented[: len(plain)], plain, atol=1)
    assert not np.array_equal(augmented[len(plain) :], plain)


def test_a_sheet_holds_the_images_in_their_places() -> None:
    images = np.random.default_rng(1).random((2, 3, 4, 5, 3))
    drawn = np.asarray(Image.open(io.BytesIO(sheet(images))))
    scale = drawn.shape[1] // (3 * 6)
    small = drawn[scale // 2 :: scale, scale // 2 :: scale]
    np.testing.assert_allclose(small[5:9, 6:11] / 255, images[1, 1], atol=1 / 255)


def test_an_experiment_a_run_and_arrays_are_described() -> None:
    experiment = lk.Experiment(data={"source": "wine", "test": 0.5})
    run = lk.train(experiment, epochs=1, inline=True)
    expected = lk.describe(experiment)
    assert repr(lk.describe(run)) == repr(expected) == repr(lk.describe({"source": "wine", "test": 0.5}))
    rows = np.random.default_rng(0).normal(size=(12, 3))
    told = lk.describe((np.tile(rows, (5, 1)), np.arange(60) % 2))
    assert [text.split(":")[0] for text in told.warnings][:2] == ["leakage", "leakage"]
    assert "leakage: 12 of 12 rows of the test part" in told._repr_mimebundle_()["text/html"]


def test_it_is_typed_on_a_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "digits", "-p", "seed", "1"]) == 0
    printed = capsys.readouterr().out
    assert "an image of 8 × 8 × 1" in printed
    assert main(["describe", "nope.csv"]) == 2
    assert "no file 'nope.csv'" in capsys.readouterr().err


def test_text_and_graphs_are_told_of_too() -> None:
    text = lk.describe("python_docs")
    assert dict(text.facts.rows)["row"] == "128 tokens of 257"
    graph = lk.describe("karate_club")
    assert dict(graph.facts.rows)["edges"] == 78
