"""``trust``: allow the code that a run, a sweep, a bundle or an experiment's file from elsewhere names to run here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lmkit.custom.trust import Code, remember, run_folder
from lmkit.deploy.bundle.load import describe_program
from lmkit.deploy.bundle.verify import CHECKSUMS, remember_bundle
from lmkit.display.table import Table
from lmkit.exceptions import LmkitError, RunNotFound
from lmkit.experiment.experiment import Experiment
from lmkit.run.resolve import EXPERIMENT_FILES, resolve_run
from lmkit.run.run import Run
from lmkit.sweeping.folder import SPEC
from lmkit.sweeping.sweep import Sweep, attach_sweep, find_sweep


def trust(source: Run | Sweep | str | Path = "last", *, runs: str | Path | None = None) -> Table:
    """Allow the code of a run, a sweep, a bundle or an experiment's file to run here, and return what that is.

    A run that was trained elsewhere, or by another user, may name any function of any module as its model, loss,
    metric or data, with any arguments; so may a file. Reading it runs none of them. Training, predicting, resuming,
    comparing, bundling and converting do, so they are refused until the same code was trained by this user on this
    machine, or is trusted. A bundle that is a program is refused until it is trusted.

    Args:
        source: a run, its name or its folder; a sweep, its name or its folder, for the code of its trials; the folder
            of a bundle; or a .yaml or .json file that describes an experiment.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).

    Raises:
        RunNotFound: there is no such run, sweep, bundle or file.
        ConfigError: the file describes no experiment.
        BundleError: the bundle is damaged.

    >>> import lmkit as lk
    >>> lk.trust("received/20261129-101500-shapes-3f2a1c")  # doctest: +SKIP
    >>> lk.attach("received/20261129-101500-shapes-3f2a1c").predict(rows)  # doctest: +SKIP
    """
    if isinstance(source, Sweep):
        return _trust_sweep(source)
    if isinstance(source, Run):
        return _trust_run(source)
    path = Path(source).expanduser()
    if (path / CHECKSUMS).is_file():
        code = describe_program(path)
        remember_bundle(path)
        return _table(str(path), [("artifact", code)] if code else [])
    if (path / SPEC).is_file():
        return _trust_sweep(attach_sweep(path.absolute()))
    if path.is_file() and path.suffix.lower() in EXPERIMENT_FILES:
        folder = run_folder(path)
        return _table(str(path), _rows(remember(Experiment.load(path), folder.parent if folder else runs)))
    try:
        return _trust_run(resolve_run(source, runs=runs))
    except RunNotFound as error:
        sweep = find_sweep(source, runs)
        if sweep is None:
            raise RunNotFound(f"{error}; nor is it a sweep, the folder of a bundle or an experiment's file") from None
        return _trust_sweep(sweep)


def _trust_run(run: Run) -> Table:
    return _table(run.name, _rows(remember(run.experiment, run.path.parent)))


def _trust_sweep(sweep: Sweep) -> Table:
    """Put the code of all trials on record; trials whose files are damaged have none."""
    rows: dict[tuple[str, str], None] = {}
    for trial in sweep.trials:
        try:
            run = sweep.run(trial) if trial.run else None
            rows |= dict.fromkeys(_rows(remember(run.experiment, run.path.parent)) if run else ())
        except LmkitError:
            continue
    return _table(sweep.name, list(rows))


def _rows(code: Iterable[Code]) -> list[tuple[str, str]]:
    return [(part.path, str(part)) for part in code]


def _table(name: str, rows: list[tuple[str, str]]) -> Table:
    title = f"{name}: " + ("trusted code" if rows else "names no code, and needs no trust")
    return Table(title, ("path", "code"), tuple(rows))
