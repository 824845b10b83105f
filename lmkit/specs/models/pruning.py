"""Structured pruning: remove hidden units from all weights that hold them; the result is an ordinary, narrower model.

It works on a specification and its weights in the layout that all frameworks share, without a framework.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from lmkit.specs.models.base import ModelSpec, Units, Weights, pruned_widths, resized
from lmkit.specs.signature import Signature

if TYPE_CHECKING:
    import numpy as np


class PrunedModel(NamedTuple):
    """A pruned model.

    Attributes:
        spec: its specification.
        weights: its weights.
        removed: the indices of the removed units, in the order of ``spec.units``.
    """

    spec: ModelSpec
    weights: Weights
    removed: list[np.ndarray]


def importance(units: Units, weights: Weights) -> np.ndarray:
    """Return the importance of units (count,): ‖weights that compute it‖₂ · ‖weights that take it‖₂.

    The magnitude of weights ranks units (Li et al., 2017). The product of both sides, over every layer that shares the
    units, is invariant to the rescaling of a relu unit, and zero for a unit that no layer takes; as with the measure of
    first order of Molchanov et al. (2019), a large weight on one side alone does not make a unit important.
    """
    import numpy as np

    sides = []
    for slices in (units.producers, units.consumers):
        squares = np.zeros(units.width)
        for piece in slices:
            values = np.take(weights[piece.weight].astype(np.float64), piece.places(units.width), piece.axis)
            first = piece.axis or 0  # the axis of the units, which that of their places follows
            others = tuple(i for i in range(values.ndim) if i != first)
            squares += np.square(values).sum(axis=others)
        sides.append(np.sqrt(squares))
    return np.asarray(sides[0] * sides[1])


def prune_units(spec: ModelSpec, signature: Signature, weights: Weights, share: float) -> PrunedModel:
    """Return a model without the least important ``share`` of the units of each hidden layer.

    Args:
        spec: the model.
        signature: its inputs and outputs.
        weights: its weights.
        share: the fraction of units to remove, in (0, 1); at least one unit stays, or one per group of a normalization.
    """
    import numpy as np

    sets = spec.units(signature)
    widths = pruned_widths(spec, signature, sets, share)
    smaller, removed = dict(weights), []
    for units in sets:
        remaining = _largest(importance(units, weights), widths[units.fields[0]], units.groups)
        removed.append(np.setdiff1d(np.arange(units.width), remaining))
        for piece in (*units.producers, *units.consumers):
            gone = piece.places(units.width)[removed[-1]].ravel()
            left = np.delete(smaller[piece.weight], gone, piece.axis)
            rows = len(smaller[piece.weight])
            smaller[piece.weight] = np.ascontiguousarray(left.reshape(rows, -1) if piece.axis is None else left)
    return PrunedModel(resized(spec, widths), smaller, removed)


def _largest(values: np.ndarray, keep: int, groups: int) -> np.ndarray:
    """Return the indices of the ``keep`` largest values, equally many of each group of adjacent values, in order."""
    import numpy as np

    size = len(values) // groups
    order = np.argsort(-values.reshape(groups, size), axis=1, kind="stable")[:, : keep // groups]
    return np.asarray(np.sort(order + size * np.arange(groups)[:, None], axis=None))


def parameters(weights: Weights) -> int:
    """Return the number of parameters."""
    return sum(values.size for values in weights.values())


def present_widths(sets: Iterable[Units]) -> dict[str, int]:
    """Return the current widths of the units that can be pruned: field → width."""
    return {field: units.width for units in sets for field in units.fields}
