"""What is new in the folders of runs and sweeps, told to a mirror."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lmkit.mirrors.trackers import Entry, Mirror, Point, number
from lmkit.progress import sentence
from lmkit.run import Run
from lmkit.runfolder import RunFolder, Status, runs_root
from lmkit.sweeping.folder import WHOLE, Trial
from lmkit.sweeping.space import Choice
from lmkit.sweeping.sweep import Sweep

POINTS = 5000
"""Of the steps of a run about so many points are told at most, each the mean of consecutive ones."""

Open = Callable[[Entry, Mirror | None], Mirror]
"""Opens an entry in a tracker, beneath another one or by itself."""


def reading(source: Run | Sweep, open: Open, every: int | None = None) -> RunReading | SweepReading:
    """Begins to tell a run or a sweep.

    Args:
        source: the run or sweep.
        open: opens its entry, and those of a sweep's trials.
        every: steps that one point stands for; none: as many as keep a run at about ``POINTS``.
    """
    return SweepReading(source, open, every) if isinstance(source, Sweep) else RunReading(source, open, every)


# -- runs -----------------------------------------------------------------------------------------


class RunReading:
    """A run that is told to a tracker.

    Attributes:
        source: the run.
        where: the place where it is seen.
    """

    def __init__(self, run: Run, open: Open, every: int | None) -> None:
        self.source, self._numbers = run, Numbers(run, every)
        self._mirror = open(run_entry(run), None)
        self.where = self._mirror.where

    def look(self) -> bool:
        """Tells what has come since the last look; whether the run still trains."""
        status = self._numbers.look(self._mirror)
        self._mirror.state(status)
        return status.live


class Numbers:
    """What is new in a run's folder, as points.

    Args:
        run: the run.
        every: steps that one point stands for; none: as many as keep a run at about ``POINTS``.
    """

    def __init__(self, run: Run, every: int | None = None) -> None:
        self.run, self.every = run, every
        self._offsets = [0, 0]
        self._time = 0.0
        self._rows: list[tuple[int, dict[str, float], float]] = []
        self._ended = False

    def look(self, mirror: Mirror) -> Status:
        """Tells a mirror what has come since the last look; the status that the run had before it."""
        status, folder = self.run.status, self.run.folder
        self.every = self.every or max(1, -(-status.steps // POINTS))
        blocks, self._offsets[0] = folder.metrics.read(self._offsets[0], quiet=True)
        events, self._offsets[1] = folder.events.read(self._offsets[1])
        self._time = self._time or (events[0].time if events else status.heartbeat)
        points: list[Point] = []
        for block in blocks:
            if "resumed" in block:
                mirror.points(points)
                self._rows, points = [], []
                mirror.back(block["resumed"], self._time)
            else:
                points += self._steps(block)
        if not status.live:
            points += self._bucket(len(self._rows))
        for event in events:
            if event.type == "epoch":
                points += [
                    Point(f"epoch/{name}", int(event.data["step"]), float(value), event.time)
                    for name, value in event.data.items()
                    if name not in ("epoch", "step", "seconds", "lr") and isinstance(value, int | float)
                ]
            elif event.type == "sample":
                said = f"{event.data['prompt']}{event.data['text']}"
                mirror.text("sample", int(event.data["step"]), said, event.time)
            elif said := sentence(event):
                mirror.text("events", int(event.data.get("step", 0)), said, event.time)
        if not status.live and not self._ended:
            tested = (status.metrics or {}).items()
            points += [Point(f"test/{name}", status.step, float(value), status.heartbeat) for name, value in tested]
        self._ended = not status.live
        mirror.points(points)
        return status

    def _steps(self, block: Mapping[str, Any]) -> Iterable[Point]:
        """The points that a block completes. Its time is that of its last step; the others lie evenly before it."""
        losses = block.get("loss")
        if not isinstance(losses, list):
            return
        began, ended, n = self._time, float(block.get("time", self._time)), len(losses)
        for i in range(n):
            found = {name: block.get(name) for name in ("loss", "lr", "gradient_norm")}
            values = {name: value[i] if isinstance(value, list) else value for name, value in found.items()}
            row = {k: float("nan") if v is None else float(v) for k, v in values.items() if found[k] is not None}
            self._rows.append((int(block["step"]) + i, row, began + (ended - began) * (i + 1) / n))
            if self._rows[-1][0] % (self.every or 1) == 0:
                yield from self._bucket(len(self._rows))
        self._time = ended

    def _bucket(self, n: int) -> Iterable[Point]:
        """The mean of the first ``n`` rows that are kept, at the last one's step."""
        rows, self._rows = self._rows[:n], self._rows[n:]
        if not rows:
            return
        step, last, when = rows[-1]
        for name in last:
            values = [row[name] for _, row, _ in rows if row.get(name) == row.get(name) and name in row]
            told = values or [float("nan")]
            yield Point(f"step/{name}", step, last[name] if name == "lr" else sum(told) / len(told), when)


def run_entry(run: Run) -> Entry:
    """What a tracker is told of a run."""
    events, environment = run.events, run.environment
    facts: dict[str, str] = {"lmkit.framework": run.experiment.framework}
    if commit := environment.get("git_commit"):
        facts["mlflow.source.git.commit"] = str(commit)
    return Entry(
        name=run.name,
        known={"lmkit.run": run.name},
        folder=run.path,
        runs=run.path.parent,
        began=events[0].time if events else run.status.heartbeat,
        settings=run.experiment.settings(),
        facts=facts,
        files=("experiment.yaml", "environment.json"),
    )


# -- sweeps ---------------------------------------------------------------------------------------


class SweepReading:
    """A sweep that is told to a tracker, and beneath it its trials: each is its run's numbers, and what it ended with.

    Attributes:
        source: the sweep.
        where: the place where it is seen.
    """

    def __init__(self, sweep: Sweep, open: Open, every: int | None) -> None:
        self.source, self._open, self._every = sweep, open, every
        self._mirror = open(sweep_entry(sweep), None)
        self.where = self._mirror.where
        self._told: dict[int, _Told] = {}
        self._best: list[Point] = []

    def look(self) -> bool:
        """Tells what has come since the last look; whether the sweep is still driven, or a run of it still trains."""
        state = self.source.state  # first: what counts as ended then is whole when it is read after
        trials = self.source.trials
        live = [self._look(trial) for trial in trials]
        best = list(_best(self.source, trials))
        self._mirror.points(best[len(self._best) :])
        self._best = best
        more = state == "running" or any(live)
        ended = max((_when(trial) for trial in trials if trial.done), default=_begun(self.source))
        self._mirror.state(Status(state="running" if more else state, heartbeat=ended))
        return more

    def _look(self, trial: Trial) -> bool:
        """Tells what is new of a trial; whether its run still trains."""
        over, run = trial.done or trial.state == "interrupted", _run(trial)
        told = self._told.get(trial.number)
        ended = (trial.state, _when(trial))
        if (told and told.ended == ended) or (run is None and not over):
            return False  # nothing more is known of it, or nothing yet
        if told is None or told.ended or (run and run.path) != told.run:
            mirror = self._open(trial_entry(self.source, trial), self._mirror)
            told = self._told[trial.number] = _Told(mirror, run, self._every)
        status = told.numbers.look(told.mirror) if told.numbers else None
        if status and (status.live or not over):
            told.mirror.state(Status(state="running", heartbeat=status.heartbeat))
            return status.live
        when, step = ended[1], int(trial.values.get("step") or 0)
        values = {name: float(value) for name, value in trial.values.items() if number(value) and name != "step"}
        told.mirror.points([Point(f"trial/{name}", step, value, when) for name, value in values.items()])
        if trial.error:
            told.mirror.text("error", step, trial.error, when)
        told.mirror.state(Status(state=trial.state, heartbeat=when))
        told.ended = ended
        return False


class _Told:
    """What a tracker was told of a trial: the numbers of which run, and how and when it ended, once it has."""

    def __init__(self, mirror: Mirror, run: Run | None, every: int | None) -> None:
        self.mirror, self.run = mirror, run and run.path
        self.numbers = Numbers(run, every) if run else None
        self.ended: tuple[str, float] | None = None


def sweep_entry(sweep: Sweep) -> Entry:
    """What a tracker is told of a sweep."""
    spec, space = sweep.spec, sweep.space
    return Entry(
        name=sweep.name,
        known={"lmkit.sweep": _identity(sweep)},
        folder=sweep.path,
        runs=_runs(sweep),
        began=_begun(sweep),
        settings={
            "template": spec["template"],
            **{f"parameters.{name}": value for name, value in (spec.get("parameters") or {}).items()},
            **{f"grid.{name}": str(among) for name, among in space.grid.items()},
            **{f"search.{name}": str(among) for name, among in space.search.items()},
            "objectives": ", ".join(map(str, sweep.objectives)),
            **{name: spec[name] for name in ("method", "prune", "seed")},
        },
        files=(WHOLE,),
        sweep=sweep,
    )


def trial_entry(sweep: Sweep, trial: Trial) -> Entry:
    """What a tracker is told of a trial: what its run is told as, and what it was given."""
    space = {**sweep.space.grid, **sweep.space.search}
    given = {name: _comparable(value, space.get(name)) for name, value in trial.parameters.items()}
    found = _run(trial)
    run = run_entry(found) if found else None
    return Entry(
        name=f"{sweep.name}/{trial.number:04d}",
        # a run that was told by itself before is found, and taken in
        known={**(run.known if run else {}), "lmkit.trial": f"{_identity(sweep)}/{trial.number:04d}"},
        folder=run.folder if run else trial.path,
        runs=_runs(sweep),
        began=run.began if run else (trial.path / "trial.json").stat().st_mtime,
        settings={**(run.settings if run else {}), **given},
        facts=run.facts if run else {},
        files=run.files if run else (),
    )


def _best(sweep: Sweep, trials: list[Trial]) -> Iterable[Point]:
    """The first objective's best value so far, by how many trials have ended, where it became better."""
    ended = sorted((trial for trial in trials if trial.done), key=_when)
    best: float | None = None
    for i, trial in enumerate(ended):
        if sweep.leader([trial]):
            objective = sweep.objectives[0]
            value = float(trial.values[objective.name])
            if best is None or objective.sign * value < objective.sign * best:
                best = value
                yield Point(f"best/{objective.name}", i + 1, value, _when(trial))


def _comparable(value: Any, among: Any) -> Any:
    """A parameter's value as a number, where all that it is drawn from are numbers; else in words."""
    values = among.values if isinstance(among, Choice) else (value,)
    return value if all(map(number, values)) else str(value)


def _run(trial: Trial) -> Run | None:
    """Its run, where there is one that can be read: it is not only just being made, and nobody has deleted it."""
    whole = trial.run is not None and (trial.run / "experiment.yaml").exists()
    return Run(RunFolder(trial.run)) if trial.run and whole else None


def _begun(sweep: Sweep) -> float:
    """When it was begun, in seconds since 1970."""
    return (sweep.path / WHOLE).stat().st_mtime


def _identity(sweep: Sweep) -> str:
    """What tells a sweep from another one of the same name."""
    return f"{sweep.name}-{_begun(sweep):.0f}"


def _runs(sweep: Sweep) -> Path:
    return Path(sweep.folder.settings.get("runs") or runs_root())


def _when(trial: Trial) -> float:
    """When a trial ended, or began."""
    done = trial.path / "done.json"
    return (done if done.exists() else trial.path / "trial.json").stat().st_mtime
