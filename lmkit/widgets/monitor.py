"""The monitor: runs watched and steered from a notebook.

    run folder ──> Feed ──> Monitor ──(a few hundred bytes, four times a second)──> monitor.js ──> plotly
                                 ▲                                                      │
                                 └──────────── pause, stop, learning rate, zoom ────────┘

One thread looks at all runs that are watched, so charts go on while a cell blocks the kernel. Once the runs have ended
the output is replaced by a static chart, which a saved notebook shows anywhere.
"""

from __future__ import annotations

import gzip
import importlib.resources
import secrets
import threading
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

import anywidget
import numpy as np
import traitlets

from lmkit.errors import LmkitError
from lmkit.feed import Feed, Series
from lmkit.plots import COLOURS, GREY, SKY, VERMILLION
from lmkit.run import Run
from lmkit.widgets import CELL
from lmkit.widgets.mirroring import TRACKERS, mirror_aside
from lmkit.widgets.output import static_output
from lmkit.widgets.style import css, script

LOOK_SECONDS = 0.25
"""How often the runs are looked at."""

CATCH_UP_SECONDS = 0.05
"""How soon the next look comes while a long run is caught up with."""

FAILURES = 20
"""So many looks in a row may fail (a disk that is away for a moment) before a monitor is given up."""

SHOWN = (
    "state", "epoch", "epochs", "step", "steps", "steps_per_second", "samples_per_second", "seconds", "seconds_left",
    "memory", "device", "reason", "metrics",
)  # fmt: skip
"""What the page is told of a run's status."""

VERBS = ("pause", "resume", "stop", "checkpoint", "note", "set_learning_rate")
"""What the page may ask of a run: methods of ``Run``."""


class MonitorView(anywidget.AnyWidget):
    """The page's side: one view of all the runs of a monitor."""

    _esm = script("monitor")
    _css = css("monitor")

    runs: traitlets.List[Any] = traitlets.List().tag(sync=True)
    colours = traitlets.Dict().tag(sync=True)
    view_id = traitlets.Unicode().tag(sync=True)
    trackers = traitlets.List(list(TRACKERS)).tag(sync=True)


class Monitor:
    """Runs watched live, laid over each other; what ``lk.train(...)`` and ``lk.attach(...)`` show.

    Args:
        runs: the runs to watch.

    Attributes:
        widget: the widget, to be put into another one.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self.feeds = [Feed(run) for run in self.runs]
        self.done = False
        self._lock = threading.Lock()
        self._told: list[Any] = [None] * len(self.feeds)
        self._display_id = ""
        self.widget = MonitorView(
            runs=[{"name": r.name, "epochs": r.experiment.training.epochs} for r in self.runs],
            colours={"runs": list(COLOURS), "steps": SKY, "validation": VERMILLION, "mark": GREY},
        )
        self.widget.view_id = self.widget.model_id  # by which the page finds its own output in the notebook
        self.widget.on_msg(self._hear)
        watcher.add(self)

    # -- what the page is told --------------------------------------------------------------------

    def look(self) -> bool:
        """Looks at the runs and tells the page what is new; returns whether there is more to read at once."""
        with self._lock:
            for feed in self.feeds:
                feed.look()
            behind = any(feed.behind for feed in self.feeds)
            if not behind:  # a run that is caught up with is shown whole, not as it races by
                self._tell()
            if not behind and not self.done and not any(feed.status.live for feed in self.feeds):
                self._replace()
                self.done = True
        return behind

    def _tell(self, anew: bool = False) -> None:
        """Sends what changed since the last time, or everything."""
        news, buffers = [], []
        for i, feed in enumerate(self.feeds):
            if anew:
                feed.steps.changed = feed.epochs.changed = 0
            said: dict[str, Any] = {"run": i}
            status = {k: v for k, v in asdict(feed.status).items() if k in SHOWN}
            text = (status, feed.metric, len(feed.marks), feed.sample.get("step"))
            if anew or text != self._told[i]:
                self._told[i] = text
                said |= {"status": status, "metric": feed.metric, "marks": [tuple(m) for m in feed.marks[-50:]]}
                said |= {"sample": feed.sample} if feed.sample else {}
            for name, series in (("steps", feed.steps), ("epochs", feed.epochs)):
                if anew or series.changed * series.width < series.count:
                    first, values = series.news()
                    said[name] = _placed(series, first, values)
                    buffers.append(values.tobytes())
            if len(said) > 1:
                news.append(said)
        if news:
            self.widget.send({"type": "news", "runs": news, "anew": anew}, buffers)

    def _detail(self, start: float, stop: float, ticket: int) -> None:
        """Sends the steps from ``start`` to ``stop`` in as much detail as a screen can show."""
        found, buffers = [], []
        for i, feed in enumerate(self.feeds):
            first, width, values = feed.steps.window(int(start) - 1, int(stop) + 1)
            found.append({"run": i, "steps": {"start": first, "width": width, "n": values.shape[1]}})
            buffers.append(values.tobytes())
        self.widget.send({"type": "detail", "runs": found, "ticket": ticket}, buffers)

    # -- what the page asks -----------------------------------------------------------------------

    def _hear(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        kind = message.get("type")
        if kind == "plotly":
            self.widget.send({"type": "plotly"}, [plotly_js()])
        elif kind == "hello":
            with self._lock:
                self._tell(anew=True)
                if self.done:
                    self._replace()
        elif kind == "zoom":
            with self._lock:
                self._detail(message["from"], message["to"], message["ticket"])
        elif kind == "mirror":
            mirror_aside(self.runs, message["to"], self._say)
        elif kind in VERBS:
            run = self.runs[message["run"]]
            try:
                getattr(run, kind)(*message.get("arguments", []))
                if self.done:  # a run that had ended goes on
                    self.done = False
                    watcher.add(self)
            except LmkitError as error:
                self.widget.send({"type": "refused", "run": message["run"], "text": str(error)})

    def _say(self, text: str, bad: bool) -> None:
        self.widget.send({"type": "said", "text": text, "bad": bad})

    # -- the cell's output ------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = self.widget._repr_mimebundle_()
        data, metadata = view if isinstance(view, tuple) else (view, {})
        data = {**(data or {}), "text/plain": repr(self)}
        with self._lock:
            self._display_id = secrets.token_hex(8)
            display(data, metadata=metadata, raw=True, display_id=self._display_id)
            if self.done:  # it ended before it was shown
                self._replace()

    def _replace(self) -> None:
        """Puts the static chart in the place of the widget: that is what the saved notebook shows."""
        if self._display_id:
            from IPython.display import display

            data, metadata = static_output(self.runs)
            display(data, metadata=metadata, raw=True, display_id=self._display_id, update=True)
            self.widget.send({"type": "ended", "output": {"data": data, "metadata": metadata}})

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.runs))


def _placed(series: Series, first: int, values: np.ndarray) -> dict[str, int]:
    """Where the buckets of a buffer belong."""
    return {"first": first, "width": series.width, "n": values.shape[1], "count": series.count}


_plotly: list[bytes] = []


def plotly_js() -> bytes:
    """The installed plotly's own JavaScript, gzipped; a page asks for it once."""
    if not _plotly:
        bundle = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
        _plotly.append(gzip.compress(bundle.read_bytes(), 6))
    return _plotly[0]


class Watched(Protocol):
    """What the watcher looks at: a monitor, or a live table of a sweep."""

    widget: Any
    done: bool

    def look(self) -> bool:
        """Looks for what is new; returns whether there is more to see at once."""


class _Watcher:
    """The one thread that looks at everything that is watched; it ends when nothing is."""

    def __init__(self) -> None:
        self.monitors: weakref.WeakSet[Watched] = weakref.WeakSet()
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()

    def add(self, monitor: Watched) -> None:
        with self.lock:
            self.monitors.add(monitor)
            if self.thread is None:
                self.thread = threading.Thread(target=self._begin, name="lmkit monitor", daemon=True)
                self.thread.start()

    def _begin(self) -> None:
        CELL.copy().run(self._look)

    def _look(self) -> None:
        failures: Counter[Watched] = Counter()
        while True:
            behind = False
            for monitor in list(self.monitors):
                try:
                    behind |= monitor.look()
                    del failures[monitor]
                except Exception as error:  # a folder that was deleted, say: the others are still to be watched
                    failures[monitor] += 1
                    if failures[monitor] >= FAILURES:
                        monitor.done = True
                        monitor.widget.send({"type": "refused", "run": 0, "text": f"no longer watched: {error}"})
            with self.lock:
                self.monitors = weakref.WeakSet(m for m in self.monitors if not m.done)
                if not self.monitors:
                    self.thread = None
                    return
            time.sleep(CATCH_UP_SECONDS if behind else LOOK_SECONDS)


watcher = _Watcher()
