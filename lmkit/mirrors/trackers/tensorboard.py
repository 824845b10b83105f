"""TensorBoard: event files, one folder a run, which ``tensorboard --logdir`` shows; a sweep is a folder of such."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import time_ns
from typing import Any

from lmkit.errors import LmkitError
from lmkit.mirrors.trackers import Entry, Mirror, Point, number
from lmkit.runfolder import Status
from lmkit.sweeping.space import Range
from lmkit.sweeping.sweep import Sweep

PACKAGE, EXTRA = "tensorboard", "tensorboard"

FILE = "events.out.tfevents.{}.lmkit"
"""The name of a run's event file; a run that is told again gets another, which takes the place of the old one."""


def default(entry: Entry) -> str:
    """Beside the runs."""
    return str(entry.runs / "tensorboard")


class Events:
    """The event file of a run, of a sweep, or of a trial of one.

    The protocol buffers are written as they are, for TensorBoard's own writer imports TensorFlow where there is one.
    """

    def __init__(self, entry: Entry, where: str) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = Path(where).expanduser().absolute() / entry.name
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
        self.where, self._sweep = str(folder), entry.sweep
        self._writer, self._ended = RecordWriter(file), False
        self._write(entry.began, file_version="brain.Event:2")
        told = "\n".join(f"    {path}: {value}" for path, value in entry.settings.items())
        self.text("sweep" if entry.sweep else "experiment", 0, told, entry.began)
        if entry.sweep:
            self._plugin(entry.began, "experiment", _columns(entry.sweep, entry.began))
        else:
            self._plugin(entry.began, "session_start_info", _row(entry))

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
        """Closes the list of hyperparameters, and the file, once it has ended."""
        if self._ended:
            return
        if status.live:
            self._writer.flush()
            return
        from tensorboard.plugins.hparams.api_pb2 import Status as Ended
        from tensorboard.plugins.hparams.plugin_data_pb2 import SessionEndInfo

        how = Ended.STATUS_FAILURE if status.state in ("failed", "lost") else Ended.STATUS_SUCCESS
        if not self._sweep:
            told = SessionEndInfo(status=how, end_time_secs=status.heartbeat)
            self._plugin(status.heartbeat, "session_end_info", told)
        self._writer.close()
        self._ended = True

    def _plugin(self, time: float, tag: str, told: Any) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import metadata
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        data = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **{tag: told})
        known = metadata.create_summary_metadata(data)
        value = Summary.Value(tag=f"_hparams_/{tag}", metadata=known, tensor=metadata.NULL_TENSOR)
        self._write(time, summary=Summary(value=[value]))

    def _write(self, time: float, **event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time, **event).SerializeToString())


def _row(entry: Entry) -> Any:
    """What a run was configured with, as a row of TensorBoard's table of runs."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionStartInfo

    info = SessionStartInfo(group_name=entry.name, start_time_secs=entry.began)
    for path, value in entry.settings.items():
        if number(value):
            info.hparams[path].number_value = value
        else:
            info.hparams[path].string_value = str(value)
    return info


def _columns(sweep: Sweep, began: float) -> Any:
    """What a sweep varies and what it is after, as the columns of TensorBoard's table of runs."""
    from tensorboard.plugins.hparams import api_pb2 as api

    made = api.Experiment(description=sweep.name, time_created_secs=began)
    for name, among in {**sweep.space.grid, **sweep.space.search}.items():
        column = made.hparam_infos.add(name=name, display_name=name, type=api.DATA_TYPE_FLOAT64, differs=True)
        if isinstance(among, Range):
            column.domain_interval.min_value, column.domain_interval.max_value = among.low, among.high
        elif all(map(number, among.values)):
            column.domain_discrete.extend(list(among.values))
        else:
            column.type = api.DATA_TYPE_STRING
            column.domain_discrete.extend([str(value) for value in among.values])
    for name, direction in sweep.objectives:
        tag = api.MetricName(tag=f"trial/{name}")
        made.metric_infos.add(name=tag, display_name=name, description=f"to {direction}")
    return made


def open(entry: Entry, where: str, parent: Mirror | None = None) -> Events:
    """The event file of an entry, written anew; a trial's lies in its sweep's folder, as its name says."""
    return Events(entry, where)
