"""Parts of a table that its source has: files for training and test, folders of images, data in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.tables.files import read_file
from lmkit.data.tables.ids import NAMELESS, numbers_rows
from lmkit.data.tables.memory import COUNTS, SHAPE, TARGET, to_frame
from lmkit.data.tables.size import check_memory
from lmkit.exceptions import DataError
from lmkit.specs.data import DataSpec
from lmkit.specs.file_names import FILE_NAMES, FILES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PARTS = ("training", "validation", "test")

NAMES = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Name of a folder or file → the part that it holds."""


def part_folders(folders: Mapping[str, Any]) -> bool:
    """Return whether folders hold parts rather than classes: all are named like parts, training among them.

    >>> part_folders({"train": [], "val": []}), part_folders({"train": [], "bus": []}), part_folders({"test": []})
    (True, False, False)
    """
    parts = [NAMES.get(name.lower()) for name in folders]
    return "training" in parts and None not in parts and len(parts) > 1


def part_files(folder: Path) -> dict[str, Path]:
    """Return part → its file, in a folder that has ``train.csv`` and ``test.csv``; empty where it has none.

    Raises:
        DataError: two files hold the same part.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        part = NAMES.get(name.partition(".")[0])
        if not part or not name.endswith(FILES) or name.endswith(".npz") or not path.is_file():
            continue
        if part in files:
            raise DataError(
                f"data.source: {str(folder)!r} has two files of the {part} part, {files[part].name} and {path.name}"
            )
        files[part] = path
    return files if "training" in files and len(files) > 1 else {}


def join_parts(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of the parts as one, which knows how many rows each has.

    Raises:
        DataError: a part lacks a column that the training part has, or rows have another shape.
    """
    import pandas as pd

    training = frames["training"]
    for name, frame in frames.items():
        if absent := [column for column in training.columns if column not in frame.columns]:
            raise DataError(
                f"data.source: the {name} part has no column {absent[0]!r}, which the training part has; expected "
                f"{', '.join(map(str, list(training.columns)[:8]))}{', …' if len(training.columns) > 8 else ''}"
            )
        if frame.attrs.get(SHAPE) != training.attrs.get(SHAPE):
            raise DataError(
                f"data.source: rows of the {name} part have shape {frame.attrs.get(SHAPE)}, those of the training part "
                f"{training.attrs.get(SHAPE)}"
            )
    numbered = [
        column
        for column in training.columns
        if NAMELESS.fullmatch(str(column)) and all(numbers_rows(frame[column]) for frame in frames.values())
    ]
    ordered = {name: frames[name] for name in PARTS if name in frames}
    joined = pd.concat([frame[list(training.columns)] for frame in ordered.values()], ignore_index=True)
    for column in numbered:  # still the numbers of the rows
        joined[column] = range(len(joined))
    joined.attrs = {**training.attrs, COUNTS: [len(ordered[name]) if name in ordered else 0 for name in PARTS]}
    return joined


def part_numbers(frame: pd.DataFrame) -> np.ndarray | None:
    """Return the part (rows,) of each row of a table, as its number in ``PARTS``; None where it has no parts."""
    import numpy as np

    counts = frame.attrs.get(COUNTS)
    return None if counts is None else np.repeat(np.arange(len(PARTS)), counts)


def read_part_files(files: Mapping[str, Path], spec: DataSpec) -> pd.DataFrame:
    """Read the files of the parts as one table."""
    for path in files.values():
        check_memory(path, repr(str(path)), "X", "y")
    specs = {name: spec.model_copy(update={"source": str(path)}) for name, path in files.items()}
    return join_parts({name: read_file(path, specs[name]) for name, path in files.items()})


# -- in memory ------------------------------------------------------------------------------------


def is_parts(data: Any) -> bool:
    """Whether ``data`` is a mapping of parts that are tables: (X, y), DataFrames, or paths of files."""
    is_named = isinstance(data, Mapping) and "training" in data and set(data) <= set(PARTS)
    return is_named and all(_is_table(part) for part in data.values())


def frame_of_parts(data: Mapping[str, Any]) -> tuple[pd.DataFrame, str | None]:
    """Return the parts as one table, and the name of the target, where it is given with the data.

    Raises:
        DataError: a part cannot be read, or does not fit the training part.
    """
    frames, targets = {}, set()
    for name, part in data.items():
        frame, target = (_read(part), None) if isinstance(part, str | Path) else to_frame(part)
        frames[name] = frame
        targets.add(target)
    target = next(iter(targets))
    if len(targets) > 1:
        named = ", ".join(sorted(repr(t) for t in targets if t))
        raise DataError(f"data: the parts name different targets ({named}), expected the same for each")
    return join_parts(frames), target


def _is_table(part: Any) -> bool:
    if isinstance(part, str | Path):
        return True
    if hasattr(part, "columns"):
        return True
    if not (isinstance(part, tuple) and len(part) == 2):
        return False
    X, y = part
    return hasattr(X, "columns") or (hasattr(X, "dtype") and type(X).__module__ == "numpy" and not isinstance(y, str))


def _read(path: str | Path) -> pd.DataFrame:
    file = Path(path).expanduser()
    if not str(file).lower().endswith(FILES) or str(file).lower().endswith(".npz"):
        raise DataError(f"data: given the part {str(path)!r}, expected a file that ends in {FILE_NAMES}, without .npz")
    if not file.is_file():
        raise DataError(f"data: no file {str(path)!r}; the current folder is {str(Path.cwd())!r}")
    try:
        check_memory(file, repr(str(path)), "X", "y")
        frame = read_file(file, DataSpec(source=str(path), target=""))
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"data: {str(path)!r} cannot be read: {error}") from None
    attributes: Any = {key: value for key, value in frame.attrs.items() if key in (SHAPE, TARGET)}
    frame = frame.rename(columns=str)
    frame.attrs = attributes
    return frame
