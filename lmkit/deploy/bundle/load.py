"""Loading a bundle where it is deployed, with NumPy and the artifact's runtime alone.

A deployed model needs whatever this module imports, so it imports no pydantic, pandas, SciPy, scikit-learn or psutil,
and a framework only if the artifact is in that framework's own format.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.kinds import read_preprocessing
from lmkit.deploy.artifact import RECORD, Artifact
from lmkit.deploy.bundle.verify import (
    EXAMPLE,
    PREPROCESSING,
    BundleError,
    check_files,
    check_trust,
    read_artifact,
    read_mapping,
    read_signature,
)
from lmkit.deploy.runtimes import Loaded, find, is_program, load
from lmkit.exceptions import DataError, MissingPackage, UntrustedCode
from lmkit.preprocessing.predict import check_outputs, prepare_rows
from lmkit.specs.outputs import check_row_count
from lmkit.system.cores import available_cores

if TYPE_CHECKING:
    import numpy as np

BATCH = 256
"""Largest number of rows per call of the runtime."""


class Bundle:
    """A deployed model, returned by ``load_bundle``. Threads may share it.

    Attributes:
        path: the bundle's folder.
        signature: inputs and outputs: columns, tensors, classes and their labels.
        preprocessing: the preprocessing, fitted on the training part.
        artifact: the artifact and its recipe.
    """

    def __init__(self, path: Path, threads: int, *, trust: bool = False) -> None:
        self.path, self.threads = path, threads
        names = check_files(path)
        self.signature: dict[str, Any] = read_signature(path)
        self.artifact = read_artifact(path, self.signature, names)
        if not trust:
            check_trust(path, self.artifact)
        self.preprocessing = self._read_preprocessing()
        self._loaded: Loaded | None = None
        self._lock = threading.Lock()

    def _read_preprocessing(self) -> Any:
        """Return the preprocessing, tried on the example."""
        import numpy as np

        values, rows = read_mapping(self.path, PREPROCESSING), self.example().get("rows")
        try:
            preprocessing = read_preprocessing(values)
            with contextlib.suppress(DataError):  # predict says so, too
                if rows:
                    self._as_input(preprocessing.apply(rows))
            preprocessing.decode(np.zeros((1, preprocessing.outputs)))
        except Exception as error:
            raise BundleError(
                f"{self.path / PREPROCESSING} is malformed, or does not fit {EXAMPLE} and {RECORD}: "
                f"{type(error).__name__}: {error}"
            ) from None
        return preprocessing

    @property
    def _model(self) -> Loaded:
        """The artifact in its runtime, loaded by the first thread that needs it."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Loaded:
        if is_custom(self.path / self.signature["artefact"], self.artifact):
            raise BundleError(
                f"{self.path} holds a custom model that runs its author's code; a bundle may hold no code"
            )
        runtime = find(self.artifact.runtime)
        for library in runtime.LIBRARIES:
            try:
                importlib.import_module(library)
            except ModuleNotFoundError:
                packages = " ".join(runtime.PACKAGES)
                raise MissingPackage(
                    f"this bundle needs {self.artifact.runtime}, which is not installed; "
                    f"install it: python -m pip install {packages}"
                ) from None
        try:
            return load(self.path / self.signature["artefact"], self.artifact, self.threads)
        except UntrustedCode as error:
            raise BundleError(f"{self.path}: {error}") from None
        except Exception as error:
            raise BundleError(
                f"{self.path}: {self.artifact.runtime} cannot load {self.artifact.entry}: {type(error).__name__}: "
                f"{str(error).partition(chr(10))[0][:300]}"
            ) from error

    def _as_input(self, prepared: np.ndarray) -> np.ndarray:
        """Return prepared rows (rows, …) in the type and shape that the artifact takes."""
        return prepared.astype(self.artifact.dtype).reshape(-1, *self.artifact.row)

    def prepare(self, rows: Any) -> np.ndarray:
        """Return rows (rows, …) as the artifact's file takes them, such as a server that serves it.

        Raises:
            DataError: the rows do not fit the signature.
        """
        return self._as_input(prepare_rows(self.preprocessing, rows))

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return the predictions (rows,) of the raw outputs (rows, outputs) of the artifact's file."""
        predictions: np.ndarray = self.preprocessing.decode(outputs)
        return predictions

    def outputs(self, rows: Any) -> np.ndarray:
        """Return the model's raw outputs (rows, outputs), before they become classes or values of the target."""
        import numpy as np

        X = self._as_input(prepare_rows(self.preprocessing, rows))
        if not len(X):
            return np.empty((0, self.preprocessing.outputs))
        pieces = [X[i : i + BATCH] for i in range(0, len(X), BATCH)]
        return np.concatenate([check_row_count(np.asarray(self._model.predict(piece)), len(piece)) for piece in pieces])

    def logits(self, rows: Any) -> np.ndarray:
        """Return logits (rows, outputs), also of a model that gives probabilities; the values of a regression."""
        logits: np.ndarray = self.preprocessing.logits(self.outputs(rows))
        return logits

    def predict(self, rows: Any) -> np.ndarray:
        """Return predictions (rows,): classes of the target, or values in its unit.

        Args:
            rows: an array (rows, columns) with the columns in the order of ``signature["inputs"]``, a list of mappings
                by column name, a DataFrame; or an array of images or sequences. For rows unlike those of training see
                ``lmkit.preprocessing.predict``.

        Raises:
            DataError: the rows do not fit the signature, or no prediction follows from them.
        """
        return self.decode(check_outputs(self.outputs(rows)))

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Return probabilities (rows, classes), in the order of ``signature["outputs"]["classes"]``."""
        probabilities: np.ndarray = self.preprocessing.probabilities(check_outputs(self.outputs(rows)))
        return probabilities

    def example(self) -> dict[str, Any]:
        """Return example rows before preprocessing (``rows``), and their predictions when the bundle was written."""
        return read_mapping(self.path, EXAMPLE)

    def __repr__(self) -> str:
        return f"<Bundle {self.signature['name']}: {self.artifact.recipe.get('technique')} on {self.artifact.runtime}>"


def load_bundle(path: str | Path, *, threads: int | None = None, trust: bool = False) -> Bundle:
    """Load a bundle and its model, after checking each file against its checksum.

    Checksums find a damaged copy. They do not say who wrote the bundle. A bundle as ONNX, LiteRT, OpenVINO or as a
    specification with weights is data, which its runtime reads. One as ``.pt2``, SavedModel, AOTInductor or ExecuTorch
    is a program: loading it runs code of its author, so it is loaded only if this user wrote it on this machine.

    Args:
        path: folder that ``bundle`` wrote.
        threads: threads of the runtime (default: one per core that this process may use).
        trust: whether to load a program that someone else wrote.

    Raises:
        BundleError: the folder is no bundle, a file is missing, malformed or has changed, it was written in a newer
            format, or it is a program and not trusted.
        MissingPackage: the runtime is not installed; the message holds the command that installs it.

    >>> import lmkit as lk
    >>> model = lk.load_bundle("out/")  # doctest: +SKIP
    >>> model.predict([{"alcohol": 13.2, "malic_acid": 1.8, ...}])  # doctest: +SKIP
    array([0])
    """
    bundle = Bundle(Path(path), threads or available_cores(), trust=trust)
    _ = bundle._model  # a damaged model is reported here, not at the first call
    return bundle


def describe_program(path: Path) -> str:
    """Return what loading a bundle would run, after checking its files; empty if it is data.

    Raises:
        BundleError: it is no bundle, or damaged.
    """
    bundle = Bundle(path, 1, trust=True)
    return f"{bundle.artifact.entry} for {bundle.artifact.runtime}" if is_program(bundle.artifact) else ""


def is_custom(folder: Path, artifact: Artifact) -> bool:
    """Return whether the runtime would run a custom model's code to build it."""
    if not artifact.entry.endswith(".json"):
        return False
    model = read_mapping(folder, artifact.entry).get("model")
    return isinstance(model, dict) and ("builder" in model or model.get("family") == "own")
