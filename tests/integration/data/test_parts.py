"""Parts that are given, in memory, in files and in folders: prepared by what was fitted on the training part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer

import lmkit as lk
from lmkit.data.memory import store_data
from lmkit.data.preparation import prepare
from lmkit.exceptions import ConfigError, DataError
from lmkit.specs.data import DataSpec

draw = np.random.default_rng(12)
FRAME = pd.DataFrame(
    {
        "area": draw.normal(80, 20, 90),
        "town": draw.choice(["Bern", "Uri"], 90),
        "day": pd.date_range("2024-01-01", periods=90).strftime("%Y-%m-%d"),
        "sold": draw.choice(["no", "yes"], 90),
    }
)
TRAINING, VALIDATION, TEST = FRAME[:50], FRAME[50:70].reset_index(drop=True), FRAME[70:].reset_index(drop=True)


def prepared(data: Any, root: Path, **fields: Any) -> Any:
    return prepare(DataSpec(**{**store_data(data, root), **fields}), 3, "float64", root)


def assert_fitted(data: Any, sizes: list[int]) -> None:
    """Checks the sizes of the parts, and that training is scaled to mean 0 and deviation 1."""
    assert [len(part.X) for part in data[:3]] == sizes
    area = list(data.preprocessing.features).index("area")
    shift, scale = TRAINING["area"].mean(), TRAINING["area"].std(ddof=0)
    np.testing.assert_allclose(data.training.X[:, area], (TRAINING["area"] - shift) / scale, atol=1e-12)
    np.testing.assert_allclose(data.test.X[:, area], (TEST["area"] - shift) / scale, atol=1e-12)
    if sizes[1]:
        np.testing.assert_allclose(data.validation.X[:, area], (VALIDATION["area"] - shift) / scale, atol=1e-12)


def test_tables_as_parts(tmp_path: Path) -> None:
    parts = {"training": TRAINING, "validation": VALIDATION, "test": TEST}
    assert_fitted(prepared(parts, tmp_path, target="sold"), [50, 20, 20])
    pairs = {name: (part, "sold") for name, part in parts.items()}
    assert_fitted(prepared(pairs, tmp_path), [50, 20, 20])
    halves = {name: (part.drop(columns="sold"), part["sold"]) for name, part in reversed(parts.items())}
    assert_fitted(prepared(halves, tmp_path), [50, 20, 20])


def test_files_as_parts(tmp_path: Path) -> None:
    paths = {}
    for name, frame in (("training", TRAINING), ("validation", VALIDATION), ("test", TEST)):
        paths[name] = tmp_path / f"{name}.csv"
        frame.to_csv(paths[name], index=False)
    assert_fitted(prepared({name: str(path) for name, path in paths.items()}, tmp_path, target="sold"), [50, 20, 20])
    assert_fitted(prepared({**paths, "test": TEST}, tmp_path, target="sold"), [50, 20, 20])


@pytest.mark.parametrize("name", ["train.csv", "training.parquet", "TRAIN.tsv"])
def test_a_folder_of_train_and_test(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "kaggle"
    folder.mkdir()
    write = {".csv": "to_csv", ".parquet": "to_parquet", ".tsv": "to_csv"}[Path(name).suffix]
    options = {"sep": "\t"} if name.endswith("tsv") else {}
    getattr(TRAINING, write)(folder / name, index=False, **options)
    TEST.to_csv(folder / "test.csv")  # with the numbers of the rows, which training has not
    (folder / "notes.txt.bak").write_text("x")
    data = prepare(DataSpec(source=str(folder), target="sold", validation=0), 0, "float64", tmp_path)
    assert_fitted(data, [50, 0, 20])
    run = lk.train(data={"source": str(folder), "target": "sold"}, epochs=1, runs=tmp_path / "runs", inline=True)
    assert run.state == "completed", run.status.reason
    assert len(run.predictions) == 20
    assert run.predictions["target"].tolist() == TEST["sold"].tolist()


def test_what_is_not_given_is_drawn_from_training(tmp_path: Path) -> None:
    data = prepared({"training": TRAINING, "test": TEST}, tmp_path, target="sold")
    assert [len(part.X) for part in data[:3]] == [40, 10, 20]
    only = prepared({"training": TRAINING}, tmp_path, target="sold")
    whole = prepared(TRAINING, tmp_path, target="sold")
    for a, b in zip(only[:3], whole[:3], strict=True):
        np.testing.assert_array_equal(a.X, b.X)
        np.testing.assert_array_equal(a.y, b.y)


def test_arrays_are_prepared_the_same_way_however_they_are_given(tmp_path: Path) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    whole, only = prepared((X, y), tmp_path), prepared({"training": (X, y)}, tmp_path)
    np.testing.assert_array_equal(whole.training.X, only.training.X)
    assert whole.preprocessing == only.preprocessing
    run = lk.train(data={"training": (X[:400], y[:400]), "test": (X[400:], y[400:])}, epochs=20, inline=True)
    assert run.state == "completed", run.status.reason
    assert run.metrics["accuracy"] > 0.93
    assert run.predict(X[400:]).tolist() == run.predictions["prediction"].tolist()


def test_images_in_arrays_as_parts(tmp_path: Path) -> None:
    X = draw.integers(0, 255, (40, 6, 5, 1), dtype=np.uint8)
    data = prepared({"training": (X[:30], np.arange(30) % 3), "test": (X[30:], np.arange(10) % 3)}, tmp_path)
    assert data.preprocessing.signature.shape == (6, 5, 1)
    assert len(data.test.X) == 10


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"training": TRAINING, "test": TEST.drop(columns="sold")}, "the test part has no column 'sold', which the"),
        ({"training": TRAINING, "tset": TEST}, "given the parts 'training', 'tset', expected 'training', and"),
        ({"training": "nowhere.csv", "test": TEST}, "no file 'nowhere.csv'"),
        ({"training": "table.npz", "test": TEST}, "given the part 'table.npz', expected a file that ends in"),
        ({"training": (TRAINING, "sold"), "test": (TEST, "town")}, "the parts name different targets"),
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, data: Any, said: str) -> None:
    with pytest.raises((DataError, ConfigError), match=said):
        store_data(data, tmp_path)


def write_images(folder: Path, parts: dict[str, dict[str, int]]) -> None:
    for part, classes in parts.items():
        for name, count in classes.items():
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                value = 200 if name == "day" else 20
                pixels = np.full((4, 4), value + i, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{i}.png")


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "valid", "test"), ("Train", "validation", "")]
)
def test_folders_of_images_named_like_parts_are_parts(tmp_path: Path, names: tuple[str, ...]) -> None:
    sizes = dict(zip(names, (12, 6, 4), strict=True))
    write_images(tmp_path / "img", {name: {"day": n, "night": n} for name, n in sizes.items() if name})
    data = prepare(DataSpec(source=str(tmp_path / "img"), test=0.25), 0, "float32", tmp_path)
    assert data.preprocessing.classes == ["day", "night"]
    drawn = 0 if names[2] else 6
    assert [len(part.X) for part in data[:3]] == [24 - drawn, 12, 8 if names[2] else drawn]
    truth = data.preprocessing.restore(data.validation.y).tolist()
    assert truth == ["day"] * 6 + ["night"] * 6


def test_folders_of_images_that_do_not_fit(tmp_path: Path) -> None:
    write_images(tmp_path / "img", {"train": {"day": 3, "night": 3}, "test": {"dusk": 2, "day": 1}})
    with pytest.raises(DataError, match=r"the test part of .* has images of 'dusk', a class that the"):
        prepare(DataSpec(source=str(tmp_path / "img")), 0, "float32", tmp_path)
    write_images(tmp_path / "other", {"train": {"x": 3}, "bus": {"x": 3}})
    data = prepare(DataSpec(source=str(tmp_path / "other"), validation=0, test=0), 0, "float32", tmp_path)
    assert data.preprocessing.classes == ["bus", "train"]
