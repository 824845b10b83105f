"""The proof: whether a variant is what it is said to be, by what its own runtime executed and gave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.techniques import FAITHFUL
from lmkit.deploy.variant import Variant

TOLERANCE = 1e-3
"""Two numbers of rows at once must give the same outputs within this share of the largest one."""

UNCHANGED = 1e-9
"""A technique that is meant to change outputs, and changes them by less than this, did nothing."""


def flags(
    variant: Variant, artefact: Artefact, operations: tuple[Any, ...], outputs: list[Path], scored: Mapping[str, Any]
) -> tuple[str, ...]:
    """What is not as it should be: claims that the runtime does not bear out, outputs that depend on the batch."""
    import numpy as np

    found = []
    narrow = [o for o in operations if artefact.claims.rstrip("0123456789") in o[1] or o[1] == artefact.claims]
    if artefact.claims in ("int8", "float16") and not narrow:
        found.append(f"asked to be {artefact.claims}, and no operation runs in it")
    whole = np.load(outputs[2])
    for path, batch in zip(outputs[:2], (1, 3), strict=True):
        some = np.load(path)
        off = float(np.abs(some - whole[: len(some)]).max()) / (float(np.abs(whole).max()) or 1.0)
        if not off <= TOLERANCE:
            found.append(f"gives other outputs for {batch} rows at once than for 64 ({off:.2g})")
    if variant.group in FAITHFUL and not scored["divergence"] <= TOLERANCE:
        found.append(f"should give the baseline's outputs, and is {scored['divergence']:.2g} of them off")
    if variant.group in ("quantize", "prune", "distil") and scored["divergence"] <= UNCHANGED:
        found.append("changed nothing: its outputs are the baseline's")
    return tuple(found)
