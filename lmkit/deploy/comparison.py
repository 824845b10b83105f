"""The comparison: every technique applied to a run, measured beside the baseline, in one table that fills as it goes.

What was measured lies in the run's folder, ``variants/<technique>/``, and is not measured again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.measure import ROUNDS, Interval, Latency, MeasurementFailed, NotApplicable, Process, latency, noise
from lmkit.deploy.recommendation import EXAMPLES, HIGHER, Recommendation, main_metric, recommend
from lmkit.deploy.showing import Live, table
from lmkit.deploy.techniques import FAITHFUL, find, techniques
from lmkit.errors import ConfigError, RunStateError
from lmkit.run import Run, attach
from lmkit.table import Table

MEASURED = "measurement.json"
TOLERANCE = 1e-3
"""Two numbers of rows at once must give the same outputs within this share of the largest one."""

UNCHANGED = 1e-9
"""A technique that is meant to change outputs, and changes them by less than this, did nothing."""


@dataclass(frozen=True)
class Variant:
    """What a technique made of a run, and what was measured of it.

    Attributes:
        state: pending, measured, not applicable or failed.
        reason: why it is not measured.
        seconds: import, load and first call.
        divergence: the root mean square of the difference from the baseline's outputs, as a share of that of those.
        agreement: share of predictions that are the baseline's; None for a regression.
        operations: what a call executes: name, type, count.
        flags: what is not as it should be.
        folder: the run's.
    """

    run: str
    technique: str
    group: str
    state: str = "pending"
    reason: str = ""
    size_bytes: int = 0
    peak_bytes: int = 0
    threads: int = 1
    seconds: Mapping[str, float] = field(default_factory=dict)
    latency: tuple[Latency, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    divergence: float = 0.0
    agreement: float | None = None
    operations: tuple[tuple[str, str, int], ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    folder: str = ""

    @property
    def name(self) -> str:
        """The run and the technique."""
        return f"{self.run}/{self.technique}"

    def bundle(self, out: str | Path, *, layout: str = "plain") -> Path:
        """Writes it as a folder to deploy; see ``lmkit.deploy.bundle``."""
        from lmkit.deploy.bundle import bundle

        return bundle(self.folder, self.technique, out, layout=layout)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``from_dict`` reads them again."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Variant:
        """The variant that ``to_dict`` wrote."""
        timed = [
            Latency(**dict[str, Any]((k, Interval(**v) if isinstance(v, Mapping) else v) for k, v in one.items()))
            for one in values["latency"]
        ]
        tuples = {
            k: tuple(map(tuple, values[k])) if k == "operations" else tuple(values[k]) for k in ("operations", "flags")
        }
        return cls(**{**values, "latency": tuple(timed), **tuples})


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


Tell = Callable[[Comparison, str], None]


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
            _Session(comparison, several, Path(scratch), batches, threads, rounds, again, tell or live).run()
        finally:
            live.close()
    return comparison


def known_names() -> list[str]:
    """The techniques that there are, the baseline first."""
    return list(techniques())


class _Session:
    """One pass over the variants of a comparison."""

    def __init__(
        self, comparison: Comparison, runs: list[Run], scratch: Path, batches: tuple[int, ...], threads: int,
        rounds: int, again: bool, tell: Tell,
    ) -> None:  # fmt: skip
        self.comparison, self.runs, self.scratch, self.batches = comparison, runs, scratch, batches
        self.threads, self.rounds, self.again, self.tell = threads, rounds, again, tell
        self.makers: dict[str, Process] = {}

    def run(self) -> None:
        """Makes and measures what was not yet; one that cannot be never stops the rest."""
        with ExitStack() as stack:
            first = self.runs[0]
            reference = self._place(first, "baseline")
            for i, variant in enumerate(self.comparison.variants):
                run = next(r for r in self.runs if r.name == variant.run)
                place = self._place(run, variant.technique)
                kept = None if self.again else _read(place, self.batches, self.threads)
                if kept:
                    self.comparison.variants[i] = replace(kept, folder=variant.folder)
                    continue
                self.tell(self.comparison, variant.name)
                maker = self._maker(run, stack)
                try:
                    maker.ask("make", technique=variant.technique, into=str(place))
                    found = self._measured(variant, place, reference, run, maker)
                except NotApplicable as error:
                    found = _failed(variant, "not applicable", error)
                except MeasurementFailed as error:
                    found = _failed(variant, "failed", error)
                    if maker.process.poll() is not None:
                        del self.makers[run.name]
                self.comparison.variants[i] = found
                self.tell(self.comparison, variant.name)

    def _place(self, run: Run, technique: str) -> Path:
        return run.path / "variants" / technique

    def _maker(self, run: Run, stack: ExitStack) -> Process:
        if run.name not in self.makers:
            self.makers[run.name] = stack.enter_context(Process("lmkit.deploy.maker", run.path))
            self.makers[run.name].ask("rows", into=str(self._rows(run)))
        return self.makers[run.name]

    def _rows(self, run: Run) -> Path:
        return self.scratch / f"{run.name}.npy"

    def _measured(self, variant: Variant, place: Path, reference: Path, run: Run, maker: Process) -> Variant:
        """Loads, times, scores and proves one variant."""
        artefact = Artefact.read(place)
        own, first = self._rows(run), self._rows(self.runs[0])
        bench = ("lmkit.deploy.bench", place, self.threads, own)
        base = ("lmkit.deploy.bench", reference, self.threads, first)
        with Process(*bench) as tried, Process(*base) as baseline, Process(*base) as control:
            seconds = tried.ask("load")
            baseline.ask("load")
            control.ask("load")
            outputs = [self.scratch / f"{variant.technique}-{n}.npy" for n in (1, 3, 64)]
            tried.ask("predict", into=str(outputs[2]), batch=64)
            for path, batch in zip(outputs[:2], (1, 3), strict=True):
                tried.ask("predict", into=str(path), batch=batch, rows=12)
            logits = self.scratch / f"{run.name}-baseline-logits.npy"
            if variant.technique == "baseline":
                outputs[2].replace(logits)
                outputs[2] = logits
            scored = maker.ask("score", logits=str(outputs[2]), baseline=str(logits))
            operations = tuple(tuple(o) for o in tried.ask("executed")["operations"])
            timed = tuple(latency(tried, baseline, control, batch, rounds=self.rounds) for batch in self.batches)
            peak = tried.ask("memory")["peak_bytes"]
        seconds.pop("imported_bytes")
        flags = _flags(variant, artefact, operations, outputs, scored)
        found = Variant(
            variant.run, variant.technique, variant.group, "measured", "", artefact.size(place), peak, self.threads,
            seconds, timed, scored["metrics"], scored["divergence"], scored["agreement"], operations,
            artefact.recipe, flags, variant.folder,
        )  # fmt: skip
        (place / MEASURED).write_text(json.dumps({"batches": self.batches, **found.to_dict()}), encoding="utf-8")
        return found


def _read(place: Path, batches: tuple[int, ...], threads: int) -> Variant | None:
    """What was measured of a variant before, if it was measured so."""
    try:
        values = json.loads((place / MEASURED).read_text(encoding="utf-8"))
        Artefact.read(place)
    except (OSError, ValueError):
        return None
    if tuple(values.pop("batches")) != batches or values["threads"] != threads:
        return None
    return Variant.from_dict(values)


def _failed(variant: Variant, state: str, error: Exception) -> Variant:
    return replace(variant, state=state, reason=str(error))


def _flags(
    variant: Variant, artefact: Artefact, operations: tuple[Any, ...], outputs: list[Path], scored: Mapping[str, Any]
) -> tuple[str, ...]:
    """What is not as it should be: claims that the runtime does not bear out, outputs that depend on the batch."""
    import numpy as np

    flags = []
    narrow = [o for o in operations if artefact.claims.rstrip("0123456789") in o[1] or o[1] == artefact.claims]
    if artefact.claims in ("int8", "float16") and not narrow:
        flags.append(f"asked to be {artefact.claims}, and no operation runs in it")
    whole = np.load(outputs[2])
    for path, batch in zip(outputs[:2], (1, 3), strict=True):
        some = np.load(path)
        off = float(np.abs(some - whole[: len(some)]).max()) / (float(np.abs(whole).max()) or 1.0)
        if not off <= TOLERANCE:
            flags.append(f"gives other outputs for {batch} rows at once than for 64 ({off:.2g})")
    if variant.group in FAITHFUL and not scored["divergence"] <= TOLERANCE:
        flags.append(f"should give the baseline's outputs, and is {scored['divergence']:.2g} of them off")
    if variant.group in ("quantize", "prune", "distil") and scored["divergence"] <= UNCHANGED:
        flags.append("changed nothing: its outputs are the baseline's")
    return tuple(flags)
