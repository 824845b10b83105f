"""Tables of a sweep: what it is and where it stands, and its trials with links to their notebooks."""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.progress import time_text
from lmkit.sweeping.sweep import plain_cell
from lmkit.table import Linked, Table, Written

if TYPE_CHECKING:
    from lmkit.sweeping.folder import Trial
    from lmkit.sweeping.sweep import Sweep

ERROR = 300
"""Letters of an error that a table shows at most; the trial's notebook has all of it."""


def sweep_summary(sweep: Sweep) -> Table:
    """What a sweep goes through and where it stands, in a few lines; it waits for nothing."""
    trials, space, settings = sweep.trials, sweep.space, sweep.folder.settings
    varied = {**space.grid, **space.search}
    begun = [t.seconds for t in trials if t.seconds]
    count = settings.get("threads")
    threads = f", {count} thread{'s' if count > 1 else ''} each" if count else ""
    rows = [
        ("state", sweep.summary()),
        ("varied", "; ".join(f"{name}: {among}" for name, among in varied.items())),
        ("chosen by", {"grid": "grid, in its order", "random": "random", "tpe": "TPE (Optuna)"}[sweep.spec["method"]]),
        ("objective", ", ".join(map(str, sweep.objectives)) or None),
        ("pruned by", _rule(sweep.spec["prune"])),
        ("executed", f"{sweep.spec['template']}, {settings.get('workers')} at a time{threads}"),
        ("on", settings.get("engine") if settings.get("engine") != "threads" else None),
        ("time of all trials", time_text(sum(begun)) if begun else None),
        ("folder", str(sweep.path)),
    ]
    return Table(sweep.name, ("what", "value"), tuple((k, v) for k, v in rows if v is not None))


def trials(sweep: Sweep, page: str | Path | None = None) -> Table:
    """All trials of a sweep, one a row, the best first; each number is a link to its executed notebook.

    Args:
        sweep: it may be running.
        page: the folder of the page that the table is for, from which the links lead; default: the sweep's.
    """
    varied = [*sweep.spec["grid"], *sweep.spec["search"]]
    rows = [
        (
            _linked(t, Path(page or sweep.path)),
            t.state,
            *(plain_cell(t.parameters.get(v)) for v in varied),
            *(t.values.get(o.name) for o in sweep.objectives if o.name != "seconds"),
            Written(t.seconds, time_text(t.seconds)) if t.seconds else None,
            t.run.name.rsplit("-", 1)[-1] if t.run else None,
            _short(t.error) or None,
        )
        for t in sweep.ranked()
    ]
    names = [o.name for o in sweep.objectives if o.name != "seconds"]
    columns = ("trial", "state", *(v.rpartition(".")[2] for v in varied), *names, "time", "run", "error")
    kept = [i for i, c in enumerate(columns) if c not in ("run", "error") or any(r[i] is not None for r in rows)]
    return Table(
        f"{len(rows)} trials, the best first",
        tuple(columns[i] for i in kept),
        tuple(tuple(r[i] for i in kept) for r in rows),
    )


def _linked(trial: Trial, page: Path) -> Any:
    if trial.notebook is None:
        return str(trial.number)
    path = Path(os.path.relpath(trial.notebook, page.absolute())).as_posix()
    return Linked(str(trial.number), urllib.parse.quote(path))


def _rule(spec: Any) -> str | None:
    return (
        None
        if spec is None
        else ", ".join(f"{k} {v}" for k, v in spec.items())
        if isinstance(spec, dict)
        else str(spec)
    )


def _short(error: str) -> str:
    text = error.strip().partition("\n")[0]
    return text if len(text) <= ERROR else f"{text[: ERROR - 1]}…"
