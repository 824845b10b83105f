"""TensorBoard: event files, one folder a run, which ``tensorboard --logdir`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import time_ns
from typing import Any

from lmkit.errors import LmkitError
from lmkit.mirrors import Point, settings
from lmkit.run import Run
from lmkit.runfolder import Status

PACKAGE, EXTRA = "tensorboard", "tensorboard"

FILE = "events.out.tfevents.{}.lmkit"
"""The name of a run's event file; a run that is told again gets another, which takes the place of the old one."""


def default(run: Run) -> str:
    """Beside the runs."""
    return str(run.path.parent / "tensorboard")


class Events:
    """One run's event file.

    The protocol buffers are written as they are, for TensorBoard's own writer imports TensorFlow where there is one.
    """

    def __init__(self, run: Run, where: str) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = Path(where).expanduser().absolute() / run.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            old = list(folder.glob(FILE.format("*")))
            file = (folder / FILE.format(time_ns())).open("wb")
            for path in old:
                path.unlink()
        except OSError as error:
            raise LmkitError(
                f"where: {str(where)!r} cannot be written: {error.strerror}; name another folder"
            ) from None
        self.where, self.run = str(folder), run
        self._writer, self._ended = RecordWriter(file), ""
        made = run.status.heartbeat
        self._write(made, file_version="brain.Event:2")
        told = "\n".join(f"    {path}: {value}" for path, value in settings(run).items())
        self.text("experiment", 0, told, made)
        self._hyperparameters(made)

    def points(self, points: Sequence[Point]) -> None:
        """Tells numbers."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        for name, step, value, time in points:
            self._write(time, step=step, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)]))
        self._writer.flush()

    def text(self, name: str, step: int, text: str, time: float) -> None:
        """Tells a text, which TensorBoard reads as Markdown."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.text.metadata import create_summary_metadata

        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        value = Summary.Value(tag=name, metadata=create_summary_metadata(name, ""), tensor=tensor)
        self._write(time, step=step, summary=Summary(value=[value]))

    def back(self, step: int, time: float) -> None:
        """Lets readers forget what comes after ``step``."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._write(time, step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def state(self, status: Status) -> None:
        """Closes the list of hyperparameters once the run has ended."""
        if not status.live and self._ended != status.state:
            from tensorboard.plugins.hparams import plugin_data_pb2 as data
            from tensorboard.plugins.hparams.api_pb2 import Status as Ended

            how = Ended.STATUS_SUCCESS if status.state in ("completed", "stopped") else Ended.STATUS_FAILURE
            info = data.SessionEndInfo(status=how, end_time_secs=status.heartbeat)
            self._plugin(status.heartbeat, "_hparams_/session_end_info", session_end_info=info)
            self._ended = status.state
        self._writer.flush()

    def _hyperparameters(self, time: float) -> None:
        """What the run was configured with, as TensorBoard's table of runs shows it."""
        from tensorboard.plugins.hparams import plugin_data_pb2 as data

        info = data.SessionStartInfo(group_name=self.run.name, start_time_secs=time)
        for path, value in settings(self.run).items():
            try:
                info.hparams[path].number_value = float(value)
            except ValueError:
                info.hparams[path].string_value = value
        self._plugin(time, "_hparams_/session_start_info", session_start_info=info)

    def _plugin(self, time: float, tag: str, **data: Any) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import metadata
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        told = metadata.create_summary_metadata(HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **data))
        self._write(time, summary=Summary(value=[Summary.Value(tag=tag, metadata=told, tensor=metadata.NULL_TENSOR)]))

    def _write(self, time: float, **event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time, **event).SerializeToString())


def open(run: Run, where: str) -> Events:
    """The event file of a run, written anew."""
    return Events(run, where)
