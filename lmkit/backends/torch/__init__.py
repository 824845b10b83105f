"""PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lmkit.backends.capacity import check_capacity
from lmkit.backends.torch import checkpoints, devices, export, gradients, inspection, models, pruning
from lmkit.backends.torch.losses import CustomLoss, loss_facts
from lmkit.backends.torch.models.custom import CustomModel
from lmkit.backends.torch.optimizers import build_optimizer
from lmkit.backends.torch.strategies import SingleDevice, Strategy, get_strategy
from lmkit.backends.torch.trainer import TorchTrainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np

    from lmkit.backends.base import Removed, RowLosses
    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment
    from lmkit.specs.losses import LossFacts, LossName
    from lmkit.specs.models import ModelSpec, Weights
    from lmkit.specs.signature import Shape, Signature
    from lmkit.system.process_group import ProcessGroup


class TorchBackend:
    """PyTorch behind the interface of ``lmkit.backends.base``."""

    name = "torch"
    compiler = "g++"

    def __init__(self, strategy: Strategy | None = None) -> None:
        self.strategy = strategy or SingleDevice()

    def devices(self) -> list[str]:
        """Return the devices on which PyTorch computes here."""
        return devices.list_devices()

    def on(self, device: str) -> TorchBackend:
        """Return the backend of one device."""
        return TorchBackend(SingleDevice(device))

    def numerics(self, deterministic: bool) -> AbstractContextManager[None]:
        """Compute without TF32 within a ``with`` block, and deterministically where that is set."""
        return devices.numerics(deterministic)

    def memory_usage(self) -> tuple[int, int]:
        """Return the bytes that PyTorch holds of the device, now and at most."""
        return devices.memory_usage(self.strategy.device)

    def free_memory(self) -> None:
        """Give back the memory that PyTorch holds of the device and does not use."""
        devices.free_memory(self.strategy.device)

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Return whether an error says that the memory of a device ran out."""
        return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)

    def nondeterministic_operation(self, error: BaseException) -> str:
        """Return the operation that an error says has no deterministic implementation."""
        return devices.nondeterministic_operation(error)

    def is_initialized(self) -> bool:
        """Return whether this process has begun to use a GPU."""
        return devices.is_initialized()

    def connect(self, strategy: str, device: str, group: ProcessGroup | None, count: int) -> TorchBackend:
        """Return the backend of this process, which trains with others or on several devices."""
        return TorchBackend(get_strategy(strategy)(device, group, count))

    def disconnect(self) -> None:
        """Leave the other processes."""
        self.strategy.close()

    def build(self, model: ModelSpec, signature: Signature, precision: str) -> torch.nn.Module:
        """Return an ``nn.Module``, its weights not yet set."""
        check_capacity(model, signature, precision)
        return models.build(model, signature).to(self.strategy.device, getattr(torch, precision))

    def seed(self, seed: int) -> None:
        """Seed PyTorch's generators."""
        torch.manual_seed(seed)

    def bare(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return a custom model as its author wrote it."""
        return model.module if isinstance(model, CustomModel) else model

    def weights(self, model: torch.nn.Module) -> Weights:
        """Return a copy of the weights under the shared names."""
        return checkpoints.weights(model, self.strategy)

    def set_weights(self, model: torch.nn.Module, weights: Weights) -> None:
        """Set the weights."""
        checkpoints.set_weights(model, weights, self.strategy)

    def trainer(
        self,
        model: torch.nn.Module,
        experiment: Experiment,
        dataset: Dataset,
        loss: LossName,
        *,
        collect_outputs: bool = False,
    ) -> TorchTrainer:
        """Return a trainer for ``model``."""
        return TorchTrainer(model, experiment, dataset, loss, self.strategy, collect_outputs=collect_outputs)

    def predict(self, model: torch.nn.Module, X: np.ndarray) -> np.ndarray:
        """Return outputs (rows, outputs) of prepared rows, dropout off."""
        reference = next(model.parameters())
        tokens = X.dtype.kind in "iu"
        training = model.training
        model.eval()
        try:
            with self.strategy.evaluation():
                x = torch.as_tensor(X).to(reference.device, None if tokens else reference.dtype)
                return model(x).cpu().numpy()
        finally:
            model.train(training)

    def continuous_inputs(self, model: torch.nn.Module, X: np.ndarray) -> np.ndarray:
        """Return the numbers that a model computes with in the place of prepared rows."""
        return gradients.continuous_inputs(model, X)

    def input_gradients(
        self, model: torch.nn.Module, X: np.ndarray, inputs: np.ndarray, cotangents: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs, and the gradient of Σ cotangents · outputs with respect to ``inputs``."""
        return gradients.input_gradients(model, X, inputs, cotangents)

    def hidden(self, model: torch.nn.Module, X: np.ndarray) -> np.ndarray:
        """Return the inputs (rows, …) of the last layer with weights."""
        return gradients.hidden(model, X)

    def attention_calls(self, model: torch.nn.Module, X: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Return name, input and output of each attention layer of a transformer."""
        return gradients.attention_calls(model, X)

    def losses(self, loss: str, outputs: np.ndarray, y: np.ndarray, batch_size: int) -> RowLosses:
        """Return the custom loss of each row."""
        with torch.inference_mode():
            return CustomLoss(loss).row_losses(torch.from_numpy(outputs), torch.from_numpy(y), batch_size)

    def last_operations(self, model: torch.nn.Module, X: np.ndarray) -> tuple[str, str]:
        """Return the last operation of a custom model in training and in evaluation."""
        return inspection.last_operations(model, X)

    def loss_facts(self, loss: str) -> LossFacts | None:
        """Return what a custom loss takes, where it is one of PyTorch's own."""
        return loss_facts(loss)

    def needs_several_rows(self, model: torch.nn.Module, X: np.ndarray) -> bool:
        """Return whether a step of a single row is impossible."""
        return inspection.needs_several_rows(model, X)

    def cannot_export(self, kind: str, technique: str) -> str:
        """Return why the format ``kind`` cannot be written for a technique; empty where it can."""
        return export.cannot(kind, technique)

    def export(self, model: torch.nn.Module, row: Shape, dtype: str, kind: str, path: Path) -> None:
        """Write a model in the format ``kind``."""
        export.export(model, row, dtype, kind, path)

    def learned(self, model: torch.nn.Module) -> set[str]:
        """Return the names of the weights that training changes."""
        return set(checkpoints.learned(model))

    def output_axis(self, model: torch.nn.Module) -> int:
        """Return the last axis, or the first of a custom model, whose weights are as PyTorch has them."""
        return 0 if isinstance(model, CustomModel) else -1

    def prune_units(self, model: CustomModel, X: np.ndarray, share: float) -> list[Removed]:
        """Take units out of a custom module."""
        return pruning.prune_units(model, self._rows(model, X), share)

    def remove(self, model: CustomModel, X: np.ndarray, removed: Sequence[Removed]) -> None:
        """Remove the same units from a newly built module."""
        pruning.remove_units(model, self._rows(model, X), removed)

    def _rows(self, model: torch.nn.Module, X: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(X).to(next(model.parameters()).device)

    def update_rule(self, optimizer: Any, weights: np.ndarray) -> Callable[[np.ndarray, float], np.ndarray]:
        """Return the rule of an optimizer, on the processor."""
        parameter = torch.nn.Parameter(torch.tensor(weights, dtype=torch.float64))
        stepper = build_optimizer(optimizer, {"weights": parameter})

        def step(gradient: np.ndarray, rate: float) -> np.ndarray:
            parameter.grad = torch.from_numpy(gradient)
            stepper.step(rate)
            return parameter.detach().numpy().copy()

        return step

    def set_threads(self, threads: int) -> int:
        """Set the threads that one operation on a CPU uses; return the number before."""
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        return before

    def environment(self) -> dict[str, Any]:
        """Return versions, devices and thread counts."""
        device = self.strategy.device
        return {
            "torch": torch.__version__,
            "device": str(device),
            "device_name": devices.device_name(device),
            "devices": self.devices(),
            "cuda": torch.version.cuda or "",
            **devices.describe_numerics(),
            "threads": torch.get_num_threads(),
        }


backend = TorchBackend()
