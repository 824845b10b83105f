"""A comparison as a table, and the table live while it fills."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from lmkit.deploy.measure import Interval, noise
from lmkit.deploy.recommendation import bytes_text, main_metric, seconds_text
from lmkit.table import Table, Written

if TYPE_CHECKING:
    from lmkit.deploy.comparison import Comparison
    from lmkit.deploy.variant import Variant


def table(comparison: Comparison) -> Table:
    """One variant a row; what could not be done tells its reason where its numbers would be."""
    several = len({v.run for v in comparison}) > 1
    metric = next((main_metric(v) for v in comparison.measured), "")
    batches = next(([one.batch for one in v.latency] for v in comparison.measured), [1])
    columns = (
        "variant", "size", *(f"{_rows(b)} a call" for b in batches), "ratio to baseline [95 %]", "control [95 %]",
        "rows/s", metric or "metric", "off by", "agree", "load", "memory", "remarks",
    )  # fmt: skip
    unlike = noise(v.latency[0] for v in comparison.measured)
    rows = [_row(v, v.name if several else v.technique, len(batches), metric, unlike) for v in comparison]
    return Table("Variants beside the baseline", columns, tuple(rows))


def _rows(batch: int) -> str:
    return f"{batch} row{'s' if batch > 1 else ''}"


def _row(v: Variant, name: str, batches: int, metric: str, unlike: Interval) -> tuple[Any, ...]:
    if v.state != "measured":
        said = v.state if not v.reason else f"{v.state}: {v.reason}"
        return (name, *[None] * (9 + batches), said)
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
        Written(
            first.ratio.value, ratio, span=(first.ratio.low, first.ratio.high), band=(unlike.low, unlike.high)
        ),
        Written(first.control.value, f"[{first.control.low:.2f}, {first.control.high:.2f}]"),
        float(f"{v.latency[-1].rows_per_second:.3g}"),
        v.metrics.get(metric),
        Written(v.divergence, f"{v.divergence:.1e}"),
        None if v.agreement is None else Written(v.agreement, f"{v.agreement:.1%}"),
        Written(load, seconds_text(load)),
        Written(v.peak_bytes, bytes_text(v.peak_bytes)),
        remarks,
    )


class Live:
    """Shows a comparison while it fills: in a notebook one table, replaced in place; elsewhere a line a variant."""

    def __init__(self) -> None:
        self.told: set[str] = set()
        self.handle: Any = None
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        self.notebook = shell is not None and hasattr(shell, "kernel")

    def __call__(self, comparison: Comparison, doing: str) -> None:
        """Tells how far it has come, and what is being done."""
        done = sum(v.state != "pending" for v in comparison)
        if self.notebook:
            self._replace(comparison, f"{done} of {len(comparison)}: {doing}" if doing else "")
            return
        for v in comparison:
            if v.state != "pending" and v.name not in self.told:
                self.told.add(v.name)
                print(f"{len(self.told)}/{len(comparison)}  {v.technique}: {_line(v)}", file=sys.stderr)

    def _replace(self, comparison: Comparison, doing: str) -> None:
        from IPython.display import display

        # a raw bundle, for a figure or an object would be appended and not replaced
        shown = table(comparison)
        bundle = {"text/html": f"{shown.html}<p>{doing}</p>", "text/plain": f"{shown.text}\n{doing}"}
        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)

    def close(self) -> None:
        """Takes the live table away; what there is is the cell's result."""
        if self.handle is not None:
            self.handle.update({"text/plain": ""}, raw=True)


def _line(v: Variant) -> str:
    if v.state != "measured":
        return f"{v.state}: {v.reason}"
    metric = main_metric(v)
    score = f", {metric} {v.metrics[metric]:.4g}" if metric else ""
    return (
        f"{seconds_text(v.latency[0].p50.value)} a call, ratio {v.latency[0].ratio.value:.2f}, "
        f"{bytes_text(v.size_bytes)}{score}{'; ' if v.flags else ''}{'; '.join(v.flags)}"
    )
