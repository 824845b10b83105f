"""The shape of a row: known for a bundled set, kept of arrays handed over, used by nothing but the model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from narrowing import require_value

import lmkit as lk
from lmkit.data.memory import store_data
from lmkit.data.preparation import prepare
from lmkit.data.tables.sources import load
from lmkit.preprocessing.table import TablePreprocessing
from lmkit.specs.data import DataSpec

draw = np.random.default_rng(4)
Y = np.arange(40) % 2


@pytest.mark.parametrize(
    ("given", "axes", "shape"),
    [
        ((6,), "auto", (6,)),
        ((7, 5), "auto", (7, 5, 1)),
        ((20, 5), "auto", (20, 5, 1)),
        ((21, 5), "auto", (21, 5)),
        ((20, 5), "sequence", (20, 5)),
        ((21, 5), "image", (21, 5, 1)),
        ((4, 6, 3), "auto", (4, 6, 3)),
        ((4, 6, 1), "sequence", (4, 6)),
    ],
)
@pytest.mark.parametrize("way", ["file", "memory"])
def test_arrays_are_flattened_and_their_shape_is_kept(
    tmp_path: Path, way: str, given: tuple[int, ...], axes: Any, shape: tuple[int, ...]
) -> None:
    X = draw.normal(size=(40, *given))
    np.savez(tmp_path / "a.npz", X=X, y=Y)
    source = {"source": str(tmp_path / "a.npz")} if way == "file" else store_data((X, Y), tmp_path)
    spec = DataSpec(**source, axes=axes, scale="none", batch_size=8)
    assert load(spec, tmp_path).signature.shape == shape
    dataset = prepare(spec, 0, "float64", tmp_path)
    assert dataset.preprocessing.shape == shape
    flat = X.reshape(40, -1)
    assert dataset.training.X.shape == (24, flat.shape[1])
    assert {tuple(row) for row in dataset.training.X} <= {tuple(row) for row in flat}
    np.testing.assert_array_equal(dataset.preprocessing.apply(flat), flat)
    if len(given) > 1:
        np.testing.assert_array_equal(dataset.preprocessing.apply(X), flat)
        with pytest.raises(lk.DataError, match="expected \\(rows, "):
            dataset.preprocessing.apply(np.moveaxis(X, -1, 1)[..., :-1])


def test_the_same_numbers_in_another_shape_are_other_data(tmp_path: Path) -> None:
    X = draw.normal(size=(40, 4, 6))
    names = {store_data((X.reshape(40, *shape), Y), tmp_path)["source"] for shape in ((24,), (4, 6), (6, 4), (4, 6, 1))}
    assert len(names) == 4
    assert len(list((tmp_path / ".data").iterdir())) == 4


def test_bundled_digits_are_images_of_eight_by_eight_until_a_pixel_is_left_out() -> None:
    assert (
        require_value(DataSpec(source="digits").signature).shape
        == prepare(DataSpec(source="digits"), 0, "float32").preprocessing.shape
    )
    assert require_value(DataSpec(source="digits").signature).shape == (8, 8, 1)
    assert require_value(DataSpec(source="digits", axes="sequence").signature).shape == (8, 8)
    assert require_value(DataSpec(source="wine").signature).shape == (13,)
    cropped = DataSpec(source="digits", drop=("pixel_0_0",))
    assert cropped.signature is None
    assert prepare(cropped, 0, "float32").preprocessing.shape == (63,)


def test_one_hot_columns_count_in_a_tables_shape(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": draw.normal(size=40), "town": ["Bern", "Genf", "Uri", "Zug"] * 10, "y": Y})
    spec = DataSpec(**store_data((frame, "y"), tmp_path), batch_size=8)
    assert prepare(spec, 0, "float32", tmp_path).preprocessing.shape == (5,)


def test_preprocessing_of_before_there_were_shapes_still_loads() -> None:
    known = prepare(DataSpec(source="digits"), 0, "float32").preprocessing
    values = json.loads(json.dumps(asdict(known)))
    assert TablePreprocessing(**values) == known
    del values["shape"]
    assert TablePreprocessing(**values).shape == (64,)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source": "wine", "axes": "image"}, "data.axes: given 'image', but a row of the data is 13 columns"),
        ({"source": "digits", "axes": "rows"}, "data.axes: given 'rows', expected one of auto, image, sequence"),
    ],
)
def test_axes_that_are_not_there_are_refused(fields: dict[str, str], said: str) -> None:
    with pytest.raises(lk.ConfigError) as caught:
        lk.Experiment(data=fields)
    assert caught.value.problems[0].startswith(said)


def test_axes_that_a_file_has_not_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.ones((40, 4, 4, 3)), y=Y)
    with pytest.raises(lk.ConfigError, match=r"data.axes: given 'sequence', but a row of the data is of shape"):
        lk.train(data=str(tmp_path / "a.npz"), axes="sequence")
    with pytest.raises(lk.DataError, match=r"given X of shape \(40, 1, 2, 3, 4\)"):
        store_data((np.ones((40, 1, 2, 3, 4)), Y), tmp_path)


def test_a_run_keeps_the_shape_and_predicts_images(tmp_path: Path) -> None:
    X = draw.normal(size=(40, 5, 4))
    run = lk.train(data=(X, Y), epochs=1, batch_size=8, inline=True)
    assert run.state == "completed", run.status.reason
    assert run.preprocessing.shape == (5, 4, 1)
    np.testing.assert_array_equal(run.predict(X), run.predict(X.reshape(40, 20)))
