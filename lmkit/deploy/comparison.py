"""The comparison: every technique applied to a run, measured beside the baseline, in one table that fills as it goes.

What was measured lies in the run's folder, ``variants/<technique>/``, and is not measured again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lmkit.deploy.measure import ROUNDS, Interval, noise
from lmkit.deploy.recommendation import EXAMPLES, HIGHER, Recommendation, main_metric, recommend
from lmkit.deploy.session import Session, Tell
from lmkit.deploy.showing import Live, table
from lmkit.deploy.techniques import find, techniques
from lmkit.deploy.variant import Variant
from lmkit.errors import ConfigError, RunStateError
from lmkit.run import Run, attach
from lmkit.table import Table


class Comparison(Sequence[Variant]):
    """Variants of one run or several, in the order in which they were asked for.

    >>> import lmkit as lk
    >>> comparison = lk.compare(run, techniques=["onnx", "onnx-int8-static"])  # doctest: +SKIP
    >>> comparison.best("fastest within 1 point of accuracy").technique  # doctest: +SKIP
    'onnx-int8-static'
    """

    def __init__(self, variants: Iterable[Variant]) -> None:
        self.variants = list(variants)

    def __len__(self) -> int:
        return len(self.variants)

    def __getitem__(self, i: Any) -> Any:
        return self.variants[i]

    def __iter__(self) -> Iterator[Variant]:
        return iter(self.variants)

    @property
    def table(self) -> Table:
        """One variant a row."""
        return table(self)

    @property
    def measured(self) -> list[Variant]:
        """Those that were measured."""
        return [v for v in self.variants if v.state == "measured"]

    def recommend(self, constraint: str = EXAMPLES[0]) -> Recommendation:
        """What to ship under a constraint in words, such as ``smallest within 1 point of accuracy``, and why."""
        return recommend(self.measured, constraint)

    def best(self, constraint: str = EXAMPLES[0]) -> Variant:
        """The variant to ship under a constraint in words."""
        return self.recommend(constraint).variant

    def front(self) -> list[Variant]:
        """The variants that no other one beats in latency, size and metric at once (the Pareto front)."""
        rows = [(v, _goods(v)) for v in self.measured if not v.flags]
        return [
            v for v, own in rows
            if not any(all(a <= b for a, b in zip(other, own, strict=True)) and other != own for _, other in rows)
        ]  # fmt: skip

    def to_list(self) -> list[dict[str, Any]]:
        """One object a variant, as ``lmkit compare --json`` prints them; latency in milliseconds."""
        unlike = noise(v.latency[0] for v in self.measured)
        return [_told(v, unlike) for v in self.variants]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.table.html, "text/plain": self.table.text}

    def __repr__(self) -> str:
        done = len(self.measured)
        return f"<Comparison of {len({v.run for v in self})} run(s): {done} of {len(self)} variants measured>"


def _goods(variant: Variant) -> tuple[float, float, float]:
    """Latency, size and metric, each the better the smaller."""
    metric = main_metric(variant)
    score = variant.metrics.get(metric, 0.0)
    return variant.latency[0].p50.value, float(variant.size_bytes), -score if metric in HIGHER else score


def _told(variant: Variant, unlike: Interval) -> dict[str, Any]:
    first = variant.latency[0] if variant.latency else None
    return {
        "name": variant.name,
        "run": variant.run,
        "technique": variant.technique,
        "group": variant.group,
        "state": variant.state,
        "reason": variant.reason,
        "size_bytes": variant.size_bytes,
        "peak_bytes": variant.peak_bytes,
        "latency_ms": first and {
            "p50": 1e3 * first.p50.value,
            "ci95": [1e3 * first.p50.low, 1e3 * first.p50.high],
            "p95": first.p95 and 1e3 * first.p95,
        },
        "ratio": first and {"value": first.ratio.value, "ci95": [first.ratio.low, first.ratio.high],
                            "control": [first.control.low, first.control.high], "differs": first.differs(unlike)},
        "rows_per_second": {str(one.batch): one.rows_per_second for one in variant.latency},
        "seconds": dict(variant.seconds),
        "metrics": dict(variant.metrics),
        "divergence": variant.divergence,
        "agreement": variant.agreement,
        "operations": [list(o) for o in variant.operations],
        "recipe": dict(variant.recipe),
        "flags": list(variant.flags),
    }  # fmt: skip


def compare(
    run: Run | str | Path | Sequence[Run | str | Path] = "last",
    techniques: Sequence[str] | None = None,
    *,
    batches: tuple[int, ...] = (1, 32),
    threads: int = 1,
    rounds: int = ROUNDS,
    again: bool = False,
    runs: str | Path | None = None,
    tell: Tell | None = None,
) -> Comparison:
    """Applies techniques to trained runs, and measures each beside the baseline.

    Args:
        run: a completed run, or several, or their names; the first one's baseline is what all are compared with.
        techniques: names (default: all); the baseline is always measured.
        batches: numbers of rows a call.
        threads: of each process; one, as where every core serves requests of its own.
        rounds: how often each is timed beside the baseline; more make the intervals narrower.
        again: measure anew what was measured before.
        runs: where runs are kept.
        tell: is called whenever something has changed, with what is being done (default: shows the table as it fills).

    Raises:
        ConfigError: there is no such technique.
        RunStateError: a run has not completed.
    """
    wanted = ["baseline", *(t for t in techniques or known_names() if t != "baseline")]
    for name in wanted:
        try:
            find(name)
        except Exception as error:
            raise ConfigError([str(error)]) from None
    given: list[Any] = list(run) if isinstance(run, list | tuple) else [run]
    several: list[Run] = [r if isinstance(r, Run) else attach(r, runs=runs) for r in given]
    for each in several:
        if each.state != "completed":
            raise RunStateError(f"{each.name} cannot be compared: it is {each.state}, expected completed")
    comparison = Comparison(
        Variant(r.name, t, find(t).group, threads=threads, folder=str(r.path)) for r in several for t in wanted
    )
    live = Live()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            Session(comparison, several, Path(scratch), batches, threads, rounds, again, tell or live).run()
        finally:
            live.close()
    return comparison


def known_names() -> list[str]:
    """The techniques that there are, the baseline first."""
    return list(techniques())
