"""MLflow: a tracking server, or a database in a file."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Sequence
from typing import Any

from lmkit.exceptions import LmkitError
from lmkit.runfolder.status import Status
from lmkit.trackers.base import Point, RunInfo, TrackerRun, milliseconds

TITLE, PACKAGE, EXTRA = "MLflow", "mlflow", "mlflow"

EXPERIMENT = "lmkit"
"""The experiment of MLflow to which runs belong, unless $MLFLOW_EXPERIMENT_NAME names another."""

PARENT_TAG = "mlflow.parentRunId"
"""The tag by which MLflow nests a run in another."""

STATES = {"completed": "FINISHED", "failed": "FAILED", "lost": "FAILED"}
"""MLflow's status of a run that ended; in any other state (stopped, pruned, interrupted) it was KILLED."""

METRICS_PER_REQUEST = 1000
PARAMS_PER_REQUEST = 100


def default(info: RunInfo) -> str:
    """Return $MLFLOW_TRACKING_URI, else the address of a database in the folder of the runs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{info.runs / 'mlflow.db'}"


class MlflowRun:
    """A run on a tracking server, possibly nested in another."""

    def __init__(self, info: RunInfo, where: str, parent: MlflowRun | None = None) -> None:
        # a request without an answer is repeated by the export; no telemetry is sent
        defaults = {"HTTP_REQUEST_MAX_RETRIES": "1", "HTTP_REQUEST_TIMEOUT": "10", "DISABLE_TELEMETRY": "true"}
        for name, value in defaults.items():
            os.environ.setdefault(f"MLFLOW_{name}", value)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow import MlflowClient

        self._state = ""
        try:
            self.client: Any = parent.client if parent else MlflowClient(tracking_uri=where)
            self.experiment: str = parent.experiment if parent else self._get_or_create_experiment(info, where)
            self.id: str = self._get_or_create_run(info, {PARENT_TAG: parent.id} if parent else {})
        except Exception as error:
            raise LmkitError(f"where: MLflow at {where!r} cannot be used: {_explain(error, where)}") from None
        self.where = f"{where} (run {self.id})"

    def log_points(self, points: Sequence[Point]) -> None:
        """Send values."""
        from mlflow.entities import Metric

        metrics = [Metric(_valid_name(name), value, milliseconds(time), step) for name, step, value, time in points]
        for i in range(0, len(metrics), METRICS_PER_REQUEST):
            self.client.log_batch(self.id, metrics=metrics[i : i + METRICS_PER_REQUEST])

    def log_text(self, name: str, step: int, text: str, time: float) -> None:
        """Store a text as an artifact of the run."""
        self.client.log_text(self.id, text, f"{name}/{step:08d}-{milliseconds(time)}.txt")

    def rewind(self, step: int, time: float) -> None:  # noqa: ARG002 (part of the interface)
        """Mark where the run was resumed; MLflow keeps the earlier values of later steps next to the new ones."""
        self.client.set_tag(self.id, "lmkit.resumed_after_step", str(step))

    def update_status(self, status: Status) -> None:
        """Send the status, if it has changed."""
        if status.state == self._state:
            return
        self._state = status.state
        self.client.set_tag(self.id, "lmkit.state", status.state)
        if status.live:
            self.client.update_run(self.id, status="RUNNING")
        else:
            self.client.set_terminated(self.id, STATES.get(status.state, "KILLED"), milliseconds(status.heartbeat))

    def _get_or_create_experiment(self, info: RunInfo, where: str) -> str:
        """Return the id of the experiment on the server."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        if experiment := self.client.get_experiment_by_name(name):
            return str(experiment.experiment_id)
        artifacts = None if where.startswith("http") else (info.runs / "mlflow").as_uri()
        return str(self.client.create_experiment(name, artifacts))

    def _get_or_create_run(self, info: RunInfo, parent_tags: dict[str, str]) -> str:
        """Return the id of the run on the server."""
        tags = {**info.identity, **parent_tags, **info.tags, "lmkit.folder": str(info.folder)}
        existing = self._search(info)
        if existing and tags.items() <= existing.data.tags.items():
            return str(existing.info.run_id)
        if existing:  # a run that was sent by itself before, or a trial that had no run yet
            run_id, params = str(existing.info.run_id), existing.data.params
            self._log(run_id, tags=tags)
        else:
            run = self.client.create_run(self.experiment, milliseconds(info.started), tags, info.name)
            run_id, params = str(run.info.run_id), {}
        settings = {_valid_name(path): str(value)[:6000] for path, value in info.settings.items()}
        self._log(run_id, params={path: value for path, value in settings.items() if path not in params})
        for file in info.files:
            with contextlib.suppress(FileNotFoundError):
                self.client.log_artifact(run_id, str(info.folder / file))
        return run_id

    def _search(self, info: RunInfo) -> Any:
        """Return the run on the server: by its most specific tag, or by another one unless that tag contradicts."""
        first_tag, first_value = next(iter(info.identity.items()))
        for tag, value in info.identity.items():
            for run in self.client.search_runs([self.experiment], f"tags.`{tag}` = '{value}'"):
                if run.data.tags.get(first_tag, first_value) == first_value:
                    return run
        return None

    def _log(self, run_id: str, tags: dict[str, str] | None = None, params: dict[str, str] | None = None) -> None:
        """Send tags and params; the server takes a hundred per request, and never another value of a param."""
        from mlflow.entities import Param, RunTag

        self.client.log_batch(run_id, tags=[RunTag(*tag) for tag in (tags or {}).items()])
        entries = [Param(*param) for param in (params or {}).items()]
        for i in range(0, len(entries), PARAMS_PER_REQUEST):
            self.client.log_batch(run_id, params=entries[i : i + PARAMS_PER_REQUEST])


def _explain(error: Exception, where: str) -> str:
    """Return what is wrong with a place, and what to do."""
    if "://" not in where and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() != "true":
        return f"it is a folder, in which MLflow logs no more; use the database sqlite:///{where.rstrip('/')}/mlflow.db"
    first, _, _ = str(error).partition("\n")
    if "'active' state" in first:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        return f"its experiment {name!r} was deleted; restore it, or set MLFLOW_EXPERIMENT_NAME to another name"
    return f"{first}; expected the address of a tracking server, or such as sqlite:///mlflow.db"


def _valid_name(text: str) -> str:
    """Return a name with the characters that the server accepts."""
    return re.sub(r"[^\w/. :-]", "_", text)


def open_run(info: RunInfo, where: str, parent: TrackerRun | None = None) -> MlflowRun:
    """Return the run on the server at ``where``, nested in ``parent``."""
    return MlflowRun(info, where, parent if isinstance(parent, MlflowRun) else None)
