"""The live sweep: a table of trials and charts that update while it runs, and buttons to cancel and resume.

    sweep's folder ──> LiveSweep ──(changes)──> sweep.js ──> plotly
                           ▲                            │
                           └──────── cancel, resume ────┘

When the sweep has ended, the table without scripts and the charts as figures and pictures replace the output, which a
saved notebook shows everywhere. A widget that is in use stays until it is closed.
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
from lmkit.display.table import FormattedNumber
from lmkit.display.units import estimate_remaining, format_duration
from lmkit.exceptions import LmkitError
from lmkit.run.run import Run
from lmkit.runfolder.folder import RunFolder
from lmkit.sweeping.diagnosis import examine_trials, strongest
from lmkit.sweeping.folder import TrialFolder
from lmkit.sweeping.records import FINISHED, Trial
from lmkit.sweeping.start import is_resumable, resume
from lmkit.sweeping.sweep import Sweep
from lmkit.widgets.live_table import Live, cell
from lmkit.widgets.output import SWEEP_CHARTS, Output, sweep_outputs
from lmkit.widgets.style import css, script
from lmkit.widgets.tracking import TRACKERS, start_logging
from lmkit.widgets.watcher import watcher

POLL_SECONDS = 0.7
"""Minimum seconds between two polls of the folder."""

DUTY_FACTOR, MAX_WAIT = 10, 15.0
"""Polling and drawing take at most one part in ``DUTY_FACTOR`` of the time, but wait at most ``MAX_WAIT`` seconds."""

EXAMINE_SECONDS = 0.05
"""Seconds that one poll spends on examining trials that have ended; the next one examines the others."""


class SweepView(anywidget.AnyWidget):
    """The widget of a live sweep."""

    _esm = script("live", "sweep")
    _css = css("live", "sweep")

    title = traitlets.Unicode().tag(sync=True)
    view_id = traitlets.Unicode().tag(sync=True)
    trackers = traitlets.List(list(TRACKERS)).tag(sync=True)


class LiveSweep(Live):
    """A live sweep in a notebook; the display of ``lk.sweep(...)`` and ``lk.attach_sweep(...)``.

    Args:
        sweep: the sweep to display.
        stay: keep the widget after the end, until it is closed in the page.

    Attributes:
        widget: the widget, for use in other widgets.
        done: whether no more updates follow.
    """

    n_outputs = 1 + len(SWEEP_CHARTS)
    messages = (*Live.messages, "cancel", "resume", "mirror")

    def __init__(self, sweep: Sweep, *, stay: bool = False) -> None:
        self.sweep = _CachingSweep(sweep.folder)
        self.done = False
        self._next = 0.0
        self._drawn: tuple[Any, dict[str, Any]] = (None, {})
        self._draw_after = 0.0
        super().__init__(SweepView(title=sweep.name), stay=stay)
        watcher.add(self)

    # -- kernel to page ---------------------------------------------------------------------------

    def poll(self) -> bool:
        """Send changes to the page; replace the widget once the sweep has ended."""
        began = time.monotonic()
        running = self.running()  # checked first, so that the last update is complete
        if began < self._next and running:
            return False
        with self._lock:
            self._send_changes()
            if not running:
                self.done = True
                if not self.keep:
                    self.close()
        self._next = began + max(POLL_SECONDS, min(MAX_WAIT, DUTY_FACTOR * (time.monotonic() - began)))
        return False

    def state(self) -> dict[str, Any]:
        """Progress, table and charts."""
        trials = self.sweep.trials
        return {**sweep_state(self.sweep, trials), "charts": self._charts(trials)}

    def outputs(self) -> list[Output]:
        """The table, and each chart."""
        return sweep_outputs(self.sweep)

    def running(self) -> bool:
        """Whether the sweep is running."""
        return self.sweep.folder.driver() is not None

    def _charts(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """The charts as plotly figures; redrawn when more trials have finished and enough time has passed."""
        key = tuple(t.number for t in trials if t.done)
        began = time.monotonic()
        if key == self._drawn[0] or (began < self._draw_after and self.running()):
            return self._drawn[1]
        figures: dict[str, Any] = {}
        for name in SWEEP_CHARTS:
            with suppress(LmkitError):  # too few trials
                figures[name] = json.loads(getattr(charts, name)(self.sweep).figure.to_json())
        self._drawn = key, figures
        self._draw_after = began + min(MAX_WAIT, DUTY_FACTOR * (time.monotonic() - began))
        return figures

    # -- page to kernel ---------------------------------------------------------------------------

    def _on_cancel(self, _: Mapping[str, Any]) -> None:
        self.keep = True  # keep the widget after a cancel
        self.sweep.stop()

    def _on_resume(self, _: Mapping[str, Any]) -> None:
        self._run_in_background(self._resume)

    def _resume(self) -> None:
        resume(self.sweep.folder)
        self._next, self.done = 0.0, False
        watcher.add(self)

    def _on_mirror(self, message: Mapping[str, Any]) -> None:
        start_logging([self.sweep], message["to"], self._show_message)

    def __repr__(self) -> str:
        return repr(self.sweep)


class _CachingSweep(Sweep):
    """A sweep that reads successfully finished trials only once."""

    def __init__(self, folder: Any) -> None:
        super().__init__(folder)
        self._finished: dict[Path, Trial] = {}

    @property
    def trials(self) -> list[Trial]:
        """Its trials, in order of their start."""
        running = self.folder.driver() is not None
        trials = []
        for folder in self.folder.trial_folders():
            trial = self._finished.get(folder.path) or TrialFolder(folder.path).read(running)
            if trial.good:
                self._finished[folder.path] = trial
            trials.append(trial)
        return trials


def sweep_state(sweep: Sweep, trials: Sequence[Trial]) -> dict[str, Any]:
    """A sweep as plain values: its progress and its table."""
    parameters = list(sweep.space.domains)
    names = [o.name for o in sweep.objectives if o.name != "seconds"]
    best = sweep.leader(trials)
    state = sweep.state_of(trials)
    diagnoses = examine_trials(trials, EXAMINE_SECONDS)
    texts = {number: text for number, diagnosis in diagnoses.items() if (text := strongest(diagnosis))}
    doctor = ["doctor"] if texts else []
    return {
        "status": {
            "state": state,
            "done": sum(t.done for t in trials),
            "total": max(sweep.trial_count, len(trials)),
            "activity": _count_states(trials),
            "seconds_left": _seconds_left(trials, sweep) if state == "running" else None,
            "best": "" if best is None else _describe_best(sweep, best),
            "resumable": state == "interrupted" and is_resumable(sweep.folder),
        },
        "columns": ["trial", "state", *(v.rpartition(".")[2] for v in parameters), *names, "time", "run", *doctor],
        "rows": [_row(t, parameters, names, best, [cell(texts.get(t.number)) for _ in doctor]) for t in trials],
    }


def _row(
    trial: Trial,
    parameters: Sequence[str],
    names: Sequence[str],
    best: Trial | None,
    more: Sequence[dict[str, Any] | None],
) -> dict[str, Any]:
    state: str = trial.state
    values, seconds = trial.values, trial.seconds
    if state == "running" and trial.run:
        state, values, seconds = _progress(trial)
    return {
        "name": str(trial.number),
        "state": trial.state,
        "best": best is not None and trial.number == best.number,
        "error": "" if trial.state == "interrupted" else trial.error,  # that was asked for
        "run": trial.run.name if trial.run else "",
        "notebook": str(trial.notebook or ""),
        "parameters": {name: str(trial.parameters.get(name)) for name in parameters},
        "cells": [
            cell(trial.number),
            cell(state),
            *(cell(_plain(trial.parameters.get(name))) for name in parameters),
            *(cell(_finite(values.get(name))) for name in names),
            cell(FormattedNumber(seconds, format_duration(seconds)) if seconds else None),
            cell(trial.run.name.rsplit("-", 1)[-1] if trial.run else None),
            *more,
        ],
    }


def _progress(trial: Trial) -> tuple[str, dict[str, Any], float]:
    """The progress of a running trial as text, its last metrics, its seconds."""
    assert trial.run is not None
    try:
        run = Run(RunFolder(trial.run))
        status, history = run.status, run.history
    except (LmkitError, OSError):  # the run folder is being created
        return trial.state, {}, trial.seconds
    values = dict(history.iloc[-1]) if len(history) else {}
    text = f"epoch {status.epoch} of {status.epochs}" if status.epochs and status.live else trial.state
    return (
        text,
        {str(k): float(v) for k, v in values.items() if isinstance(v, int | float)},
        trial.seconds + status.seconds,
    )


def _plain(value: Any) -> Any:
    return (
        value if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)) else str(value)
    )


def _finite(value: Any) -> Any:
    """A number, or text for a number that JSON does not have."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else _plain(value)


def _count_states(trials: Sequence[Trial]) -> str:
    counts = {s: sum(t.state == s for t in trials) for s in ("running", *FINISHED, "interrupted")}
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n)


def _seconds_left(trials: Sequence[Trial], sweep: Sweep) -> float | None:
    """Seconds until the end, from the durations of the finished trials."""
    durations = [t.seconds for t in trials if t.done]
    seconds = estimate_remaining(durations, max(0, sweep.trial_count - len(durations)), sweep.folder.settings.workers)
    return seconds and round(seconds, 1)


def _describe_best(sweep: Sweep, best: Trial) -> str:
    values = ", ".join(f"{o.name} {best.values[o.name]:.4g}" for o in sweep.objectives if o.name in best.values)
    return f"best: trial {best.number}, {values}"
