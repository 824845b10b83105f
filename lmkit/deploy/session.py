"""One pass over the variants of a comparison: each made, loaded, timed, scored and proven in processes of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.measure import MeasurementFailed, NotApplicable, Process, latency
from lmkit.deploy.proof import flags
from lmkit.deploy.variant import Variant
from lmkit.run import Run

if TYPE_CHECKING:
    from lmkit.deploy.comparison import Comparison

MEASURED = "measurement.json"

Tell = Callable[["Comparison", str], None]


class Cancelled(Exception):
    """It was asked to end before all was measured."""


class Session:
    """One pass over the variants of a comparison; ``cancel`` ends it from another thread."""

    def __init__(
        self, comparison: Comparison, runs: list[Run], scratch: Path, batches: tuple[int, ...], threads: int,
        rounds: int, again: bool, tell: Tell,
    ) -> None:  # fmt: skip
        self.comparison, self.runs, self.scratch, self.batches = comparison, runs, scratch, batches
        self.threads, self.rounds, self.again, self.tell = threads, rounds, again, tell
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
        with ExitStack() as stack:
            first = self.runs[0]
            reference = self._place(first, "baseline")
            for i, variant in enumerate(self.comparison.variants):
                if variant.state != "pending":
                    continue
                run = next(r for r in self.runs if r.name == variant.run)
                place = self._place(run, variant.technique)
                kept = None if self.again else _read(place, self.batches, self.threads)
                if kept:
                    self.comparison.variants[i] = replace(kept, folder=variant.folder)
                    continue
                self._doing(variant, "makes")
                try:
                    maker = self._maker(run, stack)
                    maker.ask("make", technique=variant.technique, into=str(place))
                    found = self._measured(variant, place, reference, run, maker)
                except NotApplicable as error:
                    found = _failed(variant, "not applicable", error)
                except MeasurementFailed as error:
                    if self.cancelled:
                        raise Cancelled from None
                    found = _failed(variant, "failed", error)
                    if run.name in self.makers and self.makers[run.name].process.poll() is not None:
                        del self.makers[run.name]
                self.comparison.variants[i] = found
                self.tell(self.comparison, variant.name)

    def _place(self, run: Run, technique: str) -> Path:
        return run.path / "variants" / technique

    def _maker(self, run: Run, stack: ExitStack) -> Process:
        if run.name not in self.makers:
            maker = stack.enter_context(self._process("lmkit.deploy.maker", run.path))
            maker.ask("rows", into=str(self._rows(run)))
            self.makers[run.name] = maker
        return self.makers[run.name]

    def _process(self, module: str, *arguments: object) -> Process:
        """Starts one, unless all is to end."""
        with self.lock:
            if self.cancelled:
                raise Cancelled
            process = Process(module, *arguments)
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

    def _measured(self, variant: Variant, place: Path, reference: Path, run: Run, maker: Process) -> Variant:
        """Loads, times, scores and proves one variant."""
        artefact = Artefact.read(place)
        own, first = self._rows(run), self._rows(self.runs[0])
        bench = ("lmkit.deploy.bench", place, self.threads, own)
        base = ("lmkit.deploy.bench", reference, self.threads, first)
        with self._process(*bench) as tried, self._process(*base) as baseline, self._process(*base) as control:
            self._doing(variant, "loads")
            seconds = tried.ask("load")
            baseline.ask("load")
            control.ask("load")
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
                    known.ask("load")
                    known.ask("predict", into=str(logits), batch=64)
            scored = maker.ask("score", logits=str(outputs[2]), baseline=str(logits))
            operations = tuple(tuple(o) for o in tried.ask("executed")["operations"])
            self._doing(variant, "times")
            timed = tuple(latency(tried, baseline, control, batch, rounds=self.rounds) for batch in self.batches)
            peak = tried.ask("memory")["peak_bytes"]
            weights = tried.ask("stored")["weights"]
        seconds.pop("imported_bytes")
        remarks = flags(variant, artefact, operations, weights, outputs, scored, self._before(variant, run))
        found = Variant(
            variant.run, variant.technique, variant.group, "measured", "", artefact.size(place), peak, self.threads,
            seconds, timed, scored["metrics"], scored["divergence"], scored["agreement"], operations,
            artefact.recipe, remarks, variant.folder, weights=weights or {},
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
