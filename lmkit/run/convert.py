"""``convert``: a run with the trained model of another run in the other framework, measured again."""

from __future__ import annotations

import shutil
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.backends import get_backend, others, require
from lmkit.custom import trust
from lmkit.custom.arguments import load_metrics
from lmkit.custom.objects import references
from lmkit.data.fingerprint import RECORD
from lmkit.exceptions import ConfigError, RunStateError, shorten
from lmkit.run.resolve import resolve_run
from lmkit.run.run import Run
from lmkit.run.wait import wait_until_completed
from lmkit.runfolder.events import Converted, Finished
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.journal import record_run
from lmkit.specs.references import label
from lmkit.specs.tasks import get_task
from lmkit.system.files import copy_file, replace_file
from lmkit.system.processes import process

if TYPE_CHECKING:
    from lmkit.experiment.experiment import Experiment
    from lmkit.specs.models import Weights


FRAMEWORK_PATHS = ("model.builder", "training.loss")
"""Paths of custom objects that are written for one framework."""


def convert(run: Run | str | Path = "last", to: str = "", *, runs: str | Path | None = None) -> Run:
    """Return a new run with the model of ``run`` in the other framework. Waits for the end of ``run``.

    It is stored in the folder of ``run``'s runs, with the same experiment apart from the framework, the same weights,
    preprocessing and history, and metrics and predictions computed by the other framework. The optimizer's state is
    not converted.

    Args:
        run: a run, or its name.
        to: ``torch`` or ``tensorflow``.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).

    Raises:
        RunStateError: the run has not completed.
        ConfigError: the framework does not exist, or the run already uses it.
        MissingPackage: the framework is not installed.
        DataError: the training data no longer exist, or have changed.
        UntrustedCode: the run names code that this user has not run on this machine before.

    >>> import lmkit as lk
    >>> run = lk.train(data="digits", model="cnn:small", wait=True)  # doctest: +SKIP
    >>> lk.convert(run, to="tensorflow").metrics["accuracy"] == run.metrics["accuracy"]  # doctest: +SKIP
    True
    """
    run = resolve_run(run, runs=runs)
    _check(run, to)
    run.require_trust()
    experiment = run.experiment.override({"framework": to})
    require(to)
    saved = {kind: run.folder.load_checkpoint(kind) for kind in ("last", "best")}
    if saved["last"] is None:
        raise RunStateError(f"{run.name} cannot be converted: it has no checkpoint")
    metrics, frame, environment = _measured(run, experiment, saved["last"][0])
    folder = RunFolder.create(experiment, run.path.parent)
    record_run(folder)
    try:
        for kind, checkpoint in saved.items():
            if checkpoint:
                weights, _, state = checkpoint
                folder.save_checkpoint(kind, weights, {}, state)
        folder.write_json("preprocessing.json", run.preprocessing.to_dict())
        folder.write_json("environment.json", environment)
        if (record := run.folder.read_json(RECORD)) is not None:
            folder.write_json(RECORD, record)
        if frame is not None:
            with replace_file(folder.path / "predictions.parquet") as path:
                frame.to_parquet(path, index=False)
        if run.folder.metrics.path.is_file():
            copy_file(run.folder.metrics.path, folder.metrics.path)
        for event in run.events:
            if event.type != Finished.type:
                folder.events.lines.append({"time": event.time, "type": event.type, **event.data})
        status = run.status
        framework = run.experiment.framework
        folder.events.record(Converted(step=status.step, run=run.name, framework=framework, to=to))
        folder.events.record(
            Finished(state="completed", reason="", step=status.step, epoch=status.epoch, metrics=metrics)
        )
        reason = f"converted from {framework}: {run.name}"
        here: dict[str, Any] = {"host": socket.gethostname(), **process()}
        folder.write_status(
            replace(status, metrics=metrics, reason=reason, cause="converted", heartbeat=time.time(), **here)
        )
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    return Run(folder)


def _check(run: Run, to: str) -> None:
    """Wait for the end of ``run``, and raise an error if it cannot be converted to the framework ``to``."""
    if to == run.experiment.framework:
        (other,) = others(to)
        raise ConfigError([f"to: given {shorten(to)}, which {run.name} already uses; expected {other!r}"])
    custom = [f"{path} ({label(ref)})" for path, ref in references(run.experiment).items() if path in FRAMEWORK_PATHS]
    if custom:
        raise ConfigError(
            [
                f"to: {custom[0]} of {run.name} is written for {run.experiment.framework}, "
                f"and cannot be converted; write it for {to}, and train with framework: {to}"
            ]
        )
    if run.status.live:
        wait_until_completed(run, "converted")
    if run.state != "completed":
        raise RunStateError(
            f"{run.name} cannot be converted: it is {run.state}, expected completed; "
            f"let it complete first: lmkit resume {run.name}"
        )


def _measured(run: Run, experiment: Experiment, weights: Weights) -> tuple[dict[str, float], Any, dict[str, Any]]:
    """Return metrics and predictions of the test part in the experiment's framework, and the environment."""
    from lmkit.specs.losses import resolve_loss
    from lmkit.system.environment import environment
    from lmkit.training.metrics import predictions, score

    preprocessing, precision = run.preprocessing, experiment.training.weight_dtype
    trust.load(experiment, run.path.parent, run.path)
    data = run.prepare_data()
    backend = get_backend(experiment.framework)
    model = backend.build(experiment.model, preprocessing.signature, precision)
    backend.set_weights(model, weights)
    environment_record = environment(backend.environment())
    if not len(data.test.X):
        return {}, None, environment_record
    loss = resolve_loss(experiment.training.loss, preprocessing.task)
    trainer = backend.trainer(model, experiment, data, loss)
    table = (
        None
        if get_task(preprocessing.task).per_position
        else predictions(preprocessing, data.test, trainer.outputs("test"))
    )
    return score(trainer, "test", data, loss, metrics=load_metrics(experiment)), table, environment_record
