"""PyTorch: a model rebuilt from its specification, optionally compiled, or an exported program."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import Operation, is_kernel

if TYPE_CHECKING:
    import numpy as np

LIBRARIES, PACKAGES = ("torch",), ("torch",)
DATA_FORMATS = ("model.json",)
USES_DEVICE = True


class TorchModel:
    """A module, in inference mode.

    Args:
        module: the module.
        row: shape of an input row.
        dtype: type of the input rows.
        compiled: whether the module is compiled at its first call.
        device: where the module is, and so its rows.
        concurrent: whether threads may call the module at once; a custom module may keep the state of a call, and the
            compiler of ``torch.compile`` is not safe from threads.
    """

    def __init__(
        self,
        module: Any,
        row: tuple[int, ...],
        dtype: str,
        *,
        device: str = "cpu",
        compiled: bool = False,
        concurrent: bool = False,
    ) -> None:
        self.device = device
        self.module, self.row, self.dtype = module, row, dtype
        self.compiled, self.concurrent = compiled, concurrent

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the logits of rows."""
        import torch

        rows = torch.from_numpy(X).to(self.device)
        if self.compiled and len(X) > 1:  # one program for one row, and one for any number; else one for each number
            torch._dynamo.maybe_mark_dynamic(rows, 0)
        with torch.inference_mode():
            outputs: np.ndarray = self.module(rows).cpu().numpy()
        return outputs

    def executed(self) -> list[Operation]:
        """Return the operations that PyTorch dispatches in one call, with the type of their output."""
        import torch
        from torch.utils._python_dispatch import TorchDispatchMode

        counts: Counter[tuple[str, str]] = Counter()

        class CountOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                out = func(*args, **(kwargs or {}))
                if isinstance(out, torch.Tensor):
                    counts[func.name().removeprefix("aten::"), str(out.dtype).removeprefix("torch.")] += 1
                return out

        rows = torch.zeros((1, *self.row), dtype=getattr(torch, self.dtype), device=self.device)
        with torch.inference_mode(), CountOperations():  # type: ignore[no-untyped-call]
            self.module(rows)
        return [Operation(name, dtype, n) for (name, dtype), n in sorted(counts.items())]

    def stored(self) -> dict[str, int]:
        """Count the numbers in saved parameters and buffers, by type; those of a quantized tensor by its inner type."""
        counts: Counter[str] = Counter()
        for tensor in {id(t): t for t in self.module.state_dict(keep_vars=True).values()}.values():
            for inner in (plain for plain in _plain_tensors(tensor) if is_kernel(plain.shape)):
                counts[str(inner.dtype).removeprefix("torch.")] += inner.numel()
        return dict(counts)


def _plain_tensors(tensor: Any) -> list[Any]:
    """Return the plain tensors that a tensor subclass consists of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    return [plain for name in tensor.__tensor_flatten__()[0] for plain in _plain_tensors(getattr(tensor, name))]


def load(folder: Path, artifact: Artifact, threads: int) -> TorchModel:
    """Rebuild the model, or load the exported program, after a look at what it holds."""
    import torch

    torch.set_num_threads(threads)
    device = str(artifact.options.get("device", "cpu"))
    compiled, is_custom = bool(artifact.options.get("compiled")), False
    if artifact.entry.endswith(".pt2"):
        from lmkit.deploy.exported_program import check_program

        check_program(folder / artifact.entry)
        program = torch.export.load(str(folder / artifact.entry))
        if device != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        module: Any = program.module()
    else:
        from lmkit.backends.torch.models.custom import CustomModel
        from lmkit.deploy.model_files import load_model

        module = load_model("torch", folder, artifact).to(device).eval()
        is_custom = isinstance(module, CustomModel)
    if compiled:
        module = torch.compile(module)
    concurrent = not (compiled or is_custom)
    return TorchModel(module, artifact.row, artifact.dtype, device=device, compiled=compiled, concurrent=concurrent)
