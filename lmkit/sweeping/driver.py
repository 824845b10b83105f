"""The driver of a sweep: submits trials to an engine, prunes weak ones, and writes the sweep's folder.

It may be killed at any time; the next one continues from the folder.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmkit.custom.trust import remember
from lmkit.display.units import estimate_remaining, format_duration
from lmkit.exceptions import LmkitError, SweepError
from lmkit.runfolder.commands import Stop, parse_command
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.tail import valid_epochs
from lmkit.sweeping.engines import Engine, EngineLost, connect
from lmkit.sweeping.folder import SweepFolder, TrialFolder
from lmkit.sweeping.identity import parameters_key
from lmkit.sweeping.records import PruneRecord, Trial, TrialOutcome
from lmkit.sweeping.samplers import GridSampler, RandomSampler, Sampler, TPESampler
from lmkit.sweeping.trial import Job
from lmkit.system.files import write_bytes
from lmkit.system.imports import skip_slow_imports

MAX_ATTEMPTS = 3
"""How often a trial is started whose kernel, worker or engine dies, before it counts as failed."""

POLL_SECONDS = 0.3

WRITE_ADVICE = "free space or change the permissions, then "
"""What to do before a sweep that could not write is continued."""

Report = Callable[[str], None]
"""Called with one line of text per event."""


class Driver:
    """Drives one sweep to its end.

    Args:
        folder: the sweep's folder.
        report: called with a line per event.
        engine: executes the trials; default: connect to the engine of the settings, and close it at the end.
    """

    def __init__(self, folder: SweepFolder, report: Report = lambda _: None, engine: Engine | None = None) -> None:
        self.folder, self.report, self.engine = folder, report, engine
        self.spec, self.settings = folder.spec(), folder.settings
        self.running: dict[Future[TrialOutcome], TrialFolder] = {}
        self.durations: list[float] = []
        self.deaths: Counter[Path] = Counter()
        self.histories: dict[Path, dict[float, float]] = {}
        self.results: dict[str, Trial] = {}
        self.repeats: dict[str, list[TrialFolder]] = {}
        self.stopping = False

    def run(self) -> None:
        """Run all trials until they are finished or a stop is requested; Ctrl-C saves running trials first.

        Raises:
            SweepError: another process drives the sweep.
        """
        with self.folder.lock.acquire() as self.token:
            self.control_offset = self.folder.control.read(quiet=True)[1]
            trials = self._clean_up()
            self.durations = [t.seconds for t in trials if t.done]
            self.results = {parameters_key(t.parameters): t for t in trials if t.determined}
            self.sampler = self._create_sampler(trials)
            engine = self.engine or connect(self.settings.engine, self.settings.workers)
            try:
                self._run_trials(engine, [TrialFolder(t.path) for t in trials if not t.done])
            finally:
                if engine is not self.engine:
                    engine.close()

    def _clean_up(self) -> list[Trial]:
        """Remove what an earlier driver left behind, and return the trials."""
        for folder in self.folder.trial_folders():
            folder.inside(folder.stop.name).unlink(missing_ok=True)
            trial = folder.read()
            if trial.state == "damaged":
                raise SweepError(f"trial {trial.number} of {self.folder.name!r} is damaged: {trial.error}")
            if trial.state == "failed" and self.settings.retry_failed:
                folder.inside(folder.done.name).rename(folder.path / f"failed-{len(folder.attempts())}.json")
            elif trial.done and self.spec.pruner:
                self._read_history(folder, trial.run)
        return [folder.read() for folder in self.folder.trial_folders()]

    def _create_sampler(self, trials: list[Trial]) -> Sampler:
        spec = self.spec
        if spec.method == "tpe":
            return TPESampler(spec.space, spec.seed, spec.objectives, self.folder.path / "optuna.db", trials)
        return GridSampler(spec.space, trials) if spec.method == "grid" else RandomSampler(spec.space, spec.seed)

    # -- trials -----------------------------------------------------------------------------------

    def _run_trials(self, engine: Engine, waiting: list[TrialFolder]) -> None:
        number = len(self.folder.trial_folders())
        while True:
            try:
                while not self.stopping and len(self.running) < self.settings.workers:
                    if waiting:
                        folder = waiting.pop(0)
                    elif number < self.settings.trials:
                        number += 1
                        folder = self.folder.new_trial(number, *self.sampler.ask(number))
                    else:
                        break
                    if not self._repeats(folder):
                        self.running[engine.submit(self._job(folder))] = folder
                if not self.running:
                    return
                finished, _ = wait(self.running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in finished:
                    folder = self.running.pop(future)
                    waiting[:0] = self._handle_outcome(folder, _outcome(future))
                self._poll()
            except KeyboardInterrupt:
                self._stop("Interrupted")
            except OSError as error:
                self._stop(f"cannot write to {str(self.folder.path)!r}: {error.strerror or error}", WRITE_ADVICE)

    def _repeats(self, folder: TrialFolder) -> bool:
        """Whether a trial has the parameters of another one, whose result it takes instead of being executed.

        A sampler may draw the same parameters again, and a trial is determined by them.
        """
        key = parameters_key(folder.read().parameters)
        if any(parameters_key(f.read().parameters) == key for f in self.running.values() if f.path != folder.path):
            self.repeats.setdefault(key, []).append(folder)  # until that one has ended
            return True
        if original := self.results.get(key):
            self._repeat(folder, original)
        return original is not None

    def _repeat(self, folder: TrialFolder, original: Trial) -> None:
        folder.repeat(original)
        trial = folder.read()
        self.sampler.tell(trial, self.histories.get(original.path, {}))
        total, number = self.settings.trials, original.number
        self.report(f"trial {trial.number}/{total}  {trial.state}  same parameters and result as trial {number}")

    def _job(self, folder: TrialFolder) -> Job:
        return Job(
            str(folder.path),
            str(self.folder.path / self.spec.template),
            self.spec.fixed.bind(folder.read().parameters),
            self.settings.runs,
            self.settings.threads,
            tuple((o.name, o.direction) for o in self.spec.objectives),
            self.settings.time_limit,
            self.settings.command,
            self.token,
            self.settings.kernel,
            self.settings.cwd,
        )

    def _handle_outcome(self, folder: TrialFolder, outcome: TrialOutcome) -> list[TrialFolder]:
        """Report the outcome of an attempt; returns the trials to start at once.

        They are the trial itself if its worker died, and those with the same parameters where it has no result.
        """
        if outcome.state == "died" and not self.stopping:
            self.deaths[folder.path] += 1
            if self.deaths[folder.path] < MAX_ATTEMPTS:
                self.report(f"trial {folder.read().number}: {outcome.error}; retrying")
                return [folder]
            outcome = replace(outcome, state="failed", error=f"{outcome.error}, {MAX_ATTEMPTS} times")
            folder.finish(outcome)
        trial = folder.read()
        self._read_history(folder, trial.run)
        if trial.run is not None:
            _trust_code(RunFolder(trial.run))
        if trial.done:
            self.durations.append(trial.seconds)
            self.sampler.tell(trial, self.histories.get(folder.path, {}))
        self.report(self._format_trial(trial, outcome))
        key = parameters_key(trial.parameters)
        repeats = self.repeats.pop(key, [])
        if trial.determined:
            self.results[key] = trial
            while repeats:
                self._repeat(repeats.pop(0), trial)
        if outcome.state == "lost":
            self._stop(outcome.error)
        if outcome.state == "full":
            self._stop(outcome.error, WRITE_ADVICE)
        return repeats

    def _format_trial(self, trial: Trial, outcome: TrialOutcome) -> str:
        values = [
            f"{o.name} {v:.4g}" for o in self.spec.objectives if isinstance(v := trial.values.get(o.name), int | float)
        ]
        parameters = " ".join(f"{k.rpartition('.')[2]}={_format_value(v)}" for k, v in trial.parameters.items())
        total = self.settings.trials
        seconds = estimate_remaining(self.durations, total - len(self.durations), self.settings.workers)
        remaining = f", about {format_duration(seconds)} remaining" if seconds and not self.stopping else ""
        columns = [f"trial {trial.number}/{total}", trial.state, *values, parameters]
        columns.append(f"({format_duration(trial.seconds)}{remaining})")
        if outcome.error and outcome.state != "full":  # a full disk stops the sweep, which is reported once
            columns.append(outcome.error)
        return "  ".join(columns)

    def _stop(self, reason: str, advice: str = "") -> None:
        """Start no more trials, and make running ones save a checkpoint."""
        if not self.stopping:
            self.stopping = True
            n = len(self.running)
            trials = f"Stopping {n} trial{'s' if n > 1 else ''}; " if n else ""
            action = f"{trials}{advice}run the same command to continue."
            self.report(f"{reason}. {action[0].upper()}{action[1:]}")
        for future, folder in self.running.items():
            future.cancel()  # if it waits for a worker
            with contextlib.suppress(OSError):  # a trial on a full disk ends by itself
                write_bytes(folder.inside(folder.stop.name), b"")

    # -- polling ----------------------------------------------------------------------------------

    def _poll(self) -> None:
        """Update the heartbeat, handle commands, and prune weak trials."""
        self.folder.lock.update_heartbeat()
        lines, self.control_offset = self.folder.control.read(self.control_offset, quiet=True)
        if any(isinstance(parse_command(line), Stop) for line in lines):
            self._stop("Cancelled")
        if self.spec.pruner is None or self.stopping:
            return
        for folder in self.running.values():
            if folder.pruned.exists():
                continue
            run = folder.run()
            self._read_history(folder, run)
            values = self.histories.get(folder.path, {})
            others = [h for path, h in self.histories.items() if path != folder.path]
            reason = self.spec.pruner.reason_to_prune(values, others)
            if reason and run is not None and RunFolder(run).status().live:
                folder.prune(PruneRecord(reason, max(values)))
                RunFolder(run).send(Stop())

    def _read_history(self, folder: TrialFolder, run: Path | None) -> None:
        """Read the first objective's values from the history of a trial's run."""
        if self.spec.pruner is None or run is None:
            return
        objective = self.spec.objectives[0]
        values = {e.data["epoch"]: e.data.get(objective.name) for e in valid_epochs(RunFolder(run).events.read()[0])}
        if any(value is not None for value in values.values()):
            epochs = {float(e): float(v) for e, v in values.items() if v is not None and float(e).is_integer()}
            self.histories[folder.path] = {e: objective.sign * v for e, v in epochs.items()}


def _trust_code(run: RunFolder) -> None:
    """Put the code of a trial's run on record here: it was trained for this driver, perhaps on another machine."""
    with contextlib.suppress(LmkitError, OSError):
        remember(run.experiment, run.path.parent)


def _outcome(future: Future[TrialOutcome]) -> TrialOutcome:
    try:
        return future.result()
    except CancelledError:
        return TrialOutcome("interrupted")
    except EngineLost as error:
        return TrialOutcome("lost", str(error))
    except LmkitError as error:
        return TrialOutcome("died", str(error))
    except Exception as error:
        return TrialOutcome("died", f"{type(error).__name__}: {error}")


def _format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(path: str) -> None:
    """Drive a sweep in a process of its own."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    skip_slow_imports()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)
    Driver(SweepFolder(Path(path)), lambda line: print(line, flush=True)).run()


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)  # without waiting for the threads of an engine
