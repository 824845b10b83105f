"""Measurements saved beside the artifacts in the run's folder, and read again while they hold.

A measurement holds for the settings, the versions and the machine that it was made with. A variant that was not
applicable is saved with its reason, and tried again once the installed packages have changed; one that failed is tried
again each time.
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.deploy.artifact import MEASUREMENT, Artifact, StaleArtifact, is_built_here
from lmkit.deploy.runtimes import RUNTIMES
from lmkit.deploy.techniques.base import technique_packages, techniques
from lmkit.deploy.variant import Variant
from lmkit.exceptions import DamagedFile
from lmkit.run.run import Run
from lmkit.system.environment import installed_versions, processor
from lmkit.system.files import make_directory, write_json
from lmkit.system.records import read_record

PACKAGES = ("lmkit", "numpy", "torch", "tensorflow", "keras")
"""Packages that any variant depends on; those of techniques and runtimes are declared in their modules."""


class Record(NamedTuple):
    """The content of a variant's measurement file."""

    settings: dict[str, Any]
    conditions: dict[str, Any]
    variant: Variant


@dataclass(frozen=True)
class _RecordFile:
    settings: dict[str, Any]
    conditions: dict[str, Any]
    variant: dict[str, Any]


def conditions() -> dict[str, Any]:
    """Return where variants are built and measured: {"machine": …, "versions": {package: version}, "tools": …}."""
    versions = {"python": platform.python_version(), **installed_versions(_packages())}
    cpu = processor()
    return {
        "machine": [platform.system(), platform.machine(), cpu["name"], *cpu["abilities"], os.cpu_count()],
        "versions": versions,
        "tools": [name for name in ("g++",) if shutil.which(name)],
    }


def _packages() -> list[str]:
    """Return the packages that build or run variants."""
    declared = [*technique_packages(), *(name for _, runtime in RUNTIMES.items() for name in runtime.PACKAGES)]
    return list(dict.fromkeys([*PACKAGES, *declared]))


def conditions_match(before: Any, now: dict[str, Any]) -> bool:
    """Return whether what was built or measured ``before`` holds now: the same machine, no version changed.

    >>> now = {"machine": ["Linux"], "versions": {"torch": "2.13", "openvino": "2026.0"}, "tools": []}
    >>> before = {**now, "versions": {"torch": "2.13"}}, {**now, "versions": {"torch": "2.12"}}
    >>> conditions_match(before[0], now), conditions_match(before[1], now)
    (True, False)
    """
    if not isinstance(before, dict) or before.get("machine") != now.get("machine"):
        return False
    versions, installed = before.get("versions", {}), now.get("versions", {})
    if not (isinstance(versions, dict) and isinstance(installed, dict)):
        return False
    return all(installed.get(name) == version for name, version in versions.items())


def save_record(folder: Path, variant: Variant, settings: dict[str, Any], current: dict[str, Any]) -> None:
    """Write a variant's measurement beside its artifact, atomically.

    Raises:
        OSError: it cannot be written.
    """
    make_directory(folder.parent, folder.name)
    record = {"settings": settings, "conditions": current, "variant": variant.to_dict()}
    write_json(folder / MEASUREMENT, record)


def cached(folder: Path, settings: dict[str, Any], current: dict[str, Any]) -> Variant | None:
    """Return the saved variant, if measuring it again would give the same; else None."""
    record = _read(folder)
    if record is None or record.settings != settings:
        return None
    variant = record.variant
    if variant.state == "measured":
        holds = conditions_match(record.conditions, current) and intact(folder) and is_built_here(folder)
        return variant if holds else None
    return variant if variant.state == "not applicable" and record.conditions == current else None


def intact(folder: Path) -> bool:
    """Return whether a folder holds an artifact whose files have not changed."""
    try:
        Artifact.read(folder)
    except (OSError, ValueError, StaleArtifact):
        return False
    return True


def read_variants(run: Run) -> list[Variant]:
    """Return the variants saved in a run's folder, the baseline first; nothing is measured.

    A variant that was measured under other settings or conditions than the baseline, or whose files have changed, is
    pending, with the reason.
    """
    order = {name: i for i, name in enumerate(techniques())}
    folders = [file.parent for file in (run.path / "variants").glob(f"*/{MEASUREMENT}")]
    records = [
        record._replace(variant=replace(record.variant, folder=str(run.path), run=run.name))
        for record in map(_read, folders)
        if record
    ]
    records.sort(key=lambda r: (order.get(r.variant.technique.partition("+")[0], len(order)), r.variant.technique))
    baseline = next((record for record in records if record.variant.technique == "baseline"), None)
    return [_validated(record, baseline, run) for record in records]


def _validated(record: Record, baseline: Record | None, run: Run) -> Variant:
    """Return the variant of a record, or a pending one with the reason if the record does not hold."""
    variant, reason = record.variant, ""
    if variant.state == "measured":
        if not intact(run.path / "variants" / variant.technique):
            reason = "its files have changed since it was measured"
        elif (
            baseline is None
            or record.settings != baseline.settings
            or not conditions_match(record.conditions, baseline.conditions)
        ):
            reason = "measured with other settings, versions or machine than the baseline"
    if not reason:
        return variant
    return Variant(
        variant.run,
        variant.technique,
        variant.group,
        reason=f"{reason}; compare again",
        folder=variant.folder,
        framework=variant.framework,
    )


def is_current(folder: Path, current: dict[str, Any], origin: str) -> bool:
    """Return whether this user built the artifact in a folder, and it is what would be built now.

    Args:
        folder: of the variant.
        current: machine and versions now.
        origin: the version of the user's own techniques in it; empty for lmkit's.
    """
    try:
        provenance = Artifact.read(folder, check=False).provenance
    except (OSError, ValueError):
        return False
    return (
        provenance.get("origin", "") == origin
        and conditions_match(provenance.get("conditions"), current)
        and intact(folder)
        and is_built_here(folder)
    )


def _read(folder: Path) -> Record | None:
    """Return the record in a folder; None if it is missing, or of another version of lmkit."""
    path = folder / MEASUREMENT
    try:
        record = read_record(_RecordFile, path)
        if record is None:
            return None
        return Record(record.settings, record.conditions, Variant.from_dict(record.variant, path))
    except DamagedFile:
        return None
