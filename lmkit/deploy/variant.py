"""A variant: what a technique made of a run, and what was measured of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lmkit.deploy.measure import Interval, Latency
from lmkit.runfolder import told_apart


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
        framework: the run's.
        weights: type → how many numbers of the weights are kept in it; empty where the runtime does not tell.
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


def labels(variants: Iterable[Variant]) -> dict[str, str]:
    """Variant's name → what it is called among others: its technique, after what tells its run from the others."""
    known = list(variants)
    runs = {v.run: v.framework for v in known}
    if len(runs) == 1:
        return {v.name: v.technique for v in known}
    told = dict(zip(runs, told_apart(list(runs), list(runs.values())), strict=True))
    return {v.name: f"{told[v.run]}/{v.technique}" for v in known}
