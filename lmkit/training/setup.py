"""What a worker sets up before the first step: data, model and trainer, and the checkpoint where there is one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmkit.backends import Backend, Trainer, get_backend
from lmkit.backends.devices import device_for, own_device
from lmkit.backends.facts import ONE_PROCESS
from lmkit.backends.placement import check_placement, on_one_device, resolve_strategy
from lmkit.backends.threads import threads_for
from lmkit.custom import arguments, trust
from lmkit.data import quality
from lmkit.data.batches import TimedBatches
from lmkit.data.fingerprint import check_preprocessing, check_unchanged, locate_data, write_record
from lmkit.data.kinds import get_kind
from lmkit.data.preparation import prepare
from lmkit.exceptions import DamagedFile, join_names
from lmkit.experiment.summary import summarize
from lmkit.runfolder.events import DataInferred, DataWarning, Resumed, Started
from lmkit.runfolder.folder import EPOCH_ARRAYS, OWN, RunFolder, check_weights
from lmkit.runfolder.shards import entry_path
from lmkit.specs.losses import resolve_loss
from lmkit.specs.tasks import Task, get_task
from lmkit.system.environment import environment
from lmkit.system.processor import describe_slowness
from lmkit.training.checks import (
    avoid_single_row,
    check_gradients,
    check_loss,
    check_target,
    examine_outputs,
)
from lmkit.training.metrics import MetricFunctions, score
from lmkit.training.progress import Progress
from lmkit.training.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment
    from lmkit.specs.losses import LossName
    from lmkit.specs.models import Weights
    from lmkit.specs.training import EarlyStopping
    from lmkit.training.epoch_metrics import EpochMetrics


NO_RECORD: Mapping[str, Any] = {}


@dataclass
class Components:
    """All that training works with.

    Attributes:
        metrics: custom metric functions by name.
        remarks: what was found in checks of the model, for the log.
        ranks: the processes that train the run.
        steps: of the whole training, at most.
    """

    experiment: Experiment
    backend: Backend
    data: Dataset
    loss: LossName
    metrics: MetricFunctions
    model: Any
    trainer: Trainer
    remarks: list[str] = field(default_factory=list)
    ranks: Ranks = ALONE

    @property
    def task(self) -> Task:
        """The task of the data."""
        return get_task(self.data.preprocessing.task)

    @property
    def steps(self) -> int:
        """Steps of the whole training, at most."""
        training = self.experiment.training
        total = training.epochs * self.data.steps_per_epoch(self.experiment.data.batch_size)
        return min(total, training.steps or total)

    @property
    def early_stopping(self) -> EarlyStopping | None:
        """When training ends early; None for data without a validation part, as of a loader."""
        return self.experiment.training.early_stopping if len(self.data.validation.X) else None

    def rates(self, progress: Progress) -> Any:
        """Return the function that gives each step its learning rate, by the schedule and the progress's rate."""
        schedule, total = self.experiment.training.schedule, self.steps
        per_epoch = self.data.steps_per_epoch(self.experiment.data.batch_size)
        return lambda numbers: progress.rate * schedule.factors(numbers, per_epoch, total)

    def score(self, part: str) -> dict[str, float]:
        """Return loss and metrics of one part of the data."""
        return score(self.trainer, part, self.data, self.loss, metrics=self.metrics)


@contextmanager
def select_backend(experiment: Experiment, ranks: Ranks = ALONE) -> Iterator[Backend]:
    """Yield the experiment's backend on the device of a run, which is held within a ``with`` block.

    Args:
        experiment: what to train.
        ranks: the processes that train it; each of those of a machine has a device of its own.

    Raises:
        ConfigError: this machine, or the framework on it, does not have the device, or not so many.
    """
    training, framework = experiment.training, get_backend(experiment.framework)
    strategy = resolve_strategy(experiment, ranks.world)
    is_shared = ranks.world > 1 or strategy in ONE_PROCESS
    if ranks.group is not None:
        check_placement(experiment, ranks.world)
        training = own_device(framework, training, ranks.group.local_rank)
    with device_for(framework, training) as device, framework.numerics(training.deterministic):
        if strategy == "single" or not is_shared:
            yield framework.on(device)
        else:
            backend = framework.connect(strategy, device, ranks.group, training.devices)
            yield backend
            backend.disconnect()


def build_components(
    folder: RunFolder,
    experiment: Experiment,
    cleanup: ExitStack,
    backend: Backend | None = None,
    *,
    is_same: bool = True,
    ranks: Ranks = ALONE,
) -> Components:
    """Prepare the data and build the model with its first weights, and the trainer.

    Args:
        folder: of the run; custom objects lie beside it.
        experiment: what to train.
        cleanup: restores the number of threads when it is closed.
        backend: of the device; none: one device, which is chosen now, and held until ``cleanup`` is closed.
        is_same: whether the experiment is that of the run, so that its data are prepared as the run's were.
        ranks: the processes that train the run; the first one prepares the data, and then the others.
    """
    training, root = experiment.training, folder.path.parent
    backend = backend or cleanup.enter_context(select_backend(on_one_device(experiment)))
    trust.require(trust.list_code(experiment), root, folder.path)
    with ranks.first_alone():
        check_unchanged(folder, experiment)
        experiment = locate_data(folder, experiment)
        trust.load(experiment, root, folder.path)
        data = prepare(experiment.data, experiment.seed, training.weight_dtype, root)
    if is_same:
        check_preprocessing(folder, data.preprocessing)
    experiment, data = limit_batch_size(experiment, data)
    check_target(data)
    metrics = arguments.load_metrics(experiment)
    signature = data.preprocessing.signature
    experiment.model.check(signature)
    batch_size = experiment.data.batch_size
    threads = threads_for(experiment.model, signature, batch_size, training.threads, processes=ranks.local_world)
    if threads:
        cleanup.callback(backend.set_threads, backend.set_threads(threads))
    backend.seed(experiment.seed)
    model = backend.build(experiment.model, signature, training.weight_dtype)
    if not threads:  # the work of a custom model is known once it is built
        work = getattr(model, "multiplications", 0)
        if threads := threads_for(experiment.model, signature, batch_size, multiplications=work):
            cleanup.callback(backend.set_threads, backend.set_threads(threads))
    if weights := experiment.model.initial_weights(signature, experiment.seed):
        backend.set_weights(model, weights)
    outputs = examine_outputs(backend, experiment, model, data)
    check_loss(backend, experiment, outputs)
    data = data.adapt(outputs.task, outputs.kind)
    loss = resolve_loss(training.loss, outputs.task)
    data, remark = avoid_single_row(backend, experiment, model, data)
    collect = not get_task(data.preprocessing.task).per_position
    if data.batches is not None:
        data = data._replace(batches=TimedBatches(data.batches))
    trainer = backend.trainer(model, experiment, data, loss, collect_outputs=collect)
    slowness = describe_slowness(training.precision) if trainer.device == "cpu" else ""
    remarks = [text for text in (outputs.remark, remark, slowness) if text]
    return Components(experiment, backend, data, loss, metrics, model, trainer, remarks, ranks)


def limit_batch_size(experiment: Experiment, data: Dataset) -> tuple[Experiment, Dataset]:
    """Return the experiment with batches of at most all training rows, and the data with a warning that says so."""
    size, rows = experiment.data.batch_size, len(data.training.X)
    if data.batches or not get_kind(experiment.data).has_batches or size <= rows:
        return experiment, data
    spec = experiment.data.model_copy(update={"batch_size": rows})
    text = f"batch_size: given {size}, lowered to the {rows} rows of the training part: an epoch is one step"
    return experiment.model_copy(update={"data": spec}), data._replace(warnings=(*data.warnings, text))


def restore_checkpoint(
    folder: RunFolder, components: Components, epoch_metrics: EpochMetrics
) -> tuple[Progress, Weights | None]:
    """Return progress and best weights of the last checkpoint, and set everything else to it; else check a new run.

    Raises:
        LmkitError: the loss of a new run does not depend on its weights.
        ConfigError: a custom metric cannot be computed.
    """
    position = restore_trainer(folder, components)
    if position is None:
        return check_start(components), None
    epoch_metrics.restore(folder.load_epoch_arrays(), position.sums, folder.checkpoints / "last" / EPOCH_ARRAYS)
    best = folder.load_checkpoint("best")
    if best:
        check_weights(_shapes(components), best[0], folder.checkpoints / "best")
    return position, best[0] if best else None


def _shapes(components: Components) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights of the model."""
    return {name: w.shape for name, w in components.backend.weights(components.model).items()}


def restore_trainer(folder: RunFolder, components: Components) -> Progress | None:
    """Set model and trainer to the last checkpoint, and return its progress; None if there is none.

    Raises:
        DamagedFile: a file of it cannot be read, or does not fit.
    """
    saved = folder.load_checkpoint("last")
    if not saved:
        return None
    weights, state, progress = saved
    position = Progress.from_dict(progress, folder.checkpoints / "last" / "state.json")
    check_weights(_shapes(components), weights, folder.checkpoints / "last")
    components.backend.set_weights(components.model, weights)
    try:
        components.trainer.restore(state)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        path = entry_path(folder.checkpoints / "last", "optimizer")
        raise DamagedFile(path, f"it does not fit the model and the optimizer: {str(error)[:200]}") from None
    return position


def check_start(components: Components) -> Progress:
    """Check a new run, and return the progress of its start.

    Raises:
        LmkitError: the loss does not depend on the weights.
        ConfigError: a custom metric cannot be computed.
    """
    _check_gradients(components)
    warmup, steps = getattr(components.experiment.training.schedule, "warmup", 0), components.steps
    if warmup >= steps:
        components.remarks.append(
            f"training.schedule.warmup: {warmup:,} steps, and training has {steps:,}: the learning rate ends at "
            f"{steps / warmup:.0%} of its height; use schedule: {{warmup: {steps // 5}}}"
        )
    if components.metrics:  # report a broken metric now, not after an epoch
        data, loss = components.data, components.loss
        score(components.trainer, "training", data, loss, 32, components.metrics, skip_loss=True)
    return Progress(rate=components.experiment.training.optimizer.lr)


def _check_gradients(components: Components) -> None:
    """Check that training can change the weights, and note those that it cannot."""
    experiment = components.experiment
    rows = min(len(components.data.training.X), experiment.data.batch_size)
    blind = check_gradients(components.backend, experiment, components.model, components.trainer, rows)
    if blind:
        names = join_names(blind)
        components.remarks.append(f"no gradient: {names} have no part in the loss, and stay as they are")


def write_records(folder: RunFolder, components: Components, device: Mapping[str, Any] = NO_RECORD) -> None:
    """Write the preprocessing and what the data are, once; the source of custom objects, and the environment.

    ``device`` is recorded in the environment with what the backend says of its device.
    """
    if text := arguments.source_code(components.experiment, folder.path.parent):
        folder.write_text(OWN, text)
    if folder.read_json("preprocessing.json") is None:
        folder.write_json("preprocessing.json", components.data.preprocessing.to_dict())
    write_record(folder, components.experiment)
    folder.write_json("environment.json", environment({**components.backend.environment(), **device}))


def describe_devices(components: Components) -> str:
    """Return where a run trains: ``cpu``, or ``2 × cpu, ddp``."""
    device, training = components.trainer.device, components.experiment.training
    strategy = resolve_strategy(components.experiment, components.ranks.world)
    count = components.ranks.world if components.ranks.group else training.devices if strategy in ONE_PROCESS else 1
    return f"{count} × {device.partition(':')[0]}, {strategy}" if count > 1 and strategy != "single" else device


def log_start(folder: RunFolder, components: Components, progress: Progress) -> None:
    """Log that the run starts, with what was inferred about its data and warnings, or that it is resumed."""
    device = describe_devices(components)
    started = next((event for event in folder.events.read()[0] if event.type == Started.type), None)
    if started:
        folder.events.record(Resumed(step=progress.step, epoch=progress.epoch, pid=os.getpid()))
        folder.metrics.append({"resumed": progress.step})
        first = str(started.data.get("device", device))
        if first.partition(":")[0] != device.partition(":")[0]:
            text = f"resumed on {device}, begun on {first}: from here on the numbers are rounded in another way"
            folder.events.record(DataWarning(step=progress.step, text=text))
        return
    rows = components.data.part_rows
    signature = components.data.preprocessing.signature
    summary = summarize(components.experiment, signature, validates=len(components.data.validation.X) > 0)
    host = socket.gethostname()
    folder.events.record(Started(pid=os.getpid(), host=host, device=device, rows=rows, summary=summary))
    for text in components.data.notes:
        folder.events.record(DataInferred(text=text))
    for text in [*components.remarks, *quality.warnings(components.data, quality.CHEAP_NUMBERS)]:
        folder.events.record(DataWarning(step=0, text=text))
