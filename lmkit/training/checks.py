"""Checks before the first step: what a model's outputs are, whether loss, model and data fit, and what can learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmkit.custom.checks import check_rows, describe_kind
from lmkit.exceptions import ConfigError, DataError, LmkitError, join_names
from lmkit.specs.models import Custom
from lmkit.specs.outputs import LAST_OPERATIONS, OutputKind, infer_kind, lies_in_unit_interval
from lmkit.specs.references import is_reference, label
from lmkit.specs.tasks import TaskName, get_task

if TYPE_CHECKING:
    from lmkit.backends import Backend
    from lmkit.backends.base import Trainer
    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment

ROWS, NUMBERS = 256, 2**18
"""Training rows whose outputs are looked at where the last operation does not tell, and numbers in them or in their
outputs, at most."""

SCALES = (1.0, 3.0, 10.0)
"""Standard deviations of the weights with which a model is tried where its own weights tell too little."""


class Outputs(NamedTuple):
    """What the outputs of a model are.

    Attributes:
        task: the task that they suit: multiclass where a model has an output for each of two classes.
        kind: logits, probabilities or log-probabilities.
        reason: why, as the end of a sentence; empty where the outputs are logits.
        remark: what to say before training; empty for nothing.
    """

    task: TaskName
    kind: OutputKind
    reason: str = ""
    remark: str = ""


def examine_outputs(backend: Backend, experiment: Experiment, model: Any, data: Dataset) -> Outputs:
    """Return what the outputs of a model are, by ``model.outputs``, its last operation, or its first outputs.

    Raises:
        ConfigError: the model gives no row of outputs for each row, or other outputs than ``model.outputs`` says.
    """
    spec, task = experiment.model, data.preprocessing.task
    if not isinstance(spec, Custom):
        return Outputs(task, "logits")
    name = label(spec.builder)
    X = np.asarray(data.training.X[:3])
    outputs = check_rows(lambda rows: backend.predict(model, rows), X, name)
    if task == "binary" and outputs.shape[-1] == 2:
        task = "multiclass"
    operations = backend.last_operations(model, X)
    if get_task(task).numeric:
        if spec.outputs not in ("auto", "values"):
            raise ConfigError(
                [f"model.outputs: given {spec.outputs!r}, but the target is a number; write auto or values"]
            )
        return Outputs(task, "logits", remark=_describe_range(operations[1], data, name))
    if spec.outputs == "values":
        raise ConfigError(
            [f"model.outputs: given 'values', but the target has classes; {name} gives logits or probabilities"]
        )
    in_training, in_evaluation = (LAST_OPERATIONS.get(operation) for operation in operations)
    if spec.outputs == "auto" and in_training and in_evaluation and in_training != in_evaluation:
        raise ConfigError(
            [
                f"model.builder: the model of {name} gives {describe_kind(in_training)} in training and "
                f"{describe_kind(in_evaluation)} in evaluation; expected one kind: leave out the last {operations[1]}, "
                "lmkit applies it where probabilities are needed"
            ]
        )
    if spec.outputs != "auto":
        kind: OutputKind = spec.outputs
        reason = f"model.outputs is {kind}"
    elif in_evaluation:
        kind, reason = in_evaluation, f"it ends in a {operations[1]}"
    else:
        most = NUMBERS // max(X[0].size, outputs[0].size)
        X = np.asarray(data.training.X[: max(3, min(ROWS, most))])
        outputs = backend.predict(model, X)
        kind = _infer_kind(backend, model, X, outputs)
        reason = "its outputs look so, for other weights too"
    _check_kind(kind, outputs, name, reason)
    if kind == "logits":
        return Outputs(task, kind)
    is_certain = spec.outputs != "auto" or in_evaluation
    return Outputs(task, kind, reason, "" if is_certain else _describe_inference(kind))


def _describe_inference(kind: OutputKind) -> str:
    """Return a remark on outputs whose kind was inferred from their values."""
    return (
        f"outputs: read as {describe_kind(kind)}: all of them look so, for other weights too; if they are not, "
        "write model: {outputs: logits}"
    )


def _describe_range(operation: str, data: Dataset, name: str) -> str:
    """Return a remark on numbers that a model cannot reach, as it ends in a sigmoid; empty where it can."""
    y = np.asarray(data.training.y[:])
    if LAST_OPERATIONS.get(operation) != "probabilities" or lies_in_unit_interval(y):
        return ""
    remedy = ", or write data: {scale_target: false}" if lies_in_unit_interval(data.preprocessing.restore(y)) else ""
    return (
        f"outputs: the model of {name} ends in a {operation}, between 0 and 1, and the prepared target lies between "
        f"{y.min():.3g} and {y.max():.3g}; leave the {operation} out{remedy}"
    )


def _infer_kind(backend: Backend, model: Any, X: np.ndarray, outputs: np.ndarray) -> OutputKind:
    """Return what outputs look like, for the model's own weights and for random ones."""
    kind = infer_kind(outputs)
    if kind == "logits":
        return kind
    with other_weights(backend, model) as scales:
        for _ in scales:
            values = backend.predict(model, X)
            if np.isfinite(values).all() and infer_kind(values) != kind:
                return "logits"
    return kind


def _check_kind(kind: OutputKind, outputs: np.ndarray, name: str, reason: str) -> None:
    """Refuse probabilities that are none, such as those of a softmax over the rows of a batch."""
    if kind == "logits" or not np.isfinite(outputs).all():
        return
    values = np.exp(outputs) if kind == "log_probabilities" else outputs
    problem = ""
    if not lies_in_unit_interval(values):
        problem = f"{reason}, but its outputs lie between {outputs.min():.4g} and {outputs.max():.4g}"
    elif reason.endswith("softmax") and outputs.shape[-1] == 1:
        problem = f"{reason}, which over a single output is always 1; write a sigmoid, or leave it out"
    elif reason.endswith("softmax") and not np.allclose(values.sum(axis=-1), 1, atol=1e-2):
        problem = (
            f"{reason}, but the probabilities of a row do not sum to 1; take the softmax over the last axis, dim=-1"
        )
    if problem:
        raise ConfigError([f"model.outputs: the model of {name} gives {describe_kind(kind)}, for {problem}"])


def check_loss(backend: Backend, experiment: Experiment, outputs: Outputs) -> None:
    """Refuse a loss that takes other outputs than the model gives.

    Raises:
        ConfigError: with what to write.
    """
    loss = experiment.training.loss
    facts = backend.loss_facts(loss) if is_reference(loss) else None
    if facts is None or get_task(outputs.task).numeric:
        return
    spec = experiment.model
    name = label(spec.builder) if isinstance(spec, Custom) else spec.family
    auto = "loss: auto, which takes what the model gives"
    if facts.per_class != (outputs.task != "binary"):
        takes, gives = "one output for each class", "one for two classes"
        if not facts.per_class:
            takes, gives = "one output for two classes", "one for each class"
        raise ConfigError(
            [f"training.loss: {facts.name} takes {takes}, and the model of {name} gives {gives}; write {auto}"]
        )
    # a softmax over log-probabilities gives the probabilities themselves
    if outputs.kind == facts.takes or (facts.takes, outputs.kind, facts.per_class) == (
        "logits",
        "log_probabilities",
        True,
    ):
        return
    ways = [auto]
    if facts.remedy and (outputs.kind == "logits") != (facts.takes == "logits"):
        ways.append(f"loss={facts.remedy}")
    last = {"probabilities": "softmax" if facts.per_class else "sigmoid", "log_probabilities": "log-softmax"}
    if facts.takes == "logits":
        ways.append(f"leave the {last[outputs.kind]} out of the model")
    elif isinstance(spec, Custom):
        ways.append(f"end the model in a {last[facts.takes]}")
    if isinstance(spec, Custom):
        ways.append(f"model: {{outputs: {facts.takes}}}, if that is what they are")
    why = f" ({outputs.reason})" if outputs.reason else ""
    raise ConfigError(
        [
            f"training.loss: {facts.name} takes {describe_kind(facts.takes)}, and the model of {name} gives "
            f"{describe_kind(outputs.kind)}{why}; write {'; or '.join(ways)}"
        ]
    )


def check_target(data: Dataset) -> None:
    """Refuse numbers that are all the same.

    Raises:
        DataError: there is nothing to learn.
    """
    y = np.asarray(data.training.y[:])
    if get_task(data.preprocessing.task).numeric and len(y) == data.rows and len(y) and not np.ptp(y):
        value = data.preprocessing.restore(y[:1])[0]
        raise DataError(
            f"data.target: it is {value:g} in all {len(y)} rows of the training part: there is nothing to learn; "
            "choose another target, or other rows"
        )


def avoid_single_row(backend: Backend, experiment: Experiment, model: Any, data: Dataset) -> tuple[Dataset, str]:
    """Return the data without a last batch of one row, where the model cannot train on it, and a remark.

    Batch normalization takes the variance over the rows of a batch, and one row has none. In all other cases the data
    stay as they are.

    Raises:
        ConfigError: every batch is a single row.
    """
    size = experiment.data.batch_size
    suspicious = size == 1 or data.without_single_row(size) is not data
    if not experiment.model.is_custom or not suspicious or not backend.needs_several_rows(model, data.training.X[:2]):
        return data, ""
    if size == 1:
        raise ConfigError(
            ["data.batch_size: given 1, but the model normalizes over the rows of a batch; write at least 2"]
        )
    return data.without_single_row(size), (
        f"batch_size: the last batch of an epoch would be a single row, over which the model cannot normalize; each "
        f"epoch leaves out one of the {data.rows} rows, another one each time"
    )


def explain_error(error: BaseException) -> str:
    """Return what to do about an error of a framework in training; empty where nothing is known."""
    if "more than 1 value per channel" in str(error):
        return (
            "a batch is a single row, over which batch normalization has no variance; write drop_last=True in the "
            "DataLoader, or another batch size"
        )
    return ""


def check_gradients(backend: Backend, experiment: Experiment, model: Any, trainer: Trainer, rows: int) -> list[str]:
    """Check that every weight has a part in the loss; return the weights of a custom model that have none.

    A gradient of zero is no proof, for the loss itself may be zero at the start: other weights are tried.

    Raises:
        LmkitError: a weight of a family has none, or the loss depends on no weight, so that training changes nothing.
    """
    first = np.arange(rows)
    gradients = trainer.gradients(first)
    custom = isinstance(experiment.model, Custom)  # some of its weights may be used now and then
    blind = [name for name, g in gradients.items() if g is None]
    if blind and not custom:
        raise _independent(join_names(blind))
    if len(blind) == len(gradients):
        raise _independent("any weight of the model")
    if not any(np.any(g) for g in gradients.values() if g is not None):
        with other_weights(backend, model) as scales:
            for _ in scales:
                if any(np.any(g) for g in trainer.gradients(first).values() if g is not None):
                    return blind
        raise _independent("any weight of the model", ", and look for a last layer whose outputs are constant")
    return blind


def _independent(weights: str, hint: str = "") -> LmkitError:
    return LmkitError(
        f"the loss does not depend on {weights}: nothing would be learned; compute the loss from the model's own "
        f"output{hint}"
    )


@contextmanager
def other_weights(backend: Backend, model: Any) -> Iterator[Iterator[float]]:
    """Give a model random weights of each of several scales, one after another; put its own back in the end.

    Each draw is also taken with the opposite sign, and each scale twice: units of a ReLU may be dead for one of them.
    """
    saved, learned = backend.weights(model), backend.learned(model)
    generator = np.random.default_rng(0)

    def draw() -> Iterator[float]:
        for scale in SCALES * 2:
            drawn = {n: generator.normal(0, scale, v.shape).astype(v.dtype) for n, v in saved.items() if n in learned}
            for sign in (1, -1):
                backend.set_weights(model, saved | {n: sign * v for n, v in drawn.items()})
                yield scale

    try:
        yield draw()
    finally:
        backend.set_weights(model, saved)
