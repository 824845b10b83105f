"""PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lmkit.backends.torch import checkpoints, export, models, pruning
from lmkit.backends.torch.losses import OwnLoss
from lmkit.backends.torch.models.own import OwnModel
from lmkit.backends.torch.training import TorchTrainer, device

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from lmkit.backends.base import Removed
    from lmkit.data.preparation import Dataset
    from lmkit.experiment import Experiment
    from lmkit.specs.losses import LossName
    from lmkit.specs.models import ModelSpec, Weights
    from lmkit.specs.signature import Shape, Signature


class TorchBackend:
    """PyTorch behind the interface of ``lmkit.backends.base``."""

    name = "torch"
    compiler = "g++"

    def build(self, model: ModelSpec, signature: Signature, precision: str) -> torch.nn.Module:
        """An ``nn.Module``, its weights not yet set."""
        return models.build(model, signature).to(device(), getattr(torch, precision))

    def seed(self, seed: int) -> None:
        """Seeds PyTorch's generators."""
        torch.manual_seed(seed)

    def bare(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model as its author knows it."""
        return model.own if isinstance(model, OwnModel) else model

    def weights(self, model: torch.nn.Module) -> Weights:
        """A copy of the weights under the shared names."""
        return checkpoints.weights(model)

    def set_weights(self, model: torch.nn.Module, weights: Weights) -> None:
        """Sets the weights."""
        checkpoints.set_weights(model, weights)

    def trainer(self, model: torch.nn.Module, experiment: Experiment, dataset: Dataset, loss: LossName) -> TorchTrainer:
        """A trainer for ``model``."""
        return TorchTrainer(model, experiment, dataset, loss)

    def predict(self, model: torch.nn.Module, X: np.ndarray) -> np.ndarray:
        """Logits (rows, outputs) of prepared rows, dropout off."""
        reference = next(model.parameters())
        tokens = X.dtype.kind in "iu"
        training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                x = torch.as_tensor(X).to(reference.device, None if tokens else reference.dtype)
                return model(x).cpu().numpy()
        finally:
            model.train(training)

    def losses(self, loss: str, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        """What a loss of somebody's own says of each row (rows,)."""
        with torch.inference_mode():
            found = OwnLoss(loss)(torch.from_numpy(outputs), torch.from_numpy(y), "none")
        return found.reshape(len(y), -1).mean(1).numpy().astype("float64")

    def cannot_export(self, kind: str, technique: str) -> str:
        """Why the format ``kind`` cannot be written for a technique; empty where it can."""
        return export.cannot(kind, technique)

    def export(self, model: torch.nn.Module, row: Shape, dtype: str, kind: str, path: Path) -> None:
        """Writes a model in the format ``kind``."""
        export.export(model, row, dtype, kind, path)

    def learned(self, model: torch.nn.Module) -> set[str]:
        """The names of the weights that training changes."""
        return set(checkpoints.named(model))

    def narrow(self, model: OwnModel, X: np.ndarray, share: float) -> list[Removed]:
        """Takes units out of a module that is somebody's own."""
        return pruning.removed(model, torch.from_numpy(X), share)

    def remove(self, model: OwnModel, X: np.ndarray, what: Sequence[Removed]) -> None:
        """Takes the same units out again."""
        pruning.remove(model, torch.from_numpy(X), what)

    def set_threads(self, threads: int) -> int:
        """Sets how many threads one operation on a CPU uses; returns how many it was."""
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        return before

    def environment(self) -> dict[str, Any]:
        """Versions, devices and thread counts."""
        place = device()
        return {
            "torch": torch.__version__,
            "device": str(place),
            "device_name": torch.cuda.get_device_name(place) if place.type == "cuda" else "",
            "threads": torch.get_num_threads(),
        }


backend = TorchBackend()
