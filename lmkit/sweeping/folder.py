"""The folder of a sweep, the only protocol between its driver, its trials and its observers.

runs/sweeps/<name>/
  sweep.yaml        SweepSpec: what varies and how, and the version of the format
  <template>.ipynb  the notebook as it was when the sweep started
  settings.json     SweepSettings: what may change when the sweep is continued
  lock              DriverRecord: the process that drives it
  driver.lock       held by that process for its life
  control.jsonl     commands, such as stop
  log.txt           output of the driver, where that is a process of its own
  optuna.db         Optuna's storage (method tpe)
  trials/0001/
    trial.json      TrialRecord: its parameters
    attempt-1/      the executed notebook, its journal, its output, and ended.json (TrialOutcome) where it was cut off
    pruned.json     PruneRecord: why it was stopped early
    done.json       TrialOutcome: how it ended; written once and never replaced
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from lmkit.batch.runner import Journal
from lmkit.exceptions import DamagedFile, SweepError, shorten
from lmkit.runfolder.commands import Command
from lmkit.runfolder.folder import runs_root
from lmkit.specs.plain import dump_yaml, load_yaml, not_yaml
from lmkit.sweeping.identity import differences
from lmkit.sweeping.lock import DriverLock
from lmkit.sweeping.records import (
    VERSION,
    AttemptState,
    DriverRecord,
    PruneRecord,
    SweepSettings,
    SweepSpec,
    Trial,
    TrialOutcome,
    TrialRecord,
    TrialState,
)
from lmkit.system import trust
from lmkit.system.files import (
    JsonLines,
    create_json,
    make_directory,
    path_inside,
    write_bytes,
    write_json,
    write_text,
)
from lmkit.system.reading import read_bytes, read_object, read_text

SPEC = "sweep.yaml"
"""The file that makes a folder the folder of a sweep."""

INDENT = 1
"""The indentation of the JSON files."""


class TrialFolder:
    """The folder of one trial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sweep, self._parts = path.parent.parent, (path.parent.name, path.name)
        self.stop = path / "stop"
        self.pruned = path / "pruned.json"
        self.done = path / "done.json"

    def attempts(self) -> list[Path]:
        """Return the folders of its attempts, in order."""
        numbers = [(p.name.rpartition("-")[2], p) for p in self.path.glob("attempt-*")]
        return [path for _, path in sorted((int(n), path) for n, path in numbers if n.isdecimal() and len(n) < 10)]

    def inside(self, name: str) -> Path:
        """Return the path of a file to write in the folder.

        Raises:
            LinkError: the folder, or the one above it, is a symbolic link.
        """
        return path_inside(self.sweep, *self._parts, name)

    def new_attempt(self) -> Path:
        """Create the folder of the next attempt."""
        number = max((int(p.name.rpartition("-")[2]) for p in self.attempts()), default=0)
        while True:
            number += 1
            with contextlib.suppress(FileExistsError):
                return make_directory(self.sweep, *self._parts, f"attempt-{number}", exist_ok=False)

    def journals(self) -> list[Journal]:
        """Return the journals of its attempts, in order."""
        return [Journal(a / "journal.jsonl") for a in self.attempts()]

    def run(self) -> Path | None:
        """Return the folder of its latest run; None without a run."""
        return next((j.runs[-1] for j in reversed(self.journals()) if j.runs), None)

    def prune(self, record: PruneRecord) -> None:
        """Write why the trial is stopped early."""
        write_json(self.inside(self.pruned.name), record.to_dict(), indent=INDENT)

    def prune_record(self) -> PruneRecord | None:
        """Return why the trial was stopped early; None where it was not."""
        return PruneRecord.read(self.pruned)

    def finish(self, outcome: TrialOutcome) -> bool:
        """Write how the trial ended; False where that was written before, which stays."""
        return create_json(self.inside(self.done.name), outcome.to_dict(), indent=INDENT)

    def repeat(self, original: Trial) -> bool:
        """Finish the trial with the result of another one, which has the same parameters."""
        notebook = os.path.relpath(original.notebook, self.path) if original.notebook else None
        run = str(original.run) if original.run else None
        values, state = dict(original.values), cast(AttemptState, original.state)
        return self.finish(TrialOutcome(state, original.error, run, notebook, values, repeats=original.number))

    def outcome(self) -> TrialOutcome | None:
        """Return how the trial ended; None while it has not."""
        return TrialOutcome.read(self.done)

    def interrupt(self, attempt: Path, outcome: TrialOutcome) -> None:
        """Write how an attempt ended that another one continues."""
        write_json(
            path_inside(self.sweep, *self._parts, attempt.name, "ended.json"),
            outcome.to_dict(),
            indent=INDENT,
        )

    def interruption(self, attempt: Path) -> TrialOutcome | None:
        """Return how an attempt was cut off; None where it was not, or is still running."""
        return TrialOutcome.read(attempt / "ended.json")

    def read(self, driven: bool = False) -> Trial:
        """Return the trial; one of which a file cannot be read is ``damaged``, with the reason as its error.

        Args:
            driven: whether a process drives the sweep, so that the trial may be running.
        """
        try:
            return self._read(driven)
        except DamagedFile as error:
            number = int(self.path.name) if self.path.name.isdecimal() else 0
            return Trial(self.path, number, {}, "damaged", {}, str(error), None, None, 0.0, {})

    def _read(self, driven: bool) -> Trial:
        path = self.path / "trial.json"
        number = {"number": int(self.path.name)} if self.path.name.isdecimal() else {}
        record = TrialRecord.from_dict({**number, **(read_object(path) or {})}, path)
        state: TrialState
        if outcome := self.outcome():
            state, run, notebook = outcome.state, outcome.run, outcome.notebook  # type: ignore[assignment]
        else:
            attempts = self.attempts()
            outcome = self.interruption(attempts[-1]) if attempts else None
            state = "waiting" if not attempts else "running" if driven and not outcome else "interrupted"
            run, notebook = (outcome.run, outcome.notebook) if outcome else (None, None)
            if attempts and (outcome is None or outcome.values is None):  # the notebook was not executed to its end
                run = str(folder) if (folder := self.run()) else None
                notebooks = [n for a in reversed(attempts) for n in a.glob("*.ipynb")]
                notebook = str(notebooks[0].relative_to(self.path)) if notebooks else None
        return Trial(
            self.path,
            record.number,
            record.parameters,
            state,
            (outcome and outcome.values) or {},
            outcome.error if outcome else "",
            Path(run) if run else None,
            self.path / notebook if notebook else None,
            outcome.seconds if outcome else 0.0,
            record.note,
            outcome.repeats if outcome else 0,
        )


class SweepFolder:
    """The folder of a sweep."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self.lock = DriverLock(self.path)
        self.control = JsonLines(self.path / "control.jsonl")
        self.log = self.path / "log.txt"

    @property
    def name(self) -> str:
        """The name of the sweep."""
        return self.path.name

    # -- specification and settings ---------------------------------------------------------------

    def spec(self) -> SweepSpec:
        """Return the specification of the sweep.

        Raises:
            SweepError: this is not the folder of a sweep, or of a version that this lmkit cannot read.
            DamagedFile: a value of the specification is missing or has another type.
        """
        return SweepSpec.from_dict(self._read_spec(), self.path / SPEC)

    def _read_spec(self) -> Mapping[str, Any]:
        try:
            values = load_yaml(read_text(self.path / SPEC))
        except FileNotFoundError:
            raise SweepError(f"{str(self.path)!r} is not the folder of a sweep: it has no {SPEC}") from None
        except yaml.YAMLError as error:
            raise DamagedFile(self.path / SPEC, not_yaml(error)) from None
        version = values.get("version") if isinstance(values, Mapping) else None
        if version != VERSION:
            raise SweepError(
                f"sweep {self.name!r} has version {shorten(version)} of the folder format, and this lmkit reads "
                f"version "
                f"{VERSION}; continue it with the lmkit that started it, or use another --name"
            )
        return dict(values)

    def widen(self, spec: SweepSpec) -> None:
        """Write the specification with the wider grid of a request; its trials stay."""
        path = self.path / SPEC
        began = path.stat().st_mtime_ns  # trackers know a sweep by it
        write_text(path, dump_yaml(spec.to_dict()))
        os.utime(path, ns=(began, began), follow_symlinks=False)

    def create(self, spec: SweepSpec, template: Path) -> None:
        """Write the specification and the template, or check that the folder holds the same sweep.

        Raises:
            SweepError: it holds another sweep, another notebook or another version, or cannot be written.
        """
        text, content = dump_yaml(spec.to_dict()), read_bytes(template)
        if (self.path / SPEC).exists():
            if different := differences(self.spec(), spec):
                text = "; ".join(different)
                raise SweepError(f"sweep {self.name!r} already exists and differs: {text}. Use another --name, or none")
            self._check_notebook(spec, content)
            return
        try:
            make_directory(self.path, "trials")
            write_bytes(self.path / template.name, content)
            write_text(self.path / SPEC, text)  # last: this file makes it the folder of a sweep
        except OSError as error:
            raise SweepError(f"cannot write the sweep to {str(self.path)!r}: {error.strerror}") from None

    def _check_notebook(self, spec: SweepSpec, content: bytes) -> None:
        """Check that the notebook in the folder is the one that the sweep began with, and the template of ``spec``."""
        path, stored = self.path / spec.template, self.spec().template_sha256
        requested = hashlib.sha256(content).hexdigest()
        try:
            digest = hashlib.sha256(read_bytes(path)).hexdigest()
        except FileNotFoundError:
            digest = ""
        advice = "use another --name"
        if digest != (stored or requested):
            raise SweepError(
                f"the notebook in the folder, {str(path)!r}, is not the one that sweep {self.name!r} began with; "
                f"restore it, or {advice}"
            )
        if requested != digest:
            raise SweepError(
                f"the template {spec.template!r} has changed since sweep {self.name!r} began; continue the sweep with "
                f"the version of the template, or of lmkit, that it began with, or {advice}"
            )

    def remember_start(self) -> None:
        """Put on record that this user started the sweep here, to work in the folder that its settings name."""
        trust.remember(self._start_identity())

    @property
    def picture_folder(self) -> Path | None:
        """The folder whose pictures the pages of its trials embed: that of the kernels, if this user started the sweep.

        The settings of a sweep from elsewhere may name any folder of the reader's.
        """
        folder = self.settings.cwd
        return Path(folder) if folder and trust.is_trusted(self._start_identity()) else None

    def _start_identity(self) -> str:
        return trust.identify("sweep", str(self.path.absolute()), self.settings.cwd)

    @property
    def settings(self) -> SweepSettings:
        """The settings, which may change when the sweep is continued."""
        return SweepSettings.read(self.path / "settings.json") or SweepSettings()

    @settings.setter
    def settings(self, settings: SweepSettings) -> None:
        write_json(self.path / "settings.json", settings.to_dict(), indent=INDENT)

    # -- trials -----------------------------------------------------------------------------------

    def trial_folders(self) -> list[TrialFolder]:
        """Return the folders of the trials, in order."""
        return [TrialFolder(p.parent) for p in sorted(self.path.glob("trials/*/trial.json"))]

    def trials(self) -> list[Trial]:
        """Return the trials, in order."""
        driven = self.driver() is not None
        return [folder.read(driven) for folder in self.trial_folders()]

    def new_trial(self, number: int, parameters: Mapping[str, Any], note: Mapping[str, Any]) -> TrialFolder:
        """Create the folder of a trial."""
        path = make_directory(self.path, "trials", f"{number:04d}")
        write_json(path / "trial.json", TrialRecord(number, dict(parameters), dict(note)).to_dict(), indent=INDENT)
        return TrialFolder(path)

    def send(self, command: Command) -> None:
        """Append a command for the driver."""
        self.control.append({"time": round(time.time(), 3), "by": os.getpid(), **command.to_record()})

    def driver(self) -> DriverRecord | None:
        """Return the process that drives the sweep; None where none does."""
        return self.lock.holder()


def sweeps_root(runs: str | Path | None = None) -> Path:
    """Return the folder of new sweeps: ``sweeps``, in the folder of the runs."""
    return runs_root(runs) / "sweeps"


def old_sweeps_root(runs: str | Path | None = None) -> Path:
    """Return where lmkit 0.2 wrote sweeps, which are still read and continued: next to the folder of the runs."""
    return runs_root(runs).parent / "sweeps"


def sweep_folder(name: str, runs: str | Path | None = None) -> SweepFolder:
    """Return the folder of a sweep with that name, whether it exists or is new."""
    old = old_sweeps_root(runs) / name
    new = sweeps_root(runs) / name
    return SweepFolder(old if (old / SPEC).exists() and not (new / SPEC).exists() else new)


def sweep_folders(runs: str | Path | None = None) -> list[SweepFolder]:
    """Return the folders of all sweeps, the one that was started or continued last at the end."""
    paths = [p.parent for root in (old_sweeps_root(runs), sweeps_root(runs)) for p in root.glob(f"*/{SPEC}")]
    return [SweepFolder(p) for p in sorted(paths, key=_last_started)]


def _last_started(path: Path) -> int:
    """Return when a sweep was started or continued, which writes its settings."""
    times = []
    for name in (SPEC, "settings.json"):
        with contextlib.suppress(OSError):
            times.append((path / name).stat().st_mtime_ns)
    return max(times, default=0)
