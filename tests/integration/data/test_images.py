"""A folder of images is a table of pixels, with the folders' names as classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

import lmkit as lk
from lmkit.data.preparation import prepare
from lmkit.data.tables import images
from lmkit.data.tables.sources import load
from lmkit.specs.data import DataSpec

draw = np.random.default_rng(6)


def save(folder: Path, name: str, pixels: np.ndarray, mode: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(folder / name)


def gray(height: int = 6, width: int = 4) -> np.ndarray:
    return draw.integers(0, 256, (height, width), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Gray images of two classes, and their pixels in the order of classes and names."""
    pixels = np.array([gray() for _ in range(12)])
    for i, image in enumerate(pixels):
        save(tmp_path / "pets" / ("cat" if i < 5 else "dog"), f"{i:02}.png", image)
    return tmp_path / "pets", pixels


def test_rows_are_pixels_from_zero_to_one(folder: tuple[Path, np.ndarray]) -> None:
    path, pixels = folder
    table = load(DataSpec(source=str(path), batch_size=2))
    assert table.y.tolist() == ["cat"] * 5 + ["dog"] * 7
    assert (table.y.name, table.task, table.shape) == ("class", "binary", (6, 4, 1))
    np.testing.assert_allclose(table.X.to_numpy(), pixels.reshape(12, 24) / 255, rtol=1e-6)


@pytest.mark.parametrize("ending", ["png", "jpg", "jpeg", "gif", "bmp", "webp", "PNG"])
def test_every_format_is_read(tmp_path: Path, ending: str) -> None:
    flat = [np.full((8, 8), level, dtype=np.uint8) for level in (10, 120, 250)]
    for name in "ab":
        for i, image in enumerate(flat):
            save(tmp_path / name, f"{i}.{ending}", image)
    (tmp_path / "a" / "notes.md").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    table = load(DataSpec(source=str(tmp_path), batch_size=2))
    channels = 3 if ending == "webp" else 1  # which knows no gray
    assert table.shape == (8, 8, channels)
    levels = np.repeat([[10], [120], [250]], 64 * channels, axis=1)
    np.testing.assert_allclose(table.X.to_numpy()[:3], levels / 255, atol=2 / 255)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_kept_and_what_is_gray_joins_them(tmp_path: Path, mode: str) -> None:
    red = np.zeros((5, 5, 3), dtype=np.uint8)
    red[..., 0] = 200
    save(tmp_path / "red", "0.png", red, mode)
    save(tmp_path / "gray", "0.png", np.full((5, 5), 100, dtype=np.uint8))
    table = load(DataSpec(source=str(tmp_path), batch_size=1))
    assert table.shape == (5, 5, 3)
    np.testing.assert_allclose(table.X.to_numpy()[0], 100 / 255, rtol=1e-6)
    np.testing.assert_allclose(table.X.to_numpy()[1].reshape(25, 3), [[200 / 255, 0, 0]] * 25, atol=4.1 / 255)


def test_sixteen_bits_are_scaled_to_one(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / name, "0.png", np.array([[0, 257 * 50], [257 * 100, 65535]], dtype=np.uint16))
    table = load(DataSpec(source=str(tmp_path), batch_size=1))
    np.testing.assert_allclose(table.X.to_numpy()[0], np.array([0, 50, 100, 255]) / 255, atol=1e-6)


@pytest.mark.parametrize(("size", "shape"), [([], (6, 4, 1)), ([3, 2], (3, 2, 1)), ([9, 9], (9, 9, 1))])
def test_all_are_brought_to_one_size(folder: tuple[Path, np.ndarray], size: list[int], shape: Any) -> None:
    path, pixels = folder
    save(path / "cat", "99.png", gray(30, 20))
    table = load(DataSpec(source=str(path), size=size, batch_size=2))
    assert table.shape == shape
    assert len(table.y) == 13
    if size == [3, 2]:  # half of each side: about the mean of four pixels, with a little of their neighbours
        means = pixels.reshape(12, 3, 2, 2, 2).mean(axis=(2, 4)).reshape(12, 6) / 255
        found = np.delete(table.X.to_numpy(), 5, axis=0)
        assert np.corrcoef(found.ravel(), means.ravel())[0, 1] > 0.85
    else:
        assert 0 <= table.X.to_numpy().min() < table.X.to_numpy().max() <= 1


def test_every_family_learns_from_a_folder_of_digits(tmp_path: Path) -> None:
    known = datasets.load_digits(n_class=3)
    for i, (image, target) in enumerate(zip(known.images[:150], known.target[:150], strict=True)):
        save(tmp_path / "numbers" / f"number {target}", f"{i:03}.png", (image * 15).astype(np.uint8))
    accuracies = {}
    for framework, model in (("torch", "cnn:small"), ("tensorflow", "mlp:small")):
        spec = {"data": {"source": str(tmp_path / "numbers")}, "model": model, "framework": framework}
        run = lk.train({**spec, "training": {"epochs": 12, "optimizer": {"name": "sgd", "momentum": 0.9}}}, inline=True)
        assert run.state == "completed", run.status.reason
        assert run.name.split("-")[2:4] == ["numbers", model[:3]]
        accuracies[model] = run.metrics["accuracy"]
    assert min(accuracies.values()) > 0.9
    assert run.preprocessing.classes == ["number 0", "number 1", "number 2"]
    shown = run.predict(known.images[:9] * 15 / 255)
    assert (shown == [f"number {t}" for t in known.target[:9]]).mean() > 0.8


def test_a_broken_file_is_named(folder: tuple[Path, np.ndarray]) -> None:
    path, _ = folder
    (path / "dog" / "broken.png").write_bytes(b"no image at all")
    with pytest.raises(lk.DataError, match=r"dog/broken\.png' cannot be read as an image: .*; repair it, or remove it"):
        lk.train(data=str(path))
    whole = (path / "dog" / "11.png").read_bytes()
    (path / "dog" / "broken.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(lk.DataError, match=r"dog/broken\.png' cannot be read as an image"):
        lk.train(data=str(path))


def test_a_folder_without_two_classes_of_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(lk.DataError, match="empty' contains no images; expected one subfolder per class"):
        lk.train(data=str(tmp_path / "empty"))
    save(tmp_path / "one" / "cat", "a.png", gray())
    (tmp_path / "one" / "dog").mkdir()
    with pytest.raises(lk.DataError, match=r"images of only one class \('cat'\); expected two or more"):
        lk.train(data=str(tmp_path / "one"))


def test_more_than_fits_is_refused_before_it_is_read(
    folder: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_NUMBERS", 200)
    with pytest.raises(lk.DataError, match=r"the 12 images of .* at 6 × 4 pixels.*use a smaller size"):
        lk.train(data=str(folder[0]))
    assert load(DataSpec(source=str(folder[0]), size=[4, 4], batch_size=2)).shape == (4, 4, 1)


@pytest.mark.parametrize("size", [[8], [8, 8, 3], [0, 8]])
def test_a_size_is_height_and_width(size: list[int]) -> None:
    with pytest.raises(lk.ConfigError, match=r"data\.size"):
        lk.Experiment(data={"source": "pets", "size": size})


def test_the_model_sees_scaled_pixels(folder: tuple[Path, np.ndarray]) -> None:
    path, pixels = folder
    data = prepare(DataSpec(source=str(path), scale="none", batch_size=2, validation=0.25, test=0.25), 0, "float64")
    known = {tuple(row) for row in (pixels.reshape(12, 24) / 255).astype(np.float32).tolist()}
    assert {tuple(row) for row in data.training.X.astype(np.float32).tolist()} <= known
    assert data.preprocessing.signature.shape == (6, 4, 1)
