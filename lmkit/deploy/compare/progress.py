"""The progress of a comparison, as printed lines."""

from __future__ import annotations

import sys
from typing import TextIO

from lmkit.deploy.compare.constraint import main_metric
from lmkit.deploy.compare.job import Job
from lmkit.deploy.variant import Variant, labels
from lmkit.display.units import format_bytes, format_duration, format_latency


class ProgressLines:
    """Print a line for each finished variant, and in a terminal a last line with what is in progress.

    Lines go to the cell's output in a notebook, and to standard error elsewhere.
    """

    def __init__(self, job: Job, file: TextIO | None = None) -> None:
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        self.job = job
        self.file = file or (sys.stdout if shell is not None else sys.stderr)
        self.is_terminal = self.file.isatty()
        self.printed: set[str] = set()

    def __call__(self, activity: str) -> None:
        """Print what has changed."""
        variants, seconds = self.job.variants, self.job.seconds_left
        names = labels(variants)
        left = f"  about {format_duration(seconds)} remaining" if seconds else ""
        for v in variants:
            if v.state not in ("pending", "cancelled") and v.name not in self.printed:
                self.printed.add(v.name)
                self._print(f"{len(self.printed)}/{len(variants)}  {names[v.name]}: {_summary(v)}{left}")
        if self.is_terminal and activity:
            self.file.write(f"\r\x1b[K{len(self.printed)}/{len(variants)}  {activity}{left}")
            self.file.flush()
        if self.job.state == "cancelled":
            self._print(
                f"{len(self.printed)} of {len(variants)} variants are finished and saved; run the same call to continue"
            )

    def _print(self, line: str) -> None:
        if self.is_terminal:
            self.file.write("\r\x1b[K")
        print(line, file=self.file, flush=True)


def _summary(v: Variant) -> str:
    if v.state != "measured":
        return f"{v.state}: {v.reason}"
    metric = main_metric(v)
    score = f", {metric} {v.metrics[metric]:.4g}" if metric else ""
    return (
        f"{format_latency(v.latency[0].p50.value)} per call, ratio {v.latency[0].ratio.value:.2f}, "
        f"{format_bytes(v.size_bytes)}{score}{'; ' if v.flags else ''}{'; '.join(v.flags)}"
    )
