"""How long a person waits in JupyterLab: ``python tests/benchmarks/browser.py [--rounds 5] [--against CHECKOUT]``.

From running the cell, in a kernel that has just been started:

* ``lk.configure()`` to a visible form: all of its fields and its button are on the page; then to the preview of its
  data; and the same for a second form in the same kernel;
* ``lk.train(…)`` to a visible monitor, and to the first epoch in it, by the kernel's first worker, which imports
  PyTorch; and from a click on Pause to the state ``paused`` in the monitor.

Each row tells the median and the least time of the clock on the wall; the median CPU time of the kernel and of the
page's main thread meanwhile; and the median number of messages from the kernel. On a machine that others use, only CPU
times are comparable; the least time on the wall is nearest to what a quiet machine would tell. ``--against`` names
another checkout of lmkit, which is measured in turns with this one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from lab_server import Lab, Notebook, find_browser, new_notebook, start_chromium, start_lab

FORM = "import lmkit as lk\nlk.configure()"
SECOND = "lk.configure()"
TRAIN = 'import lmkit as lk\nrun = lk.train(data="digits", epochs=100_000, early_stopping=None)\nrun'
STOP = "run.stop()\nNone"

WATCH = """([cell, index, conditions]) => new Promise((resolve) => {
  const app = window.jupyterapp, content = app.shell.currentWidget.content
  const kernel = app.shell.currentWidget.sessionContext.session.kernel
  const started = performance.now(), seen = {}
  let messages = 0
  const count = (_, {direction}) => { if (direction === "recv") messages++ }
  kernel.anyMessage.connect(count)
  const tests = Object.entries(conditions).map(([name, source]) => [name, new Function("output", `return ${source}`)])
  const look = () => {
    const output = content.widgets[index].node.querySelector(".jp-Cell-outputArea")
    const time = (performance.now() - started) / 1000
    for (const [name, test] of tests)
      if (!(name in seen) && output && test(output)) seen[name] = [time, messages]
    if (Object.keys(seen).length < tests.length && time < 120) return requestAnimationFrame(look)
    kernel.anyMessage.disconnect(count)
    resolve(seen)
  }
  if (cell) {
    content.activeCellIndex = index
    app.commands.execute("notebook:run-cell")
  } else content.widgets[index].node.querySelector(".lmkit-actions button").click()
  requestAnimationFrame(look)
})"""
"""Runs a cell, or clicks the first button of its monitor; resolves to the seconds and messages until each condition."""

VISIBLE = (
    "output.querySelector('.lkc-train')?.offsetHeight && output.querySelectorAll('.lkc-row .lkc-control').length > 20"
)
FORM_STAGES = {
    "the form": f"{VISIBLE} && output.querySelectorAll('.lkc-section').length > 3",
    "its data": "output.querySelector('.lkc-facts') && output.querySelector('.lkc-drawing')",
}
MONITOR_STAGES = {
    "the monitor": "output.querySelector('.lmkit-monitor')?.offsetHeight",
    "the first epoch": "/epoch [1-9]/.test(output.querySelector('.lmkit-numbers')?.textContent)",
}
PAUSED = {"paused": "output.querySelector('.lmkit-state').textContent === 'paused'"}


class Sample(NamedTuple):
    """What one wait took: seconds on the wall, CPU seconds of the kernel and of the page, messages of the kernel."""

    wall: float
    kernel: float
    page: float
    messages: float


@contextmanager
def fresh_kernel(context: Any, lab: Lab, *cells: str) -> Iterator[Notebook]:
    """A notebook of these cells, with a kernel that has run nothing."""
    notebook = new_notebook(context, lab, "waiting", *cells).open()
    try:
        yield notebook
    finally:
        notebook.close()


class Clock:
    """CPU seconds of a notebook's kernel and of its page."""

    def __init__(self, notebook: Notebook) -> None:
        connection = "sessionContext.session.kernel"
        own = notebook.page.evaluate(f"() => window.jupyterapp.shell.currentWidget.{connection}.id")
        self.kernel = next(
            p for p in psutil.process_iter(["cmdline"]) if any(own in a for a in p.info["cmdline"] or ())
        )
        self.page = notebook.page.context.new_cdp_session(notebook.page)
        self.page.send("Performance.enable", {"timeDomain": "threadTicks"})

    def read(self) -> tuple[float, float]:
        """CPU seconds so far."""
        used = self.kernel.cpu_times()
        metrics = {m["name"]: m["value"] for m in self.page.send("Performance.getMetrics")["metrics"]}
        return used.user + used.system, metrics["ThreadTime"]


def measure(
    notebook: Notebook, clock: Clock, index: int, stages: Mapping[str, str], run: bool = True
) -> dict[str, Sample]:
    """Run the cell at ``index``, or click its monitor's first button, and wait for each of ``stages``."""
    kernel, page = clock.read()
    seen = notebook.page.evaluate(WATCH, [run, index, dict(stages)])
    missing = stages.keys() - seen.keys()
    assert not missing, f"never seen: {missing}"
    after = clock.read()
    # CPU times are those until the last stage
    return {name: Sample(seen[name][0], after[0] - kernel, after[1] - page, seen[name][1]) for name in stages}


def one_round(context: Any, lab: Lab) -> dict[str, Sample]:
    """All waits once."""
    samples: dict[str, Sample] = {}
    with fresh_kernel(context, lab, FORM, SECOND) as notebook:
        clock = Clock(notebook)
        for index, prefix in enumerate(("first configure: ", "second configure: ")):
            measured = measure(notebook, clock, index, FORM_STAGES)
            samples |= {prefix + name: sample for name, sample in measured.items()}
    with fresh_kernel(context, lab, TRAIN, STOP) as notebook:
        clock = Clock(notebook)
        samples |= {f"train: {name}": sample for name, sample in measure(notebook, clock, 0, MONITOR_STAGES).items()}
        notebook.page.wait_for_timeout(1000)
        samples |= {"Pause: " + name: s for name, s in measure(notebook, clock, 0, PAUSED, run=False).items()}
        notebook.run(1)
    return samples


GOALS = {"first configure: the form": "1 s", "second configure: the form": "0.2 s", "train: the monitor": "0.3 s"}
GOALS |= {"train: the first epoch": "1.5 s", "Pause: paused": "0.3 s"}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout of lmkit")
    args = parser.parse_args()
    browser = find_browser()
    if browser is None:
        raise SystemExit("no Chromium found; LMKIT_CHROMIUM names it")
    checkouts = {"": Path(__file__).parents[2]} | ({f" ({args.against.name})": args.against} if args.against else {})
    results: dict[str, list[Sample]] = defaultdict(list)
    with ExitStack() as stack:
        context = stack.enter_context(start_chromium(browser))
        labs = {}
        for name, checkout in checkouts.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            variables = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
            labs[name] = stack.enter_context(start_lab(folder / "lab", variables, share_workers=False))
            one_round(context, labs[name])  # files are read into memory, JupyterLab's code is compiled
        for _ in range(args.rounds):
            for name, lab in labs.items():
                for what, sample in one_round(context, lab).items():
                    results[what + name].append(sample)
    print(f"{'seconds':50} {'median':>7} {'least':>7} {'kernel':>7} {'page':>7} {'messages':>9}   goal")
    for what in results:
        columns = [statistics.median(column) for column in zip(*results[what], strict=True)]
        least = min(s.wall for s in results[what])
        print(
            f"{what:50} {columns[0]:7.2f} {least:7.2f} {columns[1]:7.2f} {columns[2]:7.2f} {columns[3]:9.0f}   "
            f"{GOALS.get(what, '')}"
        )


if __name__ == "__main__":
    main()
