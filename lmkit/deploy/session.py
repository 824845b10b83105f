"""One pass over the variants of a comparison: each made, loaded, timed, scored and proven in processes of its own."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.deploy.artefact import Artefact, StaleArtefact
from lmkit.deploy.baselines import Baselines
from lmkit.deploy.keeping import conditions, intact, keep, kept, made_alike
from lmkit.deploy.limits import Limits, measured, stored_bytes
from lmkit.deploy.process import PATIENCE, MeasurementFailed, NotApplicable, Process
from lmkit.deploy.proof import flags
from lmkit.deploy.registering import handed, origin
from lmkit.deploy.runtimes import RUNTIMES
from lmkit.deploy.timing import latency
from lmkit.deploy.variant import Variant
from lmkit.run import Run

if TYPE_CHECKING:
    from lmkit.deploy.comparison import Comparison

Tell = Callable[["Comparison", str], None]


@dataclass(frozen=True)
class Settings:
    """How variants are measured, as ``lk.compare`` was told."""

    batches: tuple[int, ...]
    threads: int
    rounds: int
    again: bool
    limits: bool = True
    patience: float = PATIENCE


class Cancelled(Exception):
    """It was asked to end before all was measured."""


class Session:
    """One pass over the variants of a comparison; ``cancel`` ends it from another thread."""

    def __init__(
        self, comparison: Comparison, runs: list[Run], scratch: Path, settings: Settings, tell: Tell
    ) -> None:  # fmt: skip
        self.comparison, self.runs, self.scratch, self.tell = comparison, runs, scratch, tell
        self.batches, self.threads, self.rounds = settings.batches, settings.threads, settings.rounds
        self.again, self.patience, self.limits = settings.again, settings.patience, settings.limits
        self.machine: Limits | None = None
        self.settings = {"batches": list(self.batches), "threads": self.threads, "rounds": self.rounds}
        self.conditions = conditions()
        self.makers: dict[str, Process] = {}
        self.started: list[Process] = []
        self.cancelled = False
        self.lock = threading.Lock()

    def cancel(self) -> None:
        """Ends it at once: all its processes, and ``run`` by ``Cancelled``."""
        with self.lock:
            self.cancelled = True
            for process in self.started:
                process.kill()

    def run(self) -> None:
        """Makes and measures what is pending; one that cannot be never stops the rest.

        Raises:
            Cancelled: it was asked to end.
        """
        first = self.runs[0]
        reference = self._place(first, "baseline")
        base = ("lmkit.deploy.bench", reference, self.threads, self._rows(first))
        with ExitStack() as stack, Baselines(lambda: self._process(*base, who="the baseline's")) as baselines:
            for i, variant in enumerate(self.comparison.variants):
                if variant.state != "pending":
                    continue
                run = next(r for r in self.runs if r.name == variant.run)
                place = self._place(run, variant.technique)
                known = None if self.again else kept(place, self.settings, self.conditions)
                if known:
                    for one in known.latency:
                        baselines.spreads[one.batch].add(one.control.value)
                    self.comparison.variants[i] = replace(known, folder=variant.folder, run=run.name)
                    continue
                self._doing(variant, "makes")
                try:
                    found = self._attempt(variant, place, reference, baselines, run, stack)
                except NotApplicable as error:
                    found = replace(variant, state="not applicable", reason=str(error))
                except (MeasurementFailed, OSError) as error:  # the latter: a file that went away, a full disk
                    if self.cancelled:
                        raise Cancelled from None
                    found = replace(variant, state="failed", reason=str(error))
                    for name in [name for name, maker in self.makers.items() if maker.over]:
                        del self.makers[name]
                finally:
                    shutil.rmtree(place.with_name(f".{place.name}.making"), ignore_errors=True)
                self.comparison.variants[i] = self._keep(found, place)
                self.tell(self.comparison, variant.name)

    def _attempt(
        self, variant: Variant, place: Path, reference: Path, baselines: Baselines, run: Run, stack: ExitStack
    ) -> Variant:
        """Makes and measures one variant; anew where its files changed meanwhile."""
        if self.limits and self.machine is None:
            self.machine = measured(self.threads, lambda doing: self.tell(self.comparison, doing))
            self.limits = self.machine is not None
        changed = MeasurementFailed(f"the files in {str(place)!r} change while they are measured")
        for _ in range(2):
            try:
                maker = self._maker(run, stack)
                if place != reference:
                    self._maker(self.runs[0], stack)
                    if not intact(reference):
                        raise MeasurementFailed("there is nothing to measure it beside: the baseline is not there")
                    baselines.prepare()
                self._make(variant, place, maker, run)
                found = self._measured(variant, place, baselines, run, maker)
            except (MeasurementFailed, StaleArtefact) as error:
                if isinstance(error, MeasurementFailed):
                    if error.kind != "StaleArtefact":
                        raise
                    changed = error
                continue
            if intact(place):
                return found
        raise changed

    def _make(self, variant: Variant, place: Path, maker: Process, run: Run) -> None:
        """Makes it, unless it lies there as it would be made."""
        own = handed(variant.technique, run.path.parent)
        if self.again or not made_alike(place, self.conditions, origin(own)):
            maker.ask("make", technique=variant.technique, into=str(place), own=own)

    def _keep(self, variant: Variant, place: Path) -> Variant:
        """Writes what was found into the run's folder; what cannot be written is told, and shown all the same."""
        try:
            keep(place, variant, self.settings, self.conditions)
        except OSError as error:
            if variant.state == "measured":
                return replace(variant, reason=f"not kept in the run's folder: {error.strerror}")
        return variant

    def _least(self, artefact: Artefact, weights: Mapping[str, int] | None, batch: int) -> float | None:
        """Seconds that a call takes at least on this machine, where that can be told."""
        flops = 2.0 * batch * artefact.made.get("multiplications", 0)
        if self.machine is None or not flops:
            return None
        return self.machine.seconds(flops, stored_bytes(weights or {}), artefact.claims)

    def _place(self, run: Run, technique: str) -> Path:
        return run.path / "variants" / technique

    def _maker(self, run: Run, stack: ExitStack) -> Process:
        if run.name not in self.makers:
            _writable(run.path / "variants")
            maker = stack.enter_context(self._process("lmkit.deploy.maker", run.path))
            maker.ask("rows", into=str(self._rows(run)))
            self.makers[run.name] = maker
        return self.makers[run.name]

    def _process(self, module: str, *arguments: object, who: str = "its") -> Process:
        """Starts one, unless all is to end."""
        with self.lock:
            if self.cancelled:
                raise Cancelled
            process = Process(module, *arguments, who=who, patience=self.patience)
            self.started.append(process)
            return process

    def _doing(self, variant: Variant, what: str) -> None:
        self.tell(self.comparison, f"{what} {variant.name}")

    def _rows(self, run: Run) -> Path:
        return self.scratch / f"{run.name}.npy"

    def _logits(self, run: Run) -> Path:
        return self.scratch / f"{run.name}-baseline-logits.npy"

    def _before(self, variant: Variant, run: Run) -> dict[str, Artefact]:
        """What was made of the same run for the variants before this one."""
        found = {}
        for other in self.comparison.variants[: [v.name for v in self.comparison.variants].index(variant.name)]:
            if other.run == run.name and other.state == "measured":
                with suppress(OSError, ValueError):
                    found[other.technique] = Artefact.read(self._place(run, other.technique), check=False)
        return found

    def _measured(self, variant: Variant, place: Path, baselines: Baselines, run: Run, maker: Process) -> Variant:
        """Loads, times, scores and proves one variant."""
        artefact = Artefact.read(place)
        own = self._rows(run)
        self._doing(variant, "loads")
        baseline, control = baselines.pair()
        with self._process("lmkit.deploy.bench", place, self.threads, own) as tried:
            seconds = tried.ask("load", runtimes=RUNTIMES)
            outputs = [self.scratch / f"{variant.technique}-{n}.npy" for n in (1, 3, 64)]
            tried.ask("predict", into=str(outputs[2]), batch=64)
            for path, batch in zip(outputs[:2], (1, 3), strict=True):
                tried.ask("predict", into=str(path), batch=batch, rows=12)
            logits = self._logits(run)
            if variant.technique == "baseline":
                outputs[2].replace(logits)
                outputs[2] = logits
            elif not logits.exists():  # the baseline was measured another day
                with self._process("lmkit.deploy.bench", self._place(run, "baseline"), self.threads, own) as known:
                    known.ask("load", runtimes=RUNTIMES)
                    known.ask("predict", into=str(logits), batch=64)
            scored = maker.ask("score", logits=str(outputs[2]), baseline=str(logits))
            self._doing(variant, "times")
            same = variant.technique == "baseline" and run is self.runs[0]
            timed = tuple(
                latency(tried, baseline, control, batch, baselines.spreads[batch], rounds=self.rounds, same=same)
                for batch in self.batches
            )
            taken = [tried.ask("energy", batch=batch)["joules"] for batch in self.batches]
            peak = tried.ask("memory")["peak_bytes"]
            operations = tuple(tuple(o) for o in tried.ask("executed")["operations"])
            weights = tried.ask("stored")["weights"]
        baselines.turn()
        timed = tuple(
            replace(one, joules=each, least=self._least(artefact, weights, one.batch))
            for one, each in zip(timed, taken, strict=True)
        )
        seconds.pop("imported_bytes")
        remarks = flags(variant, artefact, operations, weights, outputs, scored, self._before(variant, run))
        return Variant(
            variant.run, variant.technique, variant.group, "measured", "", artefact.size(place), peak, self.threads,
            seconds, timed, scored["metrics"], scored["divergence"], scored["agreement"], operations,
            artefact.recipe, remarks, variant.folder, weights=weights or {}, framework=variant.framework,
        )  # fmt: skip


def _writable(folder: Path) -> None:
    """Refuses a folder that cannot be written, before anything is made."""
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MeasurementFailed(
            f"{str(folder)!r} cannot be written: {error.strerror}; copy the run's folder to where you may write"
        ) from None
