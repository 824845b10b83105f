"""The monitor: runs displayed and controlled from a notebook.

    run folder ──> RunView ──> Monitor ──(a few hundred bytes, four times a second)──> monitor.js ──> plotly
                                 ▲                                                      │
                                 └──────────── pause, stop, learning rate, zoom ────────┘

One thread polls all displayed runs, so that charts update while a cell blocks the kernel. When the runs have ended, a
headline and a static chart replace the output, which a saved notebook shows everywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets

from lmkit.display.figure import COLOURS, GREY, SKY, VERMILLION
from lmkit.doctor.live import LiveDiagnosis
from lmkit.doctor.results import TestRecord
from lmkit.exceptions import LmkitError, UntrustedCode
from lmkit.permissions import trust
from lmkit.run.pack import pack
from lmkit.run.run import Run
from lmkit.runfolder.downsample import DownsampledSeries
from lmkit.runfolder.live import RunView
from lmkit.widgets.debounce import Loop, in_background
from lmkit.widgets.diagnosis import APPLIED, APPLY, findings_record, new_experiment
from lmkit.widgets.output import N_OUTPUTS, display_with_placeholders, replace_outputs, run_outputs
from lmkit.widgets.plotly_js import plotly_js
from lmkit.widgets.style import css, script
from lmkit.widgets.testing import CANCEL, TEST, TestButton
from lmkit.widgets.tracking import TRACKERS, start_logging
from lmkit.widgets.watcher import watcher

if TYPE_CHECKING:
    from lmkit.widgets.configurator import Configurator

STATUS_FIELDS = (
    "state",
    "epoch",
    "epochs",
    "step",
    "steps",
    "steps_per_second",
    "samples_per_second",
    "seconds",
    "seconds_left",
    "memory",
    "device",
    "device_memory",
    "utilization",
    "power",
    "reason",
    "metrics",
)
"""The fields of a run's status that are sent to the page."""

COMMANDS = ("pause", "resume", "stop", "checkpoint", "note", "set_learning_rate", "pack", "trust")
"""The commands of the page: methods of ``Run``, and what is done with its folder."""


class MonitorView(anywidget.AnyWidget):
    """The widget of a monitor: one view of all its runs."""

    _esm = script("monitor")
    _css = css("monitor")

    runs: traitlets.List[Any] = traitlets.List().tag(sync=True)
    colours = traitlets.Dict().tag(sync=True)
    view_id = traitlets.Unicode().tag(sync=True)
    trackers = traitlets.List(list(TRACKERS)).tag(sync=True)
    apply_label = traitlets.Unicode(APPLY).tag(sync=True)
    test_labels: traitlets.List[Any] = traitlets.List([TEST, CANCEL]).tag(sync=True)


class Monitor:
    """Runs displayed live in shared charts; the display of ``lk.train(...)`` and ``lk.attach(...)``.

    Args:
        runs: the runs to display.

    Attributes:
        widget: the widget, for use in other widgets.
        form: the form of the last new experiment that a finding's change was applied to.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self.views = [RunView(run.folder) for run in self.runs]
        self.doctors = [LiveDiagnosis(run.folder) for run in self.runs]
        self.tests = [
            TestButton(run.folder, partial(self._show_tests, i), partial(self._add_tests, i))
            for i, run in enumerate(self.runs)
        ]
        self.form: Configurator | None = None
        self.done = False
        self._loop = Loop()
        self._lock = threading.Lock()
        self._sent: list[Any] = [None] * len(self.views)
        self._sent_findings: list[list[dict[str, Any]]] = [[] for _ in self.views]
        self._display_ids: list[str] = []
        self.widget = MonitorView(
            runs=[{"name": r.name, "epochs": r.experiment.training.epochs} for r in self.runs],
            colours={"runs": list(COLOURS), "steps": SKY, "validation": VERMILLION, "mark": GREY},
        )
        self.widget.view_id = self.widget.model_id  # the page finds its output in the notebook by it
        self.widget.on_msg(self._handle_message)
        watcher.add(self)

    # -- kernel to page ---------------------------------------------------------------------------

    def poll(self) -> bool:
        """Read the runs and send changes to the page; return whether more is available immediately."""
        with self._lock:
            for view in self.views:
                view.poll()
            behind = any(view.is_behind for view in self.views)
            for view, doctor in zip(self.views, self.doctors, strict=True):
                if view.status.live and not behind:
                    doctor.poll()
            if not behind:  # a long log is sent once it is read completely
                self._send_updates()
            if not behind and not self.done and not any(view.status.live for view in self.views):
                self._replace()
                self.done = True
        return behind

    def _send_updates(self, reset: bool = False) -> None:
        """Send changes since the last update, or everything."""
        updates, buffers = [], []
        for i, view in enumerate(self.views):
            if reset:
                view.steps.changed = view.epochs.changed = 0
            update: dict[str, Any] = {"run": i}
            status = {k: v for k, v in asdict(view.status).items() if k in STATUS_FIELDS}
            state = (status, view.metric, len(view.marks), view.sample.get("step"))
            if reset or state != self._sent[i]:
                self._sent[i] = state
                update |= {"status": status, "metric": view.metric, "marks": [tuple(m) for m in view.marks[-50:]]}
                update |= {"sample": view.sample} if view.sample else {}
            findings = findings_record(self.doctors[i].diagnosis)
            if reset or findings != self._sent_findings[i]:
                self._sent_findings[i] = update["findings"] = findings
            for name, series in (("steps", view.steps), ("epochs", view.epochs)):
                if reset or series.changed * series.width < series.count:
                    first, values = series.drain()
                    update[name] = _slice_info(series, first, values)
                    buffers.append(values.tobytes())
            if len(update) > 1:
                updates.append(update)
        if updates:
            self.widget.send({"type": "update", "runs": updates, "reset": reset}, buffers)

    def _detail(self, start: float, stop: float, ticket: int) -> None:
        """Send the steps from ``start`` to ``stop``, and the epochs that end in them, at screen resolution."""
        runs, buffers = [], []
        for i, view in enumerate(self.views):
            detail: dict[str, Any] = {"run": i}
            ends = view.epochs.rows["step"][: view.epochs.count]
            first_epoch, last_epoch = np.searchsorted(ends, [start, stop]).tolist()
            for name, series, rows in (
                ("steps", view.steps, (int(start) - 1, int(stop) + 1)),
                ("epochs", view.epochs, (first_epoch - 1, last_epoch + 1)),  # one more at each end, for the lines
            ):
                first, width, values = series.window(*rows)
                detail[name] = {"start": first, "width": width, "n": values.shape[1]}
                buffers.append(values.tobytes())
            runs.append(detail)
        self.widget.send({"type": "detail", "runs": runs, "ticket": ticket}, buffers)

    # -- page to kernel ---------------------------------------------------------------------------

    def _handle_message(self, _: Any, message: dict[str, Any], *_buffers: Any) -> None:
        kind = message.get("type")
        if kind == "plotly":
            self.widget.send({"type": "plotly"}, [plotly_js()])
        elif kind == "ready":
            with self._lock:
                self._send_updates(reset=True)
                if self.done:
                    self._replace()
        elif kind == "zoom":
            with self._lock:
                self._detail(message["from"], message["to"], message["ticket"])
        elif kind == "mirror":
            start_logging(self.runs, message["to"], self._show_message)
        elif kind == "apply":
            self._loop.call(lambda: self._apply(message["run"], message["check"]))
        elif kind == "test":
            self._loop.call(self.tests[message["run"]].click)
        elif kind in COMMANDS:
            self._execute(kind, message["run"], message.get("arguments", []))

    def _execute(self, command: str, index: int, arguments: Sequence[Any]) -> None:
        """Do what a button of a run asks for."""
        run = self.runs[index]
        try:
            if command == "pack":
                in_background(lambda: _pack(run), lambda answer: self._show_message(*answer))
            elif command == "trust":
                trust(run)
                self._show_message(f"{run.name} is trusted on this machine.", False)
            else:
                getattr(run, command)(*arguments)
            if command == "resume" and self.done:
                self.done = False
                watcher.add(self)
        except UntrustedCode as error:
            self._show_message(str(error), True, trust=index)
        except (LmkitError, OSError) as error:  # such as a deleted folder, or a full disk
            self._show_message(str(error), True)

    def _apply(self, index: int, check: str) -> None:
        """Open a form with a run's experiment, changed by a finding, below the monitor."""
        try:
            self.form = new_experiment(self.doctors[index].diagnosis, check)
        except LmkitError as error:
            self._show_message(str(error), True)
            return
        self.widget.send(
            {
                "type": "form",
                "output": {"data": self.form._repr_mimebundle_(), "metadata": {}},
                "text": APPLIED,
                "command": f"lk.configure(lk.attach({self.runs[index].name!r}).doctor().apply({check!r}))",
            }
        )

    def _show_tests(self, index: int, text: str, is_running: bool) -> None:
        """Show on the page what the tests of a run are doing."""
        self.widget.send({"type": "tests", "run": index, "text": text, "is_running": is_running})

    def _add_tests(self, index: int, record: TestRecord) -> None:
        """Show the results of the tests of a run with its findings."""
        with self._lock:
            doctor = self.doctors[index]
            doctor.diagnosis = replace(doctor.diagnosis, tests=record)
            self._send_updates()

    def _show_message(self, text: str, is_error: bool, **more: Any) -> None:
        self.widget.send({"type": "message", "text": text, "is_error": is_error, **more})

    # -- the cell's output ------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        with self._lock:
            self._display_ids = display_with_placeholders(self.widget, repr(self), N_OUTPUTS)
            if self.done:  # it ended before it was displayed
                self._replace()

    def _replace(self) -> None:
        """Replace the widget with the static outputs, for the saved notebook."""
        if self._display_ids:
            self.widget.send({"type": "ended", "outputs": replace_outputs(self._display_ids, run_outputs(self.runs))})

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.runs))


def _pack(run: Run) -> tuple[str, bool]:
    """Copy what a run names into its folder, and return a sentence and whether it is an error."""
    try:
        return f"{pack(run).title}.", False
    except (LmkitError, OSError) as error:
        return str(error), True


def _slice_info(series: DownsampledSeries, first: int, values: np.ndarray) -> dict[str, int]:
    """The position of a buffer's buckets in the series."""
    return {"first": first, "width": series.width, "n": values.shape[1], "count": series.count}
