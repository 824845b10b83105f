"""A trained model moves to the other framework: as a run of its own, measured there anew."""

from __future__ import annotations

import shutil
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.backends import get_backend, require
from lmkit.data.objects import metrics, references
from lmkit.errors import ConfigError, DataError, RunStateError
from lmkit.run import Run, attach
from lmkit.runfolder import RunFolder, process
from lmkit.specs.references import label

if TYPE_CHECKING:
    from lmkit.experiment import Experiment
    from lmkit.specs.models import Weights


_BOUND = ("model.builder", "training.loss")
"""Of what is somebody's own, that which speaks the language of one framework."""


def convert(run: Run | str | Path = "last", to: str = "", *, runs: str | Path | None = None) -> Run:
    """A run whose model is that of ``run`` in the other framework.

    It lies beside ``run`` and holds the same experiment but for the framework, the same weights, preprocessing and
    history, and metrics and predictions as the other framework computes them. The optimizer's memory stays behind.

    Args:
        run: a completed run, or its name.
        to: ``torch`` or ``tensorflow``.
        runs: where runs are kept (default: $LMKIT_RUNS or ./runs).

    Raises:
        RunStateError: it has not completed.
        ConfigError: there is no such framework, or it is the one that the run is in already.
        MissingPackage: the framework is not installed.
        DataError: the data that it was trained on is no longer there, or has changed.

    >>> import lmkit as lk
    >>> run = lk.train(data="digits", model="cnn:small", wait=True)  # doctest: +SKIP
    >>> lk.convert(run, to="tensorflow").metrics["accuracy"] == run.metrics["accuracy"]  # doctest: +SKIP
    True
    """
    run = run if isinstance(run, Run) else attach(run, runs=runs)
    if run.state != "completed":
        raise RunStateError(
            f"{run.name} cannot be converted: it is {run.state}, expected completed; "
            f"let it come to its end first: lmkit {'watch' if run.status.live else 'resume'} {run.name}"
        )
    if to == run.experiment.framework:
        other = "tensorflow" if to == "torch" else "torch"
        raise ConfigError([f"to: given {to!r}, in which {run.name} is already; expected {other!r}"])
    own = [f"{path} ({label(ref)})" for path, ref in references(run.experiment).items() if path in _BOUND]
    if own:
        raise ConfigError(
            [f"to: {own[0]} of {run.name} is written for {run.experiment.framework}, and lmkit cannot write it for "
             f"{to}; write it there, and train with framework: {to}"]
        )  # fmt: skip
    experiment = run.experiment.override({"framework": to})
    require(to)
    saved = {kind: run.folder.load_checkpoint(kind) for kind in ("last", "best")}
    if saved["last"] is None:
        raise RunStateError(f"{run.name} cannot be converted: it holds no checkpoint")
    metrics, frame, environment = _measured(run, experiment, saved["last"][0])
    folder = RunFolder.create(experiment, run.path.parent)
    try:
        for kind, checkpoint in saved.items():
            if checkpoint:
                weights, _, state = checkpoint
                folder.save_checkpoint(kind, weights, {}, state)
        folder.write_json("preprocessing.json", run.preprocessing.to_dict())
        folder.write_json("environment.json", environment)
        if frame is not None:
            frame.to_parquet(folder.path / "predictions.parquet", index=False)
        if run.folder.metrics.path.is_file():
            shutil.copy(run.folder.metrics.path, folder.metrics.path)
        for event in run.events:
            if event.type != "finished":
                folder.events.lines.append({"time": event.time, "type": event.type, **event.data})
        at = run.status
        framework = run.experiment.framework
        folder.events.append("converted", step=at.step, run=run.name, framework=framework, to=to)
        folder.events.append("finished", state="completed", reason="", step=at.step, epoch=at.epoch, metrics=metrics)
        reason = f"converted from {framework}: {run.name}"
        here: dict[str, Any] = {"host": socket.gethostname(), **process()}
        folder.write_status(replace(at, metrics=metrics, reason=reason, heartbeat=time.time(), **here))
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    return Run(folder)


def _measured(run: Run, experiment: Experiment, weights: Weights) -> tuple[dict[str, float], Any, dict[str, Any]]:
    """Metrics and predictions of the test part with ``weights`` in the experiment's framework, and its environment."""
    from lmkit.data.metrics import predictions, score
    from lmkit.data.preparation import prepare
    from lmkit.environment import environment
    from lmkit.specs.losses import resolve_loss

    known, precision = run.preprocessing, experiment.training.precision
    data = prepare(experiment.data, experiment.seed, precision, run.path.parent)
    if data.preprocessing != known:
        raise DataError(
            f"data.source: {experiment.data.source!r} is no longer what {run.name} was trained on, so the converted "
            "model cannot be measured; put the data back as it was, or train anew"
        )
    backend = get_backend(experiment.framework)
    model = backend.build(experiment.model, known.signature, precision)
    backend.set_weights(model, weights)
    told = environment(backend.environment())
    if not len(data.test.X):
        return {}, None, told
    loss = resolve_loss(experiment.training.loss, known.task)
    trainer = backend.trainer(model, experiment, data, loss)
    said = None if known.task == "language" else predictions(known, data.test, trainer.outputs("test"))
    return score(trainer, "test", data, loss, measures=metrics(experiment)), said, told
