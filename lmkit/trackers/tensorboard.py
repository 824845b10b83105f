"""TensorBoard: event files, one folder a run, which ``tensorboard --logdir`` shows; a sweep is a folder of such."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import time_ns
from typing import Any

from lmkit.exceptions import LmkitError
from lmkit.runfolder.status import Status
from lmkit.sweeping.search_space import Range
from lmkit.sweeping.sweep import Sweep
from lmkit.trackers.base import Point, RunInfo, TrackerRun, is_number

TITLE, PACKAGE, EXTRA = "TensorBoard", "tensorboard", "tensorboard"

FILE = "events.out.tfevents.{}.lmkit"
"""The name of a run's event file; a run that is sent again gets another, which replaces the old one."""


def default(info: RunInfo) -> str:
    """Return a folder in the folder of the runs."""
    return str(info.runs / "tensorboard")


class TensorBoardRun:
    """The event file of a run, of a sweep, or of a trial of one.

    The protocol buffers are written directly: TensorBoard's own writer imports TensorFlow if it is installed.
    """

    def __init__(self, info: RunInfo, where: str) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = Path(where).expanduser().absolute() / info.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            previous = list(folder.glob(FILE.format("*")))
            file = (folder / FILE.format(time_ns())).open("wb")
            for path in previous:
                path.unlink()
        except OSError as error:
            raise LmkitError(
                f"where: {str(where)!r} cannot be written: {error.strerror}; name another folder"
            ) from None
        self.where, self._sweep = str(folder), info.sweep
        self._writer, self._ended = RecordWriter(file), False
        self._write(info.started, file_version="brain.Event:2")
        settings = "\n".join(f"    {path}: {value}" for path, value in info.settings.items())
        self.log_text("sweep" if info.sweep else "experiment", 0, settings, info.started)
        if info.sweep:
            self._plugin(info.started, "experiment", _columns(info.sweep, info.started))
        else:
            self._plugin(info.started, "session_start_info", _session(info))

    def log_points(self, points: Sequence[Point]) -> None:
        """Write values."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        for name, step, value, time in points:
            self._write(time, step=step, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)]))
        self._writer.flush()

    def log_text(self, name: str, step: int, text: str, time: float) -> None:
        """Write a text, which TensorBoard reads as Markdown."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.text.metadata import create_summary_metadata

        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        value = Summary.Value(tag=name, metadata=create_summary_metadata(name, ""), tensor=tensor)
        self._write(time, step=step, summary=Summary(value=[value]))

    def rewind(self, step: int, time: float) -> None:
        """Let readers drop the values after ``step``."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._write(time, step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def update_status(self, status: Status) -> None:
        """Write the end of the session and close the file, once the run has ended."""
        if self._ended:
            return
        if status.live:
            self._writer.flush()
            return
        from tensorboard.plugins.hparams.api_pb2 import Status as Outcome
        from tensorboard.plugins.hparams.plugin_data_pb2 import SessionEndInfo

        outcome = Outcome.STATUS_FAILURE if status.state in ("failed", "lost") else Outcome.STATUS_SUCCESS
        if not self._sweep:
            session_end = SessionEndInfo(status=outcome, end_time_secs=status.heartbeat)
            self._plugin(status.heartbeat, "session_end_info", session_end)
        self._writer.close()
        self._ended = True

    def _plugin(self, time: float, tag: str, content: Any) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import metadata
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        data = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **{tag: content})
        summary_metadata = metadata.create_summary_metadata(data)
        value = Summary.Value(tag=f"_hparams_/{tag}", metadata=summary_metadata, tensor=metadata.NULL_TENSOR)
        self._write(time, summary=Summary(value=[value]))

    def _write(self, time: float, **event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time, **event).SerializeToString())


def _session(info: RunInfo) -> Any:
    """Return the settings of a run as a row of TensorBoard's table of runs."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionStartInfo

    session = SessionStartInfo(group_name=info.name, start_time_secs=info.started)
    for path, value in info.settings.items():
        if is_number(value):
            session.hparams[path].number_value = value
        else:
            session.hparams[path].string_value = str(value)
    return session


def _columns(sweep: Sweep, began: float) -> Any:
    """Return the parameters and objectives of a sweep as columns of TensorBoard's table of runs."""
    from tensorboard.plugins.hparams import api_pb2 as api

    experiment = api.Experiment(description=sweep.name, time_created_secs=began)
    for name, domain in {**sweep.space.grid, **sweep.space.search}.items():
        column = experiment.hparam_infos.add(name=name, display_name=name, type=api.DATA_TYPE_FLOAT64, differs=True)
        if isinstance(domain, Range):
            column.domain_interval.min_value, column.domain_interval.max_value = domain.low, domain.high
        elif all(map(is_number, domain.values)):
            column.domain_discrete.extend(list(domain.values))
        else:
            column.type = api.DATA_TYPE_STRING
            column.domain_discrete.extend([str(value) for value in domain.values])
    for name, direction in sweep.objectives:
        tag = api.MetricName(tag=f"trial/{name}")
        experiment.metric_infos.add(name=tag, display_name=name, description=f"to {direction}")
    return experiment


def open_run(info: RunInfo, where: str, parent: TrackerRun | None = None) -> TensorBoardRun:  # noqa: ARG001 (part of the interface)
    """Return a new event file; the name of a trial puts it into its sweep's folder."""
    return TensorBoardRun(info, where)
