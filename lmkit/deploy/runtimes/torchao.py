"""torchao: a model rebuilt by PyTorch, with int8 weights."""

from __future__ import annotations

from pathlib import Path

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes.torch import TorchModel

LIBRARIES, PACKAGES = ("torch", "torchao.quantization"), ("torch", "torchao")
DATA_FORMATS = ("model.json",)

WEIGHTS = "int8.safetensors"


def load(folder: Path, artifact: Artifact, threads: int) -> TorchModel:
    """Rebuild the model and set integers and scales as arrays; nothing is unpickled."""
    import torch
    from safetensors.numpy import load_file

    from lmkit.backends.torch.quantization import set_int8_weights
    from lmkit.deploy.model_files import build_model

    torch.set_num_threads(threads)
    module = build_model("torch", folder, artifact).cpu()
    set_int8_weights(module, load_file(folder / WEIGHTS))
    return TorchModel(module.eval(), artifact.row, artifact.dtype)
