"""Who drives a sweep: hands trials to an engine, gives up weak ones, and writes everything into the sweep's folder.

It may be killed at any time, and the next one goes on from the folder.
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
from pathlib import Path
from typing import Any

from lmkit.errors import LmkitError
from lmkit.events import history
from lmkit.imports import skip_slow_imports
from lmkit.progress import seconds_left, time_text
from lmkit.runfolder import RunFolder
from lmkit.sweeping.engines import Engine, EngineLost, connect
from lmkit.sweeping.folder import SweepFolder, Trial, TrialFolder, write_json
from lmkit.sweeping.methods import TPE, Drawn, Method
from lmkit.sweeping.objectives import Objective
from lmkit.sweeping.pruning import read_rule
from lmkit.sweeping.setting import bind
from lmkit.sweeping.space import Space
from lmkit.sweeping.trial import Job

ATTEMPTS = 3
"""How often a trial is begun whose kernel, worker or engine died, before it counts as failed."""

LOOK_SECONDS = 0.3

ROOM = "make room or permit it, then "
"""What is to be done before a sweep goes on that could not write."""

Tell = Callable[[str], None]


class Driver:
    """Drives one sweep to its end.

    Args:
        folder: the sweep's.
        tell: called with a line whenever something has happened.
        engine: what executes the trials; default: what the settings name, connected to meanwhile.
    """

    def __init__(self, folder: SweepFolder, tell: Tell = lambda line: None, engine: Engine | None = None) -> None:
        self.folder, self.tell, self.engine = folder, tell, engine
        self.spec, self.settings = folder.spec(), folder.settings
        self.space = Space.from_dict(self.spec)
        self.objectives = tuple(Objective(*o) for o in self.spec["objectives"])
        self.rule = read_rule(self.spec["prune"])
        self.wanted: int = self.settings["trials"]
        self.running: dict[Future[dict[str, Any]], TrialFolder] = {}
        self.took: list[float] = []
        self.deaths: Counter[Path] = Counter()
        self.histories: dict[Path, dict[float, float]] = {}
        self.ending = False

    def run(self) -> None:
        """Drives until all trials have ended, or it was asked to end; Ctrl-C ends it in good order.

        Raises:
            SweepError: somebody else drives it.
        """
        with self.folder.driving() as self.token:
            self.asked = self.folder.control.read(quiet=True)[1]
            trials = self._tidy()
            self.took = [t.seconds for t in trials if t.done]
            self.method = self._method(trials)
            engine = self.engine or connect(self.settings["engine"], self.settings["workers"])
            try:
                self._drive(engine, [TrialFolder(t.path) for t in trials if not t.done])
            finally:
                if engine is not self.engine:
                    engine.close()

    def _tidy(self) -> list[Trial]:
        """The trials that there are, with what an earlier driver left behind cleared away."""
        for folder in self.folder.trial_folders():
            folder.stop.unlink(missing_ok=True)
            trial = folder.read()
            if trial.state == "failed" and self.settings.get("retry_failed"):
                folder.done.rename(folder.path / f"failed-{len(folder.attempts())}.json")
            elif trial.done and self.rule:
                self._look_at(folder, trial.run)
        return [folder.read() for folder in self.folder.trial_folders()]

    def _method(self, trials: list[Trial]) -> Method:
        if self.spec["method"] == "tpe":
            return TPE(self.space, self.spec["seed"], self.objectives, self.folder.path / "optuna.db", trials)
        return Drawn(self.space, self.spec["seed"])

    # -- the loop ---------------------------------------------------------------------------------

    def _drive(self, engine: Engine, waiting: list[TrialFolder]) -> None:
        number = len(self.folder.trial_folders())
        while True:
            try:
                while not self.ending and len(self.running) < self.settings["workers"]:
                    if waiting:
                        folder = waiting.pop(0)
                    elif number < self.wanted:
                        number += 1
                        folder = self.folder.new_trial(number, *self.method.ask(number))
                    else:
                        break
                    self.running[engine.submit(self._job(folder))] = folder
                if not self.running:
                    return
                ended, _ = wait(self.running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
                for future in ended:
                    folder = self.running.pop(future)
                    if self._ended(folder, _result(future)):
                        waiting.insert(0, folder)
                self._look()
            except KeyboardInterrupt:
                self._end("interrupted")
            except OSError as error:
                self._end(f"cannot write to {str(self.folder.path)!r}: {error.strerror or error}", ROOM)

    def _job(self, folder: TrialFolder) -> Job:
        return Job(
            str(folder.path),
            str(self.folder.path / self.spec["template"]),
            bind(self.spec, folder.read().parameters),
            self.settings["runs"],
            self.settings["threads"],
            tuple((o.name, o.direction) for o in self.objectives),
            self.settings.get("time_limit"),
            self.settings.get("command", ""),
            self.token,
        )

    def _ended(self, folder: TrialFolder, told: dict[str, Any]) -> bool:
        """Takes note of an attempt's end; whether the trial is to be tried again at once."""
        state = told["state"]
        if state == "died" and not self.ending:
            self.deaths[folder.path] += 1
            if self.deaths[folder.path] < ATTEMPTS:
                self.tell(f"trial {folder.read().number}: {told.get('error')}; it is gone on with")
                return True
            told = {**told, "state": "failed", "error": f"{told.get('error')}, {ATTEMPTS} times"}
            folder.finish(told)
        trial = folder.read()
        self._look_at(folder, trial.run)
        if trial.done:
            self.took.append(trial.seconds)
            self.method.tell(trial, self.histories.get(folder.path, {}))
        self.tell(self._line(trial, told))
        if state == "lost":
            self._end(str(told["error"]))
        if state == "full":
            self._end(str(told["error"]), ROOM)
        return False

    def _line(self, trial: Trial, told: dict[str, Any]) -> str:
        numbers = [
            f"{o.name} {v:.4g}" for o in self.objectives if isinstance(v := trial.values.get(o.name), int | float)
        ]
        given = " ".join(f"{k.rpartition('.')[2]}={_short(v)}" for k, v in trial.parameters.items())
        left = seconds_left(self.took, self.wanted - len(self.took), self.settings["workers"])
        took = f"({time_text(trial.seconds)}{f', about {time_text(left)} left' if left and not self.ending else ''})"
        words = [f"trial {trial.number}/{self.wanted}", trial.state, *numbers, given, took]
        error = told.get("error") if told["state"] != "full" else ""  # which is the sweep's, and told once
        return "  ".join(words) + (f"  {error}" if error else "")

    def _end(self, why: str, before: str = "") -> None:
        """Begins no more trials, and asks those that run to write down where they stand."""
        if not self.ending:
            self.ending = True
            n = len(self.running)
            stopped = {0: "", 1: "a trial is being stopped; "}.get(n, f"{n} trials are being stopped; ")
            self.tell(f"{why}: {stopped}{before}the same command goes on")
        for future, folder in self.running.items():
            future.cancel()  # where it waits for a worker
            with contextlib.suppress(OSError):  # where there is no room, it ends by itself
                folder.stop.touch()

    # -- looking ----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Gives a sign of life, does what was asked for, and gives up trials that are weak."""
        self.folder.sign_of_life()
        lines, self.asked = self.folder.control.read(self.asked, quiet=True)
        if any(line.get("command") == "stop" for line in lines):
            self._end("asked to end")
        if self.rule is None or self.ending:
            return
        for folder in self.running.values():
            if folder.pruned.exists():
                continue
            run = folder.run()
            self._look_at(folder, run)
            own = self.histories.get(folder.path, {})
            reason = self.rule.verdict(own, [h for path, h in self.histories.items() if path != folder.path])
            if reason and run is not None and RunFolder(run).status().live:
                write_json(folder.pruned, {"reason": reason, "epoch": max(own)})
                RunFolder(run).command("stop")

    def _look_at(self, folder: TrialFolder, run: Path | None) -> None:
        """Reads the first objective's history of a trial's run."""
        if self.rule is None or run is None:
            return
        table, objective = history(RunFolder(run).events.read()[0]), self.objectives[0]
        if objective.name in table:
            column = table[["epoch", objective.name]].dropna()
            self.histories[folder.path] = {
                float(e): objective.sign * float(v) for e, v in column.itertuples(index=False) if float(e).is_integer()
            }


def _result(future: Future[dict[str, Any]]) -> dict[str, Any]:
    try:
        return future.result()
    except CancelledError:
        return {"state": "interrupted"}
    except EngineLost as error:
        return {"state": "lost", "error": str(error)}
    except LmkitError as error:
        return {"state": "died", "error": str(error)}
    except Exception as error:
        return {"state": "died", "error": f"{type(error).__name__}: {error}"}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(path: str) -> None:
    """Drives a sweep in a process of its own."""

    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    skip_slow_imports()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)
    Driver(SweepFolder(Path(path)), lambda line: print(line, flush=True)).run()


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)  # what an engine still holds is nothing to wait for
