"""MLflow: a tracking server, or a database that it keeps in a file."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Sequence
from typing import Any

from lmkit.errors import LmkitError
from lmkit.mirrors.trackers import Entry, Mirror, Point, milliseconds
from lmkit.runfolder import Status

PACKAGE, EXTRA = "mlflow", "mlflow"

EXPERIMENT = "lmkit"
"""The experiment of MLflow that runs belong to, where $MLFLOW_EXPERIMENT_NAME names no other."""

BENEATH = "mlflow.parentRunId"
"""The tag by which MLflow knows what a run is nested beneath."""

STATES = {"completed": "FINISHED", "failed": "FAILED", "lost": "FAILED"}
"""What ended otherwise (stopped, pruned, interrupted) was KILLED."""

AT_ONCE = 1000
"""Numbers that the server takes in one request; settings are a hundred."""


def default(entry: Entry) -> str:
    """$MLFLOW_TRACKING_URI, else a database beside the runs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{entry.runs / 'mlflow.db'}"


class Tracked:
    """One entry on a tracking server: a run of it, or one that is nested beneath another."""

    def __init__(self, entry: Entry, where: str, parent: Tracked | None = None) -> None:
        # what a server does not answer is asked again by whoever follows the run; nothing is told to anybody else
        defaults = {"HTTP_REQUEST_MAX_RETRIES": "1", "HTTP_REQUEST_TIMEOUT": "10", "DISABLE_TELEMETRY": "true"}
        for name, value in defaults.items():
            os.environ.setdefault(f"MLFLOW_{name}", value)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow import MlflowClient

        self.client: Any = parent.client if parent else MlflowClient(tracking_uri=where)
        self._state = ""
        try:
            self.experiment: str = parent.experiment if parent else self._experiment(entry, where)
            self.id: str = self._found(entry, {BENEATH: parent.id} if parent else {})
        except Exception as error:
            raise LmkitError(
                f"where: MLflow at {where!r} cannot be used: {str(error).splitlines()[0]}; "
                "expected the address of a tracking server, or such as sqlite:///mlflow.db"
            ) from None
        self.where = f"{where} (run {self.id})"

    def points(self, points: Sequence[Point]) -> None:
        """Tells numbers."""
        from mlflow.entities import Metric

        told = [Metric(_name(name), value, milliseconds(time), step) for name, step, value, time in points]
        for i in range(0, len(told), AT_ONCE):
            self.client.log_batch(self.id, metrics=told[i : i + AT_ONCE])

    def text(self, name: str, step: int, text: str, time: float) -> None:
        """Keeps a text beside the run, as a file of its own."""
        self.client.log_text(self.id, text, f"{name}/{step:08d}-{milliseconds(time)}.txt")

    def back(self, step: int, time: float) -> None:
        """Says where the run was resumed; MLflow keeps what was told of the steps after it, beside what comes."""
        self.client.set_tag(self.id, "lmkit.resumed_after_step", str(step))

    def state(self, status: Status) -> None:
        """Says where it stands."""
        if status.state == self._state:
            return
        self._state = status.state
        self.client.set_tag(self.id, "lmkit.state", status.state)
        if status.live:
            self.client.update_run(self.id, status="RUNNING")
        else:
            self.client.set_terminated(self.id, STATES.get(status.state, "KILLED"), milliseconds(status.heartbeat))

    def _experiment(self, entry: Entry, where: str) -> str:
        """The experiment's number on the server, where it is made if it is not there."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        if known := self.client.get_experiment_by_name(name):
            return str(known.experiment_id)
        kept = None if where.startswith("http") else (entry.runs / "mlflow").as_uri()
        return str(self.client.create_experiment(name, kept))

    def _found(self, entry: Entry, beneath: dict[str, str]) -> str:
        """The entry's number on the server, where it is made if it is not there."""
        tags = {**entry.known, **beneath, **entry.facts, "lmkit.folder": str(entry.folder)}
        found = self._search(entry)
        if found and tags.items() <= found.data.tags.items():
            return str(found.info.run_id)
        if found:  # a run that was told by itself before, or a trial that had no run yet
            number, told = str(found.info.run_id), found.data.params
            self._batches(number, tags=tags)
        else:
            made = self.client.create_run(self.experiment, milliseconds(entry.began), tags, entry.name)
            number, told = str(made.info.run_id), {}
        settings = {_name(path): str(value)[:6000] for path, value in entry.settings.items()}
        self._batches(number, params={path: value for path, value in settings.items() if path not in told})
        for file in entry.files:
            with contextlib.suppress(FileNotFoundError):
                self.client.log_artifact(number, str(entry.folder / file))
        return number

    def _search(self, entry: Entry) -> Any:
        """The entry on the server: by its surest tag, and by the others as far as that one does not deny it."""
        surest, name = next(iter(entry.known.items()))
        for tag, value in entry.known.items():
            for found in self.client.search_runs([self.experiment], f"tags.`{tag}` = '{value}'"):
                if found.data.tags.get(surest, name) == name:
                    return found
        return None

    def _batches(self, number: str, tags: dict[str, str] | None = None, params: dict[str, str] | None = None) -> None:
        """Tells tags and settings, of which the server takes a hundred at once and never another value."""
        from mlflow.entities import Param, RunTag

        self.client.log_batch(number, tags=[RunTag(*tag) for tag in (tags or {}).items()])
        told = [Param(*param) for param in (params or {}).items()]
        for i in range(0, len(told), 100):
            self.client.log_batch(number, params=told[i : i + 100])


def _name(text: str) -> str:
    """A name as the server takes it: of letters, digits and some signs."""
    return re.sub(r"[^\w/. :-]", "_", text)


def open(entry: Entry, where: str, parent: Mirror | None = None) -> Tracked:
    """An entry on the server at ``where``, beneath another one or by itself."""
    return Tracked(entry, where, parent if isinstance(parent, Tracked) else None)
