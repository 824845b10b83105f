"""AOTInductor: PyTorch packages that were compiled ahead of time; they need no Python code and no compiler."""

from __future__ import annotations

import math
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import Operation, is_kernel

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("torch",), ("torch",)

TYPES = {"float": "float32", "double": "float64", "int8_t": "int8", "uint8_t": "uint8", "int64_t": "int64"}
"""C++ name of a type → NumPy's."""

_CALL = re.compile(r"\b(?:aoti_torch_cpu_+|(?=cpp_))(\w+?)\((.*)\);")
_BUFFER = re.compile(r"cached_torch_dtype_(\w+), [^;\n]*&(\w+)_handle\)")
_CONSTANT = re.compile(r"constants_info_\[(\d+)\]\.(dtype|shape) = (.+);")


class Package:
    """A loaded package."""

    def __init__(self, path: Path, dtype: str) -> None:
        import torch

        self.path, self.dtype = path, dtype
        try:  # the function that wraps this class imports the compiler first: 2 s, 80 MB
            self.loader: Any = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
            self.call: Any = lambda x: self.loader.run([x])[0]
        except (AttributeError, TypeError):
            self.call = torch._inductor.aoti_load_package(str(path))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the logits of rows."""
        import torch

        with torch.inference_mode():
            outputs: np.ndarray = self.call(torch.from_numpy(X)).numpy()
        return outputs

    def executed(self) -> list[Operation]:
        """Return the kernels that the compiled code calls, from the C++ source in the package.

        PyTorch's profiler does not see them, since the code calls the kernels directly.
        """
        body = self._source().rpartition("::run_impl(")[2]
        buffers = {name: dtype for dtype, name in _BUFFER.findall(body)}
        counts: Counter[tuple[str, str]] = Counter()
        for name, arguments in _CALL.findall(body):
            if name.startswith(("qlinear", "qconv")):
                dtype = "int8"
            elif pointers := re.findall(r"\((?!const )(\w+)\*\)", arguments):
                dtype = TYPES.get(pointers[0], pointers[0])
            else:
                types = [buffers[word] for word in re.findall(r"\w+", arguments) if word in buffers]
                dtype = types[0] if types else "float64" if self.dtype == "float64" else "float32"
            counts[name, dtype] += 1
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counts.items())]

    def stored(self) -> dict[str, int]:
        """Count the numbers in the kernels and tables of the compiled code, by type."""
        constants: dict[str, dict[str, str]] = {}
        for number, attribute, value in _CONSTANT.findall(self._source()):
            constants.setdefault(number, {})[attribute] = value
        counts: Counter[str] = Counter()
        for constant in constants.values():
            shape = [int(n) for n in re.findall(r"\d+", constant.get("shape", ""))]
            if is_kernel(shape):
                counts[constant["dtype"].removeprefix("cached_torch_dtype_")] += math.prod(shape)
        return dict(counts)

    def _source(self) -> str:
        with zipfile.ZipFile(self.path) as archive:
            return "\n".join(archive.read(name).decode() for name in archive.namelist() if name.endswith("wrapper.cpp"))


def load(folder: Path, artifact: Artifact, threads: int) -> Package:
    """Load the package."""
    import torch

    torch.set_num_threads(threads)
    return Package(folder / artifact.entry, artifact.dtype)
