"""A comparison: techniques applied to runs, each variant measured against the baseline, in one table.

Measurements are saved in the run's folder, ``variants/<technique>/``, and reused. In a notebook with widgets the
measurement runs in the background, and the comparison behaves like a future: methods that need the result wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lmkit.backends import check_named_device
from lmkit.deploy.compare.benchmark import Settings
from lmkit.deploy.compare.constraint import differs, main_metric, metric_cost
from lmkit.deploy.compare.job import Job
from lmkit.deploy.compare.progress import ProgressLines
from lmkit.deploy.compare.recommendation import Recommendation, recommend
from lmkit.deploy.compare.records import read_variants
from lmkit.deploy.compare.table import table
from lmkit.deploy.measure.statistics import ROUNDS, Interval, noise
from lmkit.deploy.techniques.base import find, techniques
from lmkit.deploy.variant import Variant
from lmkit.display.table import Table
from lmkit.exceptions import ConfigError, DataError
from lmkit.run.resolve import resolve_runs
from lmkit.run.run import Run
from lmkit.run.wait import wait_until_completed
from lmkit.system.environment import has_widgets
from lmkit.system.numbers import replace_not_finite
from lmkit.system.rpc import TIMEOUT

CACHED_SECONDS = 0.4
"""How long a call in the background waits, so that cached measurements are there when it returns."""


class Comparison(Sequence[Variant]):
    """Variants of one or more runs, in the order of the techniques given.

    During the measurement, its variants and all that depends on them wait until it has ended; ``state``, ``doing``,
    ``seconds_left`` and ``now`` return at once.

    >>> import lmkit as lk
    >>> comparison = lk.compare(run, techniques=["onnx", "onnx-int8-static"])  # doctest: +SKIP
    >>> comparison.best("fastest within 1 point of accuracy").technique  # doctest: +SKIP
    'onnx-int8-static'
    """

    def __init__(self, variants: Iterable[Variant]) -> None:
        self.variants = list(variants)
        self.job: Job | None = None

    # -- progress -------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """running, completed, cancelled, or failed if the measurement itself could not continue."""
        return self.job.state if self.job else "completed"

    @property
    def doing(self) -> str:
        """What is in progress, such as ``timing digits/onnx``; empty if nothing is."""
        return self.job.doing if self.job else ""

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the remaining seconds; None if it is unknown, and after the end."""
        return self.job.seconds_left if self.job else None

    @property
    def now(self) -> Comparison:
        """The variants as they are now, as a comparison that does not wait; unfinished ones are ``pending``."""
        return Comparison(self.variants)

    def wait(self, timeout: float | None = None) -> Comparison:
        """Wait until all is measured or the measurement is cancelled; return self. An interrupt ends only the wait.

        Raises:
            TimeoutError: the measurement still runs after ``timeout`` seconds.
            Exception: the measurement itself could not continue, as on a full disk; ``now`` holds what was finished.
        """
        if self.job:
            if not self.job.wait(timeout):
                raise TimeoutError(f"the comparison is still running after {timeout:g} seconds: {self.doing}")
            if self.job.state == "failed" and self.job.error:
                raise self.job.error
        return self

    def cancel(self) -> Comparison:
        """End the measurement at once; finished variants stay, the others are ``cancelled``. Return self."""
        if self.job and self.state == "running":
            self.job.cancel()
        return self

    def resume(self) -> Comparison:
        """Measure the cancelled variants in the background; return self."""
        if self.job:
            self.job.resume()
        return self

    def add(self, *names: str) -> Comparison:
        """Measure more techniques in the background; return self.

        Raises:
            ConfigError: a technique is unknown, or the comparison was not made by ``lk.compare``.
        """
        _check(names)
        job = self.job
        if job is None:
            raise ConfigError(["techniques: this comparison was not measured here; use lk.compare(run, [...])"])

        def extend() -> None:
            existing = {v.name for v in self.variants}
            new = (_pending(r, t, job.settings.threads) for r in job.runs for t in names)
            self.variants += [v for v in new if v.name not in existing]

        job.resume(extend)
        return self

    # -- results --------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.wait().variants)

    def __getitem__(self, i: Any) -> Any:
        return self.wait().variants[i]

    def __iter__(self) -> Iterator[Variant]:
        return iter(self.wait().variants)

    @property
    def table(self) -> Table:
        """The variants as a table, one per row."""
        return table(self)

    @property
    def measured(self) -> list[Variant]:
        """The variants that were measured."""
        return [v for v in self if v.state == "measured"]

    def recommend(self, constraint: str = "") -> Recommendation:
        """Return the variant to ship under a constraint such as ``smallest within 1 point and under 1 MB``, and why.

        The default is the fastest within 1 point, or 1 %, of the run's main metric.
        """
        return recommend(self.measured, constraint)

    def best(self, constraint: str = "") -> Variant:
        """Return the variant to ship under a constraint."""
        return self.recommend(constraint).variant

    def front(self) -> list[Variant]:
        """Return the variants that no other beats in latency, size and metric at once (the Pareto front)."""
        costs = [(v, _costs(v)) for v in self.measured if not v.flags]
        return [
            v
            for v, cost in costs
            if not any(all(a <= b for a, b in zip(other, cost, strict=True)) and other != cost for _, other in costs)
        ]

    def to_list(self) -> list[dict[str, Any]]:
        """Return one mapping per variant, as ``lmkit compare --json`` prints them; latency in milliseconds.

        Numbers that are not finite are None, since JSON cannot express them.
        """
        baseline_noise = noise(v.latency[0] for v in self.measured)
        return [replace_not_finite(_to_mapping(v, baseline_noise)) for v in self]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.table.html, "text/plain": self.table.text}

    def __repr__(self) -> str:
        done = sum(v.state == "measured" for v in self.variants)
        runs = len({v.run for v in self.variants})
        return f"<Comparison of {runs} run(s), {self.state}: {done} of {len(self.variants)} variants measured>"


def _costs(variant: Variant) -> tuple[float, float, float]:
    """Return latency, size and metric, the metric negated where higher is better."""
    metric = main_metric(variant)
    score = metric_cost(variant, metric) if metric else 0.0
    return variant.latency[0].p50.value, float(variant.size_bytes), score


def _to_mapping(variant: Variant, baseline_noise: Interval) -> dict[str, Any]:
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
        "latency_ms": first
        and {
            "p50": 1e3 * first.p50.value,
            "ci95": [1e3 * first.p50.low, 1e3 * first.p50.high],
            "p95": first.p95 and 1e3 * first.p95,
        },
        "t_min_ms": first and first.least and 1e3 * first.least,
        "of_limit": first and first.closeness,
        "joules": first and first.joules,
        "ratio": first
        and {
            "value": first.ratio.value,
            "ci95": [first.ratio.low, first.ratio.high],
            "control": [first.control.low, first.control.high],
            "differs": first.differs(baseline_noise),
        },
        "rows_per_second": {str(latency.batch): latency.rows_per_second for latency in variant.latency},
        "seconds": dict(variant.seconds),
        "metrics": dict(variant.metrics),
        "rows": variant.rows,
        "differences": {
            metric: {"value": d.value, "ci95": [d.low, d.high], "differs": differs(d)}
            for metric, d in variant.differences.items()
        },
        "divergence": variant.divergence,
        "agreement": variant.agreement,
        "operations": [list(o) for o in variant.operations],
        "device": variant.device,
        "weights": dict(variant.weights),
        "recipe": dict(variant.recipe),
        "flags": list(variant.flags),
    }


def compare(  # noqa: PLR0913 - a keyword for each option of the command line
    run: Run | str | Path | Sequence[Run | str | Path] = "last",
    techniques: Sequence[str] | None = None,
    *,
    batches: tuple[int, ...] = (1, 32),
    threads: int = 1,
    device: str = "cpu",
    rounds: int = ROUNDS,
    again: bool = False,
    limits: bool = True,
    patience: float = TIMEOUT,
    wait: bool | None = None,
    runs: str | Path | None = None,
    tell: Callable[[Comparison, str], None] | None = None,
) -> Comparison:
    """Apply techniques to trained runs, and measure each variant against the baseline.

    In JupyterLab, and wherever else widgets are displayed, it returns at once and measures in the background.
    Elsewhere it returns when all is measured, and prints a line per variant; an interrupt cancels. Finished variants
    are saved: the same call continues with the others.

    Args:
        run: a run or its name, or several; a run that is training is waited for. The baseline of the first is the
            reference of all.
        techniques: names (default: all); the baseline is always measured.
        batches: rows per call, one or more numbers.
        threads: threads of each process.
        device: where variants are measured: ``cpu``, or ``cuda:N`` for the runtimes of the frameworks.
        rounds: how often each variant is timed against the baseline, at most; fewer once its ratio is precise.
        again: measure again what was measured before.
        limits: benchmark the machine, once (some seconds), and show how close variants come to its limits.
        patience: seconds that one step of a variant, such as building it, may take.
        wait: return when all is measured, or at once (default: at once where widgets are displayed).
        runs: folder of the runs.
        tell: called with the comparison and what is in progress whenever something changes (default: prints lines
            where it waits).

    Raises:
        ConfigError: a technique is unknown, or the machine does not have the device.
        RunStateError: a run has not completed.
        UntrustedCode: a run names code that this user has not run on this machine before; see ``lk.trust``.
    """
    names = ["baseline", *(t for t in techniques or registered_names() if t != "baseline")]
    _check(names)
    check_named_device(device, "device")
    selected = resolve_runs(run, runs=runs)
    for selected_run in selected:
        selected_run.require_trust()
        wait_until_completed(selected_run, "compared")
    comparison = Comparison(_pending(r, t, threads) for r in selected for t in names)
    settings = Settings(tuple(batches), threads, rounds, again, limits, patience, device)
    comparison.job = job = Job(comparison.variants, selected, settings)
    if wait is None:
        wait = not has_widgets()
    if tell:
        job.listeners.append(lambda activity: tell(comparison, activity))
    if not wait:
        job.start()
        job.wait(CACHED_SECONDS)
        return comparison
    if tell is None:
        job.listeners.append(ProgressLines(job))
    job.run()
    return comparison


def comparison(
    run: Run | str | Path | Sequence[Run | str | Path] = "last",
    techniques: Sequence[str] | None = None,
    *,
    runs: str | Path | None = None,
) -> Comparison:
    """Return the saved measurements of trained runs; nothing is measured.

    Args:
        run: a run or its name, or several.
        techniques: names of the techniques to return (default: all).
        runs: folder of the runs.

    Raises:
        RunNotFound: a run does not exist.
        DataError: no variant of it was measured yet.
    """
    selected = resolve_runs(run, runs=runs)
    variants = [
        v for r in selected for v in read_variants(r) if not techniques or v.technique in ("baseline", *techniques)
    ]
    if not variants:
        names = ", ".join(r.name for r in selected)
        raise DataError(f"no variant of {names} was measured yet; measure them: lmkit compare {selected[0].name}")
    return Comparison(variants)


def _check(names: Iterable[str]) -> None:
    for name in names:
        try:
            find(name)
        except Exception as error:
            raise ConfigError([str(error)]) from None


def _pending(run: Run, technique: str, threads: int) -> Variant:
    return Variant(
        run.name,
        technique,
        find(technique).group,
        threads=threads,
        folder=str(run.path),
        framework=run.experiment.framework,
    )


def registered_names() -> list[str]:
    """Return the names of all techniques, the baseline first."""
    return list(techniques())
