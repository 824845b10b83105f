"""What an update of the live chart costs the kernel: bytes on the wire and CPU, however long the run is.

    python tests/benchmarks/monitor.py

Beside lmkit's monitor stands plotly's own FigureWidget, which is given the same losses as a list and as an array. An
update is what a quarter of a second brings at 4,000 steps a second. Messages are counted as the kernel would send them.
"""

from __future__ import annotations

import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import comm
import numpy as np
from comm.base_comm import BaseComm

import lmkit as lk
from lmkit.run.run import Run
from lmkit.runfolder.folder import RunFolder
from lmkit.widgets import monitor as monitor_module
from lmkit.widgets.watcher import watcher

STEPS = 1000
UPDATES = 30
sent = 0


class CountingComm(BaseComm):
    """Counts the bytes of what is sent."""

    def publish_msg(self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **_: Any) -> None:
        global sent
        sent += len(json.dumps(data)) + sum(memoryview(b).nbytes for b in buffers or [])


def measure(update: Callable[[], Any]) -> tuple[float, float]:
    """Bytes and milliseconds of CPU of one update."""
    global sent
    sent, began = 0, time.process_time()
    update()
    return sent, 1000 * (time.process_time() - began)


def lmkit_monitor(n: int) -> tuple[float, float]:
    """A run of ``n`` steps that goes on."""
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as root:
        folder = RunFolder.create(lk.Experiment(), root)
        for first in range(1, n, 10_000):
            some = draw.uniform(size=min(10_000, n + 1 - first))
            folder.metrics.append({"step": first, "loss": some.astype(np.float32).tolist(), "lr": 0.1})
        folder.write_status(replace(folder.status(), state="running", step=n, steps=2 * n))
        monitor = monitor_module.Monitor([Run(folder)])
        while monitor.poll():
            pass
        blocks = [draw.uniform(size=STEPS).astype(np.float32).tolist() for _ in range(UPDATES)]
        sizes, times = [], []
        for i, block in enumerate(blocks):
            folder.metrics.append({"step": n + 1 + i * STEPS, "loss": block, "lr": 0.1})
            folder.write_status(replace(folder.status(), step=n + 1 + i * STEPS, steps_per_second=4000.0 + i))
            size, took = measure(monitor.poll)
            sizes.append(size)
            times.append(took)
        return statistics.median(sizes), statistics.median(times)


def figure_widget(n: int, as_array: bool) -> tuple[float, float]:
    """plotly's own live figure, given all the losses again at each update: it knows no appending."""
    import plotly.graph_objects as go

    draw = np.random.default_rng(0)
    losses = draw.uniform(size=n + STEPS * UPDATES).astype(np.float32)
    figure = go.FigureWidget(go.Scatter(y=[]))
    sizes, times = [], []
    for i in range(UPDATES if n < 100_000 else 5):
        values = losses[: n + i * STEPS]
        given = values if as_array else values.tolist()
        size, took = measure(functools.partial(figure.data[0].update, y=given))
        sizes.append(size)
        times.append(took)
    return statistics.median(sizes), statistics.median(times)


def main() -> None:
    """Prints the table."""
    comm.create_comm = CountingComm
    watcher.add = lambda monitor: None  # type: ignore[method-assign]  # nobody looks but we
    print(f"{'steps so far':>12}  {'lmkit':>18}  {'FigureWidget, array':>22}  {'FigureWidget, list':>22}")
    for n in (100, 10_000, 100_000, 1_000_000):
        cells = [lmkit_monitor(n), figure_widget(n, True), figure_widget(n, False)]
        print(f"{n:>12,}  " + "  ".join(f"{size:>12,.0f} B {ms:>5.2f} ms" for size, ms in cells))


if __name__ == "__main__":
    main()
