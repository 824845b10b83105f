"""The live sweep: a table of trials and charts that fill while it goes on, and a button that ends it.

    sweep's folder ──> LiveSweep ──(what changed)──> sweep.js ──> plotly
                           ▲                            │
                           └──────────── cancel ────────┘

Once it has ended its output is replaced by the table without scripts, and the charts as figures and pictures, which a
saved notebook shows anywhere. Somebody who uses it by then keeps it until it is closed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from lmkit import charts
from lmkit.errors import LmkitError
from lmkit.progress import seconds_left, time_text
from lmkit.run import Run
from lmkit.runfolder import RunFolder
from lmkit.sweeping.folder import Trial, TrialFolder
from lmkit.sweeping.sweep import Sweep
from lmkit.table import Written
from lmkit.widgets.live import Live, Output, cell
from lmkit.widgets.mirroring import TRACKERS, mirror_aside
from lmkit.widgets.monitor import watcher
from lmkit.widgets.output import SWEEP_CHARTS, sweep_outputs
from lmkit.widgets.style import css, script

LOOK_SECONDS = 0.7
"""How often the folder is looked at, at most."""

PATIENCE, LONGEST = 10, 15.0
"""Looking, and drawing, may take one part in so many of the kernel's time; but nothing waits longer, in seconds."""


class SweepView(anywidget.AnyWidget):
    """The page's side."""

    _esm = script("live", "sweep")
    _css = css("live", "sweep")

    title = traitlets.Unicode().tag(sync=True)
    view_id = traitlets.Unicode().tag(sync=True)
    trackers = traitlets.List(list(TRACKERS)).tag(sync=True)


class LiveSweep(Live):
    """A sweep watched and steered from a notebook; what ``lk.sweep(...)`` and ``lk.attach_sweep(...)`` show.

    Args:
        sweep: what to show.
        stay: whether it stays when all trials have ended, until it is closed in the page.

    Attributes:
        widget: the widget, to be put into another one.
        done: whether there is nothing more to look for.
    """

    places = 1 + len(SWEEP_CHARTS)
    asked = (*Live.asked, "cancel", "mirror")

    def __init__(self, sweep: Sweep, *, stay: bool = False) -> None:
        self.sweep = _Remembering(sweep.folder)
        self.done = False
        self._next = 0.0
        self._drawn: tuple[Any, dict[str, Any]] = (None, {})
        self._draw_after = 0.0
        super().__init__(SweepView(title=sweep.name), stay=stay)
        watcher.add(self)

    # -- what the page is told --------------------------------------------------------------------

    def look(self) -> bool:
        """Tells the page what is new, and ends as a static output once nobody drives it any more."""
        began = time.monotonic()
        running = self.running()  # asked first: what is told then is all there will be
        if began < self._next and running:
            return False
        with self._lock:
            self._tell()
            if not running:
                self.done = True
                if not self.used:
                    self.close()
        self._next = began + max(LOOK_SECONDS, min(LONGEST, PATIENCE * (time.monotonic() - began)))
        return False

    def news(self) -> dict[str, Any]:
        """How it goes, the table and the charts."""
        trials = self.sweep.trials
        return {**told(self.sweep, trials), "charts": self._charts(trials)}

    def outputs(self) -> list[Output]:
        """The table, and each chart."""
        return sweep_outputs(self.sweep)

    def running(self) -> bool:
        """Whether anybody drives it."""
        return self.sweep.folder.driver() is not None

    def _charts(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """The charts as plotly's figures; drawn again once more trials have ended, and enough time has passed."""
        key = tuple(t.number for t in trials if t.done)
        began = time.monotonic()
        if key == self._drawn[0] or (began < self._draw_after and self.running()):
            return self._drawn[1]
        figures: dict[str, Any] = {}
        for name in SWEEP_CHARTS:
            with suppress(LmkitError):  # too few trials for it yet
                figures[name] = json.loads(getattr(charts, name)(self.sweep).figure.to_json())
        self._drawn = key, figures
        self._draw_after = began + min(LONGEST, PATIENCE * (time.monotonic() - began))
        return figures

    # -- what the page asks -----------------------------------------------------------------------

    def _on_cancel(self, _: Mapping[str, Any]) -> None:
        self.used = True  # whoever cancels may want to see where it stands
        self.sweep.stop()

    def _on_mirror(self, message: Mapping[str, Any]) -> None:
        mirror_aside([self.sweep], message["to"], self._say)

    def __repr__(self) -> str:
        return repr(self.sweep)


class _Remembering(Sweep):
    """A sweep that reads those trials once that ended as they should: they never change."""

    def __init__(self, folder: Any) -> None:
        super().__init__(folder)
        self._known: dict[Path, Trial] = {}

    @property
    def trials(self) -> list[Trial]:
        """Its trials, as they were begun."""
        driven = self.folder.driver() is not None
        found = []
        for each in self.folder.trial_folders():
            trial = self._known.get(each.path) or TrialFolder(each.path).read(driven)
            if trial.good:
                self._known[each.path] = trial
            found.append(trial)
        return found


def told(sweep: Sweep, trials: Sequence[Trial]) -> dict[str, Any]:
    """A sweep as plain values: how it goes, and its table."""
    varied = [*sweep.spec["grid"], *sweep.spec["search"]]
    names = [o.name for o in sweep.objectives if o.name != "seconds"]
    best = sweep.leader(trials)
    state = sweep._state(trials)
    return {
        "status": {
            "state": state,
            "done": sum(t.done for t in trials),
            "total": max(sweep.wanted, len(trials)),
            "doing": _counted(trials),
            "left": _left(trials, sweep) if state == "running" else None,
            "best": "" if best is None else _best_words(sweep, best),
        },
        "columns": ["trial", "state", *(v.rpartition(".")[2] for v in varied), *names, "time", "run"],
        "rows": [_row(t, varied, names, best) for t in trials],
    }


def _row(trial: Trial, varied: Sequence[str], names: Sequence[str], best: Trial | None) -> dict[str, Any]:
    state, values, seconds = trial.state, trial.values, trial.seconds
    if state == "running" and trial.run:
        state, values, seconds = _so_far(trial)
    return {
        "name": str(trial.number),
        "state": trial.state,
        "best": best is not None and trial.number == best.number,
        "error": trial.error,
        "run": trial.run.name if trial.run else "",
        "notebook": str(trial.notebook or ""),
        "given": {name: str(trial.parameters.get(name)) for name in varied},
        "cells": [
            cell(trial.number),
            cell(state),
            *(cell(_plain(trial.parameters.get(name))) for name in varied),
            *(cell(_finite(values.get(name))) for name in names),
            cell(Written(seconds, time_text(seconds)) if seconds else None),
            cell(trial.run.name.rsplit("-", 1)[-1] if trial.run else None),
        ],
    }


def _so_far(trial: Trial) -> tuple[str, dict[str, Any], float]:
    """Where a trial that runs stands: in words, its last numbers, its seconds."""
    assert trial.run is not None
    try:
        run = Run(RunFolder(trial.run))
        status, history = run.status, run.history
    except (LmkitError, OSError):  # it is only just being made
        return trial.state, {}, trial.seconds
    values = dict(history.iloc[-1]) if len(history) else {}
    words = f"epoch {status.epoch} of {status.epochs}" if status.epochs and status.live else trial.state
    return (
        words,
        {str(k): float(v) for k, v in values.items() if isinstance(v, int | float)},
        trial.seconds + status.seconds,
    )


def _plain(value: Any) -> Any:
    return (
        value if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)) else str(value)
    )


def _finite(value: Any) -> Any:
    """A number as such, or as a text where the page could not be told it."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else _plain(value)


def _counted(trials: Sequence[Trial]) -> str:
    counts = {s: sum(t.state == s for t in trials) for s in ("running", "completed", "pruned", "failed", "interrupted")}
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n)


def _left(trials: Sequence[Trial], sweep: Sweep) -> float | None:
    """Seconds until its end, as trials have taken so far."""
    took = [t.seconds for t in trials if t.done]
    left = seconds_left(took, max(0, sweep.wanted - len(took)), sweep.folder.settings.get("workers") or 1)
    return left and round(left, 1)


def _best_words(sweep: Sweep, best: Trial) -> str:
    values = ", ".join(f"{o.name} {best.values[o.name]:.4g}" for o in sweep.objectives if o.name in best.values)
    return f"best: trial {best.number}, {values}"
