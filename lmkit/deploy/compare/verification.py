"""Verification of a variant by the operations that its runtime executed, its stored weights and its outputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.measure.statistics import Interval
from lmkit.deploy.techniques.base import FAITHFUL, TOLERANCE

if TYPE_CHECKING:
    import numpy as np

    from lmkit.deploy.variant import Variant

DYNAMIC_TOLERANCE = 0.1
"""``TOLERANCE`` between batch sizes where activations are quantized by the range of each call."""

UNCHANGED = 1e-9
"""Divergence up to which a technique that should change the outputs is taken to have done nothing."""

MIN_QUANTIZED, MIN_REMOVED = 0.9, 0.5
"""Shares of the requested quantization and removal that must be reached; small layers cannot be divided exactly."""

NARROW_TYPES = {
    "int8": ("int8", "uint8"),
    "int4": ("int4", "uint4"),
    "float16": ("float16",),
    "bfloat16": ("bfloat16",),
}
"""Type of a recipe → types that runtimes report for it."""

_HEAVY = re.compile(
    r"mat_?mul|gemm|conv(?!ert)|linear|fully_?connected|inner_?product|dense|addmm|\bb?mm\b|einsum|attention|lstm|gru",
    re.IGNORECASE,
)
_QUANTIZED = re.compile(r"-(int8|float16)[\w-]*$")
"""The end of a quantizing technique's name, after the name of the same model in float."""

_LIGHT = re.compile(r"quantize_?linear|convert", re.IGNORECASE)


def flags(
    variant: Variant,
    artifact: Artifact,
    operations: Sequence[tuple[str, str, int]],
    weights: Mapping[str, int] | None,
    outputs: Sequence[Path],
    scores: Mapping[str, Any],
    others: Mapping[str, Artifact] | None = None,
) -> tuple[str, ...]:
    """Return the deviations of a variant from its artifact's record; empty if there are none.

    Args:
        variant: name and group.
        artifact: types, options and recipe that are expected.
        operations: operations of a call, as the runtime reports them.
        weights: type → how many numbers of the weights are stored in it; None if the runtime cannot tell.
        outputs: files of the outputs of some rows at batch sizes 1, 3 and 64.
        scores: divergence from the baseline's outputs; ``rows``, and how many of them have outputs that are not finite.
        others: technique → artifact of the same run's earlier variants.
    """
    import numpy as np

    arrays = [np.load(path) for path in outputs]
    problems = [
        _check_computation(artifact, operations),
        _check_weights(artifact, weights),
        *_check_removal(artifact.recipe),
    ]
    if scores["bad_rows"]:
        problems.append(f"outputs are not finite for {scores['bad_rows']} of {scores['rows']} rows")
    else:
        problems += [
            _check_batch(array, arrays[2], batch, operations) for array, batch in zip(arrays, (1, 3), strict=False)
        ]
        problems.append(_check_divergence(variant, scores["divergence"]))
    problems.append(_check_duplicate(artifact, others or {}))
    return tuple(text for text in problems if text)


def _check_computation(artifact: Artifact, operations: Sequence[tuple[str, str, int]]) -> str:
    """Check that heavy operations compute in the recipe's narrow type."""
    types = NARROW_TYPES.get(artifact.compute_dtype)
    if types is None:
        return ""
    if not operations:
        return f"should compute in {artifact.compute_dtype}, but its runtime does not report operations"
    heavy = heavy_operations(operations) or list(operations)
    if any(o[1] in types for o in heavy):
        return ""
    examples = _join_operations(heavy)
    types_text = " and ".join(sorted({o[1] or "an unknown type" for o in heavy}))
    return f"should compute in {artifact.compute_dtype}, but computes in {types_text} ({examples})"


def heavy_operations(operations: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Return the operations that multiply matrices."""
    return [o for o in operations if _HEAVY.search(o[0]) and not _LIGHT.search(o[0])]


def narrow_remark(variant: Variant, others: Sequence[Variant], baseline_noise: Interval) -> str:
    """Return that a quantized variant is larger or slower than the same model in float, and why; empty if it is not.

    Args:
        variant: the variant.
        others: variants of the comparison; that of the same runtime in float is the reference, else the baseline.
        baseline_noise: the baseline's ratio to itself.
    """
    name = _QUANTIZED.sub("", variant.technique)
    if name == variant.technique:
        return ""
    of_run = {v.technique: v for v in others if v.run == variant.run and v.state == "measured"}
    reference = of_run.get(name) or of_run.get("baseline")
    if reference is None or reference is variant:
        return ""
    latency, reference_latency = variant.latency[0], reference.latency[0]
    problems = []
    if variant.size_bytes > reference.size_bytes:
        problems.append("larger")
    if latency.ratio.low > max(reference_latency.ratio.high, reference_latency.ratio.value * baseline_noise.high):
        problems.append("slower")
    if not problems:
        return ""
    narrow = {kind for kinds in NARROW_TYPES.values() for kind in kinds}
    floats = [o for o in heavy_operations(variant.operations) if o[1] not in narrow]
    conversions = sum(times for kind, _, times in variant.operations if _LIGHT.search(kind) or "Quantize" in kind)
    if floats:
        reason = f"{_join_operations(floats)} stayed in float"
    elif conversions:
        reason = f"{conversions} conversions between float and integers"
    else:
        reason = "its scales cost more"
    return f"{' and '.join(problems)} than {reference.technique}: {reason}"


def _join_operations(operations: Sequence[tuple[str, str, int]]) -> str:
    return ", ".join(f"{name} {times}×" for name, _, times in operations[:3])


def _check_weights(artifact: Artifact, weights: Mapping[str, int] | None) -> str:
    """Check that the requested share of the weights is stored in the recipe's narrow type."""
    dtype = artifact.weight_dtype or artifact.compute_dtype
    total = sum((weights or {}).values())
    if dtype not in NARROW_TYPES or not total:
        return ""
    requested = float(artifact.recipe.get("quantized_asked", 1.0))
    share = sum(n for kind, n in (weights or {}).items() if kind in NARROW_TYPES[dtype]) / total
    if share >= MIN_QUANTIZED * requested:
        return ""
    amount = "none" if not share else f"only {share:.0%}"
    return f"{amount} of the weights are {dtype}, of {requested:.0%} requested"


def _check_removal(recipe: Mapping[str, Any]) -> list[str]:
    """Check that the requested shares of units and weights were removed, in each step of the recipe."""
    problems = []
    if requested := recipe.get("units_asked"):
        before, after = (_count_units(recipe.get(f"widths_{when}")) for when in ("before", "after"))
        removed = 1 - after / before if before else recipe.get("parameters_removed", requested)
        if removed < MIN_REMOVED * requested:
            problems.append(f"should remove {requested:.0%} of the units, but removed {removed:.0%}")
        elif recipe.get("parameters_removed", requested) <= 0:
            problems.append(f"should remove {requested:.0%} of the units, but has as many parameters as before")
    if requested := recipe.get("weights_asked"):
        removed = recipe.get("weights_removed", requested)
        if removed < MIN_QUANTIZED * requested:
            problems.append(f"should set {requested:.0%} of the weights to zero, but set {removed:.0%}")
    previous = recipe.get("of")
    return problems + (_check_removal(previous) if isinstance(previous, Mapping) else [])


def _count_units(widths: Any) -> float:
    """Return the sum of the widths in {layer: width} or a list, nested or not."""
    values: Iterable[Any] = widths.values() if isinstance(widths, Mapping) else widths or ()
    return float(sum(_count_units(v) if isinstance(v, Mapping | list | tuple) else v for v in values))


def _check_batch(
    outputs: np.ndarray, reference: np.ndarray, batch: int, operations: Sequence[tuple[str, str, int]]
) -> str:
    """Check that the outputs at a batch size are those at batch size 64."""
    import numpy as np

    if outputs.shape != reference[: len(outputs)].shape:
        return f"outputs have shape {outputs.shape[1:]} at batch size {batch}, but {reference.shape[1:]} at 64"
    difference = float(np.abs(outputs - reference[: len(outputs)]).max()) / (float(np.abs(reference).max()) or 1.0)
    by_call = any("DynamicQuantize" in name for name, _, _ in operations)
    if difference <= (DYNAMIC_TOLERANCE if by_call else TOLERANCE):
        return ""
    return f"outputs at batch size {batch} differ from those at 64 by {difference:.2g} of the largest output"


def _check_divergence(variant: Variant, divergence: float) -> str:
    """Check that outputs equal the baseline's if they should, and differ if they should."""
    if variant.group in FAITHFUL and not divergence <= TOLERANCE:
        return f"outputs should equal the baseline's, but differ by {divergence:.2g} of their size"
    if variant.group in ("quantize", "prune", "distil") and divergence <= UNCHANGED:
        return "changed nothing: the outputs are the baseline's"
    return ""


def _check_duplicate(artifact: Artifact, others: Mapping[str, Artifact]) -> str:
    """Check that the files are not, byte for byte, those of another technique."""
    for name, other in others.items():
        if _identity(other) == _identity(artifact):
            return f"changed nothing: the files are those of {name}"
    return ""


def _identity(artifact: Artifact) -> tuple[Any, ...]:
    options = sorted((k, repr(v)) for k, v in artifact.options.items())
    return artifact.runtime, artifact.entry, options, sorted(artifact.files.items())
