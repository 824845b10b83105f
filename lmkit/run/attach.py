"""Runs by name: attach to them, list them, watch and control them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lmkit.custom import objects
from lmkit.custom.trust import remember
from lmkit.exceptions import ConfigError, LmkitError, join_names, shorten
from lmkit.run.resolve import resolve_each, resolve_run
from lmkit.run.run import Run
from lmkit.run.runs import Runs
from lmkit.runfolder.find import run_folders
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.status import Status

if TYPE_CHECKING:
    import pandas as pd


@overload
def attach(
    name: Run | str | Path = "last",
    /,
    *,
    runs: str | Path | None = None,
    trust: bool = False,
    model: Any = None,
    loss: Any = None,
    metrics: Sequence[Any] = (),
) -> Run: ...


@overload
def attach(
    name: Run | str | Path,
    second: Run | str | Path,
    /,
    *more: Run | str | Path,
    runs: str | Path | None = None,
    trust: bool = False,
    model: Any = None,
    loss: Any = None,
    metrics: Sequence[Any] = (),
) -> Runs: ...


def attach(
    *names: Run | str | Path,
    runs: str | Path | None = None,
    trust: bool = False,
    model: Any = None,
    loss: Any = None,
    metrics: Sequence[Any] = (),
) -> Run | Runs:
    """Return the run with a name, a prefix or a short id, or the ``last`` one started; for several names, all runs.

    Args:
        names: names of runs, or their folders.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).
        trust: allow the code that the runs name to run, now and later; see ``trust``.
        model, loss, metrics: the functions or classes that the runs were trained with, passed again where they are not
            with the runs, for this process; ``lk.pack`` stores them in a run's folder.

    Raises:
        RunNotFound: no run, or more than one, has the name.
        ConfigError: a run was not trained with such an object.
    """
    resolved = resolve_each(names, runs=runs) if len(names) > 1 else [resolve_run(*names, runs=runs)]
    passed = {"model.builder": model, "training.loss": loss}
    passed |= {f"training.metrics.{i}": metric for i, metric in enumerate(metrics)}
    for run in resolved:
        _provide(run, {path: value for path, value in passed.items() if value is not None})
    for run in resolved if trust else ():
        remember(run.experiment, run.path.parent)
    return resolved[0] if len(resolved) == 1 else Runs(resolved)


def _provide(run: Run, passed: Mapping[str, Any]) -> None:
    references = objects.references(run.experiment) if passed else {}
    for path, value in passed.items():
        if path not in references:
            names = join_names(references) or "none"
            raise ConfigError([f"{path}: {run.name} was not trained with such an object; it has: {names}"])
        if not callable(value):
            raise ConfigError([f"{path}: given {shorten(value)}, expected the function or class of the run"])
        objects.provide(references[path], value)


def watch(run: Run | str | Path = "last", *, runs: str | Path | None = None) -> Run:
    """Print a line per epoch of a run until it has ended."""
    return resolve_run(run, runs=runs).watch()


def pause(run: Run | str | Path = "last", *, runs: str | Path | None = None) -> Run:
    """Pause a run after a checkpoint."""
    return resolve_run(run, runs=runs).pause()


def stop(run: Run | str | Path = "last", *, runs: str | Path | None = None) -> Run:
    """Stop a run after a checkpoint."""
    return resolve_run(run, runs=runs).stop()


def resume(
    run: Run | str | Path = "last",
    *,
    devices: int | None = None,
    strategy: str | None = None,
    runs: str | Path | None = None,
) -> Run:
    """Continue a paused, stopped, failed or lost run from its last checkpoint.

    Args:
        run: a run, its name, or the path of its folder.
        devices: on which it continues; none: those of its experiment. The curve is the same for any number.
        strategy: of these devices.
        runs: the folder of the runs.
    """
    return resolve_run(run, runs=runs).resume(devices, strategy)


def generate(
    run: Run | str | Path = "last",
    prompt: str = "",
    tokens: int = 100,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    runs: str | Path | None = None,
) -> str:
    """Generate text from a prompt with the language model of a run; see ``Run.generate``."""
    return resolve_run(run, runs=runs).generate(prompt, tokens, temperature=temperature, top_k=top_k, seed=seed)


def runs(root: str | Path | None = None) -> pd.DataFrame:
    """Return the runs in ``root`` (default: $LMKIT_RUNS or ./runs) as a DataFrame, the newest first.

    A run of which a file cannot be read has the state ``damaged``; the column ``reason`` then says which and why. It
    also says that a run was stopped after a long pause.
    """
    from lmkit.display.listing import Listing

    rows = [_row(folder) for folder in reversed(run_folders(root))]
    columns = ["name", "state", "framework", "data", "model", "epoch", "step", "seconds", "path"]
    return Listing(rows) if rows else Listing(columns=columns)


def _row(folder: RunFolder) -> dict[str, Any]:
    status, spec, reason = Status(state="damaged"), None, {}
    try:
        spec = folder.experiment
        status = folder.status()
        reason = {"reason": status.reason} if status.cause == "idle" else {}
    except LmkitError as error:
        reason = {"reason": str(error)}
    return {
        "name": folder.name,
        "state": status.state,
        "framework": spec.framework if spec else "",
        "data": spec.data.source if spec else "",
        "model": spec.model.family if spec else "",
        "epoch": status.epoch,
        "step": status.step,
        "seconds": status.seconds,
        **{f"test_{k}": v for k, v in (status.metrics or {}).items()},
        **reason,
        "path": str(folder.path),
    }
