"""How to train, and when to end."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Strict, model_validator

from lmkit.specs.base import Spec, several
from lmkit.specs.losses import Loss
from lmkit.specs.optimizers import SGD, Optimizer
from lmkit.specs.references import Reference, label
from lmkit.specs.schedules import Constant, Schedule

MEASURED = {"loss", "accuracy", "auc", "mae", "r2", "perplexity", "bits_per_byte", "bits_per_character"} | {
    "epoch", "step", "seconds", "lr", "gradient_norm", "type", "time", "kind"
}  # fmt: skip
"""Names of columns of a history, which a metric of somebody's own cannot have."""


class EarlyStopping(Spec):
    """Ends training once the validation loss no longer falls."""

    patience: int = Field(10, ge=1)
    """Epochs without a better validation loss before training ends."""
    min_delta: float = Field(0.0, ge=0)
    """How much lower a loss must be to count as better."""
    restore_best: bool = True
    """End with the weights of the best epoch, not of the last."""


class TrainingSpec(Spec):
    """How to train, and when to end: whichever of the ends comes first."""

    epochs: int = Field(50, ge=1)
    """Passes over the training part."""
    steps: int | None = Field(None, ge=1)
    """Ends after so many steps."""
    seconds: float | None = Field(None, gt=0)
    """Ends after so much training time, in seconds."""
    target_loss: float | None = None
    """Ends once the validation loss (without a validation part, the training loss) is this low."""
    gradient_norm: float | None = Field(None, gt=0)
    """Ends once the norm of a step's gradient is below this."""
    validate_every: int | None = Field(None, ge=1)
    """Steps after which the validation loss is taken, besides the end of each epoch; of a text 50, where nothing is
    said."""
    early_stopping: EarlyStopping | None = None
    """Ends once the validation loss no longer falls."""
    loss: Loss = "auto"
    """What is minimized; auto: by the task (binary or categorical cross-entropy, mean squared error)."""
    metrics: Annotated[tuple[Reference, ...], Strict(False), BeforeValidator(several)] = ()
    """Functions of (target, prediction) whose value is told beside the others, each as package.module:name."""
    optimizer: Optimizer = SGD(momentum=0.9)
    """The update rule."""
    schedule: Schedule = Constant()
    """How the learning rate changes."""
    clip_norm: float | None = Field(None, gt=0)
    """Gradients longer than this are shortened to it (Pascanu et al., 2013)."""
    precision: Literal["float32", "float64"] = "float32"
    """Type of the weights and of the arithmetic."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the training step where the backend can (TensorFlow: XLA); auto: for runs long enough to pay."""
    threads: int | None = Field(None, ge=1)
    """Threads for one operation on a CPU; none: one for a small model (more would wait for each other), else all."""
    checkpoint_seconds: float = Field(10.0, gt=0)
    """A checkpoint is written at the first end of an epoch, or step, after so many seconds; and at every end."""

    @model_validator(mode="after")
    def _check(self) -> TrainingSpec:
        names = [label(metric) for metric in self.metrics]
        for name in names:
            if name in MEASURED or name.startswith("val_") or names.count(name) > 1:
                raise ValueError(
                    f"metrics: {name!r} is the name of something that is measured already; call the function otherwise"
                )
        warmup = getattr(self.schedule, "warmup", 0)
        if self.steps is not None and warmup >= self.steps:
            raise ValueError(
                f"schedule.warmup ({warmup} steps) is not shorter than training ({self.steps} steps); "
                f"write schedule: {{warmup: {self.steps // 5}}}"
            )
        return self
