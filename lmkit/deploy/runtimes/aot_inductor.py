"""PyTorch's packages of code that was compiled ahead of time: no Python runs in between, and no compiler is needed."""

from __future__ import annotations

import math
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes import Operation, wide

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("torch",), ("torch",)

TYPES = {"float": "float32", "double": "float64", "int8_t": "int8", "uint8_t": "uint8", "int64_t": "int64"}
"""What C++ calls a type → what it is called everywhere else."""

_CALL = re.compile(r"\b(?:aoti_torch_cpu_+|(?=cpp_))(\w+?)\((.*)\);")
_BUFFER = re.compile(r"cached_torch_dtype_(\w+), [^;\n]*&(\w+)_handle\)")
_CONSTANT = re.compile(r"constants_info_\[(\d+)\]\.(dtype|shape) = (.+);")


class Package:
    """A package, loaded."""

    def __init__(self, path: Path, row: tuple[int, ...], dtype: str) -> None:
        import torch

        self.path, self.dtype = path, dtype
        try:  # the class beneath: the function that wraps it imports the compiler first, 2 s and 80 MB
            self.loader: Any = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
            self.call: Any = lambda x: self.loader.run([x])[0]
        except (AttributeError, TypeError):
            self.call = torch._inductor.aoti_load_package(str(path))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Logits of rows."""
        import torch

        with torch.inference_mode():
            found: np.ndarray = self.call(torch.from_numpy(X)).numpy()
        return found

    def executed(self) -> list[Operation]:
        """What the compiled code calls, one after the other, by the source that the package keeps beside it.

        Nothing else tells: the code goes to the kernels directly, past what PyTorch's profiler sees.
        """
        body = self._source().rpartition("::run_impl(")[2]
        buffers = {name: kind for kind, name in _BUFFER.findall(body)}
        counted: Counter[tuple[str, str]] = Counter()
        for name, given in _CALL.findall(body):
            if name.startswith(("qlinear", "qconv")):
                kind = "int8"
            elif pointers := re.findall(r"\((?!const )(\w+)\*\)", given):
                kind = TYPES.get(pointers[0], pointers[0])
            else:
                known = [buffers[word] for word in re.findall(r"\w+", given) if word in buffers]
                kind = known[0] if known else "float64" if self.dtype == "float64" else "float32"
            counted[name, kind] += 1
        return [Operation(name, kind, n) for (name, kind), n in sorted(counted.items())]

    def stored(self) -> dict[str, int]:
        """The numbers of kernels and tables in the compiled code, by their type."""
        told: dict[str, dict[str, str]] = {}
        for number, what, value in _CONSTANT.findall(self._source()):
            told.setdefault(number, {})[what] = value
        counted: Counter[str] = Counter()
        for constant in told.values():
            shape = [int(n) for n in re.findall(r"\d+", constant.get("shape", ""))]
            if wide(shape):
                counted[constant["dtype"].removeprefix("cached_torch_dtype_")] += math.prod(shape)
        return dict(counted)

    def _source(self) -> str:
        with zipfile.ZipFile(self.path) as archive:
            return "\n".join(archive.read(name).decode() for name in archive.namelist() if name.endswith("wrapper.cpp"))


def load(folder: Path, artefact: Artefact, threads: int) -> Package:
    """Opens the package."""
    import torch

    torch.set_num_threads(threads)
    return Package(folder / artefact.entry, artefact.row, artefact.dtype)
