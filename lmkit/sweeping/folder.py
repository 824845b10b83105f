"""A sweep's folder, the only protocol between who drives it, its trials and whoever looks.

sweeps/<name>/
  sweep.yaml        what it goes through, and of which version this folder is
  <template>.ipynb  the notebook as it was when the sweep began
  settings.json     what may be another the next time: workers, engine, …
  lock              the process that drives it
  control.jsonl     what people asked of it
  log.txt           what its driver printed, where that is a process of its own
  optuna.db         what Optuna remembers, where it draws
  trials/0001/
    trial.json      its parameters
    attempt-1/      the executed notebook, its journal, what it printed
    pruned.json     why it was given up
    done.json       how it ended; whoever writes it first has ended it, and nobody after
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lmkit.batch.notebooks import Journal
from lmkit.errors import SweepError
from lmkit.events import JsonLines
from lmkit.runfolder import LOST_AFTER, Status, process, runs_root, vanished
from lmkit.specs.plain import dump_yaml, load_yaml

VERSION = 1

WHOLE = "sweep.yaml"

SAME = ("version", "template", "parameters", "grid", "search", "method", "objectives", "prune", "seed")
"""What a sweep must have in common with one that goes on with it."""


@dataclass(frozen=True)
class Trial:
    """One parameter set of a sweep, as its folder tells of it.

    Attributes:
        path: its folder.
        number: counted from 1.
        parameters: what it was given, of those that the sweep varies.
        state: waiting, running, completed, pruned, failed, or interrupted.
        values: what it told: its run's last numbers, and what its notebook recorded.
        error: why it did not complete; empty where it did.
        run: the folder of its run; None where it has none.
        notebook: the executed notebook; None where there is none yet.
        seconds: how long it took, over all attempts.
        note: what the method that drew it wants to remember.
    """

    path: Path
    number: int
    parameters: dict[str, Any]
    state: str
    values: dict[str, Any]
    error: str
    run: Path | None
    notebook: Path | None
    seconds: float
    note: dict[str, Any]

    @property
    def done(self) -> bool:
        """Whether it has ended for good."""
        return self.state in ("completed", "pruned", "failed")

    @property
    def good(self) -> bool:
        """Whether it ended as it should."""
        return self.state in ("completed", "pruned")


class TrialFolder:
    """Where one trial is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stop = path / "stop"
        self.pruned = path / "pruned.json"
        self.done = path / "done.json"

    def attempts(self) -> list[Path]:
        """The folders of its attempts, in order."""
        return sorted(self.path.glob("attempt-*"), key=lambda p: int(p.name.rpartition("-")[2]))

    def new_attempt(self) -> Path:
        """A folder for one more."""
        while True:
            place = self.path / f"attempt-{len(self.attempts()) + 1}"
            with contextlib.suppress(FileExistsError):
                place.mkdir()
                return place

    def journals(self) -> list[Journal]:
        """What its attempts did, in order."""
        return [Journal(a / "journal.jsonl") for a in self.attempts()]

    def run(self) -> Path | None:
        """The run that it works on, or worked on last."""
        return next((j.runs[-1] for j in reversed(self.journals()) if j.runs), None)

    def finish(self, told: Mapping[str, Any]) -> bool:
        """Writes the one marker of its end; False where there is one already, which stays."""
        return _link(self.path, self.done, told)

    def read(self, driven: bool = False) -> Trial:
        """What is known of it.

        Args:
            driven: whether anybody drives the sweep, so that it may be running.
        """
        made = read_json(self.path / "trial.json") or {}
        done = read_json(self.done)
        known: dict[str, Any] = {"number": int(self.path.name), "parameters": {}, "note": {}, **made}
        if done is not None:
            told = done
        else:
            attempts = self.attempts()
            last = (read_json(attempts[-1] / "ended.json") or {}) if attempts else {}
            state = "waiting" if not attempts else "running" if driven and not last else "interrupted"
            run = self.run() if attempts else None
            told = {"state": state, "run": run and str(run), **{k: v for k, v in last.items() if k != "state"}}
            notebooks = [n for a in reversed(attempts) for n in a.glob("*.ipynb")]
            told.setdefault("notebook", str(notebooks[0].relative_to(self.path)) if notebooks else None)
        return Trial(
            self.path,
            known["number"],
            known["parameters"],
            told["state"],
            told.get("values") or {},
            told.get("error") or "",
            Path(told["run"]) if told.get("run") else None,
            self.path / told["notebook"] if told.get("notebook") else None,
            told.get("seconds") or 0.0,
            known["note"],
        )


class SweepFolder:
    """Where a sweep is kept."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self.lock = self.path / "lock"
        self.control = JsonLines(self.path / "control.jsonl")
        self.log = self.path / "log.txt"

    @property
    def name(self) -> str:
        """What it is called."""
        return self.path.name

    # -- what it is -------------------------------------------------------------------------------

    def spec(self) -> dict[str, Any]:
        """What was asked for.

        Raises:
            SweepError: it is no sweep's folder, or of a version that this lmkit does not know.
        """
        try:
            values = load_yaml((self.path / WHOLE).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError):
            raise SweepError(f"{str(self.path)!r} is no sweep's folder: it holds no {WHOLE} that can be read") from None
        version = values.get("version") if isinstance(values, Mapping) else None
        if version != VERSION:
            raise SweepError(
                f"the sweep {self.name!r} is of version {version!r} of the folder, and this lmkit knows {VERSION}; go "
                "on with the lmkit that began it, or give another name"
            )
        return dict(values)

    def begin(self, spec: Mapping[str, Any], template: Path) -> None:
        """Makes it the folder of a sweep, or finds that it is the one of this very sweep.

        Raises:
            SweepError: it is another sweep's, of another version, or cannot be written.
        """
        if (self.path / WHOLE).exists():
            known = self.spec()
            given = load_yaml(dump_yaml(dict(spec)))
            other = [k for k in SAME if known.get(k) != given.get(k)]
            if other:
                said = "; ".join(f"{k} was {known.get(k)!r}, and is now {given.get(k)!r}" for k in other)
                raise SweepError(f"the sweep {self.name!r} is another one: {said}. Give another name, or what it was")
            return
        try:
            (self.path / "trials").mkdir(parents=True, exist_ok=True)
            (self.path / template.name).write_bytes(template.read_bytes())
            aside = self.path / f".{WHOLE}.{secrets.token_hex(3)}"
            aside.write_text(dump_yaml(dict(spec)), encoding="utf-8")
            aside.replace(self.path / WHOLE)  # a folder is a sweep from the moment it holds the whole
        except OSError as error:
            raise SweepError(f"no sweep can be kept in {str(self.path)!r}: {error.strerror}") from None

    @property
    def settings(self) -> dict[str, Any]:
        """What may be another the next time."""
        return read_json(self.path / "settings.json") or {}

    @settings.setter
    def settings(self, values: Mapping[str, Any]) -> None:
        write_json(self.path / "settings.json", values)

    # -- trials -----------------------------------------------------------------------------------

    def trial_folders(self) -> list[TrialFolder]:
        """Those that there are, in order."""
        return [TrialFolder(p.parent) for p in sorted(self.path.glob("trials/*/trial.json"))]

    def trials(self) -> list[Trial]:
        """What is known of each."""
        driven = self.driver() is not None
        return [folder.read(driven) for folder in self.trial_folders()]

    def new_trial(self, number: int, parameters: Mapping[str, Any], note: Mapping[str, Any]) -> TrialFolder:
        """A folder for one more."""
        path = self.path / "trials" / f"{number:04d}"
        path.mkdir(parents=True, exist_ok=True)
        told = {"number": number, "parameters": dict(parameters), "note": dict(note)}
        write_json(path / "trial.json", told)
        return TrialFolder(path)

    # -- who drives it ----------------------------------------------------------------------------

    def driver(self) -> dict[str, Any] | None:
        """The process that drives it; None where none does."""
        told = read_json(self.lock)
        if not isinstance(told, dict):
            return None
        try:
            heartbeat = self.lock.stat().st_mtime
            gone = vanished(Status(heartbeat=heartbeat, **{k: told[k] for k in ("pid", "pid_started", "host")}))
        except (OSError, KeyError, TypeError):
            return None
        return None if gone else told

    @contextmanager
    def driving(self) -> Iterator[str]:
        """Drives it meanwhile, alone; gives the token by which this driver is known.

        Raises:
            SweepError: somebody else does.
        """
        import socket

        own = {**process(), "host": socket.gethostname(), "token": secrets.token_hex(4), "since": time.time()}
        for _ in range(3):
            try:
                taken = _link(self.path, self.lock, own)
            except OSError as error:
                raise SweepError(f"the sweep {self.name!r} cannot be written: {error.strerror}") from None
            if taken:
                break
            left = self._lock_digest()
            self.refuse_if_driven()
            if left and self._may_clear(left) and self._lock_digest() == left:
                self.lock.unlink(missing_ok=True)  # of a process that is gone
        if (read_json(self.lock) or {}).get("token") != own["token"]:
            raise SweepError(f"the sweep {self.name!r} was taken by somebody else just now")
        for mark in self.path.glob(".lock.left-*"):
            mark.unlink(missing_ok=True)
        try:
            yield str(own["token"])
        finally:
            self.lock.unlink(missing_ok=True)

    def _lock_digest(self) -> str:
        """What tells one lock from another, whatever wrote it; empty where there is none."""
        try:
            return hashlib.sha256(self.lock.read_bytes()).hexdigest()[:12]
        except OSError:
            return ""

    def _may_clear(self, digest: str) -> bool:
        """Whether it is for this process alone to clear the lock that a vanished driver left: the first who asks may.

        A lock is known by its content, so that a slow process never clears the lock of who came before it.
        """
        for again in itertools.count():
            mark = self.path / f".lock.left-{digest}-{again}"
            try:
                mark.touch(exist_ok=False)
                return True
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - mark.stat().st_mtime < LOST_AFTER:  # else it died before it cleared the lock
                        return False
        raise AssertionError("unreachable")

    def refuse_if_driven(self) -> None:
        """Refuses to go on where somebody drives it already."""
        if holder := self.driver():
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
            raise SweepError(
                f"the sweep {self.name!r} is being driven already, by process {holder['pid']} on {holder['host']} "
                f"since {since}; look at it: lmkit sweeps {self.name}, end it: lmkit stop-sweep {self.name}, or give "
                "another name"
            )

    def sign_of_life(self) -> None:
        """Tells that its driver lives."""
        with contextlib.suppress(OSError):
            os.utime(self.lock)


# -- files ----------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    """The content of a file; None where there is none, or half of it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Replaces a file, all of it or nothing."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(3)}")
    try:
        aside.write_text(json.dumps(value, indent=1), encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _link(folder: Path, place: Path, value: Mapping[str, Any]) -> bool:
    """Puts a file where there is none: written aside, on the disk, and then linked; False where there is one."""
    aside = folder / f".{place.name}.{secrets.token_hex(3)}"
    try:
        with aside.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, place)
        except FileExistsError:
            return False
        return True
    finally:
        aside.unlink(missing_ok=True)


def sweeps_root(runs: str | Path | None = None) -> Path:
    """Where sweeps are kept: in ``sweeps``, beside the runs."""
    return runs_root(runs).parent / "sweeps"


def sweep_folders(runs: str | Path | None = None) -> list[SweepFolder]:
    """The sweeps there are, the oldest first."""
    found = sweeps_root(runs).glob(f"*/{WHOLE}")
    return [SweepFolder(p.parent) for p in sorted(found, key=lambda p: p.stat().st_mtime_ns)]
