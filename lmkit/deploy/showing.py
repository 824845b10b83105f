"""A comparison as a table, and as lines while it fills."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

from lmkit.deploy.measure import Interval, Latency, noise
from lmkit.deploy.recommendation import bytes_text, main_metric, seconds_text
from lmkit.deploy.variant import Variant, labels
from lmkit.progress import time_text
from lmkit.table import Table, Written

if TYPE_CHECKING:
    from lmkit.deploy.comparison import Comparison

CONTROL, REMARKS = "control [95 %]", "remarks"
TOLD_BESIDE = (CONTROL, REMARKS)
"""Columns that a live table shows otherwise: as a band behind the ratio, and as a line under the row."""


def table(comparison: Comparison) -> Table:
    """One variant a row; what could not be done tells its reason where its numbers would be."""
    called = labels(comparison)
    metric = next((main_metric(v) for v in comparison.measured), "")
    batches = next(([one.batch for one in v.latency] for v in comparison.measured), [1])
    columns = (
        "variant", "size", *(f"{_rows(b)} a call" for b in batches), *(["p95"] if _tells(comparison, "p95") else []),
        "ratio to baseline [95 %]", CONTROL, *(f"rows/s by {b}" for b in batches),
        *(["t_min", "t_min/t"] if _tells(comparison, "least") else []),
        *(["J a call"] if _tells(comparison, "joules") else []),
        metric or "metric", "off by", "agree", "load", "memory", REMARKS,
    )  # fmt: skip
    unlike = noise(v.latency[0] for v in comparison.measured)
    rows = [
        _row(v, called[v.name], metric, unlike, comparison)
        if v.state == "measured"
        else (called[v.name], *[None] * (len(columns) - 2), _unmeasured(v))
        for v in comparison
    ]
    return Table("Variants beside the baseline", columns, tuple(rows))


def _rows(batch: int) -> str:
    return f"{batch} row{'s' if batch > 1 else ''}"


def _tells(comparison: Comparison, what: str) -> bool:
    """Whether there is a variant of which it is known for the first number of rows."""
    return any(getattr(v.latency[0], what) is not None for v in comparison.measured)


def _unmeasured(v: Variant) -> str:
    return v.state if not v.reason else f"{v.state}: {v.reason}"


def _row(v: Variant, name: str, metric: str, unlike: Interval, beside: Comparison) -> tuple[Any, ...]:
    first = v.latency[0]
    ratio = f"{first.ratio.value:.2f} [{first.ratio.low:.2f}, {first.ratio.high:.2f}]"
    load = v.seconds["import_seconds"] + v.seconds["load_seconds"]
    remarks = "; ".join(v.flags) or (
        "" if first.differs(unlike) or v.technique == "baseline" else "no difference in latency"
    )
    return (
        name,
        Written(v.size_bytes, bytes_text(v.size_bytes)),
        *(Written(one.p50.value, seconds_text(one.p50.value)) for one in v.latency),
        *([first.p95 and Written(first.p95, seconds_text(first.p95))] if _tells(beside, "p95") else []),
        Written(first.ratio.value, ratio, span=(first.ratio.low, first.ratio.high), band=(unlike.low, unlike.high)),
        Written(first.control.value, f"[{first.control.low:.2f}, {first.control.high:.2f}]"),
        *(Written(one.rows_per_second, f"{float(f'{one.rows_per_second:.3g}'):,.0f}") for one in v.latency),
        *_limit(first, _tells(beside, "least")),
        *([first.joules] if _tells(beside, "joules") else []),
        v.metrics.get(metric),
        Written(v.divergence, f"{v.divergence:.1e}"),
        None if v.agreement is None else Written(v.agreement, f"{v.agreement:.1%}"),
        Written(load, seconds_text(load)),
        Written(v.peak_bytes, bytes_text(v.peak_bytes)),
        remarks,
    )


def _limit(first: Latency, told: bool) -> tuple[Any, ...]:
    """What the machine takes at best, and how close the variant comes."""
    if not told or first.least is None or first.closeness is None:
        return (None, None) if told else ()
    return Written(first.least, seconds_text(first.least)), Written(first.closeness, f"{first.closeness:.1%}")


class Lines:
    """Prints a line for each variant that is finished; in a terminal what is being done, too, on a line of its own.

    Lines go where those of a run do: in a notebook to the cell's output, elsewhere to the standard error.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        self.file = file or (sys.stdout if shell is not None else sys.stderr)
        self.terminal = self.file.isatty()
        self.told: set[str] = set()

    def __call__(self, comparison: Comparison, doing: str) -> None:
        """Tells what is new."""
        variants = comparison.variants
        called = labels(variants)
        seconds = comparison.seconds_left
        left = f"  about {time_text(seconds)} left" if seconds else ""
        for v in variants:
            if v.state not in ("pending", "cancelled") and v.name not in self.told:
                self.told.add(v.name)
                self._say(f"{len(self.told)}/{len(variants)}  {called[v.name]}: {_line(v)}{left}")
        if self.terminal and doing:
            self.file.write(f"\r\x1b[K{len(self.told)}/{len(variants)}  {doing}{left}")
            self.file.flush()
        if comparison.state == "cancelled":
            self._say(f"{len(self.told)} of {len(variants)} variants are finished and kept; the same call goes on")

    def _say(self, line: str) -> None:
        if self.terminal:
            self.file.write("\r\x1b[K")
        print(line, file=self.file, flush=True)


def _line(v: Variant) -> str:
    if v.state != "measured":
        return f"{v.state}: {v.reason}"
    metric = main_metric(v)
    score = f", {metric} {v.metrics[metric]:.4g}" if metric else ""
    return (
        f"{seconds_text(v.latency[0].p50.value)} a call, ratio {v.latency[0].ratio.value:.2f}, "
        f"{bytes_text(v.size_bytes)}{score}{'; ' if v.flags else ''}{'; '.join(v.flags)}"
    )
