"""Folders of images: a subfolder a class, brought to one size."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from lmkit.data.store import flat_frame, with_target
from lmkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL.Image import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")

CLASS = "class"
"""What the target of a folder of images is called."""

LARGEST = 2**28
"""Numbers in all images that are held in memory at most: 2 GiB."""

GRAY = ("1", "L", "LA", "I", "I;16", "F")
"""Pillow's modes that hold no colours."""


def images_in(folder: str | Path) -> dict[str, list[Path]]:
    """Class → its files, in the order of their names: those of a subfolder, and of the folders in it."""
    folders = sorted(p for p in Path(folder).expanduser().iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {f.name: sorted(p for p in f.rglob("*") if p.suffix.lower() in ENDINGS) for f in folders}
    return {name: files for name, files in found.items() if files}


def folder_table(folder: str | Path, size: Sequence[int] = ()) -> pd.DataFrame:
    """The images under ``folder`` as a table: a column a number, 0 to 1, and the name of the subfolder as ``class``.

    Args:
        folder: holds a subfolder a class; each holds .png, .jpg, .gif, .bmp or .webp files.
        size: height and width in pixels that all are brought to; empty: those that most of them have.

    Raises:
        DataError: there are no images, or of one class only; a file cannot be read; they do not fit in memory.
    """
    classes = images_in(folder)
    if not classes:
        raise DataError(
            f"data.source: the folder {str(folder)!r} holds no images; expected a subfolder a class, "
            f"with {', '.join(ENDINGS)} files in it"
        )
    if len(classes) < 2:
        raise DataError(
            f"data.source: the folder {str(folder)!r} holds images of one class only ({next(iter(classes))!r}); two or "
            "more are needed, a subfolder each"
        )
    files = [File(str(file), file) for files in classes.values() for file in files]
    X = read_images(files, size, repr(str(folder)))
    return with_target(flat_frame(X), CLASS, [name for name, files in classes.items() for _ in files])


class File(NamedTuple):
    """An image that is not read yet: what it is called, and the path or the open file that holds it."""

    name: str
    content: Path | BinaryIO


def read_images(files: Sequence[File], size: Sequence[int], where: str) -> np.ndarray:
    """Images in files → (rows, height, width, channels), 0 to 1, float32; one channel where all are gray, else three.

    Args:
        files: one or more.
        size: height and width in pixels that all are brought to; empty: those that most of them have.
        where: what they belong to, for a message.

    Raises:
        DataError: a file cannot be read; they do not fit in memory.
    """
    import numpy as np
    from PIL.Image import Resampling

    heads = [_head(file) for file in files]
    height, width = size or _most_common(size for size, _ in heads)
    gray = all(mode in GRAY for _, mode in heads)
    numbers = len(files) * height * width * (1 if gray else 3)
    if numbers > LARGEST:
        raise DataError(
            f"data.size: the {len(files):,} images of {where} need {numbers * 8 / 2**30:.1f} GiB of memory at "
            f"{height} × {width} pixels, more than {LARGEST * 8 / 2**30:g}; write a smaller one, such as "
            "data: {size: [32, 32]}"
        )
    found = np.empty((len(files), height, width, 1 if gray else 3), dtype=np.float32)
    for place, file in zip(found, files, strict=True):
        image = _opened(file)
        deep = image.mode in ("I", "I;16", "F")  # of 16 bits, which Pillow would cut off rather than scale
        if deep:
            image = image.convert("F").point(lambda v: v / 257)
        image = image.convert("L" if gray else "RGB")
        if image.size != (width, height):
            image = image.resize((width, height), Resampling.BILINEAR)
        place[:] = np.asarray(image, dtype=np.float32).reshape(place.shape) / 255
    return found


def _most_common(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Of several that equally many images have, the largest."""
    counted = Counter(sizes)
    return max(counted, key=lambda size: (counted[size], math.prod(size)))


def _head(file: File) -> tuple[tuple[int, int], str]:
    """Height and width, and the mode, without reading the pixels."""
    with _open(file) as image:
        coloured = image.mode == "P" and not _gray_palette(image)
        return (image.height, image.width), "RGB" if coloured else "L" if image.mode == "P" else image.mode


def _gray_palette(image: Any) -> bool:
    """Whether an image that numbers its colours has only gray ones, as a .gif of digits."""
    palette = image.getpalette() or []
    return all(r == g == b for r, g, b in zip(*(palette[i::3] for i in range(3)), strict=True))


def _opened(file: File) -> Image:
    with _open(file) as image:
        try:
            image.load()
        except Exception as error:  # a broken file can raise anything
            raise _unreadable(file, error) from None
        return image


def _open(file: File) -> Image:
    from PIL import Image

    try:
        return Image.open(file.content)
    except Exception as error:
        raise _unreadable(file, error) from None


def _unreadable(file: File, error: Exception) -> DataError:
    return DataError(f"data.source: {file.name!r} cannot be read as an image: {error}; mend it, or take it out")
