"""The table of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmkit.deploy.compare.constraint import differs, format_difference, main_metric
from lmkit.deploy.compare.verification import narrow_remark
from lmkit.deploy.measure.statistics import Interval, Latency, noise
from lmkit.deploy.variant import Variant, labels
from lmkit.display.table import FormattedNumber, Table
from lmkit.display.units import format_bytes, format_latency

CONTROL, REMARKS = "control [95 %]", "remarks"
ANNOTATIONS = (CONTROL, REMARKS)
"""Columns that the live table draws otherwise: as a band behind the ratio, and as a line below the row."""


def table(variants: Sequence[Variant]) -> Table:
    """Return a table with one variant per row; the row of an unmeasured variant holds the reason."""
    names, measured = labels(variants), [v for v in variants if v.state == "measured"]
    metric = next((main_metric(v) for v in measured), "")
    batches = next(([latency.batch for latency in v.latency] for v in measured), [1])
    optional = [name for name in ("p95", "least", "joules") if _is_measured(measured, name)]
    if any(metric in v.differences for v in measured):
        optional.append("difference")
    if any(v.device != "cpu" for v in measured):
        optional.append("device")
    columns = (
        "variant",
        "size",
        *(f"latency ({batch} row{'s' if batch > 1 else ''})" for batch in batches),
        *(["p95"] if "p95" in optional else []),
        "ratio to baseline [95 %]",
        CONTROL,
        *(f"rows/s (batch {batch})" for batch in batches),
        *(["t_min", "t_min/t"] if "least" in optional else []),
        *(["J per call"] if "joules" in optional else []),
        metric or "metric",
        *([f"{metric} − baseline [95 %]"] if "difference" in optional else []),
        "RMS difference",
        "agreement",
        "load",
        "memory",
        *(["device"] if "device" in optional else []),
        REMARKS,
    )
    baseline_noise = noise(v.latency[0] for v in measured)
    rows = [
        _row(v, names[v.name], metric, baseline_noise, optional, narrow_remark(v, measured, baseline_noise))
        if v.state == "measured"
        else (names[v.name], *[None] * (len(columns) - 2), f"{v.state}: {v.reason}" if v.reason else v.state)
        for v in variants
    ]
    return Table("Variants compared with the baseline", columns, tuple(rows))


def _is_measured(variants: Sequence[Variant], attribute: str) -> bool:
    """Return whether an attribute of the latency at the first batch size is measured for any variant."""
    return any(getattr(v.latency[0], attribute) is not None for v in variants)


def _row(
    v: Variant, name: str, metric: str, baseline_noise: Interval, optional: Sequence[str], remark: str
) -> tuple[Any, ...]:
    first = v.latency[0]
    ratio = f"{first.ratio.value:.2f} [{first.ratio.low:.2f}, {first.ratio.high:.2f}]"
    load = v.seconds["import_seconds"] + v.seconds["load_seconds"]
    span, band = (first.ratio.low, first.ratio.high), (baseline_noise.low, baseline_noise.high)
    return (
        name,
        FormattedNumber(v.size_bytes, format_bytes(v.size_bytes)),
        *(FormattedNumber(latency.p50.value, format_latency(latency.p50.value)) for latency in v.latency),
        *([first.p95 and FormattedNumber(first.p95, format_latency(first.p95))] if "p95" in optional else []),
        FormattedNumber(first.ratio.value, ratio, span=span, band=band),
        FormattedNumber(first.control.value, f"[{first.control.low:.2f}, {first.control.high:.2f}]"),
        *(
            FormattedNumber(latency.rows_per_second, f"{float(f'{latency.rows_per_second:.3g}'):,.0f}")
            for latency in v.latency
        ),
        *(_limit(first) if "least" in optional else ()),
        *([first.joules] if "joules" in optional else []),
        v.metrics.get(metric),
        *([_difference(v, metric)] if "difference" in optional else []),
        FormattedNumber(v.divergence, f"{v.divergence:.1e}"),
        None if v.agreement is None else FormattedNumber(v.agreement, f"{v.agreement:.1%}"),
        FormattedNumber(load, format_latency(load)),
        FormattedNumber(v.peak_bytes, format_bytes(v.peak_bytes)),
        *([v.device] if "device" in optional else []),
        "; ".join(filter(None, v.flags or [remark, *_no_differences(v, metric, baseline_noise)])),
    )


def _difference(variant: Variant, metric: str) -> FormattedNumber | None:
    """Return the difference of the metric to the baseline's on the same rows."""
    if (interval := variant.differences.get(metric)) is None:
        return None
    return FormattedNumber(interval.value, format_difference(metric, interval))


def _no_differences(variant: Variant, metric: str, baseline_noise: Interval) -> list[str]:
    """Return in what a variant does not differ from the baseline, as far as was measured."""
    if variant.technique == "baseline":
        return []
    remarks = [] if variant.latency[0].differs(baseline_noise) else ["no difference in latency"]
    if metric in variant.differences and not differs(variant.differences[metric]):
        remarks.append(f"no difference in {metric} on {variant.rows:,} rows")
    return remarks


def _limit(first: Latency) -> tuple[Any, Any]:
    """Return the least time of a call on this machine, and its share of the measured time."""
    if first.least is None or first.closeness is None:
        return None, None
    least = FormattedNumber(first.least, format_latency(first.least))
    return least, FormattedNumber(first.closeness, f"{first.closeness:.1%}")
