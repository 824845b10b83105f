"""Data sets of Hugging Face's ``datasets``: by a name on its hub, a folder that it saved, or a folder of files."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data.images import File, read_images
from lmkit.data.store import flat_frame, with_target
from lmkit.errors import DataError, MissingPackage, nearest
from lmkit.specs.data import HUB, DataSpec

if TYPE_CHECKING:
    import pandas as pd

SAVED = ("dataset_info.json", "dataset_dict.json")
"""A folder that ``save_to_disk`` wrote holds one of these."""


class Name(NamedTuple):
    """What follows ``hf:`` in a source: ``NAME[:CONFIGURATION][@SPLIT]``.

    Attributes:
        name: on the hub, or the path of a folder.
        configuration: which of several tables; empty: the only one.
        split: which part; empty: ``train``, or the only one.
    """

    name: str
    configuration: str = ""
    split: str = ""

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine."""
        return Path(self.name).expanduser().is_dir()


def parse(source: str) -> Name:
    """The parts of a source.

    >>> parse("hf:nyu-mll/glue:sst2@validation")
    Name(name='nyu-mll/glue', configuration='sst2', split='validation')
    """
    name, _, split = source.removeprefix(HUB).partition("@")
    if Path(name).expanduser().is_dir():
        return Name(name, "", split)
    name, _, configuration = name.partition(":")
    return Name(name, configuration, split)


def open_dataset(source: str) -> Any:
    """The ``datasets.Dataset`` that a source names; one of the hub is fetched, or taken from the cache.

    Raises:
        MissingPackage: the package ``datasets`` is not installed.
        DataError: there is no such data set, or no such part of it, or the hub cannot be reached.
    """
    if importlib.util.find_spec("datasets") is None:
        raise MissingPackage(f"data.source: {source!r} needs datasets: python -m pip install 'lmkit[hub]'")
    import datasets

    asked = parse(source)
    if not asked.name:
        raise DataError(f"data.source: given {source!r}, expected {HUB}OWNER/NAME[:CONFIGURATION][@SPLIT] or a folder")
    folder = Path(asked.name).expanduser()
    try:
        if asked.local and any((folder / name).is_file() for name in SAVED):
            found = datasets.load_from_disk(str(folder))
        else:
            found = datasets.load_dataset(str(folder) if asked.local else asked.name, asked.configuration or None)
    except Exception as error:  # of the network, of the hub, of a file: each has its own
        raise DataError(f"data.source: {source!r} cannot be loaded: {_reason(error, asked)}") from None
    if not isinstance(found, datasets.DatasetDict):
        found = {str(found.split or "train"): found}
    split = asked.split or ("train" if "train" in found else next(iter(found)))
    if split not in found:
        raise DataError(f"data.source: {asked.name!r} has no split {split!r}; {nearest(split, found)}")
    return found[split]


def read(spec: DataSpec) -> pd.DataFrame:
    """The data set of ``spec`` as a table: numbers and text as they are, names for labels, a column a pixel.

    The target is that which ``spec`` names, else the only column of labels.

    Raises:
        MissingPackage: the package ``datasets`` is not installed.
        DataError: it cannot be loaded, or holds what cannot become columns.
    """
    import pandas as pd

    found = open_dataset(spec.source)
    import datasets

    labels = [name for name, feature in found.features.items() if isinstance(feature, datasets.ClassLabel)]
    target = spec.target or (labels[0] if len(labels) == 1 else None)
    parts: list[pd.DataFrame] = []
    for name, feature in found.features.items():
        if name in spec.drop:
            parts.append(pd.DataFrame({name: [0.0] * len(found)}))  # its place, for whoever drops it
        elif isinstance(feature, datasets.Image):
            parts.append(_images(found, name, spec))
        else:
            parts.append(_columns(found, name, feature))
    several = len([p for p in parts if p.shape[1] > 1]) > 1
    if several:
        parts = [p.add_prefix(f"{n}_") if p.shape[1] > 1 else p for n, p in zip(found.features, parts, strict=True)]
    attributes = {key: value for part in parts for key, value in part.attrs.items()}
    table = pd.concat(parts, axis=1)
    table.attrs = attributes
    return with_target(table, target, table[target]) if target and target in table else table


def _columns(found: Any, name: str, feature: Any) -> pd.DataFrame:
    """A column, or as many as there are numbers in a row of it."""
    import datasets
    import numpy as np
    import pandas as pd

    if isinstance(feature, datasets.ClassLabel):
        names = [None if v is None or v < 0 else feature.names[v] for v in found[name]]
        return pd.DataFrame({name: pd.Series(names, dtype=object)})
    if isinstance(feature, datasets.Value):
        return pd.DataFrame({name: found.select_columns([name]).to_pandas()[name]})
    try:
        values = np.asarray(found[name][:], dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"column {name!r} holds {type(feature).__name__} that are no numbers of one shape; "
            f"write data: {{drop: [{name}]}}"
        ) from None
    return flat_frame(values)


def _images(found: Any, name: str, spec: DataSpec) -> pd.DataFrame:
    """A column a pixel."""
    import datasets

    encoded = found.select_columns([name]).cast_column(name, datasets.Image(decode=False))
    files = []
    for row, image in enumerate(encoded[name]):
        if image is None:
            raise DataError(f"column {name!r} has no image in row {row}; a row without one cannot be trained on")
        content = io.BytesIO(image["bytes"]) if image["bytes"] is not None else Path(image["path"])
        files.append(File(image["path"] or f"{name} of row {row}", content))
    return flat_frame(read_images(files, spec.size, f"{spec.source!r}"))


def _reason(error: Exception, asked: Name) -> str:
    import datasets

    if datasets.config.HF_HUB_OFFLINE and not asked.local:
        return (
            "the hub is not asked while HF_HUB_OFFLINE is set, and it is not in the cache; unset it, or give a folder"
        )
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
