"""Data sets of Hugging Face's ``datasets``: a name on its hub, a folder that it saved, or a folder of files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data.tables.images import File, read_images
from lmkit.data.tables.memory import flat_frame, with_target
from lmkit.exceptions import DataError, nearest, shorten
from lmkit.specs.data import HUB, DataSpec
from lmkit.system.optional import require

if TYPE_CHECKING:
    import pandas as pd

SAVED_FILES = ("dataset_info.json", "dataset_dict.json")
"""A folder that ``save_to_disk`` wrote contains one of these."""


class HubSource(NamedTuple):
    """A source after ``hf:``, written ``NAME[:CONFIGURATION][@SPLIT]``.

    Attributes:
        name: on the hub, or the path of a folder.
        configuration: of several tables; empty: the only one.
        split: empty: ``train``, or the only one.
    """

    name: str
    configuration: str = ""
    split: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return Path(self.name).expanduser().is_dir()


def parse(source: str) -> HubSource:
    """Return the parts of a source.

    >>> parse("hf:nyu-mll/glue:sst2@validation")
    HubSource(name='nyu-mll/glue', configuration='sst2', split='validation')
    """
    name, _, split = source.removeprefix(HUB).partition("@")
    if Path(name).expanduser().is_dir():
        return HubSource(name, "", split)
    name, _, configuration = name.partition(":")
    return HubSource(name, configuration, split)


def open_dataset(source: str) -> Any:
    """Return the ``datasets.Dataset`` of a source, downloaded or from the cache.

    Raises:
        MissingPackage: the package ``datasets`` is not installed.
        DataError: there is no such data set or split, or the hub cannot be reached.
    """
    require("datasets", extra="hub", purpose=f"data.source: {source!r}")
    import datasets

    parsed = parse(source)
    if not parsed.name:
        raise DataError(
            f"data.source: given {shorten(source)}, expected {HUB}OWNER/NAME[:CONFIGURATION][@SPLIT] or a folder"
        )
    folder = Path(parsed.name).expanduser()
    try:
        if parsed.is_local and any((folder / name).is_file() for name in SAVED_FILES):
            splits = datasets.load_from_disk(str(folder))
        else:
            name = str(folder) if parsed.is_local else parsed.name
            splits = datasets.load_dataset(name, parsed.configuration or None)
    except Exception as error:  # of the network, of the hub, of a file
        raise DataError(f"data.source: {source!r} cannot be loaded: {_describe(error, parsed)}") from None
    if not isinstance(splits, datasets.DatasetDict):
        splits = {str(splits.split or "train"): splits}
    split = parsed.split or ("train" if "train" in splits else next(iter(splits)))
    if split not in splits:
        raise DataError(f"data.source: {parsed.name!r} has no split {split!r}; {nearest(split, splits, 'splits:')}")
    return splits[split]


def read(spec: DataSpec) -> pd.DataFrame:
    """Read the data set of ``spec`` as a table: numbers and text, names of labels, one column per pixel.

    The target is that of ``spec``, else the only column of labels.

    Raises:
        MissingPackage: the package ``datasets`` is not installed.
        DataError: it cannot be loaded, or a feature cannot be read as columns.
    """
    import pandas as pd

    dataset = open_dataset(spec.source)
    import datasets

    labels = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.ClassLabel)]
    target = spec.target or (labels[0] if len(labels) == 1 else None)
    parts: list[pd.DataFrame] = []
    for name, feature in dataset.features.items():
        if name in spec.drop:
            parts.append(pd.DataFrame({name: [0.0] * len(dataset)}))  # a column to drop later
        elif isinstance(feature, datasets.Image):
            parts.append(_read_images(dataset, name, spec))
        else:
            parts.append(_read_columns(dataset, name, feature))
    if sum(part.shape[1] > 1 for part in parts) > 1:
        parts = [p.add_prefix(f"{n}_") if p.shape[1] > 1 else p for n, p in zip(dataset.features, parts, strict=True)]
    attributes = {key: value for part in parts for key, value in part.attrs.items()}
    table = pd.concat(parts, axis=1)
    table.attrs = attributes
    return with_target(table, target, table[target]) if target and target in table else table


def _read_columns(dataset: Any, name: str, feature: Any) -> pd.DataFrame:
    """Return a feature as one column per number of a row."""
    import datasets
    import numpy as np
    import pandas as pd

    if isinstance(feature, datasets.ClassLabel):
        names = [None if v is None or v < 0 else feature.names[v] for v in dataset[name]]
        return pd.DataFrame({name: pd.Series(names, dtype=object)})
    if isinstance(feature, datasets.Value):
        return pd.DataFrame({name: dataset.select_columns([name]).to_pandas()[name]})
    try:
        values = np.asarray(dataset[name][:], dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"column {name!r} contains {type(feature).__name__}, expected numbers of one shape; "
            f"use data: {{drop: [{name}]}}"
        ) from None
    return flat_frame(values)


def _read_images(dataset: Any, name: str, spec: DataSpec) -> pd.DataFrame:
    """Return images as one column per pixel."""
    import datasets

    encoded = dataset.select_columns([name]).cast_column(name, datasets.Image(decode=False))
    files = []
    for row, image in enumerate(encoded[name]):
        if image is None:
            raise DataError(f"column {name!r} has no image in row {row}; remove this row")
        content = io.BytesIO(image["bytes"]) if image["bytes"] is not None else Path(image["path"])
        files.append(File(image["path"] or f"{name} of row {row}", content))
    return flat_frame(read_images(files, spec.size, f"{spec.source!r}"))


def _describe(error: Exception, source: HubSource) -> str:
    import datasets

    if datasets.config.HF_HUB_OFFLINE and not source.is_local:
        return "it is not in the cache, and HF_HUB_OFFLINE is set; unset it, or use a folder"
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
