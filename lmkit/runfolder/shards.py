"""Arrays of a checkpoint in safetensors: one file where they are small, else several and an index beside them.

weights.safetensors                       up to ``SHARD_BYTES`` of arrays
weights-00001-of-00003.safetensors, …     more
weights.index.json                        how many files belong together, and which arrays are cut over them

An array lies whole in one file, or a part of it in each of several: where several processes train, each of them writes
the part that it holds. Whoever reads gets whole arrays, and needs none of the processes. The index names no file: names
follow from the number of files, so that nothing outside the folder is opened. Each file carries the key of its
checkpoint, so that files of two checkpoints are not mixed.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Le, MaxLen

from lmkit.exceptions import DamagedFile
from lmkit.system.files import write_json
from lmkit.system.reading import check_file, read_object
from lmkit.system.records import Count, parse_record

if TYPE_CHECKING:
    import numpy as np

    Arrays = dict[str, np.ndarray]
    Shape = tuple[int, ...]

SHARD_BYTES = 2**27
"""Bytes of arrays in one file, at most; an array that is larger has a file to itself."""

FORMAT = 1
"""The version of the index; a larger one is refused."""

MAX_FILES, MAX_ARRAYS, MAX_AXES = 9_999, 100_000, 32
"""Files of an index, arrays that are cut over them, and axes of an array, at most."""

KEY = "checkpoint"
"""The entry of a file's metadata that names its checkpoint."""


@dataclass(frozen=True)
class ShardIndex:
    """Which files belong together.

    Attributes:
        format: the version.
        files: their number.
        key: of the checkpoint; each file has the same.
        axes: for each array that is cut over the files, the axis along which its parts are joined, in the order of the
            files.
    """

    format: Count
    files: Annotated[int, Ge(1), Le(MAX_FILES)]
    key: Annotated[str, MaxLen(100)]
    axes: Annotated[dict[str, Annotated[int, Ge(0), Le(MAX_AXES - 1)]], MaxLen(MAX_ARRAYS)]


# -- writing --------------------------------------------------------------------------------------


def save_arrays(arrays: Arrays, folder: Path, name: str, limit: int | None = None) -> None:
    """Write arrays into ``folder`` as ``name``: one file, or several where they have more than ``limit`` bytes.

    Args:
        arrays: to write, whole.
        folder: exists.
        name: of the arrays, such as weights.
        limit: bytes of arrays in one file (default: ``SHARD_BYTES``).

    Raises:
        OSError: a file cannot be written.
    """
    groups = split_arrays(arrays, SHARD_BYTES if limit is None else limit)
    if len(groups) == 1:
        save_file(arrays, folder / f"{name}.safetensors")
        return
    key = secrets.token_hex(8)
    for number, group in enumerate(groups):
        save_part(group, folder, name, number, len(groups), key)
    write_index(folder, name, ShardIndex(FORMAT, len(groups), key, {}))


def save_part(arrays: Arrays, folder: Path, name: str, number: int, files: int, key: str) -> None:
    """Write one of several files, counted from 0; ``write_index`` completes them.

    Raises:
        OSError: it cannot be written.
    """
    save_file(arrays, folder / shard_name(name, number, files), {KEY: key})


def write_index(folder: Path, name: str, index: ShardIndex) -> None:
    """Write the index of files that ``save_part`` wrote."""
    write_json(index_path(folder, name), asdict(index))


def split_arrays(arrays: Arrays, limit: int) -> list[Arrays]:
    """Divide arrays, in their order, into groups of at most ``limit`` bytes, or of one array; at least one group.

    >>> import numpy as np
    >>> [list(group) for group in split_arrays({"a": np.zeros(4), "b": np.zeros(1), "c": np.zeros(2)}, 24)]
    [['a'], ['b', 'c']]
    """
    groups: list[Arrays] = [{}]
    size = 0
    for name, array in arrays.items():
        if groups[-1] and size + array.nbytes > limit:
            groups.append({})
            size = 0
        groups[-1][name] = array
        size += array.nbytes
    return groups


def save_file(arrays: Arrays, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write arrays into one file; a full disk is an OSError, as everywhere else."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file as write

    try:
        write(arrays, path, metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


# -- reading --------------------------------------------------------------------------------------


def load_arrays(folder: Path, name: str) -> Arrays | None:
    """Return all arrays, whole; None where the folder has none of this name.

    Memory is allocated for what the files hold, whatever the index says.

    Raises:
        DamagedFile: a file is missing, damaged, of another checkpoint, or was written by a later version.
    """
    import numpy as np

    index = read_index(folder, name)
    if index is None:
        try:
            return load_file(folder / f"{name}.safetensors")
        except FileNotFoundError:
            return None
    parts: dict[str, list[np.ndarray]] = {}
    for path in _shard_paths(folder, name, index):
        for array, part in load_file(path, index.key).items():
            parts.setdefault(array, []).append(part)
    arrays = {}
    for array in list(parts):
        values = parts.pop(array)  # so that one array at a time is in memory twice
        _joined_shape(array, [part.shape for part in values], index, index_path(folder, name))
        arrays[array] = values[0] if len(values) == 1 else np.concatenate(values, index.axes[array])
    return arrays


def array_shapes(folder: Path, name: str) -> dict[str, Shape] | None:
    """Return name → shape of all arrays without reading them; None where the folder has none of this name.

    Raises:
        DamagedFile: as for ``load_arrays``.
    """
    index = read_index(folder, name)
    if index is None:
        try:
            return _file_shapes(folder / f"{name}.safetensors")
        except FileNotFoundError:
            return None
    parts: dict[str, list[Shape]] = {}
    for path in _shard_paths(folder, name, index):
        for array, shape in _file_shapes(path, index.key).items():
            parts.setdefault(array, []).append(shape)
    return {array: _joined_shape(array, shapes, index, index_path(folder, name)) for array, shapes in parts.items()}


def check_shapes(expected: Mapping[str, Shape], shapes: Mapping[str, Shape], path: Path) -> None:
    """Check that the arrays of a file fit a model.

    Args:
        expected: name → shape of the weights of the model.
        shapes: of the arrays of the file.
        path: the file, for messages.

    Raises:
        DamagedFile: an array is missing or has another shape.
    """
    for name, shape in expected.items():
        if name not in shapes:
            raise DamagedFile(path, f"it has no weights {name!r}, which the model needs")
        if tuple(shapes[name]) != tuple(shape):
            raise DamagedFile(path, f"{name!r} has the shape {tuple(shapes[name])}, and the model needs {tuple(shape)}")


def array_files(folder: Path, name: str) -> list[Path]:
    """Return the files that hold the arrays of this name; empty where there are none."""
    index = read_index(folder, name)
    if index is None:
        path = folder / f"{name}.safetensors"
        return [path] if path.is_file() else []
    return _shard_paths(folder, name, index)


def load_file(path: Path, key: str = "") -> Arrays:
    """Return the arrays of one file; ``key`` is the checkpoint to which it must belong, if any.

    Raises:
        FileNotFoundError: it does not exist.
        DamagedFile: it cannot be read, or belongs to another checkpoint.
    """
    with _opened(path, key) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)


def entry_path(folder: Path, name: str) -> Path:
    """Return the file by which messages name the arrays: the index, or the only file."""
    path = index_path(folder, name)
    return path if path.exists() else folder / f"{name}.safetensors"


def index_path(folder: Path, name: str) -> Path:
    """Return the path of an index."""
    return folder / f"{name}.index.json"


def shard_name(name: str, number: int, files: int) -> str:
    """Return the name of one of several files, counted from 0.

    >>> shard_name("weights", 0, 3)
    'weights-00001-of-00003.safetensors'
    """
    return f"{name}-{number + 1:05d}-of-{files:05d}.safetensors"


def read_index(folder: Path, name: str) -> ShardIndex | None:
    """Return an index; None where there is none.

    Raises:
        DamagedFile: it cannot be read, or was written by a later version.
    """
    path = index_path(folder, name)
    values = read_object(path)
    if values is None:
        return None
    version = values.get("format")
    if isinstance(version, int) and version > FORMAT:
        problem = f"a later version of lmkit wrote it (format {version}, expected {FORMAT}): pip install -U lmkit"
        raise DamagedFile(path, problem)
    return parse_record(ShardIndex, values, path)


def _shard_paths(folder: Path, name: str, index: ShardIndex) -> list[Path]:
    """Return the files of an index, each of which exists, and is another one.

    Raises:
        DamagedFile: one is missing, or is a link to another one.
    """
    paths = [folder / shard_name(name, number, index.files) for number in range(index.files)]
    identities = set()
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            problem = error.strerror or str(error)
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                problem = f"it does not exist, and the checkpoint has {index.files} files: copy all of them"
            raise DamagedFile(path, problem) from None
        identities.add((status.st_dev, status.st_ino))
    if len(identities) < len(paths) and os.name != "nt":
        raise DamagedFile(index_path(folder, name), "some of its files are links to one file")
    return paths


def _file_shapes(path: Path, key: str = "") -> dict[str, Shape]:
    with _opened(path, key) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path, key: str) -> Iterator[Any]:
    """Open one file of arrays; whatever is wrong with it is a DamagedFile, but that it does not exist."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(check_file(path), framework="numpy") as file:
            if key and (file.metadata() or {}).get(KEY) != key:
                raise DamagedFile(path, "it belongs to another checkpoint than its index")
            yield file
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise error if isinstance(error, DamagedFile) else DamagedFile(path, str(error)) from None


def _joined_shape(array: str, shapes: Sequence[Shape], index: ShardIndex, path: Path) -> Shape:
    """Return the shape of an array whose parts have these shapes.

    Raises:
        DamagedFile: they do not fit together.
    """
    first, axis = shapes[0], index.axes.get(array)
    if len(shapes) == 1:
        return first
    if axis is None:
        raise DamagedFile(path, f"{array!r} is in {len(shapes)} of its files, and is not cut")
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes if axis < len(shape) == len(first)}
    if len(rests) != 1 or any(len(shape) != len(first) for shape in shapes):
        raise DamagedFile(path, f"the parts of {array!r} do not fit together: {', '.join(map(str, shapes[:4]))}")
    return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])
