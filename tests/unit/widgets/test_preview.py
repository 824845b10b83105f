"""The preview says of the data what the data holds."""

from __future__ import annotations

import base64
import io
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import datasets

from lmkit import DataError
from lmkit.data.memory import store_data
from lmkit.data.preparation import prepare
from lmkit.specs.data import BUNDLED, DataSpec
from lmkit.widgets import preview, thumbnail


def table(tmp_path: Path, frame: pd.DataFrame, name: str = "table.csv") -> str:
    path = tmp_path / name
    frame.to_csv(path, index=False)
    return str(path)


@pytest.fixture
def towns(tmp_path: Path) -> str:
    draw = np.random.default_rng(0)
    n = 90
    frame = pd.DataFrame(
        {"area": draw.normal(90, 20, n), "noise": draw.normal(size=n), "town": draw.choice(["Bern", "Chur", "<b>"], n)}
    )
    return table(tmp_path, frame.assign(price=frame.area * 10 + draw.normal(size=n), sold=frame.area > 90))


@pytest.mark.parametrize("source", [name for name, known in BUNDLED.items() if not known.edges])
def test_bundled_sets_are_told_as_scikit_learn_has_them(source: str) -> None:
    bunch = getattr(datasets, f"load_{source}")()
    found = preview.load_preview(DataSpec(source=source))
    assert (found.rows, found.columns) == bunch.data.shape
    assert math.prod(found.signature.shape) == bunch.data.shape[1]
    assert (found.signature.task, found.signature.outputs) == (BUNDLED[source].task, BUNDLED[source].outputs)
    assert sum(share.rows for share in found.balance) == found.rows
    if found.signature.task != "regression":
        counts = np.bincount(bunch.target)
        assert [share.rows for share in found.balance] == counts.tolist()
        assert [share.label for share in found.balance] == [str(name) for name in bunch.target_names]
    shown = preview.preview_html(found, DataSpec(source=source, validation=0.1, test=0.0))
    assert f"<b>{found.rows:,}</b> rows × <b>{found.columns}</b> columns" in shown
    assert len(shown) < 40_000


def test_rows_that_are_pictures_are_shown_as_pictures() -> None:
    found = preview.load_preview(DataSpec(source="digits"))
    encoded = re.search(r"base64,([^)]*)\)", found.picture)
    assert encoded
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded[1]))))[..., -1]
    scale = sheet.shape[1] // (10 * 9)
    sheet = sheet[scale // 2 :: scale, scale // 2 :: scale].astype(float)
    digits = datasets.load_digits()
    first = digits.images[digits.target == 3][0] / 16  # the fourth column begins with the first three
    np.testing.assert_allclose(sheet[:8, 27:35] / 255, first, atol=1 / 255)
    assert len(encoded[1]) < 12_000


def test_numbers_are_shown_over_the_columns_that_tell_most(towns: str) -> None:
    spec = DataSpec(source=towns, target="price", drop=("sold",))
    found = preview.load_preview(spec)
    assert 'aria-label="price over area' in found.picture
    assert (found.columns, found.signature.shape, found.signature.outputs) == (3, (5,), 1)
    assert found.signature.shape == prepare(spec, 0, "float32").preprocessing.shape
    assert math.prod(found.signature.shape) == len(prepare(spec, 0, "float32").preprocessing.features)
    picture = ET.fromstring(found.picture)
    assert sum(p.get("d", "").count("h0") for p in picture.iter("path")) == 90
    assert "&lt;b&gt;" in found.head
    assert "<b>" not in found.head

    classes = preview.load_preview(DataSpec(source=towns, target="sold", drop=("price",)))
    assert 'aria-label="noise over area' in classes.picture
    paths = [p for p in ET.fromstring(classes.picture).iter("path") if "h0" in p.get("d", "")]
    assert [p.get("d", "").count("h0") for p in paths] == [s.rows for s in classes.balance]
    for share, path in zip(classes.balance, paths, strict=True):  # the bars are the legend of the points
        assert f"background:{path.get('stroke')}" in preview.preview_html(classes, DataSpec()).split(share.label)[2]


def test_many_rows_and_many_classes_stay_small(tmp_path: Path) -> None:
    n = 5000
    draw = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"a": draw.normal(size=n), "b": draw.normal(size=n), "y": [f"k{v}" for v in draw.integers(0, 30, n)]}
    )
    found = preview.load_preview(DataSpec(source=table(tmp_path, frame), target="y"))
    assert sum(share.rows for share in found.balance) == n
    assert [s.label for s in found.balance][-1] == "21 more"
    assert sum(p.get("d", "").count("h0") for p in ET.fromstring(found.picture).iter("path")) <= thumbnail.MAX_POINTS
    assert len(preview.preview_html(found, DataSpec())) < 15_000


@pytest.mark.parametrize(
    "y", [np.linspace(-3.2, 977.5, 50), np.full(50, 7.25), np.full(50, 0.0), 1e-9 * np.arange(50), -1e7 * np.arange(50)]
)
def test_ranges_of_a_number_are_round_and_hold_every_row(tmp_path: Path, y: np.ndarray) -> None:
    frame = pd.DataFrame({"x": np.arange(50.0), "y": y})
    found = preview.load_preview(DataSpec(source=table(tmp_path, frame), target="y", task="regression"))
    assert sum(share.rows for share in found.balance) == 50
    assert len(found.balance) <= 10


def test_text_alone_and_gaps_need_no_picture(tmp_path: Path) -> None:
    frame = pd.DataFrame({"town": ["Bern", "Chur", None, "Bern"] * 5, "y": [0, 1, 1, 0] * 5})
    found = preview.load_preview(DataSpec(source=table(tmp_path, frame), target="y", missing="most_frequent"))
    assert found.picture == ""
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0, 4.0] * 5, "b": [np.nan] * 19 + [1.0], "y": [0, 1, 1, 0] * 5})
    found = preview.load_preview(DataSpec(source=table(tmp_path, frame), target="y", missing="median"))
    assert found.rows == 20


def test_columns_are_known_before_the_whole_is_read(towns: str, tmp_path: Path) -> None:
    names = ["area", "noise", "town", "price", "sold"]
    assert preview.columns(DataSpec(source=towns)) == names
    frame = pd.read_csv(towns)
    frame.to_parquet(tmp_path / "table.parquet")
    assert preview.columns(DataSpec(source=str(tmp_path / "table.parquet"))) == names
    np.savez(tmp_path / "arrays.npz", X=np.ones((3, 2)), y=np.ones(3), z=np.ones(3))
    assert preview.columns(DataSpec(source=str(tmp_path / "arrays.npz"))) == ["y", "z"]
    kept = store_data(frame, tmp_path / "runs")
    assert preview.columns(DataSpec(**kept), tmp_path / "runs") == names
    for nothing in (
        "breast_cancer",
        "nowhere.csv",
        "stored:0123",
        "~nobody-here/x.csv",
        "a" * 250 + ".csv",
        "stored:../x",
    ):
        assert preview.columns(DataSpec(source=nothing), tmp_path / "runs") == []
    (tmp_path / "torn.parquet").write_bytes(b"PAR1nonsense")
    assert preview.columns(DataSpec(source=str(tmp_path / "torn.parquet"))) == []


def test_what_is_too_large_is_left_to_the_worker(towns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "EAGER_BYTES", 100)
    with pytest.raises(preview.TooLarge, match="too large to preview"):
        preview.load_preview(DataSpec(source=towns, target="price"))
    monkeypatch.undo()
    with pytest.raises(DataError, match="has no column 'prize'; did you mean 'price'"):
        preview.load_preview(DataSpec(source=towns, target="prize"))


@pytest.mark.parametrize(
    ("name", "content"), [("cut.npz", b"PK\x03\x04cut short"), ("long.csv", b"x" * 200_000 + b"\n1\n")]
)
def test_a_damaged_file_has_no_columns_and_its_error_is_the_preview(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    spec = DataSpec(source=str(tmp_path / name))
    assert preview.columns(spec) == []
    assert "cannot be read" in str(preview.try_preview(spec))


def test_an_unexpected_error_of_a_split_is_the_preview(towns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = DataSpec(source=towns, target="price")
    shown = preview.load_preview(spec)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("in a library")

    monkeypatch.setattr(preview, "prepare_table", fail)
    assert "cannot be read: ZeroDivisionError: in a library" in str(preview.try_split(shown, spec, 0))
