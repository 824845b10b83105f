"""The comparison: every technique applied to a run, measured beside the baseline, in one table that fills as it goes.

What was measured lies in the run's folder, ``variants/<technique>/``, and is not measured again. Where somebody looks
who can see widgets, the measuring goes on while the notebook does other things, and a comparison is like a future: what
needs the finished one waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lmkit.deploy.keeping import saved
from lmkit.deploy.measure import ROUNDS, Interval, noise
from lmkit.deploy.process import PATIENCE
from lmkit.deploy.recommendation import EXAMPLES, HIGHER, Recommendation, main_metric, recommend
from lmkit.deploy.session import Settings, Tell
from lmkit.deploy.showing import Lines, table
from lmkit.deploy.techniques import find, techniques
from lmkit.deploy.variant import Variant
from lmkit.deploy.waiting import completed
from lmkit.deploy.work import Work
from lmkit.errors import ConfigError, DataError
from lmkit.progress import has_widgets
from lmkit.run import Run, attach
from lmkit.table import Table

AT_ONCE_SECONDS = 0.4
"""So long a call waits that need not wait: what was measured before is then there when it returns."""


class Comparison(Sequence[Variant]):
    """Variants of one run or several, in the order in which they were asked for.

    While it is being measured, whoever asks for its variants, or for what follows from them, waits until it has ended;
    ``state``, ``doing``, ``seconds_left`` and ``now`` tell how it goes.

    >>> import lmkit as lk
    >>> comparison = lk.compare(run, techniques=["onnx", "onnx-int8-static"])  # doctest: +SKIP
    >>> comparison.best("fastest within 1 point of accuracy").technique  # doctest: +SKIP
    'onnx-int8-static'
    """

    def __init__(self, variants: Iterable[Variant]) -> None:
        self.variants = list(variants)
        self.work: Work | None = None

    # -- how it goes ----------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """running, completed, cancelled, or failed, where the measuring itself could not go on."""
        return self.work.state if self.work else "completed"

    @property
    def doing(self) -> str:
        """What is being done, such as ``times digits/onnx``; empty while nothing is."""
        return self.work.doing if self.work else ""

    @property
    def seconds_left(self) -> float | None:
        """About how long it will still take; None where that cannot be said, and after the end."""
        return self.work.seconds_left if self.work else None

    @property
    def now(self) -> Comparison:
        """What there is by now, as a comparison that waits for nothing; what is not finished is ``pending``."""
        return Comparison(self.variants)

    def wait(self, timeout: float | None = None) -> Comparison:
        """Waits until all is measured, or it was cancelled; returns itself. An interrupt ends the waiting alone.

        Raises:
            TimeoutError: it still goes on after ``timeout`` seconds.
            Exception: the measuring itself could not go on, as on a full disk; what was finished is in ``now``.
        """
        if self.work:
            if not self.work.wait(timeout):
                raise TimeoutError(f"the comparison still goes on after {timeout:g} seconds: {self.doing}")
            if self.work.state == "failed" and self.work.error:
                raise self.work.error
        return self

    def cancel(self) -> Comparison:
        """Ends the measuring at once; finished variants are kept, the others are ``cancelled``. Returns itself."""
        if self.work and self.state == "running":
            self.work.cancel()
        return self

    def resume(self) -> Comparison:
        """Goes on with what was cancelled, while the notebook does other things; returns itself."""
        if self.work:
            self.work.resume()
        return self

    def add(self, *names: str) -> Comparison:
        """Measures further techniques as well, while the notebook does other things; returns itself.

        Raises:
            ConfigError: there is no such technique, or the comparison was not made by ``lk.compare``.
        """
        _check(names)
        work = self.work
        if work is None:
            raise ConfigError(["techniques: this comparison was not measured here; go on with lk.compare(run, [...])"])

        def more() -> None:
            known = {v.name for v in self.variants}
            new = (_pending(r, t, work.settings.threads) for r in work.runs for t in names)
            self.variants += [v for v in new if v.name not in known]

        work.resume(more)
        return self

    # -- what came of it ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.wait().variants)

    def __getitem__(self, i: Any) -> Any:
        return self.wait().variants[i]

    def __iter__(self) -> Iterator[Variant]:
        return iter(self.wait().variants)

    @property
    def table(self) -> Table:
        """One variant a row."""
        return table(self)

    @property
    def measured(self) -> list[Variant]:
        """Those that were measured."""
        return [v for v in self if v.state == "measured"]

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
        """One object a variant, as ``lmkit compare --json`` prints them; latency in milliseconds.

        What is no finite number is None, for JSON has no other word.
        """
        unlike = noise(v.latency[0] for v in self.measured)
        return [_finite(_told(v, unlike)) for v in self]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.table.html, "text/plain": self.table.text}

    def __repr__(self) -> str:
        done = sum(v.state == "measured" for v in self.variants)
        runs = len({v.run for v in self.variants})
        return f"<Comparison of {runs} run(s), {self.state}: {done} of {len(self.variants)} variants measured>"


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
        "t_min_ms": first and first.least and 1e3 * first.least,
        "of_limit": first and first.closeness,
        "joules": first and first.joules,
        "ratio": first and {"value": first.ratio.value, "ci95": [first.ratio.low, first.ratio.high],
                            "control": [first.control.low, first.control.high], "differs": first.differs(unlike)},
        "rows_per_second": {str(one.batch): one.rows_per_second for one in variant.latency},
        "seconds": dict(variant.seconds),
        "metrics": dict(variant.metrics),
        "divergence": variant.divergence,
        "agreement": variant.agreement,
        "operations": [list(o) for o in variant.operations],
        "weights": dict(variant.weights),
        "recipe": dict(variant.recipe),
        "flags": list(variant.flags),
    }  # fmt: skip


def _finite(value: Any) -> Any:
    """A value of JSON, with None for each number that is not finite."""
    match value:
        case dict():
            return {name: _finite(one) for name, one in value.items()}
        case list():
            return [_finite(one) for one in value]
        case float() if not math.isfinite(value):
            return None
    return value


def compare(
    run: Run | str | Path | Sequence[Run | str | Path] = "last",
    techniques: Sequence[str] | None = None,
    *,
    batches: tuple[int, ...] = (1, 32),
    threads: int = 1,
    rounds: int = ROUNDS,
    again: bool = False,
    limits: bool = True,
    patience: float = PATIENCE,
    wait: bool | None = None,
    runs: str | Path | None = None,
    tell: Tell | None = None,
) -> Comparison:
    """Applies techniques to trained runs, and measures each beside the baseline.

    In JupyterLab, and wherever else widgets are seen, it returns at once, and the comparison fills as it is measured.
    Elsewhere it returns when all is measured, and prints a line a variant; an interrupt ends it. Finished variants are
    kept: the same call goes on with the others.

    Args:
        run: a run, or several, or their names; one that is training is waited for. The first one's baseline is what
            all are compared with.
        techniques: names (default: all); the baseline is always measured.
        batches: numbers of rows a call.
        threads: of each process; one, as where every core serves requests of its own.
        rounds: how often each is timed beside the baseline at most; there are fewer once its ratio is known well.
        again: measure anew what was measured before.
        patience: seconds that one step of a variant may take, such as making it, before it is ended.
        limits: measure, once a machine, how fast it is at best (some seconds), and tell how close variants come.
        wait: return when all is measured, or at once (default: at once where widgets are seen).
        runs: where runs are kept.
        tell: is called whenever something has changed, with what is being done (default, where it waits: prints lines).

    Raises:
        ConfigError: there is no such technique.
        RunStateError: a run has not completed.
    """
    wanted = ["baseline", *(t for t in techniques or known_names() if t != "baseline")]
    _check(wanted)
    given: list[Any] = list(run) if isinstance(run, list | tuple) else [run]
    several: list[Run] = [r if isinstance(r, Run) else attach(r, runs=runs) for r in given]
    for each in several:
        completed(each, "compared")
    comparison = Comparison(_pending(r, t, threads) for r in several for t in wanted)
    settings = Settings(tuple(batches), threads, rounds, again, limits, patience)
    comparison.work = work = Work(comparison, several, settings)
    if wait is None:
        wait = not has_widgets()
    if tell:
        work.listeners.append(tell)
    if not wait:
        work.start()
        work.wait(AT_ONCE_SECONDS)
        return comparison
    if tell is None:
        work.listeners.append(Lines())
    work.run()
    return comparison


def comparison(
    run: Run | str | Path | Sequence[Run | str | Path] = "last",
    techniques: Sequence[str] | None = None,
    *,
    runs: str | Path | None = None,
) -> Comparison:
    """What was measured of trained runs before, read from their folders; nothing is measured.

    Args:
        run: a run, or several, or their names.
        techniques: which of them to show (default: all).
        runs: where runs are kept.

    Raises:
        RunNotFound: there is no such run.
        DataError: nothing was measured of it yet.
    """
    given: list[Any] = list(run) if isinstance(run, list | tuple) else [run]
    several = [r if isinstance(r, Run) else attach(r, runs=runs) for r in given]
    found = [v for r in several for v in saved(r) if not techniques or v.technique in ("baseline", *techniques)]
    if not found:
        names = ", ".join(r.name for r in several)
        raise DataError(f"nothing was measured of {names} yet; measure its variants: lmkit compare {several[0].name}")
    return Comparison(found)


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


def known_names() -> list[str]:
    """The techniques that there are, the baseline first."""
    return list(techniques())
