"""What is new in the folders of runs and sweeps, sent to a tracker."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lmkit.run.run import Run
from lmkit.runfolder.events import Event
from lmkit.runfolder.folder import RunFolder, runs_root
from lmkit.runfolder.progress import sentence
from lmkit.runfolder.status import Status
from lmkit.runfolder.tail import LogTail, Rewind, StepBlock
from lmkit.sweeping.folder import SPEC
from lmkit.sweeping.records import Trial
from lmkit.sweeping.search_space import Choice
from lmkit.sweeping.sweep import Sweep
from lmkit.trackers.base import Point, RunInfo, TrackerRun, is_number

POINTS = 5000
"""The approximate number of points of a run's steps, each the mean of consecutive ones."""

STEP_COLUMNS = ("loss", "lr", "gradient_norm")

OpenRun = Callable[[RunInfo, TrackerRun | None], TrackerRun]
"""Opens a run in a tracker, nested in another one or at the top."""


def create_exporter(source: Run | Sweep, open_run: OpenRun, every: int | None = None) -> RunExporter | SweepExporter:
    """Return what sends a run or a sweep.

    Args:
        source: the run or sweep.
        open_run: opens its run in the tracker, and those of a sweep's trials.
        every: steps per point; none: such that a run has about ``POINTS``.
    """
    exporter = SweepExporter if isinstance(source, Sweep) else RunExporter
    return exporter(source, open_run, every)  # type: ignore[arg-type]


# -- runs -----------------------------------------------------------------------------------------


class RunExporter:
    """Sends a run.

    Attributes:
        source: the run.
        where: where to see it.
    """

    def __init__(self, run: Run, open_run: OpenRun, every: int | None) -> None:
        self.source, self._metrics = run, MetricExporter(run, every)
        self._tracker_run = open_run(run_info(run), None)
        self.where = self._tracker_run.where

    def poll(self) -> bool:
        """Send new values; return whether the run still trains."""
        status = self._metrics.poll(self._tracker_run)
        self._tracker_run.update_status(status)
        return status.live


class MetricExporter:
    """Sends the new lines of a run's logs, as points and texts.

    Args:
        run: the run.
        every: steps per point; none: such that the run has about ``POINTS``.
    """

    def __init__(self, run: Run, every: int | None = None) -> None:
        self.run, self.every = run, every
        self._tail = LogTail(run.folder)
        self._time = 0.0
        self._rows: list[tuple[int, dict[str, float], float]] = []
        self._ended = False

    def poll(self, tracker_run: TrackerRun) -> Status:
        """Send what was written since the last call; return the status that the run had before."""
        status = self.run.status
        self.every = self.every or max(1, -(-status.steps // POINTS))
        blocks, events = self._tail.read_steps(), self._tail.read_events()
        self._time = self._time or (events[0].time if events else status.heartbeat)
        points: list[Point] = []
        for block in blocks:
            if isinstance(block, Rewind):
                tracker_run.log_points(points)
                self._rows, points = [], []
                tracker_run.rewind(block.step, self._time)
            else:
                points += self._add_block(block)
        if not status.live:
            points += self._take_mean(len(self._rows))
        for event in events:
            points += self._export_event(event, tracker_run)
        if not status.live and not self._ended:
            metrics = (status.metrics or {}).items()
            points += [Point(f"test/{name}", status.step, float(value), status.heartbeat) for name, value in metrics]
        self._ended = not status.live
        tracker_run.log_points(points)
        return status

    def _export_event(self, event: Event, tracker_run: TrackerRun) -> list[Point]:
        """Send the text of an event; return its values."""
        if event.type == "epoch":
            return [
                Point(f"epoch/{name}", int(event.data["step"]), float(value), event.time)
                for name, value in event.data.items()
                if name not in ("epoch", "step", "seconds", "lr") and isinstance(value, int | float)
            ]
        if event.type == "sample":
            text = f"{event.data['prompt']}{event.data['text']}"
            tracker_run.log_text("sample", int(event.data["step"]), text, event.time)
        elif text := sentence(event):
            tracker_run.log_text("events", int(event.data.get("step", 0)), text, event.time)
        return []

    def _add_block(self, block: StepBlock) -> Iterable[Point]:
        """Return the points that a block completes. Its time is that of its last step; the others lie evenly before."""
        start, end = self._time, float(self._time if block.time is None else block.time)
        columns = {name: block.columns.get(name) for name in STEP_COLUMNS}
        columns = {name: column for name, column in columns.items() if column is not None}
        for i in range(block.size):
            values = {name: column[i] if isinstance(column, list) else column for name, column in columns.items()}
            row = {name: math.nan if value is None else float(value) for name, value in values.items()}
            self._rows.append((block.first + i, row, start + (end - start) * (i + 1) / block.size))
            if self._rows[-1][0] % (self.every or 1) == 0:
                yield from self._take_mean(len(self._rows))
        self._time = end

    def _take_mean(self, n: int) -> Iterable[Point]:
        """Remove the first ``n`` rows and return their means, at the last one's step."""
        rows, self._rows = self._rows[:n], self._rows[n:]
        if not rows:
            return
        step, last, time = rows[-1]
        for name in last:
            values = [row[name] for _, row, _ in rows if name in row and not math.isnan(row[name])] or [math.nan]
            yield Point(f"step/{name}", step, last[name] if name == "lr" else sum(values) / len(values), time)


def run_info(run: Run) -> RunInfo:
    """Return what a tracker shows of a run."""
    events, environment = run.events, run.environment
    tags: dict[str, str] = {"lmkit.framework": run.experiment.framework}
    if commit := environment.get("git_commit"):
        tags["mlflow.source.git.commit"] = str(commit)
    return RunInfo(
        name=run.name,
        identity={"lmkit.run": run.name},
        folder=run.path,
        runs=run.path.parent,
        started=events[0].time if events else run.status.heartbeat,
        settings=run.experiment.settings(),
        tags=tags,
        files=("experiment.yaml", "environment.json"),
    )


# -- sweeps ---------------------------------------------------------------------------------------


class SweepExporter:
    """Sends a sweep, and nested in it its trials: the values of each one's run, and its results.

    Attributes:
        source: the sweep.
        where: where to see it.
    """

    def __init__(self, sweep: Sweep, open_run: OpenRun, every: int | None) -> None:
        self.source, self._open_run, self._every = sweep, open_run, every
        self._tracker_run = open_run(sweep_info(sweep), None)
        self.where = self._tracker_run.where
        self._trials: dict[int, _TrialExport] = {}
        self._best: list[Point] = []

    def poll(self) -> bool:
        """Send new values; return whether the sweep is still driven, or a run of it still trains."""
        state = self.source.state  # before the trials: what has ended by then is read completely after it
        trials = self.source.trials
        live = [self._poll_trial(trial) for trial in trials]
        best = list(_best(self.source, trials))
        self._tracker_run.log_points(best[len(self._best) :])
        self._best = best
        more = state == "running" or any(live)
        ended = max((_time(trial) for trial in trials if trial.done), default=_started(self.source))
        self._tracker_run.update_status(Status(state="running" if more else state, heartbeat=ended))
        return more

    def _poll_trial(self, trial: Trial) -> bool:
        """Send the new values of a trial; return whether its run still trains."""
        is_over, run = trial.done or trial.state == "interrupted", _run(trial)
        export = self._trials.get(trial.number)
        ended = (trial.state, _time(trial))
        if (export and export.ended == ended) or (run is None and not is_over):
            return False
        if export is None or export.ended or (run and run.path) != export.run:
            tracker_run = self._open_run(trial_info(self.source, trial), self._tracker_run)
            export = self._trials[trial.number] = _TrialExport(tracker_run, run, self._every)
        tracker_run = export.tracker_run
        status = export.metrics.poll(tracker_run) if export.metrics else None
        if status and (status.live or not is_over):
            tracker_run.update_status(Status(state="running", heartbeat=status.heartbeat))
            return status.live
        time, step = ended[1], int(trial.values.get("step") or 0)
        values = {name: float(value) for name, value in trial.values.items() if is_number(value) and name != "step"}
        tracker_run.log_points([Point(f"trial/{name}", step, value, time) for name, value in values.items()])
        if trial.error:
            tracker_run.log_text("error", step, trial.error, time)
        tracker_run.update_status(Status(state=trial.state, heartbeat=time))
        export.ended = ended
        return False


class _TrialExport:
    """What was sent of a trial: the values of which run, and how and when it ended, once it has."""

    def __init__(self, tracker_run: TrackerRun, run: Run | None, every: int | None) -> None:
        self.tracker_run, self.run = tracker_run, run and run.path
        self.metrics = MetricExporter(run, every) if run else None
        self.ended: tuple[str, float] | None = None


def sweep_info(sweep: Sweep) -> RunInfo:
    """Return what a tracker shows of a sweep."""
    spec, space = sweep.spec.to_dict(), sweep.space
    return RunInfo(
        name=sweep.name,
        identity={"lmkit.sweep": _identity(sweep)},
        folder=sweep.path,
        runs=_runs(sweep),
        started=_started(sweep),
        settings={
            "template": spec["template"],
            **{f"parameters.{name}": value for name, value in (spec.get("parameters") or {}).items()},
            **{f"grid.{name}": str(domain) for name, domain in space.grid.items()},
            **{f"search.{name}": str(domain) for name, domain in space.search.items()},
            "objectives": ", ".join(map(str, sweep.objectives)),
            **{name: spec[name] for name in ("method", "prune", "seed")},
        },
        files=(SPEC,),
        sweep=sweep,
    )


def trial_info(sweep: Sweep, trial: Trial) -> RunInfo:
    """Return what a tracker shows of a trial: its run, with the parameters of the trial."""
    space = {**sweep.space.grid, **sweep.space.search}
    parameters = {name: _comparable(value, space.get(name)) for name, value in trial.parameters.items()}
    trial_run = _run(trial)
    run = run_info(trial_run) if trial_run else None
    return RunInfo(
        name=f"{sweep.name}/{trial.number:04d}",
        # a run that was sent by itself before becomes the trial's
        identity={**(run.identity if run else {}), "lmkit.trial": f"{_identity(sweep)}/{trial.number:04d}"},
        folder=run.folder if run else trial.path,
        runs=_runs(sweep),
        started=run.started if run else (trial.path / "trial.json").stat().st_mtime,
        settings={**(run.settings if run else {}), **parameters},
        tags=run.tags if run else {},
        files=run.files if run else (),
    )


def _best(sweep: Sweep, trials: list[Trial]) -> Iterable[Point]:
    """Return the first objective's best value, by the number of trials that had ended, at each improvement."""
    ended = sorted((trial for trial in trials if trial.done), key=_time)
    best: float | None = None
    for i, trial in enumerate(ended):
        if sweep.leader([trial]):
            objective = sweep.objectives[0]
            value = float(trial.values[objective.name])
            if best is None or objective.sign * value < objective.sign * best:
                best = value
                yield Point(f"best/{objective.name}", i + 1, value, _time(trial))


def _comparable(value: Any, domain: Any) -> Any:
    """Return a parameter's value as a number if all values of its domain are numbers, else as text."""
    values = domain.values if isinstance(domain, Choice) else (value,)
    return value if all(map(is_number, values)) else str(value)


def _run(trial: Trial) -> Run | None:
    """Return the run of a trial; None if it is not complete yet, or was deleted."""
    exists = trial.run is not None and (trial.run / "experiment.yaml").exists()
    return Run(RunFolder(trial.run)) if trial.run and exists else None


def _started(sweep: Sweep) -> float:
    """Return when a sweep was started, in seconds since 1970."""
    return (sweep.path / SPEC).stat().st_mtime


def _identity(sweep: Sweep) -> str:
    """Return a name that another sweep of the same name does not have."""
    return f"{sweep.name}-{_started(sweep):.0f}"


def _runs(sweep: Sweep) -> Path:
    return Path(sweep.folder.settings.runs or runs_root())


def _time(trial: Trial) -> float:
    """Return when a trial ended, else when it was started, in seconds since 1970."""
    done = trial.path / "done.json"
    return (done if done.exists() else trial.path / "trial.json").stat().st_mtime
