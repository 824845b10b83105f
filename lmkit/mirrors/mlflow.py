"""MLflow: a tracking server, or a database that it keeps in a file."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from typing import Any

from lmkit.errors import LmkitError
from lmkit.mirrors import Point, milliseconds, settings
from lmkit.run import Run
from lmkit.runfolder import Status

PACKAGE, EXTRA = "mlflow", "mlflow"

EXPERIMENT = "lmkit"
"""The experiment of MLflow that runs belong to, where $MLFLOW_EXPERIMENT_NAME names no other."""

RUN = "lmkit.run"
"""The tag by which a run is found again."""

STATES = {"completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED", "lost": "FAILED"}

AT_ONCE = 1000
"""Numbers that the server takes in one request; settings are a hundred."""


def default(run: Run) -> str:
    """$MLFLOW_TRACKING_URI, else a database beside the runs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.path.parent / 'mlflow.db'}"


class Tracked:
    """One run on a tracking server."""

    def __init__(self, run: Run, where: str) -> None:
        # what a server does not answer is asked again by whoever follows the run; nothing is told to anybody else
        defaults = {"HTTP_REQUEST_MAX_RETRIES": "1", "HTTP_REQUEST_TIMEOUT": "10", "DISABLE_TELEMETRY": "true"}
        for name, value in defaults.items():
            os.environ.setdefault(f"MLFLOW_{name}", value)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow import MlflowClient

        self.run, self.client, self._state = run, MlflowClient(tracking_uri=where), ""
        try:
            self.id = self._found(where)
        except Exception as error:
            raise LmkitError(
                f"where: MLflow at {where!r} cannot be used: {str(error).splitlines()[0]}; "
                "expected the address of a tracking server, or such as sqlite:///mlflow.db"
            ) from None
        self.where = f"{where} (run {self.id})"

    def points(self, points: Sequence[Point]) -> None:
        """Tells numbers."""
        from mlflow.entities import Metric

        told = [Metric(name, value, milliseconds(time), step) for name, step, value, time in points]
        for i in range(0, len(told), AT_ONCE):
            self.client.log_batch(self.id, metrics=told[i : i + AT_ONCE])

    def text(self, name: str, step: int, text: str, time: float) -> None:
        """Keeps a text beside the run, as a file of its own."""
        self.client.log_text(self.id, text, f"{name}/{step:08d}-{milliseconds(time)}.txt")

    def back(self, step: int, time: float) -> None:
        """Says where the run was resumed; MLflow keeps what was told of the steps after it, beside what comes."""
        self.client.set_tag(self.id, "lmkit.resumed_after_step", str(step))

    def state(self, status: Status) -> None:
        """Says where the run stands."""
        if status.state == self._state:
            return
        self._state = status.state
        self.client.set_tag(self.id, "lmkit.state", status.state)
        if status.live:
            self.client.update_run(self.id, status="RUNNING")
        else:
            self.client.set_terminated(self.id, STATES[status.state], milliseconds(status.heartbeat))

    def _found(self, where: str) -> str:
        """The run's number on the server, where it is made if it is not there."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        known = self.client.get_experiment_by_name(name)
        kept = None if where.startswith("http") else (self.run.path.parent / "mlflow").as_uri()
        number = known.experiment_id if known else self.client.create_experiment(name, kept)
        found = self.client.search_runs([number], f"tags.`{RUN}` = '{self.run.name}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        folder, environment = self.run.folder, self.run.environment
        tags = {RUN: self.run.name, "lmkit.framework": self.run.experiment.framework, "lmkit.folder": str(folder.path)}
        if commit := environment.get("git_commit"):
            tags["mlflow.source.git.commit"] = str(commit)
        events = self.run.events
        began = milliseconds(events[0].time if events else self.run.status.heartbeat)
        made = self.client.create_run(number, began, tags, self.run.name)
        self._settings(str(made.info.run_id))
        for file in ("experiment.yaml", "environment.json"):
            with contextlib.suppress(FileNotFoundError):
                self.client.log_artifact(made.info.run_id, str(folder.path / file))
        return str(made.info.run_id)

    def _settings(self, number: str) -> None:
        from mlflow.entities import Param

        told: list[Any] = [Param(path, value[:6000]) for path, value in settings(self.run).items()]
        for i in range(0, len(told), 100):
            self.client.log_batch(number, params=told[i : i + 100])


def open(run: Run, where: str) -> Tracked:
    """A run on the server at ``where``."""
    return Tracked(run, where)
