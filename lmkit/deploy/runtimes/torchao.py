"""A model built anew by PyTorch, with weights that torchao keeps as integers."""

from __future__ import annotations

from pathlib import Path

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes.torch import TorchModel

LIBRARIES, PACKAGES = ("torch", "torchao.quantization"), ("torch", "torchao")

WEIGHTS = "int8.safetensors"


def load(folder: Path, artefact: Artefact, threads: int) -> TorchModel:
    """Builds it; nothing is unpickled: integers and scales come as arrays."""
    import torch
    from safetensors.numpy import load_file

    from lmkit.backends.torch.tools import set_int8_weights
    from lmkit.deploy.runtimes.specified import bare

    torch.set_num_threads(threads)
    module = bare("torch", folder, artefact)
    set_int8_weights(module, load_file(folder / WEIGHTS))
    return TorchModel(module.eval(), artefact.row, artefact.dtype)
