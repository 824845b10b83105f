"""Runtimes: each loads an artifact, runs it, and reports what it executed. One module each, named as the runtime.

A runtime is a module with

- ``LIBRARIES``: modules that it imports, so that their import is timed separately;
- ``PACKAGES``: packages to install where a model is deployed, in addition to NumPy;
- ``load(folder, artifact, threads) -> Model``, which imports its library inside and nothing of lmkit that would import
  another one.

A runtime may also have ``DATA_FORMATS``: the ends of the names of files that it reads as data, such as ``.onnx``. Any
other file that it opens is a program, which can do whatever its author wants: all files of a runtime without it are.

A runtime with a true ``USES_DEVICE`` loads on the device that ``artifact.options["device"]`` names; else, and for the
others, that is the processor.

A model may also have ``stored()``, which returns {type: how many numbers of its kernels and tables are stored in it},
without one-dimensional weights (biases, scales, norms). It is called last, after memory is measured, and may import
what reads the file. A runtime that cannot tell leaves it out. The same holds for ``tensors()``, which returns
{"input": {"name": …, "shape": …, "dtype": …}, "output": …} of a format that has names; None in a shape is any number.

Threads may share what ``load`` of this package returns. Its calls run one after another, since most libraries keep the
state of a call in the model; a model with a true attribute ``concurrent`` is called by all threads at once.

Other packages add a runtime by an entry point of the group ``lmkit.runtimes``, a notebook by ``RUNTIMES.add``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lmkit.deploy.artifact import Artifact
from lmkit.exceptions import LmkitError
from lmkit.system.registry import Registry

if TYPE_CHECKING:
    import numpy as np

RUNTIMES: Registry[ModuleType] = Registry(
    "runtime", "lmkit.runtimes", __name__, requires=("LIBRARIES", "PACKAGES", "load")
)


class Operation(NamedTuple):
    """An executed operation: its name, the type that it computed in, and how often a call runs it."""

    name: str
    dtype: str
    times: int


Tensors = dict[str, dict[str, Any]]
"""``input`` and ``output`` → name, shape and type."""


class Model(Protocol):
    """The model that a runtime made of an artifact."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Rows (rows, …) of the artifact's type → logits (rows, outputs)."""

    def executed(self) -> list[Operation]:
        """Return the operations of a call, as the runtime itself reports them."""


class Loaded:
    """A loaded artifact, which any number of threads may use.

    Args:
        model: what the runtime made of the artifact.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._lock = threading.Lock()
        if getattr(model, "concurrent", False):
            self.predict = model.predict  # type: ignore[method-assign]  # no call more where none is needed

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the logits (rows, outputs) of rows (rows, …) of the artifact's type."""
        with self._lock:
            return self.model.predict(X)

    def executed(self) -> list[Operation]:
        """Return the operations of a call, as the runtime itself reports them."""
        with self._lock:
            return self.model.executed()

    def stored(self) -> dict[str, int] | None:
        """Return {type: how many numbers of the weights are stored in it}; None if the runtime cannot tell."""
        stored: dict[str, int] | None = self._call("stored")
        return stored

    def tensors(self) -> Tensors | None:
        """Return name, shape and type of the input and the output; None if the format has no names."""
        tensors: Tensors | None = self._call("tensors")
        return tensors

    def _call(self, method: str) -> Any:
        """Call a method that not every model has; None without it."""
        function = getattr(self.model, method, None)
        with self._lock:
            return function() if function else None


def is_kernel(shape: Iterable[int]) -> bool:
    """Return whether a tensor is a kernel or a table, not a bias, scale or norm: two dimensions above 1."""
    return sum(n > 1 for n in shape) > 1


def find(runtime: str) -> ModuleType:
    """Return the module of a runtime, without importing its libraries."""
    return RUNTIMES.get(runtime)


DATA_FILES = (".onnx", ".data", ".tflite", ".xml", ".bin", ".json", ".safetensors")
"""Ends of the names of files that an artifact of data may consist of."""


def is_program(artifact: Artifact) -> bool:
    """Return whether loading an artifact may run code of its author, by its runtime and by its files.

    What the artifact says of itself does not count, nor what it could not be without an unknown runtime. A folder is a
    program whatever its name, since a runtime reads files in it that the artifact need not list.
    """
    try:
        formats: tuple[str, ...] = getattr(find(artifact.runtime), "DATA_FORMATS", ())
    except LmkitError:
        return True
    is_data = artifact.entry in artifact.files and artifact.entry.endswith(formats)
    return not (is_data and all(name.endswith(DATA_FILES) for name in artifact.files))


def load(folder: Path, artifact: Artifact, threads: int) -> Loaded:
    """Load the artifact in ``folder`` by its runtime with a number of threads."""
    return Loaded(find(artifact.runtime).load(folder, artifact, threads))


def custom_runtimes() -> dict[str, str]:
    """Return name → module of the registered runtimes that another process cannot find by itself."""
    package = f"{__name__}."
    return {name: runtime.__name__ for name, runtime in RUNTIMES.items() if not runtime.__name__.startswith(package)}
