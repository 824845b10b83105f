"""What was measured, kept beside the artefact in the run's folder, and read again where it still holds.

It holds for the settings, the versions and the machine that it was measured with. What could not be measured is kept
with its reason too; something that did not apply is tried again once what is installed has changed, and what failed
whenever it is asked for again.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lmkit.deploy.artefact import RECORD, Artefact, StaleArtefact
from lmkit.deploy.variant import Variant
from lmkit.environment import processor
from lmkit.run import Run

MEASURED = "measurement.json"

PACKAGES = (
    "lmkit", "numpy", "torch", "tensorflow", "keras", "onnx", "onnxscript", "onnxruntime", "tf2onnx", "torchao",
    "torch-pruning", "ai-edge-litert", "ai-edge-quantizer", "openvino", "nncf", "executorch",
)  # fmt: skip
"""What makes variants, and what runs them."""


def conditions() -> dict[str, Any]:
    """Where variants are made and measured: {"machine": …, "versions": {package: version}}."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    known = processor()
    return {
        "machine": [platform.system(), platform.machine(), known["name"], *known["abilities"], os.cpu_count()],
        "versions": versions,
        "tools": [name for name in ("g++",) if shutil.which(name)],
    }


def alike(then: Any, now: dict[str, Any]) -> bool:
    """Whether what was made or measured then would be so now: nothing that there was is another one.

    >>> now = {"machine": ["Linux"], "versions": {"torch": "2.13", "openvino": "2026.0"}, "tools": []}
    >>> alike({**now, "versions": {"torch": "2.13"}}, now), alike({**now, "versions": {"torch": "2.12"}}, now)
    (True, False)
    """
    if not isinstance(then, dict) or then.get("machine") != now["machine"]:
        return False
    return all(now["versions"].get(name) == was for name, was in then.get("versions", {}).items())


def keep(place: Path, variant: Variant, settings: dict[str, Any], where: dict[str, Any]) -> None:
    """Writes what was found of a variant beside its artefact; all of it or nothing.

    Raises:
        OSError: it cannot be written.
    """
    place.mkdir(parents=True, exist_ok=True)
    aside = place / f".{MEASURED}.{os.getpid()}"
    told = {"settings": settings, "conditions": where, "variant": variant.to_dict()}
    try:
        aside.write_text(json.dumps(told), encoding="utf-8")
        aside.replace(place / MEASURED)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def kept(place: Path, settings: dict[str, Any], where: dict[str, Any]) -> Variant | None:
    """What was found of a variant before, where it would be found so again; else None."""
    told = _read(place)
    if told is None or told["settings"] != settings:
        return None
    variant: Variant = told["variant"]
    if variant.state == "measured":
        return variant if alike(told["conditions"], where) and intact(place) else None
    return variant if variant.state == "not applicable" and told["conditions"] == where else None


def intact(place: Path) -> bool:
    """Whether an artefact is there, and its files are those that were made."""
    try:
        Artefact.read(place)
    except (OSError, ValueError, TypeError, KeyError, StaleArtefact):
        return False
    return True


def saved(run: Run) -> list[Variant]:
    """What lies in a run's folder, the baseline first; nothing is measured.

    What was not measured as the baseline was, or whose files are no longer those that were measured, is pending, with
    the reason.
    """
    from lmkit.deploy.techniques import techniques

    order = {name: i for i, name in enumerate(techniques())}
    found = []
    for file in (run.path / "variants").glob(f"*/{MEASURED}"):
        if told := _read(file.parent):
            found.append((told, replace(told["variant"], folder=str(run.path), run=run.name)))
    found.sort(key=lambda one: (order.get(one[1].technique.partition("+")[0], len(order)), one[1].technique))
    base = next((told for told, variant in found if variant.technique == "baseline"), None)
    return [_as_found(told, variant, base, run) for told, variant in found]


def _as_found(told: dict[str, Any], variant: Variant, base: dict[str, Any] | None, run: Run) -> Variant:
    reason = ""
    if variant.state == "measured":
        if not intact(run.path / "variants" / variant.technique):
            reason = "its files are not those that were measured"
        elif base is None or told["settings"] != base["settings"] or not alike(told["conditions"], base["conditions"]):
            reason = "measured with other settings, or another machine or version, than the baseline"
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


def made_alike(place: Path, where: dict[str, Any], origin: str) -> bool:
    """Whether the artefact that lies there is the one that would be made: here, by the same technique of one's own."""
    try:
        told = json.loads((place / RECORD).read_text(encoding="utf-8")).get("made", {})
    except (OSError, ValueError):
        return False
    return told.get("origin", "") == origin and alike(told.get("conditions"), where) and intact(place)


def _read(place: Path) -> dict[str, Any] | None:
    try:
        told = json.loads((place / MEASURED).read_text(encoding="utf-8"))
        return {**told, "settings": told["settings"], "conditions": told["conditions"],
                "variant": Variant.from_dict(told["variant"])}  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError):  # there is none, or it is an older one's
        return None
