"""Folders of images: one subfolder per class, resized to one size."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from lmkit.data.tables.memory import COUNTS, flat_frame, with_target
from lmkit.data.tables.parts import NAMES, PARTS, part_folders
from lmkit.exceptions import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")

CLASS = "class"
"""The name of the target of a folder of images."""

MAX_NUMBERS = 2**28
"""Numbers in all images in memory at most: 2 GiB."""

GRAY = ("1", "L", "LA", "I", "I;16", "F")
"""Pillow's modes without colors."""


def images_in(folder: str | Path) -> dict[str, list[Path]]:
    """Return class → its files, sorted by name: those in its subfolder, at any depth."""
    classes = {f.name: sorted(p for p in f.rglob("*") if p.suffix.lower() in SUFFIXES) for f in _subfolders(folder)}
    return {name: files for name, files in classes.items() if files}


def _subfolders(folder: str | Path) -> list[Path]:
    return sorted(p for p in Path(folder).expanduser().iterdir() if p.is_dir() and not p.name.startswith("."))


def folder_table(folder: str | Path, size: Sequence[int] = ()) -> pd.DataFrame:
    """Read the images in ``folder`` as a table: one column per number, 0 to 1, and the subfolder's name as ``class``.

    Args:
        folder: has one subfolder per class, with .png, .jpg, .gif, .bmp or .webp files; or one per part, such as train
            and test, with one per class in each.
        size: height and width in pixels of the result; empty: the most common size.

    Raises:
        DataError: there are no images, or only one class; a file cannot be read; they do not fit in memory.
    """
    parts = {f.name: f for f in _subfolders(folder) if images_in(f)}
    if part_folders(parts):
        return _read_parts(parts, size, folder)
    classes = images_in(folder)
    if not classes:
        raise DataError(
            f"data.source: the folder {str(folder)!r} contains no images; expected one subfolder per class, "
            f"with {', '.join(SUFFIXES)} files"
        )
    if len(classes) < 2:
        raise DataError(
            f"data.source: the folder {str(folder)!r} contains images of only one class ({next(iter(classes))!r}); "
            "expected two or more subfolders"
        )
    files = [File(str(file), file) for files in classes.values() for file in files]
    X = read_images(files, size, repr(str(folder)))
    return with_target(flat_frame(X), CLASS, [name for name, files in classes.items() for _ in files])


def _read_parts(folders: dict[str, Path], size: Sequence[int], folder: str | Path) -> pd.DataFrame:
    """Read folders of parts (train, val, test), each with a subfolder per class, as one table that knows its parts."""
    parts: dict[str, dict[str, list[Path]]] = {}
    for name, path in folders.items():
        part = NAMES[name.lower()]
        if part in parts:
            raise DataError(f"data.source: {str(folder)!r} has two folders of the {part} part, one of them {name!r}")
        parts[part] = images_in(path)
    for part, classes in parts.items():
        if unknown := sorted(set(classes) - set(parts["training"])):
            raise DataError(
                f"data.source: the {part} part of {str(folder)!r} has images of {unknown[0]!r}, a class that the "
                "training part does not have"
            )
    if len(parts["training"]) < 2:
        raise DataError(
            f"data.source: the training part of {str(folder)!r} contains images of only one class "
            f"({next(iter(parts['training']))!r}); expected two or more subfolders"
        )
    rows = [(label, path) for part in PARTS for label, files in parts.get(part, {}).items() for path in files]
    X = read_images([File(str(path), path) for _, path in rows], size, repr(str(folder)))
    frame = with_target(flat_frame(X), CLASS, [label for label, _ in rows])
    frame.attrs[COUNTS] = [sum(map(len, parts.get(part, {}).values())) for part in PARTS]
    return frame


class File(NamedTuple):
    """An image to read: its name, and its path or open file."""

    name: str
    content: Path | BinaryIO


def read_images(files: Sequence[File], size: Sequence[int], source: str) -> np.ndarray:
    """Read images as (rows, height, width, channels), 0 to 1, float32; one channel where all are gray, else three.

    Args:
        files: one or more.
        size: height and width in pixels of the result; empty: the most common size.
        source: the name of their source, for messages.

    Raises:
        DataError: a file cannot be read; they do not fit in memory.
    """
    import numpy as np
    from PIL.Image import Resampling

    headers = [_read_header(file) for file in files]
    height, width = size or _most_common(size for size, _ in headers)
    gray = all(mode in GRAY for _, mode in headers)
    numbers = len(files) * height * width * (1 if gray else 3)
    if numbers > MAX_NUMBERS:
        raise DataError(
            f"data.size: the {len(files):,} images of {source} need {numbers * 8 / 2**30:.1f} GiB of memory at "
            f"{height} × {width} pixels, more than {MAX_NUMBERS * 8 / 2**30:g}; use a smaller size, such as "
            "data: {size: [32, 32]}"
        )
    images = np.empty((len(files), height, width, 1 if gray else 3), dtype=np.float32)
    for pixels, file in zip(images, files, strict=True):
        image = _load(file)
        if image.mode in ("I", "I;16", "F"):  # 16 bits, which Pillow would clip rather than scale
            image = image.convert("F").point(lambda v: v / 257)
        image = image.convert("L" if gray else "RGB")
        if image.size != (width, height):
            image = image.resize((width, height), Resampling.BILINEAR)
        pixels[:] = np.asarray(image, dtype=np.float32).reshape(pixels.shape) / 255
    return images


def _most_common(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Return the most common size; among equally common ones the largest."""
    counts = Counter(sizes)
    return max(counts, key=lambda size: (counts[size], math.prod(size)))


def _read_header(file: File) -> tuple[tuple[int, int], str]:
    """Return height and width, and the mode, without reading the pixels."""
    with _open(file) as image:
        has_colors = image.mode == "P" and not _has_gray_palette(image)
        return (image.height, image.width), "RGB" if has_colors else "L" if image.mode == "P" else image.mode


def _has_gray_palette(image: Any) -> bool:
    """Whether the palette of an image has only gray values, as a .gif of digits."""
    palette = image.getpalette() or []
    return all(r == g == b for r, g, b in zip(*(palette[i::3] for i in range(3)), strict=True))


def _load(file: File) -> Image:
    with _open(file) as image:
        try:
            image.load()
        except Exception as error:  # a broken file can raise anything
            raise _read_error(file, error) from None
        return image


def _open(file: File) -> Image:
    from PIL import Image

    try:
        return Image.open(file.content)
    except Exception as error:
        raise _read_error(file, error) from None


def _read_error(file: File, error: Exception) -> DataError:
    return DataError(f"data.source: {file.name!r} cannot be read as an image: {error}; repair it, or remove it")
