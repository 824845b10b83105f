"""A variant: a run's model after a technique, and its measurements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lmkit.deploy.measure.statistics import Interval, Latency
from lmkit.exceptions import DamagedFile
from lmkit.runfolder.find import distinct_labels
from lmkit.system.records import is_number, parse_record


@dataclass(frozen=True)
class Variant:
    """A run's model after a technique, and its measurements.

    Attributes:
        run: name of the run.
        technique: name of the technique.
        group: group of the technique.
        state: pending, measured, not applicable or failed.
        reason: why it is not measured.
        size_bytes: size of the artifact's files.
        peak_bytes: peak memory above that after the import.
        threads: threads of the runtime.
        seconds: seconds of import, load and first call.
        latency: latency at each batch size.
        metrics: loss and metrics on the test part.
        rows: rows of the test part that they are of.
        device: where it was measured.
        differences: metric → difference to the baseline's on the same rows, with its 95 % interval; metrics without a
            known interval, such as custom ones, are left out.
        divergence: root mean square of the difference from the baseline's outputs, relative to that of the baseline's
            outputs.
        agreement: share of predictions equal to the baseline's; None for a regression.
        operations: executed operations: name, type, count.
        recipe: recipe of the artifact.
        flags: deviations that verification found.
        folder: the run's folder.
        framework: the run's framework.
        weights: type → how many numbers of the weights are stored in it; empty if the runtime cannot tell.
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
    framework: str = ""
    weights: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    device: str = "cpu"
    differences: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Run and technique, ``run/technique``."""
        return f"{self.run}/{self.technique}"

    def bundle(self, out: str | Path, *, layout: str = "plain") -> Path:
        """Write the variant as a folder to deploy; see ``lmkit.deploy.bundle.bundle``."""
        from lmkit.deploy.bundle.bundle import bundle

        return bundle(self.folder, self.technique, out, layout=layout)

    def to_dict(self) -> dict[str, Any]:
        """Return the variant as plain values, which ``from_dict`` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], path: Path = Path("measurement.json")) -> Variant:
        """Return the variant that ``to_dict`` wrote; ``path`` is its file, for messages.

        Raises:
            DamagedFile: a value is missing or has another type.
        """
        metrics = values.get("metrics")
        if isinstance(metrics, Mapping):  # JSON has no NaN
            values = {**values, "metrics": {k: math.nan if v is None else v for k, v in metrics.items()}}
        variant = parse_record(cls, values, path)
        if variant.state == "measured" and not (
            variant.latency
            and {"import_seconds", "load_seconds"} <= set(variant.seconds)
            and all(is_number(v, 0) for v in variant.seconds.values())
            and all(latency.batch > 0 and is_number(latency.p50.value, 1e-12) for latency in variant.latency)
        ):
            raise DamagedFile(path, "it has no times of a measured variant")
        return variant


def labels(variants: Iterable[Variant]) -> dict[str, str]:
    """Return name → label of each variant: its technique, after the run's distinct label if there are more runs."""
    variants = list(variants)
    runs = {v.run: v.framework for v in variants}
    if len(runs) == 1:
        return {v.name: v.technique for v in variants}
    run_labels = dict(zip(runs, distinct_labels(list(runs), list(runs.values())), strict=True))
    return {v.name: f"{run_labels[v.run]}/{v.technique}" for v in variants}
