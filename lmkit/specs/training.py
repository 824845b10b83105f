"""The training of an experiment, and when it ends."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator

from lmkit.exceptions import shorten
from lmkit.specs.base import Spec, as_tuple
from lmkit.specs.losses import Loss
from lmkit.specs.optimizers import Adam, Optimizer
from lmkit.specs.references import Reference, label
from lmkit.specs.schedules import Constant, Schedule
from lmkit.specs.tasks import metric_info

RESERVED = {
    "loss",
    "bits_per_character",
    "epoch",
    "step",
    "seconds",
    "lr",
    "gradient_norm",
    "type",
    "time",
    "kind",
}
"""Names of columns of the history, which a custom metric cannot have; nor can it have the name of a task's metric."""


DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")
"""Examples of devices; there may be more GPUs."""


def _check_device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda|cuda:(0|[1-9][0-9]{0,2})|mps", device):
        raise ValueError(f"given {shorten(device)}, expected auto, cpu, cuda, cuda:N (N counts from 0) or mps")
    return device


Device = Annotated[str, AfterValidator(_check_device)]
"""A device in one spelling for all frameworks."""


def _check_launcher(launcher: str) -> str:
    if not re.fullmatch(r"auto|ray://(auto|[^/\s]+:\d{1,5})", launcher):
        raise ValueError(f"given {shorten(launcher)}, expected auto, ray://HOST:PORT or ray://auto")
    return launcher


Launcher = Annotated[str, AfterValidator(_check_launcher)]
"""Where the processes of a run are started."""


class EarlyStopping(Spec):
    """End training once the validation loss no longer decreases, with the weights of the best epoch.

    It is the default wherever the data has a validation part, for every family: what is asked of a run is a model for
    new rows, and the last weights of a run that goes on after its best validation are worse there. A text is no
    exception, where the validation loss is the reported result itself, and a small model overfits a short text within
    some epochs.
    """

    patience: int = Field(10, ge=1)
    """Epochs without a better validation loss before training ends."""
    min_delta: float = Field(0.0, ge=0)
    """The smallest decrease of the loss that counts as an improvement."""
    restore_best: bool = True
    """End with the weights of the best epoch instead of the last."""


def _whole_batch(value: Any) -> Any:
    return None if value == "auto" else value


MicroBatch = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_whole_batch)]
"""Rows of a micro-batch; None, or ``auto``, for those of the batch."""


Precision = Literal["float32", "float64", "bfloat16", "float16"]
"""The types of arithmetic; those of 16 bits are mixed with float32 (Micikevicius et al., 2018)."""


class TrainingSpec(Spec):
    """How to train, and when to end: the first condition that is met ends training."""

    epochs: int = Field(100, ge=1)
    """Passes over the training part, at most; default for a text: 50."""
    steps: int | None = Field(None, ge=1)
    """Maximum number of steps."""
    seconds: float | None = Field(None, gt=0)
    """Maximum training time in seconds."""
    target_loss: float | None = None
    """End once the validation loss (without a validation part, the training loss) is at most this."""
    gradient_norm: float | None = Field(None, gt=0)
    """End once the norm of a step's gradient is below this."""
    validate_every: int | None = Field(None, ge=1)
    """Steps between validations, in addition to the end of each epoch; default for a text: 50."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """End once the validation loss no longer decreases; without a validation part it has no effect."""
    loss: Loss = "auto"
    """The loss; auto: by the task (binary or categorical cross-entropy, mean squared error)."""
    metrics: Annotated[tuple[Reference, ...], Strict(False), BeforeValidator(as_tuple)] = ()
    """Additional metrics: functions of (target, prediction), or of (target, y_prob); each as package.module:name."""
    optimizer: Optimizer = Adam()
    """The update rule."""
    schedule: Schedule = Constant()
    """How the learning rate changes."""
    clip_norm: float | None = Field(None, gt=0)
    """Maximum norm of the gradient, to which larger ones are scaled down (Pascanu et al., 2013)."""
    precision: Precision = "float32"
    """Data type of the arithmetic; bfloat16 and float16: of a step's products, the weights stay in float32."""
    recompute: Literal["none", "blocks"] = "none"
    """Compute the inside of the model's blocks again in the backward pass instead of saving it: less memory."""
    device: Device = "auto"
    """Where to train: cpu, cuda, cuda:N or mps; cuda: the GPU with the fewest runs; auto: a GPU, or the CPU."""
    deterministic: bool = False
    """Use only operations that give the same numbers each time, on a GPU too; slower there."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the training step (TensorFlow: XLA; PyTorch: torch.compile); auto: XLA for long runs."""
    micro_batch: MicroBatch = None
    """Rows that are computed at once, whose gradients are added up to those of the batch; none: the whole batch."""
    threads: int | None = Field(None, ge=1)
    """Threads per operation on a CPU; none: one for a small model, else all."""
    devices: int = Field(1, ge=1, le=4096)
    """Devices that train together, each a part of every batch; on a CPU: processes."""
    strategy: Literal["auto", "single", "ddp", "fsdp", "mirrored", "multiworker"] = "auto"
    """How devices share a step; auto: ddp in PyTorch, multiworker in TensorFlow; fsdp also divides the weights."""
    launcher: Launcher = "auto"
    """Who starts the processes: auto: this machine; ray://HOST:PORT or ray://auto: a Ray cluster with the same disk."""
    checkpoint_seconds: float = Field(10.0, gt=0)
    """Seconds between checkpoints; one is also written at the end."""
    readings: Literal["auto", "off"] = "auto"
    """Statistics of layers, gradients and outputs at some steps, from which ``lmkit doctor`` says what is wrong."""
    snapshots: int = Field(0, ge=0, le=200)
    """Copies of the weights along the path, for ``lk.landscape``; together 256 MB at most."""
    idle_limit: float | None = Field(3600.0, gt=0)
    """Seconds of a pause after which the run is stopped, which frees its memory; resume continues it."""

    @property
    def weight_dtype(self) -> Literal["float32", "float64"]:
        """The type of the weights, of prepared rows, and of evaluation."""
        return "float64" if self.precision == "float64" else "float32"

    @model_validator(mode="after")
    def _check(self) -> TrainingSpec:
        names = [label(metric) for metric in self.metrics]
        for name in names:
            if name in RESERVED or name in metric_info() or name.startswith("val_") or names.count(name) > 1:
                raise ValueError(f"metrics: {name!r} is already the name of a metric or column; rename the function")
        if self.device == "mps" and self.precision == "float64":
            raise ValueError(
                "device: given mps with precision: float64, which a Mac's GPU does not have; write device: cpu, or "
                "precision: float32"
            )
        warmup = getattr(self.schedule, "warmup", 0)
        if self.steps is not None and warmup >= self.steps:
            raise ValueError(
                f"schedule.warmup ({warmup} steps) is at least as long as training ({self.steps} steps); "
                f"write schedule: {{warmup: {self.steps // 5}}}"
            )
        return self
