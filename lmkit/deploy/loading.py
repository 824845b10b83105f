"""A bundle loaded where it is deployed: with NumPy and the artefact's own runtime, and nothing else.

What this imports decides what a deployed model needs, so it imports no pydantic, pandas, SciPy, scikit-learn or psutil,
and a framework only where the artefact is that framework's own.
"""

from __future__ import annotations

import importlib
import json
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artefact import Artefact, digest
from lmkit.deploy.runtimes import find, load
from lmkit.errors import LmkitError, MissingPackage

if TYPE_CHECKING:
    import numpy as np

CARD, CHECKSUMS, EXAMPLE, PREPROCESSING, SIGNATURE = (
    "README.md", "checksums.txt", "example.json", "preprocessing.json", "signature.json",
)  # fmt: skip
"""The files of a bundle, beside its artefact."""

KINDS = {
    "table": "lmkit.data.preprocessing", "text": "lmkit.data.language", "graph": "lmkit.data.nodes",
    "loader": "lmkit.data.rows",
}  # fmt: skip
"""Kind of data → the module that applies its preprocessing with NumPy alone."""

BATCH = 256
"""Rows that the runtime is given at once, at most."""


class BundleError(LmkitError):
    """A bundle that cannot be written or loaded."""


class Bundle:
    """A model as it was shipped. Made by ``load_bundle``.

    Attributes:
        path: its folder.
        signature: what it takes and gives: columns, tensors, classes and their labels.
        preprocessing: what was fitted on the training part.
        artefact: what the runtime loads, and how it was made.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self.path, self.threads = path, threads
        self.signature: dict[str, Any] = _read(path, SIGNATURE)
        self.preprocessing = _preprocessing(_read(path, PREPROCESSING))
        self.artefact = Artefact.read(path / self.signature["artefact"], check=False)  # checked with everything else

    @cached_property
    def _model(self) -> Any:
        if is_own(self.path / self.signature["artefact"], self.artefact):
            raise BundleError(f"{self.path} asks for code to be run that is not lmkit's, which no bundle may")
        runtime = find(self.artefact.runtime)
        for library in runtime.LIBRARIES:
            try:
                importlib.import_module(library)
            except ModuleNotFoundError:
                wanted = " ".join(runtime.PACKAGES)
                raise MissingPackage(f"this bundle runs on {self.artefact.runtime}: pip install {wanted}") from None
        return load(self.path / self.signature["artefact"], self.artefact, self.threads)

    def logits(self, rows: Any) -> np.ndarray:
        """What the model itself gives: (rows, outputs), before it becomes classes or the target's own unit."""
        import numpy as np

        X = self.preprocessing.apply(rows).astype(self.artefact.dtype).reshape(-1, *self.artefact.row)
        if not len(X):
            return np.empty((0, self.preprocessing.outputs))
        return np.concatenate([np.asarray(self._model.predict(X[i : i + BATCH])) for i in range(0, len(X), BATCH)])

    def predict(self, rows: Any) -> np.ndarray:
        """Predictions (rows,): classes of the target, or values in its own unit.

        Args:
            rows: an array (rows, columns) with the columns in the order of ``signature["inputs"]``, a list of mappings
                with their names, a DataFrame; or an array of images or sequences.

        Raises:
            DataError: the rows are not such; the message says what was given and what is expected.
        """
        found: np.ndarray = self.preprocessing.decode(self.logits(rows))
        return found

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Probabilities (rows, classes), in the order of ``signature["outputs"]["classes"]``."""
        found: np.ndarray = self.preprocessing.probabilities(self.logits(rows))
        return found

    def example(self) -> dict[str, Any]:
        """A few rows as they came (``rows``), and what was predicted for them when the bundle was made."""
        return _read(self.path, EXAMPLE)

    def __repr__(self) -> str:
        return f"<Bundle {self.signature['name']}: {self.artefact.recipe.get('technique')} on {self.artefact.runtime}>"


def load_bundle(path: str | Path, *, threads: int | None = None) -> Bundle:
    """A bundle, ready to predict; every file is held to its checksum first.

    Args:
        path: the folder that ``bundle`` wrote.
        threads: that the runtime may use (default: the cores there are).

    Raises:
        BundleError: it is no bundle, or a file is missing or has changed; the message names it.
        MissingPackage: its runtime is not installed; the message names the line that installs it.

    >>> import lmkit as lk
    >>> model = lk.load_bundle("out/")  # doctest: +SKIP
    >>> model.predict([{"alcohol": 13.2, "malic_acid": 1.8, ...}])  # doctest: +SKIP
    array([0])
    """
    path = Path(path)
    if not (path / CHECKSUMS).is_file():
        what = "is no bundle: it has no checksums.txt" if path.is_dir() else "does not exist"
        raise BundleError(f"{str(path)!r} {what}; expected a folder written by lmkit bundle RUN TECHNIQUE FOLDER")
    for line in (path / CHECKSUMS).read_text(encoding="utf-8").splitlines():
        made, name = line.split("  ", 1)
        file = path / name
        if not file.is_file() or digest(file) != made:
            raise BundleError(
                f"{file} is {'not the file that was bundled' if file.is_file() else 'missing'}; "
                "copy the whole folder again, or make it anew: lmkit bundle RUN TECHNIQUE FOLDER"
            )
    return Bundle(path, threads or os.cpu_count() or 1)


def is_own(folder: Path, artefact: Artefact) -> bool:
    """Whether the runtime would call somebody's own code to build the model."""
    return artefact.entry == "model.json" and _read(folder, artefact.entry)["model"]["family"] == "own"


def _read(path: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / name).read_text(encoding="utf-8"))
    return found


def _preprocessing(values: dict[str, Any]) -> Any:
    """What was fitted; of data that is no table, with what its kind needs."""
    kind = values.get("kind", "table")
    if kind in KINDS:
        return importlib.import_module(KINDS[kind]).Preprocessing(**{k: v for k, v in values.items() if k != "kind"})
    from lmkit.data.preparation import read_preprocessing

    return read_preprocessing(values)
