"""Tables of a sweep: its summary, and its trials with links to their notebooks."""

from __future__ import annotations

import contextlib
import os
import urllib.parse
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.batch.templates import OVERRIDES, template_paths
from lmkit.display.table import Link, Table
from lmkit.display.units import format_duration
from lmkit.experiment.schema import full_path
from lmkit.sweeping.engines import LOCAL
from lmkit.sweeping.folder import SPEC
from lmkit.sweeping.pruners import pruner_to_dict
from lmkit.sweeping.trial_row import trial_table
from lmkit.system.privacy import is_private, shorten_home
from lmkit.tables.results import result
from lmkit.tables.runs import parts_text

if TYPE_CHECKING:
    from lmkit.run.run import Run
    from lmkit.sweeping.records import Trial
    from lmkit.sweeping.sweep import Sweep

MAX_CHARACTERS = 300
"""Maximum number of characters of a list."""

HEADLINES = {
    "data": "data.source",
    "epochs": "training.epochs",
    "optimizer": "training.optimizer.name",
    "framework": "framework",
}
"""What is said of the experiment of a sweep first → its path."""


def sweep_summary(sweep: Sweep) -> Table:
    """Summarize a sweep: what was trained, state, search space, method, settings. Does not wait for its end."""
    spec, settings = sweep.spec, sweep.folder.settings
    durations = [t.seconds for t in sweep.trials if t.seconds]
    threads = f", {settings.threads} thread{'s' if settings.threads > 1 else ''} each" if settings.threads else ""
    pruner = pruner_to_dict(spec.pruner)
    rows = [
        *_subject_rows(sweep),
        ("state", sweep.summary()),
        ("best run", _best_result(sweep)),
        ("doctor", _diagnosis(sweep)),
        ("search space", "; ".join(f"{name}: {domain}" for name, domain in spec.space.domains.items())),
        ("search", {"tpe": "TPE (Optuna)"}.get(spec.method, spec.method)),
        ("objective", ", ".join(map(str, sweep.objectives)) or None),
        ("pruner", ", ".join(f"{k} {v}" for k, v in pruner.items()) if pruner else None),
        ("notebook", f"{spec.template}, {settings.workers} at a time{threads}"),
        ("engine", settings.engine if settings.engine != LOCAL else None),
        ("total trial time", format_duration(sum(durations)) if durations else None),
        ("started", datetime.fromtimestamp((sweep.path / SPEC).stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("folder", None if is_private() else shorten_home(str(sweep.path))),
    ]
    return Table(sweep.name, ("what", "value"), tuple((k, v) for k, v in rows if v is not None))


def _best_result(sweep: Sweep) -> str | None:
    """The test result of the run of the best trial."""
    best = sweep.leader(sweep.trials)
    answer = result(sweep.run(best)) if best and best.run else None
    return str(answer) if answer else None


def _diagnosis(sweep: Sweep) -> str | None:
    """Return what the doctor says about the trials; None where no trial has a finding."""
    diagnosis = sweep.doctor()
    return diagnosis.text if diagnosis.findings else None


def _subject_rows(sweep: Sweep) -> list[tuple[str, str | None]]:
    """What all trials have in common: data, model and settings of an experiment, and parameters of a notebook."""
    parameters = {k: v for k, v in sweep.spec.fixed.parameters.items() if k != OVERRIDES}
    rows: list[tuple[str, str | None]] = []
    trial = next((t for t in sweep.ranked() if t.run), None)
    if trial is not None:
        rows = _experiment_rows(sweep.run(trial), {full_path(name) for name in sweep.space.domains})
    if Path(sweep.spec.template).stem not in template_paths() or trial is None:
        rows.append(("parameters", _join(f"{name} {value!r}" for name, value in parameters.items())))
    return rows


def _experiment_rows(run: Run, varied: set[str]) -> list[tuple[str, str | None]]:
    """The settings of a run's experiment that do not vary: the important ones, and those that are not defaults."""
    from lmkit.experiment.experiment import Experiment

    defaults = Experiment().settings()
    fixed = {p: v for p, v in run.experiment.settings().items() if p not in varied and p != "name" and v is not None}
    rows = [(title, str(fixed[path]) if path in fixed else None) for title, path in HEADLINES.items()]
    if parts := parts_text(run):
        rows = [(title, f"{text}: {parts}" if title == "data" and text else text) for title, text in rows]
    model = _join(f"{p.removeprefix('model.')} {v}" for p, v in fixed.items() if p.startswith("model."))
    others = (
        f"{p} {v}"
        for p, v in fixed.items()
        if not p.startswith("model.") and p not in HEADLINES.values() and v != defaults.get(p)
    )
    rows.insert(1, ("model", model and model.removeprefix("family ")))
    return [*rows, ("other settings", _join(others))]


def _join(texts: Iterable[str]) -> str | None:
    """Return a list in words, cut at a comma where it is too long; None if it is empty."""
    text = ", ".join(texts)
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS].rpartition(',')[0]}, …"
    return text or None


def front(sweep: Sweep) -> Table:
    """The trials that no other dominates (the Pareto front), one per row. Does not wait for the sweep's end."""
    members = sweep.front_of(sweep.trials)
    parameters = list(sweep.space.domains)
    rows = tuple(
        (t.number, *(t.parameters.get(name) for name in parameters), *(t.values[o.name] for o in sweep.objectives))
        for t in members
    )
    columns = ("trial", *(name.rpartition(".")[2] for name in parameters), *map(str, sweep.objectives))
    return Table(f"Pareto front: {len(rows)} of {len(sweep.trials)} trials", columns, rows)


def trials(sweep: Sweep, page: str | Path | None = None) -> Table:
    """The trials of a sweep, one per row, the best first; each number links to the executed notebook.

    Args:
        sweep: a finished or running sweep.
        page: the folder that the links are relative to (default: the sweep's folder).
    """
    rows = sweep.trial_rows()
    numbers = [_notebook_link(row.trial, Path(page or sweep.path)) for row in rows]
    names = [o.name for o in sweep.objectives]
    return trial_table(f"{len(rows)} trials, best first", rows, list(sweep.space.domains), names, numbers)


def _notebook_link(trial: Trial, page: Path) -> Any:
    """Link the number of a trial to its page where there is one, else to its notebook."""
    if trial.notebook is None:
        return str(trial.number)
    target = trial.notebook.with_suffix(".html")
    with contextlib.suppress(OSError, ValueError):  # a name that is none
        path = Path(os.path.relpath(target if target.is_file() else trial.notebook, page.absolute())).as_posix()
        return Link(str(trial.number), urllib.parse.quote(path))
    return str(trial.number)
