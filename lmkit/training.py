"""Training: what is to be trained is checked, and a run begun."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.backends import require
from lmkit.data import objects
from lmkit.executors import InlineExecutor, WorkerExecutor
from lmkit.experiment import Experiment
from lmkit.run import Run
from lmkit.runfolder import RunFolder, Status, begun

EAGER_BYTES = 64 * 2**20
"""Files up to this size are read and checked before a worker is started; larger ones by the worker."""


def train(
    experiment: Experiment | Mapping[str, Any] | str | Path | None = None,
    *,
    data: Any = None,
    inline: bool = False,
    wait: bool = False,
    runs: str | Path | None = None,
    **changes: Any,
) -> Run:
    """Starts training in a detached worker and returns at once.

    Args:
        experiment: an Experiment, a mapping, or the path of a .yaml file; none: the defaults.
        data: data in memory to train on instead: (X, y) of arrays, a DataFrame (with ``target=…``) or
            (DataFrame, "target"). A copy is kept beside the runs, once per content. Or a loader, a dataset or a
            function that makes one (see ``lmkit.data.loaders``), or parts: {"training": …, "validation": …}. Or the
            name of a source, or a mapping that describes it: {"source": "novel.txt", "text": "bpe"}.
        inline: train in this process, before returning: for a debugger, or a model that cannot be sent.
        wait: return only once it has ended.
        runs: where runs are kept (default: $LMKIT_RUNS or ./runs).
        **changes: parts of the experiment to change, such as ``epochs=3``, ``lr=0.1`` or ``model="mlp:wide"``.
            ``model`` may be a function or class of your own that builds a model, or a ``functools.partial`` of one with
            its arguments; ``loss`` a function or a loss of the framework; ``metrics`` a list of functions.

    Raises:
        ConfigError: the experiment cannot be, or something of your own cannot be sent to the worker.
        DataError: the data cannot be trained on.
        MissingPackage: its framework is not installed.

    >>> import lmkit as lk
    >>> run = lk.train(data="digits", model="mlp:small", epochs=5)  # doctest: +SKIP
    """
    changes = objects.referred(changes, runs, inline=inline)
    if isinstance(experiment, Mapping):
        experiment = objects.referred(experiment, runs, inline=inline)
    if isinstance(experiment, str | Path):
        spec = Experiment.load(experiment)
    elif experiment is None:
        spec = None
    else:
        spec = experiment if isinstance(experiment, Experiment) else Experiment.from_dict(experiment)
    if isinstance(data, str):
        changes["data.source"] = data
    elif isinstance(data, Mapping) and "source" in data:
        changes["data"] = dict(data)
    elif data is not None:
        from lmkit.data.store import keep

        changes = {f"data.{k}": v for k, v in keep(data, runs, inline=inline).items()} | changes
    spec = spec.override(changes) if spec else Experiment.of(changes)  # what is not given suits what is
    require(spec.framework)
    objects.check(spec)
    check_data(spec, runs)
    executor = InlineExecutor() if inline else WorkerExecutor()
    earlier = begun(spec)
    if earlier is None or (earlier.status().state == "failed" and not _may_go_on(earlier.status())):
        folder = RunFolder.create(spec, runs)
        executor.start(folder)
    else:  # this notebook is executed again, after an attempt that was cut off
        folder = earlier
        folder.tell_journal()
        if not folder.status().live and folder.status().state != "completed":
            folder.claim()
            folder.command("resume")
            executor.start(folder)
        elif folder.status().state == "paused":
            folder.command("resume")
    run = Run(folder)
    return run.wait() if wait else run


def _may_go_on(status: Status) -> bool:
    """Whether what a run failed of lay outside of it."""
    return status.reason.startswith("cannot write to ")


def check_data(experiment: Experiment, runs: str | Path | None = None) -> None:
    """Refuses, before anything starts, data that cannot be trained on as configured.

    Of a bundled set all but its columns is known beforehand; a file is read here if it is small.

    Raises:
        DataError, ConfigError: it cannot; the message says why and what to do.
    """
    from lmkit.data.preparation import read
    from lmkit.data.sources import check_sizes
    from lmkit.specs.losses import resolve_loss

    spec = experiment.data
    if spec.kind == "text":
        from lmkit.data.text import check as check_text

        resolve_loss(experiment.training.loss, "language")
        if signature := check_text(spec, runs):
            experiment.model.check(signature)
        return
    if spec.bundled and spec.kind == "table" and not (spec.drop or spec.categorical):
        check_sizes(spec, spec.bundled.rows)
        return
    if spec.kind == "loader":
        return  # the worker reads it: to look into it is to run it
    if spec.streams:
        from lmkit.data.streaming import check as check_stream

        check_stream(spec)
        return
    path = Path(spec.source).expanduser()
    if spec.is_file and path.is_file() and path.stat().st_size > EAGER_BYTES:
        return
    table = read(spec, runs)
    check_sizes(spec, len(table.y))
    resolve_loss(experiment.training.loss, table.task)
    experiment.model.check(table.signature)
