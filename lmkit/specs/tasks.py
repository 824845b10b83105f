"""Tasks: what is predicted, and everything that follows from it.

A task is one class here: its loss, the outputs that a model needs, how a target is encoded and a prediction decoded,
its metrics and their chart, its texts, and the targets of distillation. No other module compares a task's name.
"""

# ruff: noqa: ARG002 (a task leaves out what it does not need)
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lmkit.exceptions import DataError, nearest
from lmkit.specs.metrics import ACCURACY, AUC, BITS_PER_BYTE, MAE, PERPLEXITY, R2, Metric, auc, softmax
from lmkit.specs.values import TargetEncoding, plain_value

if TYPE_CHECKING:
    import numpy as np

TaskName = str
"""The name of a registered task: binary, multiclass, regression, language, …"""


class Task:
    """What is predicted; a subclass for each task, registered once with ``register_task``.

    Attributes:
        name: as in ``data.task`` and in the files of a run.
        title: the task in words, with ``{outputs}``.
        predicts: what predictions are, in the plural.
        loss: what ``training.loss: auto`` stands for.
        unsuitable_losses: loss → why it does not suit the task.
        metrics: the metrics, in addition to the loss; the first one with an axis is drawn.
        logits_text: the outputs of a model per row in words, with ``{outputs}``.
        card_text: the sentence of a model card, with ``{name}`` and ``{classes}``.
        chart: the function of ``lmkit.charts`` that draws predictions; empty where there is none.
        has_classes: the target holds classes, at least two.
        exclusive_classes: a row belongs to exactly one class.
        numeric: the target is a number, with a unit.
        per_position: each position of a row has a target of its own, and metrics follow from the loss alone.
        integer_targets: the loss takes class numbers (rows,), int64; else values (rows, outputs).
        discrete: two predictions agree or not, and each has a probability.
        configurable: may be given as ``data.task``.
    """

    name: ClassVar[TaskName]
    title: ClassVar[str]
    predicts: ClassVar[str] = "classes"
    logits_text: ClassVar[str] = "a logit for each of {outputs} classes"
    card_text: ClassVar[str] = "Predicts `{name}`, one of {classes} classes."
    loss: ClassVar[str]
    unsuitable_losses: ClassVar[Mapping[str, str]] = {}
    metrics: ClassVar[tuple[Metric, ...]] = ()
    chart: ClassVar[str] = ""
    has_classes: ClassVar[bool] = False
    exclusive_classes: ClassVar[bool] = False
    numeric: ClassVar[bool] = False
    per_position: ClassVar[bool] = False
    integer_targets: ClassVar[bool] = False
    discrete: ClassVar[bool] = True
    configurable: ClassVar[bool] = True

    def outputs(self, classes: int) -> int:
        """Return the number of outputs that a model needs for a target."""
        return classes if self.integer_targets else 1

    def target_shape(self, outputs: int) -> tuple[int, ...]:
        """Return the shape of one row's encoded target."""
        return () if self.integer_targets else (outputs,)

    def class_values(self, values: Iterable[Any]) -> list[Any]:
        """Return the classes among the different ``values`` of a target, class 0 first."""
        return sorted(values) if self.has_classes else []

    def target_problem(self, numeric: bool, classes: int, example: Any, where: str) -> str:
        """Return why a target does not suit the task; empty where it does.

        ``example`` is one of its ``classes`` different values; ``where`` is the source of the data in messages.
        """
        return ""

    def encode(self, y: Any, encoding: TargetEncoding) -> np.ndarray:
        """Return the target (rows,) as the loss takes it: (rows, outputs), or class numbers (rows,)."""
        raise NotImplementedError

    def restore(self, y: np.ndarray, encoding: TargetEncoding) -> np.ndarray:
        """Return the encoded target as values (rows,) of the data: the inverse of ``encode``."""
        raise NotImplementedError

    def unmix(self, y: np.ndarray) -> np.ndarray:
        """Return the encoded target of rows that mixup may have mixed: the class of the largest share."""
        return y

    def decode(self, logits: np.ndarray, encoding: TargetEncoding) -> np.ndarray:
        """Return the predictions (rows,) of logits (rows, outputs), as values of the data."""
        return self.restore(logits, encoding)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the probabilities (rows, classes) of logits (rows, outputs)."""
        return softmax(logits)

    def measure(self, logits: np.ndarray, y: np.ndarray, encoding: TargetEncoding) -> dict[str, float]:
        """Return the metrics of logits (rows, outputs) and the encoded target."""
        return {}

    def row_sums(self, logits: np.ndarray, y: np.ndarray, encoding: TargetEncoding, origin: float) -> dict[str, Any]:
        """Return what ``measure_sums`` needs the sums of: name → (rows,). ``origin`` is a number near the target."""
        return {}

    def measure_sums(self, sums: Mapping[str, float], rows: float) -> dict[str, float]:
        """Return the metrics that follow from the ``row_sums`` of so many rows: by default their means."""
        return {name: total / rows for name, total in sums.items()}

    def measure_loss(self, loss: float, bytes_per_token: float) -> dict[str, float]:
        """Return the metrics that follow from the mean loss, where each position has a target."""
        return {}

    def row_scores(self, prediction: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        """Return the metrics that are means over rows: name → (rows,), of predictions and values of the data."""
        return {"accuracy": prediction == target}

    def soft_answers(self, logits: np.ndarray, temperature: float) -> np.ndarray:
        """Return the teacher's outputs at a temperature T: softmax(z/T) for classes."""
        from scipy import special

        answers: np.ndarray = special.softmax(logits / temperature, axis=-1)
        return answers

    def hard_answers(self, y: np.ndarray, outputs: int) -> np.ndarray:
        """Return the encoded target in the shape of ``soft_answers``."""
        return y[..., None] == range(outputs) if self.integer_targets else y

    def describe(self, outputs: int) -> str:
        """Return the task in words, such as ``classification into 10 classes``."""
        return self.title.format(outputs=outputs)

    def describe_outputs(self, target: str, unit: str | None, encoding: Any) -> dict[str, Any]:
        """Return the description of the outputs in a bundle's signature."""
        return {"name": target, "type": "class", "classes": encoding.classes, "labels": encoding.labels}


class _Classes(Task):
    """A row belongs to exactly one of several classes."""

    metrics = (ACCURACY, AUC)
    chart = "confusion_matrix"
    has_classes = exclusive_classes = True

    def encode(self, y: Any, encoding: TargetEncoding) -> np.ndarray:
        """Return class numbers (rows,), int64."""
        import numpy as np
        import pandas as pd

        numbers = {value: i for i, value in enumerate(encoding.classes)}
        codes, values = pd.factorize(np.asarray(y))  # there are many rows, and few values
        return np.asarray(np.array([numbers[plain_value(v)] for v in values], dtype=np.int64)[codes])

    def unmix(self, y: np.ndarray) -> np.ndarray:
        """Return class numbers (rows,) of shares (rows, classes), and 0 or 1 (rows, 1) of shares of class 1."""
        if y.ndim == 1:
            return y
        return y.argmax(axis=-1) if y.shape[-1] > 1 else (y > 0.5).astype(y.dtype)

    def restore(self, y: np.ndarray, encoding: TargetEncoding) -> np.ndarray:
        """Return the classes (rows,) of encoded targets."""
        import numpy as np

        return np.asarray(np.array(encoding.classes)[y.reshape(-1).astype(int)])

    def decode(self, logits: np.ndarray, encoding: TargetEncoding) -> np.ndarray:
        """Return the most probable class (rows,)."""
        import numpy as np

        return np.asarray(np.array(encoding.classes)[self.most_probable(logits)])

    def most_probable(self, logits: np.ndarray) -> Any:
        """Return the number of the most probable class (rows,)."""
        return logits.argmax(axis=1)

    def row_sums(self, logits: np.ndarray, y: np.ndarray, encoding: TargetEncoding, origin: float) -> dict[str, Any]:
        """Return whether each row is predicted correctly."""
        return {"accuracy": self.most_probable(logits) == y.reshape(-1)}

    def measure(self, logits: np.ndarray, y: np.ndarray, encoding: TargetEncoding) -> dict[str, float]:
        """Return the accuracy, and the AUC where every class occurs; see ``memberships``."""
        accuracy = self.row_sums(logits, y, encoding, 0.0)["accuracy"].mean()
        return {"accuracy": float(accuracy)} | auc(*self.memberships(logits, y))

    def memberships(self, logits: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a score of each row and class (rows, classes), and whether the row belongs to the class."""
        return logits, y.astype(bool)


TASKS: dict[TaskName, Task] = {}
"""Name → task, in the order in which they were registered."""


def register_task(task: type[Task]) -> type[Task]:
    """Register a task under its name, as a decorator of its class."""
    TASKS[task.name] = task()
    return task


@register_task
class Binary(_Classes):
    """One of two classes: one logit, the log-odds of class 1."""

    name = "binary"
    title = "binary classification"
    logits_text = "one logit for two classes"
    loss = "binary_crossentropy"
    unsuitable_losses: ClassVar[Mapping[str, str]] = {
        "categorical_crossentropy": "a softmax over a single output is always 1, so this loss is exactly 0 from the "
        "first step on and nothing is learned",
        "mean_squared_error": "on a class it has flat regions where a wrong model stops learning",
    }

    def target_problem(self, numeric: bool, classes: int, example: Any, where: str) -> str:
        """Refuse more than two classes."""
        problem = f"given binary, but the target of {where} has {classes} classes; use multiclass"
        return problem if classes > 2 else ""

    def encode(self, y: Any, encoding: TargetEncoding) -> np.ndarray:
        """Return 0 or 1 (rows, 1), float64."""
        return super().encode(y, encoding).astype("float64")[:, None]

    def most_probable(self, logits: np.ndarray) -> Any:
        """Return 1 where the logit is positive (rows,)."""
        return (logits[:, 0] > 0).astype(int)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return (rows, 2): a sigmoid is a softmax with a second logit of 0."""
        import numpy as np

        z = logits.astype(np.float64)
        return softmax(np.hstack([np.zeros_like(z), z]))

    def soft_answers(self, logits: np.ndarray, temperature: float) -> np.ndarray:
        """Return sigmoid(z/T)."""
        from scipy.special import expit

        answers: np.ndarray = expit(logits / temperature)
        return answers


@register_task
class Multiclass(_Classes):
    """One of several classes: a logit each; of two classes, where a model has an output for each of them."""

    name = "multiclass"
    title = "classification into {outputs} classes"
    loss = "categorical_crossentropy"
    unsuitable_losses: ClassVar[Mapping[str, str]] = {
        "binary_crossentropy": "it takes one logit for two classes, and here each class has its own",
        "mean_squared_error": "the number of a class is a name, not a quantity",
    }
    integer_targets = True

    def memberships(self, logits: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities and classes: each class against the rest (Provost and Domingos, 2000)."""
        return softmax(logits), y[:, None] == range(logits.shape[1])


@register_task
class Regression(Task):
    """A number, scaled to mean 0 and deviation 1 if ``data.scale_target`` is set."""

    name = "regression"
    title = "regression"
    predicts = "numbers"
    logits_text = "a number"
    card_text = "Predicts the number `{name}`."
    loss = "mean_squared_error"
    unsuitable_losses: ClassVar[Mapping[str, str]] = {
        "categorical_crossentropy": "it compares classes, and the target is a number",
        "binary_crossentropy": "it compares 0 with 1, and the target is a number",
    }
    metrics = (MAE, R2)
    chart = "residuals"
    numeric = True
    discrete = False

    def target_problem(self, numeric: bool, classes: int, example: Any, where: str) -> str:
        """Refuse text."""
        return "" if numeric else f"given regression, but the target of {where} contains text such as {example!r}"

    def encode(self, y: Any, encoding: TargetEncoding) -> np.ndarray:
        """Return the scaled numbers (rows, 1), float64."""
        import numpy as np

        target = encoding.target
        return np.asarray(((np.asarray(y, dtype=np.float64) - target["shift"]) / target["scale"])[:, None])

    def restore(self, y: np.ndarray, encoding: TargetEncoding) -> np.ndarray:
        """Return the numbers (rows,) in their own unit."""
        return encoding.target["scale"] * y[:, 0].astype("float64") + encoding.target["shift"]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Raise DataError: numbers have no probabilities."""
        raise DataError("a regression has no classes to give probabilities of; use predict")

    def measure(self, logits: np.ndarray, y: np.ndarray, encoding: TargetEncoding) -> dict[str, float]:
        """Return MAE in the target's own unit, and R² where the target varies."""
        rows = self.row_sums(logits, y, encoding, float(self.restore(y, encoding).mean()))
        return self.measure_sums({name: float(values.sum()) for name, values in rows.items()}, len(y))

    def row_sums(self, logits: np.ndarray, y: np.ndarray, encoding: TargetEncoding, origin: float) -> dict[str, Any]:
        """Return the error of each row, absolute and squared, and its target from ``origin`` on, and squared."""
        import numpy as np

        truth = self.restore(y, encoding)
        error, distance = self.restore(logits, encoding) - truth, truth - origin
        return {
            "absolute_error": np.abs(error),
            "squared_error": error**2,
            "target": distance,
            "squared_target": distance**2,
        }

    def measure_sums(self, sums: Mapping[str, float], rows: float) -> dict[str, float]:
        """Return MAE, and R² where the target varies: Σ(t−m)² = Σd² − (Σd)²/n for distances d from any origin."""
        spread = sums["squared_target"] - sums["target"] ** 2 / rows
        scores = {"mae": sums["absolute_error"] / rows}
        return scores | ({"r2": 1 - sums["squared_error"] / spread} if spread > 0 else {})

    def row_scores(self, prediction: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        """Return the absolute error of each row."""
        return {"mae": abs(prediction - target)}

    def soft_answers(self, logits: np.ndarray, temperature: float) -> np.ndarray:
        """Return the teacher's numbers as they are."""
        return logits

    def describe_outputs(self, target: str, unit: str | None, encoding: Any) -> dict[str, Any]:
        """Return the description of the outputs in a bundle's signature."""
        return {"name": target, "type": "number", "unit": unit}


@register_task
class Language(Task):
    """The next token, at each position of a row."""

    name = "language"
    title = "next-token prediction"
    predicts = "tokens"
    logits_text = "a logit for each of {outputs} tokens at each place"
    card_text = "Predicts the next token of a text."
    loss = "categorical_crossentropy"
    unsuitable_losses: ClassVar[Mapping[str, str]] = {
        "binary_crossentropy": "it knows two classes only, and there are as many as tokens",
        "mean_squared_error": "the number of a token is a name, not a quantity",
    }
    metrics = (PERPLEXITY, BITS_PER_BYTE)
    per_position = integer_targets = True
    configurable = False

    def measure_loss(self, loss: float, bytes_per_token: float) -> dict[str, float]:
        """Return perplexity e^loss and bits per byte of a mean loss in nats per token; the latter compares tokenizers.

        bits per byte = loss · tokens / bytes / ln 2, of the whole text of the part (Gao et al., 2020, section 3.1).
        """
        import numpy as np

        with np.errstate(over="ignore"):
            perplexity = float(np.exp(loss))
        return {"perplexity": perplexity, "bits_per_byte": loss / bytes_per_token / math.log(2)}

    def describe_outputs(self, target: str, unit: str | None, encoding: Any) -> dict[str, Any]:
        """Return the description of the outputs in a bundle's signature."""
        return {"name": "next token", "type": "tokens", "classes": encoding.outputs}


def get_task(name: TaskName) -> Task:
    """Return the task called ``name``.

    Raises:
        KeyError: no task has this name.

    >>> get_task("multiclass").outputs(10)
    10
    """
    if name not in TASKS:
        raise KeyError(f"no task {name!r}; {nearest(name, TASKS)}")
    return TASKS[name]


def metric_info() -> dict[str, Metric]:
    """Return every metric of every registered task by its name."""
    return {metric.name: metric for task in TASKS.values() for metric in task.metrics}


def drawn_metrics() -> tuple[str, ...]:
    """Return the names of the metrics that charts draw next to the loss."""
    return tuple(name for name, metric in metric_info().items() if metric.axis)


def higher_is_better() -> tuple[str, ...]:
    """Return the names of the metrics of which a higher value is better."""
    return tuple(name for name, metric in metric_info().items() if metric.higher_is_better)
