"""PyTorch: a model built anew from its specification, compiled if so wished, or an exported program."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes import Operation, wide

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("torch",), ("torch",)


class TorchModel:
    """A module, in inference mode."""

    def __init__(self, module: Any, row: tuple[int, ...], dtype: str) -> None:
        self.module, self.row, self.dtype = module, row, dtype

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Logits of rows."""
        import torch

        with torch.inference_mode():
            found: np.ndarray = self.module(torch.from_numpy(X)).numpy()
        return found

    def executed(self) -> list[Operation]:
        """The operations of one call that PyTorch dispatches, with the type of what each gives."""
        import torch
        from torch.utils._python_dispatch import TorchDispatchMode

        counted: Counter[tuple[str, str]] = Counter()

        class Note(TorchDispatchMode):  # type: ignore[misc]
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                out = func(*args, **(kwargs or {}))
                if isinstance(out, torch.Tensor):
                    counted[func.name().removeprefix("aten::"), str(out.dtype).removeprefix("torch.")] += 1
                return out

        given = torch.zeros((1, *self.row), dtype=getattr(torch, self.dtype))
        with torch.inference_mode(), Note():
            self.module(given)
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counted.items())]

    def stored(self) -> dict[str, int]:
        """The numbers of parameters and of buffers that are saved (a graph's rows are not), by their type; those of a
        quantized one by the type inside it."""
        counted: Counter[str] = Counter()
        for tensor in {id(t): t for t in self.module.state_dict(keep_vars=True).values()}.values():
            for inner in (plain for plain in _inside(tensor) if wide(plain.shape)):
                counted[str(inner.dtype).removeprefix("torch.")] += inner.numel()
        return dict(counted)


def _inside(tensor: Any) -> list[Any]:
    """The plain tensors of which a tensor consists."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    return [plain for name in tensor.__tensor_flatten__()[0] for plain in _inside(getattr(tensor, name))]


def load(folder: Path, artefact: Artefact, threads: int) -> TorchModel:
    """Builds or opens it."""
    import torch

    torch.set_num_threads(threads)
    if artefact.entry.endswith(".pt2"):
        module: Any = torch.export.load(str(folder / artefact.entry)).module()
    else:
        from lmkit.deploy.runtimes.specified import build

        module = build("torch", folder, artefact)
        module.eval()
    if artefact.options.get("compiled"):
        module = torch.compile(module, dynamic=False)
    return TorchModel(module, artefact.row, artefact.dtype)
