"""One pass over a comparison's variants: each is built, loaded, timed, scored and verified in separate processes."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmkit.deploy.artifact import Artifact, StaleArtifact, is_built_here, remember_variant
from lmkit.deploy.compare.records import cached, conditions, intact, is_current, save_record
from lmkit.deploy.compare.verification import flags
from lmkit.deploy.measure.baselines import Baselines
from lmkit.deploy.measure.roofline import Roofline, measure_roofline, stored_bytes
from lmkit.deploy.measure.statistics import Interval
from lmkit.deploy.measure.timing import measure_latency
from lmkit.deploy.runtimes import custom_runtimes
from lmkit.deploy.techniques.custom import origin, references
from lmkit.deploy.variant import Variant
from lmkit.run.run import Run
from lmkit.system.files import make_directory, new_path, remove_directory
from lmkit.system.rpc import TIMEOUT, MeasurementFailed, NotApplicable, Process

SERVER, BUILDER = "lmkit.deploy.measure.server", "lmkit.deploy.compare.builder"
"""Modules of the processes that measure one variant, and that build the variants of one run."""

BATCH_SIZES = (1, 3, 64)
"""Rows per call of the outputs that must be the same."""

BATCH = BATCH_SIZES[-1]
"""Rows per call where all rows are scored."""

PIECE_BYTES = 2**26
"""Size of the outputs that are scored at once; where a row has more, of one row."""


@dataclass(frozen=True)
class Settings:
    """How variants are measured; the arguments of ``lk.compare``."""

    batches: tuple[int, ...]
    threads: int
    rounds: int
    again: bool
    limits: bool = True
    patience: float = TIMEOUT
    device: str = "cpu"


class Cancelled(Exception):
    """The measurement was cancelled."""


class Benchmark:
    """One pass over variants; another thread ends it with ``cancel``.

    Args:
        variants: the variants; each pending one is replaced by its result.
        runs: the runs of the variants; the baseline of the first is the reference of all.
        scratch: folder of temporary files.
        settings: how to measure.
        report: called with what is in progress, and with a variant's name once it is finished.
    """

    def __init__(
        self,
        variants: list[Variant],
        runs: list[Run],
        scratch: Path,
        settings: Settings,
        report: Callable[[str], None],
    ) -> None:
        self.variants, self.runs, self.scratch, self.report = variants, runs, scratch, report
        self.batches, self.threads, self.rounds = settings.batches, settings.threads, settings.rounds
        self.again, self.patience, self.device = settings.again, settings.patience, settings.device
        self.limits = settings.limits and self.device == "cpu"  # those of the processor are measured
        self.roofline: Roofline | None = None
        self.settings: dict[str, Any] = {
            "batches": list(self.batches),
            "threads": self.threads,
            "rounds": self.rounds,
            **({} if self.device == "cpu" else {"device": self.device}),
        }
        self.conditions = conditions()
        self.builders: dict[str, Process] = {}
        self.rows_count: dict[str, int] = {}
        self.started: list[Process] = []
        self.cancelled = False
        self.lock = threading.Lock()

    def cancel(self) -> None:
        """Kill all processes; ``run`` then raises ``Cancelled``."""
        with self.lock:
            self.cancelled = True
            for process in self.started:
                process.kill()

    def run(self) -> None:
        """Build and measure the pending variants; a variant that fails does not stop the others.

        Raises:
            Cancelled: ``cancel`` was called.
        """
        first = self.runs[0]
        reference = self._folder(first, "baseline")
        server = (SERVER, reference, self.threads, self._rows(first), self.device)
        with ExitStack() as stack, Baselines(lambda: self._process(*server, who="the baseline's")) as baselines:
            for i, variant in enumerate(self.variants):
                if variant.state != "pending":
                    continue
                run = next(r for r in self.runs if r.name == variant.run)
                folder = self._folder(run, variant.technique)
                previous = None if self.again else cached(folder, self.settings, self.conditions)
                if previous:
                    for latency in previous.latency:
                        baselines.spreads[latency.batch].add(latency.control.value)
                    self.variants[i] = replace(previous, folder=variant.folder, run=run.name)
                    continue
                self.report(f"building {variant.name}")
                result = self._result(variant, folder, reference, baselines, run, stack)
                self.variants[i] = self._save(result, folder)
                self.report(variant.name)

    def _result(
        self, variant: Variant, folder: Path, reference: Path, baselines: Baselines, run: Run, stack: ExitStack
    ) -> Variant:
        """Return the variant as measured, not applicable or failed."""
        try:
            return self._attempt(variant, folder, reference, baselines, run, stack)
        except NotApplicable as error:
            return replace(variant, state="not applicable", reason=str(error))
        except (MeasurementFailed, OSError) as error:  # the latter: a file was deleted, a full disk
            if self.cancelled:
                raise Cancelled from None
            for name in [name for name, builder in self.builders.items() if builder.over]:
                del self.builders[name]
            return replace(variant, state="failed", reason=str(error))
        finally:
            remove_directory(new_path(folder))

    def _attempt(
        self, variant: Variant, folder: Path, reference: Path, baselines: Baselines, run: Run, stack: ExitStack
    ) -> Variant:
        """Build and measure one variant; once more if its files changed meanwhile."""
        if self.limits and self.roofline is None:
            self.roofline = measure_roofline(self.threads, self.report)
            self.limits = self.roofline is not None
        changed = MeasurementFailed(f"the files in {str(folder)!r} changed during the measurement")
        for _ in range(2):
            try:
                builder = self._builder(run, stack)
                if folder != reference:
                    self._builder(self.runs[0], stack)
                    if not (intact(reference) and is_built_here(reference)):
                        raise MeasurementFailed("the baseline to compare with is missing")
                    baselines.prepare()
                self._build(variant, folder, builder, run)
                result = self._measure(variant, folder, baselines, run, builder)
            except (MeasurementFailed, StaleArtifact) as error:
                if isinstance(error, MeasurementFailed):
                    if error.kind != "StaleArtifact":
                        raise
                    changed = error
                continue
            if intact(folder):
                return result
        raise changed

    def _build(self, variant: Variant, folder: Path, builder: Process, run: Run) -> None:
        """Build the artifact, unless the folder holds what would be built."""
        custom = references(variant.technique, run.path.parent)
        if self.again or not is_current(folder, self.conditions, origin(custom)):
            builder.ask("make", technique=variant.technique, into=str(folder), custom=custom)
            remember_variant(folder)  # the builder did, unless only this process can

    def _save(self, variant: Variant, folder: Path) -> Variant:
        """Write the result into the run's folder; a result that cannot be written is returned with the reason."""
        try:
            save_record(folder, variant, self.settings, self.conditions)
        except OSError as error:
            if variant.state == "measured":
                return replace(variant, reason=f"not saved in the run's folder: {error.strerror}")
        return variant

    def _least_seconds(self, artifact: Artifact, weights: Mapping[str, int] | None, batch: int) -> float | None:
        """Return the least seconds per call on this machine; None where it is unknown."""
        flops = 2.0 * batch * artifact.provenance.get("multiplications", 0)
        if self.roofline is None or not flops:
            return None
        return self.roofline.seconds(flops, stored_bytes(weights or {}), artifact.compute_dtype)

    def _folder(self, run: Run, technique: str) -> Path:
        return run.folder.inside("variants", technique)

    def _builder(self, run: Run, stack: ExitStack) -> Process:
        if run.name not in self.builders:
            _check_writable(run.path, "variants")
            builder = stack.enter_context(self._process(BUILDER, run.path))
            self.rows_count[run.name] = builder.ask("rows", into=str(self._rows(run)))["rows"]
            self.builders[run.name] = builder
        return self.builders[run.name]

    def _process(self, module: str, *arguments: object, who: str = "its") -> Process:
        """Start a process, unless the pass was cancelled."""
        with self.lock:
            if self.cancelled:
                raise Cancelled
            process = Process(module, *arguments, who=who, patience=self.patience)
            self.started.append(process)
            return process

    def _rows(self, run: Run) -> Path:
        return self.scratch / f"{run.name}.npy"

    def _earlier_artifacts(self, variant: Variant, run: Run) -> dict[str, Artifact]:
        """Return technique → artifact of the same run's measured variants before this one."""
        artifacts = {}
        for other in self.variants[: [v.name for v in self.variants].index(variant.name)]:
            if other.run == run.name and other.state == "measured":
                with suppress(OSError, ValueError):
                    artifacts[other.technique] = Artifact.read(self._folder(run, other.technique), check=False)
        return artifacts

    def _measure(self, variant: Variant, folder: Path, baselines: Baselines, run: Run, builder: Process) -> Variant:
        """Load, time, score and verify one variant."""
        artifact, rows, runtimes = Artifact.read(folder), self._rows(run), custom_runtimes()
        self.report(f"loading {variant.name}")
        baseline, control = baselines.pair()
        with self._process(SERVER, folder, self.threads, rows, self.device) as server:
            seconds = server.ask("load", runtimes=runtimes)
            peak = server.ask("memory", batches=sorted({*self.batches, BATCH}))["peak_bytes"]
            row_bytes = int(seconds.pop("row_bytes"))
            outputs = [self.scratch / f"{variant.technique}-{n}.npy" for n in BATCH_SIZES]
            few = min(12, max(3, PIECE_BYTES // row_bytes))
            for path, batch in zip(outputs, BATCH_SIZES, strict=True):
                server.ask("predict", into=str(path), batch=batch, rows=few)
            scores = self._score(variant, server, builder, run, max(1, PIECE_BYTES // row_bytes))
            self.report(f"timing {variant.name}")
            same = variant.technique == "baseline" and run is self.runs[0]
            latencies = tuple(
                measure_latency(
                    server, baseline, control, batch, baselines.spreads[batch], rounds=self.rounds, same=same
                )
                for batch in self.batches
            )
            energy = [server.ask("energy", batch=batch)["joules"] for batch in self.batches]
            operations = tuple(tuple(o) for o in server.ask("executed")["operations"])
            weights = server.ask("stored")["weights"]
        baselines.turn()
        latencies = tuple(
            replace(latency, joules=joules, least=self._least_seconds(artifact, weights, latency.batch))
            for latency, joules in zip(latencies, energy, strict=True)
        )
        return replace(
            variant,
            state="measured",
            reason="",
            size_bytes=artifact.size(folder),
            peak_bytes=peak,
            threads=self.threads,
            device=self.device,
            seconds=seconds,
            latency=latencies,
            metrics=scores["metrics"],
            rows=scores["rows"],
            differences={
                metric: Interval(*values)
                for metric, values in scores["differences"].items()
                if variant.technique != "baseline"
            },
            divergence=scores["divergence"],
            agreement=scores["agreement"],
            operations=operations,
            recipe=artifact.recipe,
            flags=flags(variant, artifact, operations, weights, outputs, scores, self._earlier_artifacts(variant, run)),
            weights=weights or {},
        )

    def _score(
        self, variant: Variant, server: Process, builder: Process, run: Run, rows_per_piece: int
    ) -> dict[str, Any]:
        """Score a variant's outputs of all rows against the baseline's, in pieces of bounded size.

        The baseline's outputs stay on disk for the variants that follow if they are one piece; they are computed again
        for each variant otherwise.
        """
        rows, path = self.rows_count[run.name], self.scratch / "outputs.npy"
        reference_path = self.scratch / f"{run.name}-baseline.npy"
        is_reference = variant.technique == "baseline"
        with ExitStack() as stack:
            reference = server
            if not is_reference and not (rows <= rows_per_piece and reference_path.exists()):
                server_of = (SERVER, self._folder(run, "baseline"), self.threads, self._rows(run), self.device)
                reference = stack.enter_context(self._process(*server_of))
                reference.ask("load", runtimes=custom_runtimes())
            for start in range(0, rows, rows_per_piece):
                piece = {"batch": BATCH, "start": start, "rows": rows_per_piece}
                if is_reference or reference is not server:
                    reference.ask("predict", into=str(reference_path), **piece)
                if not is_reference:
                    server.ask("predict", into=str(path), **piece)
                last = start + rows_per_piece >= rows
                files = {"logits": str(reference_path if is_reference else path), "baseline": str(reference_path)}
                scores = builder.ask("score", **files, last=last)
        return scores


def _check_writable(root: Path, name: str) -> None:
    """Raise MeasurementFailed if a folder in ``root`` cannot be written, before anything is built."""
    folder = root / name
    try:
        make_directory(root, name)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MeasurementFailed(
            f"{str(folder)!r} cannot be written: {error.strerror}; copy the run's folder to a writable place"
        ) from None
