"""Training of a run: set up, fit, measure, and write the outcome into the run's folder."""

from __future__ import annotations

import contextlib
import errno
import os
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lmkit.exceptions import LmkitError, RunStateError
from lmkit.runfolder.events import Failed, Finished
from lmkit.runfolder.ranks import describe_failure, first_failure, read_ranks, remove_ranks
from lmkit.runfolder.status import Cause
from lmkit.system.files import remove_directory, replace_file, write_bytes
from lmkit.training.callbacks import (
    BestWeights,
    Compilation,
    EarlyStopping,
    Limits,
    Samples,
    TerminateOnNaN,
    TrainerNotes,
    Validation,
    check_finite,
)
from lmkit.training.checkpoints import Checkpoints
from lmkit.training.checks import explain_error
from lmkit.training.control import Control, Signals
from lmkit.training.device_errors import explain_device_error, free_device
from lmkit.training.device_usage import DeviceUsage
from lmkit.training.epoch_metrics import EpochMetrics
from lmkit.training.fit import Callback, Diverged, Fit
from lmkit.training.heartbeat import Heartbeat
from lmkit.training.loaders import LoaderErrors, LoaderLeaks
from lmkit.training.metrics import predictions
from lmkit.training.ranks import ALONE, RankFailed, Ranks
from lmkit.training.readings import Readings
from lmkit.training.recorder import Recorder
from lmkit.training.setup import (
    Components,
    build_components,
    describe_devices,
    log_start,
    restore_checkpoint,
    select_backend,
    write_records,
)
from lmkit.training.snapshots import Snapshots

if TYPE_CHECKING:
    from lmkit.runfolder.folder import RunFolder

RESERVE_BYTES = 65_536
"""Size of a file that is removed on failure, so that a full disk has room for the outcome."""


def train(folder: RunFolder, ranks: Ranks = ALONE) -> None:
    """Train the run in ``folder``, from its last checkpoint where there is one, and write the outcome there.

    A failure of the run is not raised: its state becomes ``failed``, with the reason. SIGTERM and SIGHUP stop the run
    with a checkpoint, and then have the effect that they have without training: the program ends.

    Args:
        folder: of the run; of several processes those after the first have one that they do not write.
        ranks: the processes that train the run.

    Raises:
        RunStateError: another process trains the run, or its folder was deleted.
        RankFailed: one of several processes failed; who started it decides what becomes of the run.
    """
    signals = Signals()
    with contextlib.nullcontext() if ranks.launcher or not ranks.is_first else folder.train_lock():
        recorder = Recorder(folder, folder.resumed_experiment, ranks)
        heartbeat = Heartbeat(recorder)
        reserve = folder.path / ".reserve"
        try:
            if ranks.world == 1:
                remove_ranks(folder)  # those of an earlier launch
            if ranks.is_first:
                write_bytes(reserve, os.urandom(RESERVE_BYTES))
            _run(recorder, heartbeat, signals)
        except BaseException as error:
            _remove(reserve)
            if folder.is_deleted:
                if folder.lock.file_is_deleted:
                    remove_directory(folder.path)  # what was written while it was being deleted
                raise RunStateError(f"{str(folder.path)!r} was deleted or moved: its training ends") from None
            _fail(recorder, heartbeat, error)
            if not isinstance(error, Exception):
                raise
        else:
            _remove(reserve)
    if recorder.device and recorder.device.device != "cpu":
        free_device(recorder.experiment.framework)
    if ranks.world == 1:  # else who launched the processes would take it for a failure, and restart them
        signals.follow()


def build_fit(recorder: Recorder, components: Components, signals: Signals) -> Fit:
    """Return the training of a run, with everything that runs between its steps.

    The order of the callbacks matters: steps are recorded before any of them can end training, commands are handled
    before limits are checked, and the best weights are restored before the last checkpoint.
    """
    folder, experiment, ranks = recorder.folder, components.experiment, components.ranks
    training = experiment.training
    recorder.device = DeviceUsage(components.backend, components.trainer.device)
    write_records(folder, components, recorder.device.describe())
    epoch_metrics = EpochMetrics(components.data, experiment.data.batch_size, components.metrics)
    progress, best_weights = restore_checkpoint(folder, components, epoch_metrics)
    ranks.barrier()  # the first process may now replace the checkpoint
    best = BestWeights(components, best_weights)
    checkpoints = Checkpoints(components, recorder, best, epoch_metrics)
    early = components.early_stopping
    callbacks: list[Callback] = [
        recorder,
        *([Readings(components, folder, progress.step, progress.seconds)] if training.readings == "auto" else []),
        *([Snapshots(components, folder, training.snapshots, progress.step)] if training.snapshots else []),
        TrainerNotes(folder),
        *([Compilation(components, folder)] if components.trainer.compiled else []),
        TerminateOnNaN(),
        epoch_metrics,
        Validation(components, recorder, epoch_metrics),
        Samples(components, folder),
        best,
        *([EarlyStopping(early.patience)] if early else []),
        Control(recorder, checkpoints, signals, ranks),
        Limits(components.steps, training.seconds, training.target_loss, training.gradient_norm),
        LoaderErrors(checkpoints),
        LoaderLeaks(folder),
        checkpoints,
    ]
    recorder.progress, recorder.total = progress, components.steps
    log_start(folder, components, progress)
    recorder.write_status(
        device=describe_devices(components), epochs=training.epochs, steps=components.steps, epoch=progress.epoch + 1
    )
    return Fit(
        components.trainer,
        components.data,
        batch_size=experiment.data.batch_size,
        seed=experiment.seed,
        epochs=training.epochs,
        rates=components.rates(progress),
        progress=progress,
        callbacks=callbacks,
        clock=ranks.clock,
    )


def _run(recorder: Recorder, heartbeat: Heartbeat, signals: Signals) -> None:
    """Train to the end; write metrics, predictions and the outcome."""
    folder, ranks = recorder.folder, recorder.ranks
    recorder.write_status()
    backend_of = select_backend(recorder.experiment, ranks)
    with heartbeat.beating(), backend_of as backend:
        with ExitStack() as cleanup:
            cleanup.enter_context(signals.noted())
            components = build_components(folder, recorder.experiment, cleanup, backend, ranks=ranks)
            fit = build_fit(recorder, components, signals)
            stop = fit.run()
        metrics = components.score("test")
        check_finite("test", metrics.get("loss"), f"after step {fit.progress.step}")
        _write_predictions(folder, components)
    progress = fit.progress
    folder.events.record(
        Finished(state=stop.state, reason=stop.reason, step=progress.step, epoch=progress.epoch, metrics=metrics)
    )
    recorder.write_status(state=stop.state, reason=stop.reason, cause=stop.cause, metrics=metrics, seconds_left=0.0)


def _write_predictions(folder: RunFolder, components: Components) -> None:
    """Write the predictions of the test part for charts; those of a language model are too large and left out."""
    data = components.data
    if not len(data.test.X) or components.task.per_position:
        return
    outputs = components.trainer.outputs("test")
    if not components.ranks.is_first:
        return
    frame = predictions(data.preprocessing, data.test, outputs)
    with replace_file(folder.path / "predictions.parquet") as path:
        frame.to_parquet(path, index=False)


def _fail(recorder: Recorder, heartbeat: Heartbeat, error: BaseException) -> None:
    """Write the state ``failed``, its reason, and the steps that are not written yet.

    Raises:
        RankFailed: this is one of several processes: it writes its error into its own record.
    """
    folder, ranks = recorder.folder, recorder.ranks
    reason = str(error) if isinstance(error, LmkitError) else f"{type(error).__name__}: {error}"
    device = recorder.device.device if recorder.device else ""
    reason = explain_error(error) or explain_device_error(recorder.experiment.framework, error, device) or reason
    unwritable = _unwritable(error, folder)
    if unwritable:
        reason = f"cannot write to {str(folder.path)!r}: {unwritable}; make room or permit it, then `lmkit resume`"
    if not isinstance(error, LmkitError) or error.__cause__:
        traceback.print_exception(error)
    if not unwritable:
        with contextlib.suppress(OSError):
            recorder.flush()
    cause: Cause = "unwritable" if unwritable else "diverged" if isinstance(error, Diverged) else "error"
    if ranks.world > 1:
        heartbeat.fail(reason, cause, neighbour=ranks.is_neighbours(error))
        if ranks.launcher or not ranks.is_first:
            raise RankFailed(reason) from error
        failure = first_failure(read_ranks(folder)[: ranks.world])
        if failure is None:
            recorder.write_status(state="restarting", reason=reason)
            raise RankFailed(reason) from error
        reason, cause = describe_failure(failure), cast("Cause", failure.cause)
    try:
        recorder.write_status(state="failed", reason=reason, cause=cause, seconds_left=None)
        folder.events.record(Failed(reason=reason, step=recorder.status.step))
    except OSError:
        raise error from None  # the outcome cannot be written: the run will be lost, and inline training raises
    with contextlib.suppress(OSError):
        recorder.flush()  # last, because there may be no room for it
    if ranks.world > 1:
        raise RankFailed(reason) from error


def _unwritable(error: BaseException, folder: RunFolder) -> str:
    """Return why the run's folder cannot be written, if that is what the error is about; else an empty string."""
    if not isinstance(error, OSError):
        return ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    inside = isinstance(error.filename, str | os.PathLike) and Path(error.filename).is_relative_to(folder.path)
    return error.strerror or str(error) if full or inside else ""


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)
