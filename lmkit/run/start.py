"""``train``: check an experiment and start a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmkit.backends import require
from lmkit.backends.placement import check_placement, count_processes
from lmkit.custom import arguments
from lmkit.custom.trust import adopt, remember
from lmkit.exceptions import ConfigError
from lmkit.executors import InlineExecutor, WorkerExecutor, check_launcher
from lmkit.experiment.experiment import Experiment
from lmkit.run.resolve import resolve_experiment
from lmkit.run.run import Run
from lmkit.runfolder.commands import Resume
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.journal import find_earlier_run, record_run


def train(
    experiment: Any = None,
    *,
    data: Any = None,
    inline: bool = False,
    wait: bool = False,
    trust: bool = False,
    start: bool = True,
    runs: str | Path | None = None,
    **changes: Any,
) -> Run:
    """Start training in a detached worker, and return at once.

    Args:
        experiment: an Experiment, a mapping, or the path of a .yaml file; none: the defaults. Or a run or its name, for
            its experiment; or data in memory, a source or a model, as below.
        data: data in memory to train on instead: (X, y) of arrays, a DataFrame (with ``target=…``) or
            (DataFrame, "target"). A copy is stored in the folder of the runs, once per content. Or a loader, a dataset
            or a function that returns one (``lmkit.data.loaders``), or parts: {"training": …, "test": …}, each of them
            data or the path of a file. Or the name of a source, or a mapping that describes it:
            {"source": "novel.txt", "text": "bpe"}.
        inline: train in this process, before returning: for a debugger, or a model that cannot be pickled.
        wait: return after the run has ended.
        trust: allow the code that the experiment names to run, now and later; see ``lk.trust``.
        start: whether to start it; else only its folder is created, for ``torchrun … -m lmkit.worker FOLDER``.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).
        **changes: parts of the experiment to change, such as ``epochs=3``, ``lr=0.1`` or ``model="mlp:wide"``.
            ``model`` may be a function or class that builds a model, or a ``functools.partial`` of one with its
            arguments; ``loss`` a function or a loss of the framework; ``metrics`` a list of functions.

    Raises:
        ConfigError: the experiment is invalid, or a custom object cannot be sent to the worker.
        DataError: the data do not suit training.
        MissingPackage: the framework is not installed.
        UntrustedCode: the experiment is that of a file or a run which names code that is not this user's, and that
            they have not run on this machine before.

    >>> import lmkit as lk
    >>> run = lk.train(data="digits", model="mlp:small", epochs=5)  # doctest: +SKIP
    """
    from lmkit.data.tables.sources import load_once

    spec = resolve_experiment(experiment, changes, data=data, runs=runs, inline=inline)
    require(spec.framework)
    adopt(spec, runs, text=trust or experiment is None or isinstance(experiment, Mapping))
    with load_once():  # what is checked is trained on, where that is done in this process
        run = _start(spec, runs, inline=inline, start=start)
    return run.wait() if wait else run


def _start(spec: Experiment, runs: str | Path | None, *, inline: bool, start: bool) -> Run:
    """Check an experiment, and start a run of it; see ``train``."""
    arguments.check_objects(spec)
    check_data(spec, runs)
    check_processes(spec, inline=inline)
    remember(spec, runs)
    executor = InlineExecutor() if inline else WorkerExecutor()
    earlier = find_earlier_run(spec)
    if earlier is None or earlier.status().cause in ("diverged", "error"):
        folder = RunFolder.create(spec, runs)
        record_run(folder)
        if not start:
            reason = "before its start"
            folder.write_status(replace(folder.status(), state="stopped", reason=reason, cause="requested"))
            return Run(folder)
        executor.start(folder)
    else:  # the notebook is executed again after an interrupted attempt
        folder = earlier
        record_run(folder)
        if not folder.status().live and folder.status().state != "completed":
            folder.claim()
            folder.send(Resume())
            executor.start(folder)
        elif folder.status().state == "paused":
            folder.send(Resume())
    return Run(folder)


def check_processes(experiment: Experiment, *, inline: bool) -> None:
    """Check that an experiment which other processes train is not to be trained in this one, and can be launched.

    Raises:
        ConfigError: it is, or the cluster that is to train it does not answer.
        MissingPackage: the package of the cluster is not installed.
    """
    instead = "which trains in this process; write wait=True instead"
    if inline and (launcher := experiment.training.launcher) != "auto":
        raise ConfigError([f"training.launcher: given {launcher} with inline=True, {instead}"])
    check_launcher(experiment)
    if inline and count_processes(experiment) > 1:
        devices = experiment.training.devices
        raise ConfigError([f"training.devices: given {devices} with inline=True, {instead}"])


def check_data(experiment: Experiment, runs: str | Path | None = None) -> None:
    """Check, before a run is created, that the data can be trained on as configured.

    The properties of a bundled set are known without loading it; a file is read if it is small.

    Raises:
        DataError, ConfigError: the data or the configuration is unsuitable; the message says why and what to do.
    """
    from lmkit.data.kinds import get_kind
    from lmkit.specs.losses import resolve_loss

    check_placement(experiment)
    kind = get_kind(experiment.data)
    if kind.task:
        resolve_loss(experiment.training.loss, kind.task)
    if signature := kind.check(experiment.data, runs):
        resolve_loss(experiment.training.loss, signature.task, custom_model=experiment.model.is_custom)
        experiment.model.check(signature)
