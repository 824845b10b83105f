"""Copies of a run's weights along its path: ``snapshots/<step>.safetensors``, one vector of trainable weights each."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lmkit.exceptions import DamagedFile
from lmkit.runfolder.shards import load_file, save_file
from lmkit.system.files import make_directory, replace_file
from lmkit.system.reading import open_file

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from lmkit.runfolder.folder import RunFolder

FOLDER, SUFFIX, NAME = "snapshots", ".safetensors", "weights"

MAX_SNAPSHOTS = 200
"""Copies of a run, at most."""

MAX_BYTES = 2**28
"""Bytes of all copies of a run together, at most; of larger models there are fewer copies."""

HEADER_BYTES = 4096
"""Bytes of a file besides its numbers, at most."""


def write_snapshot(folder: RunFolder, step: int, weights: np.ndarray) -> None:
    """Write the trainable weights (n,) after a step."""
    make_directory(folder.path, FOLDER)
    with replace_file(folder.inside(FOLDER, f"{step:012d}{SUFFIX}")) as path:
        save_file({NAME: weights}, path)


def drop_snapshots(folder: RunFolder, after: int) -> None:
    """Delete the copies after a step, which a resumed run takes again."""
    for step, path in _files(folder):
        if step > after:
            path.unlink(missing_ok=True)


def snapshot_steps(folder: RunFolder) -> list[int]:
    """Return the steps after which there are copies, without reading them."""
    return [step for step, _ in _files(folder)]


def load_snapshots(folder: RunFolder, size: int) -> tuple[list[int], list[np.ndarray]]:
    """Return the steps, and the weights (size,) after each, in float64; empty where there are none.

    Args:
        folder: of the run.
        size: numbers of all trainable weights.

    Raises:
        DamagedFile: a file is damaged, or is of another model.
    """
    import numpy as np

    steps: list[int] = []
    copies: list[np.ndarray] = []
    for step, path in _files(folder):
        with open_file(path) as file:
            if os.fstat(file.fileno()).st_size > 8 * size + HEADER_BYTES:
                raise DamagedFile(path, f"it is larger than {size:,} weights")
        values = load_file(path).get(NAME)
        if values is None or values.shape != (size,) or values.dtype.kind != "f":
            raise DamagedFile(path, f"expected {size:,} weights")
        steps.append(step)
        copies.append(np.asarray(values, dtype=np.float64))
    return steps, copies


def _files(folder: RunFolder) -> list[tuple[int, Path]]:
    """Return the step and the path of each copy, by step."""
    try:
        entries = sorted(folder.inside(FOLDER, "0").parent.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    numbered = [(path.stem, path) for path in entries if path.suffix == SUFFIX and path.stem.isdecimal()]
    return [(int(name), path) for name, path in numbered][:MAX_SNAPSHOTS]
