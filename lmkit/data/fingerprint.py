"""What the data of a run were, so that it is not continued or measured on others.

``data.json`` in the folder of a run is written once, when its worker has prepared the data for the first time. It holds
the folder in which relative paths were meant, and a fingerprint of everything that the experiment names and the run
folder does not hold: files, folders, the edges of a graph, data sets of the hub, modules of the user.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.custom.objects import references
from lmkit.data.dataset import adapt
from lmkit.data.kinds import get_kind, read_preprocessing
from lmkit.data.tables import hub
from lmkit.data.tables.memory import stored_path
from lmkit.display.units import format_bytes
from lmkit.exceptions import DamagedFile, DataError, LmkitError, join_names
from lmkit.specs.data import HUB, STORED
from lmkit.specs.references import HELD, KEPT
from lmkit.system.privacy import expand_home, shorten_home
from lmkit.system.reading import read_object

if TYPE_CHECKING:
    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment
    from lmkit.preprocessing.table import TablePreprocessing
    from lmkit.runfolder.folder import RunFolder
    from lmkit.specs.data import DataSpec

RECORD = "data.json"

HASHED_BYTES = 2**28
"""Files and folders up to this size are hashed completely; of larger ones samples, and the time of the last change."""

SAMPLES, SAMPLE_BYTES = 64, 2**16
"""Number and size of the samples of a large file, evenly spaced, the first and the last bytes among them."""

CHUNK_BYTES = 2**20

Fingerprint = dict[str, Any]


def write_record(folder: RunFolder, experiment: Experiment) -> None:
    """Write what the data of a run are, unless a worker before has."""
    if not (folder.path / RECORD).exists():
        sources = dict(_fingerprints(experiment, folder.path.parent))
        folder.write_json(RECORD, {"folder": shorten_home(str(Path.cwd())), "sources": sources})


def locate_data(folder: RunFolder, experiment: Experiment) -> Experiment:
    """Return the experiment with relative paths of data as they were meant where the run was started.

    They stay as they are where that is the current folder, or where nothing is known.
    """
    base = expand_home(_record(folder).get("folder") or "")
    if not base or base == str(Path.cwd()):
        return experiment
    spec: DataSpec = experiment.data
    update: dict[str, Any] = {"source": _absolute(spec.source, base)}
    if spec.graph:
        update["graph"] = spec.graph.model_copy(update={"edges": _absolute(spec.graph.edges, base)})
    return experiment.model_copy(update={"data": spec.model_copy(update=update)})


def check_unchanged(folder: RunFolder, experiment: Experiment) -> None:
    """Check that the data of a run, and the modules that it names, are what they were when it was started.

    Raises:
        DataError: something has changed, or no longer exists; the message says what, and what to do.
    """
    before = _record(folder).get("sources")
    if not before:
        return
    now = dict(_fingerprints(locate_data(folder, experiment), folder.path.parent))
    for path, old in before.items():
        if path in now and (change := _describe_change(old, now[path])):
            raise DataError(
                f"{path}: {old.get('name')!r} is not what {folder.name} was trained on: {change}; restore it, or train "
                f"a new run on what is there now: lmkit train {folder.name}"
            )


def prepare_again(folder: RunFolder, experiment: Experiment) -> Dataset:
    """Return the data of a run, read again, split and prepared as for its training.

    Raises:
        DataError: they are not what they were when the run was started.
    """
    check_unchanged(folder, experiment)
    spec = locate_data(folder, experiment)
    data = get_kind(spec.data).prepare(spec.data, spec.seed, spec.training.weight_dtype, folder.path.parent)
    check_preprocessing(folder, data.preprocessing)
    return data


def check_preprocessing(folder: RunFolder, preprocessing: TablePreprocessing) -> None:
    """Check that data which are prepared again, as on a resume, are prepared as at the start of the run.

    Raises:
        DataError: they are not, so that they are others.
    """
    values = folder.read_json("preprocessing.json")
    if values is None:
        return
    recorded = read_preprocessing(values)
    if recorded != adapt(preprocessing, recorded.task, recorded.output_kind):
        columns = getattr(preprocessing, "columns", ())
        absent = [name for name in getattr(recorded, "columns", ()) if name not in columns]
        if absent and folder.experiment.data.ids is None:  # earlier versions left fewer of them out
            raise DataError(
                f"data.ids: {folder.name} was trained with {join_names(map(repr, absent))}, and columns that identify "
                f"the rows are left out now; train a new run that keeps them, with data: {{ids: []}}: "
                f"lmkit train {folder.name} -p data.ids '[]'"
            )
        raise DataError(
            f"data.source: the data are not what {folder.name} was trained on: their preprocessing differs; restore "
            f"them, or train a new run on what is there now: lmkit train {folder.name}"
        )


def _record(folder: RunFolder) -> dict[str, Any]:
    path = folder.path / RECORD
    record = read_object(path) or {}
    if not isinstance(record.get("folder", ""), str):
        raise DamagedFile(path, "folder: expected a path")
    sources = record.get("sources", {})
    if not isinstance(sources, dict) or not all(isinstance(source, dict) for source in sources.values()):
        raise DamagedFile(path, "sources: expected a fingerprint of each")
    return record


def _absolute(source: str, base: str) -> str:
    """Return a source with a relative path joined to ``base``, where something is there."""
    prefix = HUB if source.startswith(HUB) else ""
    name = hub.parse(source).name if prefix else source
    try:
        path = Path(base) / Path(name).expanduser()
        return prefix + source.removeprefix(prefix).replace(name, str(path), 1) if name and path.exists() else source
    except (OSError, ValueError, RuntimeError):
        return source  # no path


# -- fingerprints ---------------------------------------------------------------------------------


def _fingerprints(experiment: Experiment, root: Path) -> Iterator[tuple[str, Fingerprint]]:
    """Iterate over the path in the experiment, and the fingerprint, of all that it names outside the run folder."""
    spec = experiment.data
    if spec.source.startswith(STORED):
        yield "data.source", _fingerprint_path(stored_path(spec.source, root), spec.source)
    elif spec.source.startswith(HUB):
        yield "data.source", _fingerprint_hub(spec.source)
    elif not spec.bundled and (spec.is_file or Path(spec.source).expanduser().is_dir()):
        yield "data.source", _fingerprint_path(Path(spec.source).expanduser(), spec.source)
    if spec.graph:
        yield "data.graph.edges", _fingerprint_path(Path(spec.graph.edges).expanduser(), spec.graph.edges)
    for path, reference in references(experiment).items():
        if not reference.startswith((KEPT, HELD)) and (file := _user_module(reference.partition(":")[0])):
            yield path, _fingerprint_path(file, reference)


def _fingerprint_path(path: Path, name: str) -> Fingerprint:
    """Return name, number of files, size and hash of a file or folder; a size of None where nothing is there."""
    try:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        stats = [file.stat() for file in files]
        size = sum(stat.st_size for stat in stats)
        content, is_large = hashlib.sha256(), size > HASHED_BYTES
        for file, stat in zip(files, stats, strict=True):
            content.update(f"{file.relative_to(path) if path.is_dir() else ''}\0{stat.st_size}\0".encode())
            if is_large and len(files) > 1:
                content.update(str(stat.st_mtime_ns).encode())
            else:
                _hash_file(content, file, stat.st_size, stat.st_mtime_ns if is_large else None)
    except OSError:
        return {"name": name, "files": 0, "bytes": None, "hash": None}
    return {"name": name, "files": len(files), "bytes": size, "hash": content.hexdigest()}


def _hash_file(content: Any, path: Path, size: int, time: int | None) -> None:
    """Add the content of a file to a hash; of a large one, whose time is given, that and samples."""
    with path.open("rb") as file:
        if time is None:
            while chunk := file.read(CHUNK_BYTES):
                content.update(chunk)
            return
        content.update(str(time).encode())
        for number in range(SAMPLES):
            file.seek((size - SAMPLE_BYTES) * number // (SAMPLES - 1))
            content.update(file.read(SAMPLE_BYTES))


def _fingerprint_hub(source: str) -> Fingerprint:
    """Return the fingerprint of a data set of the hub, or of its local folder."""
    parsed = hub.parse(source)
    if parsed.is_local:
        return _fingerprint_path(Path(parsed.name).expanduser(), source)
    try:
        return {"name": source, "files": 1, "bytes": 0, "hash": hub.open_dataset(source)._fingerprint}
    except LmkitError:  # reading it says so
        return {"name": source, "files": 0, "bytes": None, "hash": None}


def _user_module(name: str) -> Path | None:
    """Return the source file of a module, found without running code; None for an installed or unknown module."""
    locations: list[str] | None = [str(Path.cwd()), *sys.path]
    spec = None
    for part in name.split("."):
        if locations is None:
            return None
        # by its last name alone: of a folder without __init__.py, the parent would have to be imported
        spec = importlib.machinery.PathFinder.find_spec(part, locations)
        locations = list(spec.submodule_search_locations or []) if spec else None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    installed = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return None if any(Path(spec.origin).is_relative_to(folder) for folder in installed) else Path(spec.origin)


def _describe_change(old: Fingerprint, new: Fingerprint) -> str:
    """Return what has changed, as a predicate; empty where nothing has."""
    if old.get("hash") == new["hash"]:
        return ""
    if new["bytes"] is None:
        return "it is no longer there"
    if not isinstance(old.get("bytes"), int):
        return "it was not there"
    if old.get("files") != new["files"]:
        return f"it has {new['files']:,} files, and had {old.get('files')}"
    before, after = (format_bytes(part["bytes"]) for part in (old, new))
    if before != after:
        return f"it has {after}, and had {before}"
    return "its content has changed"
