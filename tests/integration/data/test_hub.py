"""Data sets of Hugging Face, from folders alone: labels, numbers, images; nothing is asked of any network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets as hub
import huggingface_hub
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import lmkit as lk
from lmkit.data.tables.hub import parse
from lmkit.data.tables.sources import load
from lmkit.specs.data import DataSpec

draw = np.random.default_rng(8)
N = 60


@pytest.fixture(autouse=True)
def quiet_and_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    hub.disable_progress_bars()


def saved(folder: Path, columns: dict[str, Any], features: dict[str, Any]) -> str:
    hub.Dataset.from_dict(columns, features=hub.Features(features)).save_to_disk(str(folder))
    return f"hf:{folder}"


@pytest.fixture
def flowers(tmp_path: Path) -> tuple[str, dict[str, Any]]:
    columns = {
        "length": draw.normal(5, 1, N).tolist(),
        "petals": draw.integers(3, 7, N).tolist(),
        "colour": draw.choice(["red", "white"], N).tolist(),
        "kind": (np.arange(N) % 3).tolist(),
    }
    features = {
        "length": hub.Value("float32"),
        "petals": hub.Value("int8"),
        "colour": hub.Value("string"),
        "kind": hub.ClassLabel(names=["aster", "rose", "tulip"]),
    }
    return saved(tmp_path / "flowers", columns, features), columns


def test_numbers_texts_and_labels_become_a_table(flowers: tuple[str, dict[str, Any]]) -> None:
    source, columns = flowers
    table = load(DataSpec(source=source))
    assert (table.task, table.y.name) == ("multiclass", "kind")
    assert table.y.tolist() == [["aster", "rose", "tulip"][k] for k in columns["kind"]]
    assert table.X.columns.tolist() == ["length", "petals", "colour"]
    np.testing.assert_allclose(table.X["length"], columns["length"], rtol=1e-6)
    assert table.X["petals"].tolist() == columns["petals"]
    assert table.X["colour"].tolist() == columns["colour"]


def test_another_column_can_be_the_target_and_a_run_learns_it(flowers: tuple[str, dict[str, Any]]) -> None:
    source, _ = flowers
    run = lk.train({"data": {"source": source, "target": "length", "drop": ["colour"]}}, epochs=1, inline=True)
    assert run.state == "completed", run.status.reason
    assert run.preprocessing.task == "regression"
    assert run.preprocessing.categories["kind"]["known"] == ["aster", "rose", "tulip"]


def test_images_become_pixels(tmp_path: Path) -> None:
    pixels = draw.integers(0, 256, (N, 5, 4), dtype=np.uint8)
    images = [Image.fromarray(p) for p in pixels]
    features = {"image": hub.Image(), "label": hub.ClassLabel(names=["a", "b"])}
    source = saved(tmp_path / "images", {"image": images, "label": [0, 1] * (N // 2)}, features)
    table = load(DataSpec(source=source))
    assert table.signature == ((5, 4, 1), 1, "binary", 0, None)
    np.testing.assert_allclose(table.X.to_numpy(), pixels.reshape(N, 20) / 255, rtol=1e-6)
    assert load(DataSpec(source=source, size=[3, 3])).shape == (3, 3, 1)


def test_arrays_keep_their_shape(tmp_path: Path) -> None:
    values = draw.normal(size=(N, 30, 2))
    features = {"x": hub.Array2D((30, 2), "float64"), "y": hub.Value("int64")}
    source = saved(tmp_path / "arrays", {"x": values.tolist(), "y": [0, 1] * (N // 2)}, features)
    table = load(DataSpec(source=source, target="y"))
    assert table.shape == (30, 2)
    np.testing.assert_array_equal(table.X.to_numpy(), values.reshape(N, 60))


def test_a_folder_of_files_is_read_and_a_split_is_chosen(tmp_path: Path) -> None:
    for name, rows in (("train", 50), ("test", 20)):
        frame = pd.DataFrame({"a": draw.normal(size=rows), "y": np.arange(rows) % 2})
        (tmp_path / "files").mkdir(exist_ok=True)
        frame.to_csv(tmp_path / "files" / f"{name}.csv", index=False)
    source = f"hf:{tmp_path / 'files'}"
    assert len(load(DataSpec(source=source, target="y")).y) == 50
    assert len(load(DataSpec(source=f"{source}@test", target="y", batch_size=8)).y) == 20
    with pytest.raises(lk.DataError, match=r"has no split 'tst'; did you mean 'test'\? Splits: train, test"):
        lk.train({"data": {"source": f"{source}@tst", "target": "y"}})


def test_what_cannot_be_had_is_said_before_anything_starts(
    flowers: tuple[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        lk.DataError, match="'hf:nobody/nothing' cannot be loaded: it is not in the cache, and HF_HUB_OF"
    ):
        lk.train(data="hf:nobody/nothing")
    with pytest.raises(lk.DataError, match="given 'hf:', expected hf:OWNER/NAME"):
        lk.train(data="hf:")
    source = saved(
        tmp_path / "ragged",
        {"x": [[1.0], [1.0, 2.0]] * 20, "y": [0, 1] * 20},
        {"x": hub.List(hub.Value("float64")), "y": hub.ClassLabel(names=["a", "b"])},
    )
    with pytest.raises(lk.DataError, match=r"column 'x' contains List.*; use data: \{drop: \[x\]\}"):
        lk.train(data=source)
    (tmp_path / "void").mkdir()
    with pytest.raises(lk.DataError, match="void' cannot be loaded: "):
        lk.train(data=f"hf:{tmp_path / 'void'}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(lk.MissingPackage, match=r"needs datasets, which is not installed; .* 'jupyter-lmkit\[hub\]'"):
        lk.train(data=flowers[0])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("hf:mnist", ("mnist", "", "")),
        ("hf:nyu-mll/glue:sst2@validation", ("nyu-mll/glue", "sst2", "validation")),
        ("hf:owner/name@train[:10%]", ("owner/name", "", "train[:10%]")),
    ],
)
def test_a_source_has_parts(source: str, parts: tuple[str, str, str]) -> None:
    assert parse(source) == parts
    assert not parse(source).is_local
