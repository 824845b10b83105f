"""The chart of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmkit.charts.values import spans_decades
from lmkit.display.figure import BLACK, COLOURS, GREY, SYMBOLS, Chart, Plot, Series
from lmkit.exceptions import DataError

if TYPE_CHECKING:
    from lmkit.deploy.compare.comparison import Comparison
    from lmkit.deploy.variant import Variant


def comparison(compared: Comparison) -> Chart:
    """Plot latency per call against the main metric, one point per variant with its size as area, and the Pareto front.

    Variants on the front, which no other variant beats in both, are labelled as far as space allows; the others show
    their name on hover, and the text names all. Colours are groups of techniques and symbols are runs. An axis is
    logarithmic where its values span decades.

    Raises:
        DataError: no variant has been measured yet.
    """
    from lmkit.deploy.compare.constraint import main_metric
    from lmkit.deploy.techniques.base import GROUPS
    from lmkit.deploy.variant import labels
    from lmkit.display.units import format_bytes, format_latency

    variants = compared.measured
    if not variants:
        raise DataError("no variant has been measured yet; measure some with lk.compare(run)")
    metric, largest = main_metric(variants[0]), max(v.size_bytes for v in variants)
    by_run, names = len({v.run for v in variants}) > 1, labels(compared.variants)

    unit, a_second = ("µs", 1e6) if max(v.latency[0].p50.value for v in variants) < 2e-3 else ("ms", 1e3)

    def point(v: Variant) -> tuple[float, float]:
        return a_second * v.latency[0].p50.value, v.metrics.get(metric, 0.0)

    front = _front([v for v in variants if not v.flags], metric)
    symbols = dict(zip(dict.fromkeys(v.run for v in variants), [*SYMBOLS] * len(variants), strict=False))
    log_x, log_y = spans_decades([point(v)[0] for v in variants], 3), spans_decades([point(v)[1] for v in variants], 10)
    groups = []
    colours = dict(zip(GROUPS, (*COLOURS, BLACK), strict=True))  # independent of the groups measured so far
    for group in sorted({v.group for v in variants}, key=GROUPS.index):
        colour = colours[group]
        members = [v for v in variants if v.group == group]
        x, y = zip(*map(point, members), strict=True)
        spans = tuple((a_second * v.latency[0].p50.low, a_second * v.latency[0].p50.high) for v in members)
        sizes = tuple(8 + 26 * (v.size_bytes / largest) ** 0.5 for v in members)
        member_names = tuple(names[v.name] for v in members)
        member_symbols = tuple(symbols[v.run] for v in members) if by_run else ()
        is_labelled = tuple(v in front for v in members)
        groups.append(
            Series(group, list(x), list(y), colour, "points", sizes, spans, member_names, is_labelled, member_symbols)
        )
    xs, ys = zip(*sorted(map(point, front)), strict=True) if front else ((), ())
    guide = Series("front", list(xs), list(ys), GREY, "guide")
    # series without points, as the legend of the symbols
    of_run = {v.run: names[v.name].removesuffix(f"/{v.technique}") for v in variants}
    runs = [Series(of_run[run], [], [], GREY, "points", symbols=(symbol,)) for run, symbol in symbols.items() if by_run]
    batch = variants[0].latency[0].batch
    panel = Plot(
        f"{unit} per call of {batch} row{'s' if batch > 1 else ''}{' (log scale)' if log_x else ''}",
        f"{metric}{' (log scale)' if log_y else ''}",
        (guide, *groups, *runs),
        log=log_y,
        log_x=log_x,
    )
    words = [
        f"{names[v.name]}: {format_latency(v.latency[0].p50.value)} per call, {format_bytes(v.size_bytes)}, "
        f"{metric} {v.metrics.get(metric, float('nan')):.4g}"
        for v in variants
    ]
    title = "Latency and quality (area: size on disk; dashed: Pareto front)"
    return Chart(title, (panel,), "\n".join(["Latency and quality.", *words]))


def _front(variants: list[Variant], metric: str) -> list[Variant]:
    """Return the Pareto front over latency and metric, the fastest first; of equal variants the smallest."""
    from lmkit.deploy.compare.constraint import metric_cost

    best = float("inf")
    front: list[Variant] = []

    def score(v: Variant) -> float:
        return metric_cost(v, metric) if metric else 0.0

    for v in sorted(variants, key=lambda v: (v.latency[0].p50.value, score(v), v.size_bytes)):
        if score(v) < best:
            best = score(v)
            front.append(v)
    return front
