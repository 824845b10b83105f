"""The proof: whether a variant is what it is said to be, by what its own runtime executed, keeps and gave."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.techniques import FAITHFUL

if TYPE_CHECKING:
    import numpy as np

    from lmkit.deploy.variant import Variant

TOLERANCE = 1e-3
"""Two numbers of rows at once must give the same outputs within this share of the largest one."""

BY_CALL = 0.1
"""The same where what flows between operations is quantized by its range in each call, which the rows of it share."""

UNCHANGED = 1e-9
"""A technique that is meant to change outputs, and changes them by less than this, did nothing."""

LEAST_STORED, LEAST_REMOVED = 0.9, 0.5
"""Of what was asked to be kept in a narrower type, and to be taken out, so much must have been, for layers may be too
small to be divided as asked."""

NARROW = {
    "int8": ("int8", "uint8"), "int4": ("int4", "uint4"), "float16": ("float16",), "bfloat16": ("bfloat16",),
}  # fmt: skip
"""Type that is claimed → the types that are such."""

_HEAVY = re.compile(
    r"mat_?mul|gemm|conv(?!ert)|linear|fully_?connected|inner_?product|dense|addmm|\bb?mm\b|einsum|attention|lstm|gru",
    re.IGNORECASE,
)
_LIGHT = re.compile(r"quantize_?linear|convert", re.IGNORECASE)


def flags(
    variant: Variant,
    artefact: Artefact,
    operations: Sequence[tuple[str, str, int]],
    weights: Mapping[str, int] | None,
    outputs: Sequence[Path],
    scored: Mapping[str, Any],
    others: Mapping[str, Artefact] | None = None,
) -> tuple[str, ...]:
    """What is not as it should be, each in a few words; empty for a variant that is what it is said to be.

    Args:
        variant: name and group.
        artefact: what it was asked to be.
        operations: what a call executes, as the runtime told.
        weights: type → how many numbers of the weights are kept in it; None where the runtime cannot tell.
        outputs: files of its outputs with 1, 3 and 64 rows at once.
        scored: divergence from the baseline's outputs.
        others: the artefacts of the same run's variants before it, by technique.
    """
    import numpy as np

    given = [np.load(path) for path in outputs]
    found = [_computed(artefact, operations), _kept(artefact, weights), *_removed(artefact.recipe)]
    if bad := int(sum(~np.isfinite(row).all() for row in given[2])):
        found.append(f"gives outputs that are no finite numbers, for {bad} of {len(given[2])} rows")
    else:
        found += [_by_batch(some, given[2], batch, operations) for some, batch in zip(given, (1, 3), strict=False)]
        found.append(_off(variant, scored["divergence"]))
    found.append(_same(artefact, others or {}))
    return tuple(text for text in found if text)


def _computed(artefact: Artefact, operations: Sequence[tuple[str, str, int]]) -> str:
    """Asked to compute in a narrow type, and does not."""
    types = NARROW.get(artefact.claims)
    if types is None:
        return ""
    if not operations:
        return f"asked to be {artefact.claims}, and its runtime does not tell what it executes"
    heavy = [o for o in operations if _HEAVY.search(o[0]) and not _LIGHT.search(o[0])] or list(operations)
    if any(o[1] in types for o in heavy):
        return ""
    ran = ", ".join(f"{name} {times}×" for name, _, times in heavy[:3])
    kinds = " and ".join(sorted({o[1] or "an unknown type" for o in heavy}))
    return f"asked to be {artefact.claims}, and computes in {kinds} ({ran})"


def _kept(artefact: Artefact, weights: Mapping[str, int] | None) -> str:
    """Asked to keep its weights in a narrow type, and keeps less of them so than was asked."""
    wanted = artefact.stores or artefact.claims
    total = sum((weights or {}).values())
    if wanted not in NARROW or not total:
        return ""
    asked = float(artefact.recipe.get("quantized_asked", 1.0))
    share = sum(n for kind, n in (weights or {}).items() if kind in NARROW[wanted]) / total
    if share >= LEAST_STORED * asked:
        return ""
    told = "none of the weights are" if not share else f"only {share:.0%} of the weights are"
    return f"{told} {wanted}, of {asked:.0%} that were asked for"


def _removed(recipe: Mapping[str, Any]) -> list[str]:
    """Asked to take so much out, and took out less; of each step that led to the artefact."""
    found = []
    if asked := recipe.get("units_asked"):
        before, after = (_units(recipe.get(f"widths_{when}")) for when in ("before", "after"))
        taken = 1 - after / before if before else recipe.get("parameters_removed", asked)
        if taken < LEAST_REMOVED * asked:
            found.append(f"asked to take out {asked:.0%} of the units, and took out {taken:.0%}")
        elif recipe.get("parameters_removed", asked) <= 0:
            found.append(f"asked to take out {asked:.0%} of the units, and has no parameter less")
    if asked := recipe.get("weights_asked"):
        taken = recipe.get("weights_removed", asked)
        if taken < LEAST_STORED * asked:
            found.append(f"asked to make {asked:.0%} of the weights zero, and made {taken:.0%}")
    of = recipe.get("of")
    return found + (_removed(of) if isinstance(of, Mapping) else [])


def _units(widths: Any) -> float:
    """All units of {layer: width} or of a list of widths."""
    values: Iterable[Any] = widths.values() if isinstance(widths, Mapping) else widths or ()
    return float(sum(_units(v) if isinstance(v, Mapping | list | tuple) else v for v in values))


def _by_batch(some: np.ndarray, whole: np.ndarray, batch: int, operations: Sequence[tuple[str, str, int]]) -> str:
    """Gives other outputs for so many rows at once than for 64."""
    import numpy as np

    if some.shape != whole[: len(some)].shape:
        return f"gives outputs of shape {some.shape[1:]} for {batch} rows at once, and of {whole.shape[1:]} for 64"
    off = float(np.abs(some - whole[: len(some)]).max()) / (float(np.abs(whole).max()) or 1.0)
    by_call = any("DynamicQuantize" in name for name, _, _ in operations)
    rows = "1 row" if batch == 1 else f"{batch} rows"
    return "" if off <= (BY_CALL if by_call else TOLERANCE) else (
        f"gives other outputs for {rows} at once than for 64 ({off:.2g})"
    )  # fmt: skip


def _off(variant: Variant, divergence: float) -> str:
    """Should be faithful to the baseline and is not, or should not be and is."""
    if variant.group in FAITHFUL and not divergence <= TOLERANCE:
        return f"should give the baseline's outputs, and is {divergence:.2g} of them off"
    if variant.group in ("quantize", "prune", "distil") and divergence <= UNCHANGED:
        return "changed nothing: its outputs are the baseline's"
    return ""


def _same(artefact: Artefact, others: Mapping[str, Artefact]) -> str:
    """Is, to the byte, what another technique made."""
    for name, other in others.items():
        if _identity(other) == _identity(artefact):
            return f"changed nothing: its files are those of {name}"
    return ""


def _identity(artefact: Artefact) -> tuple[Any, ...]:
    options = sorted((k, repr(v)) for k, v in artefact.options.items())
    return artefact.runtime, artefact.entry, options, sorted(artefact.files.items())
