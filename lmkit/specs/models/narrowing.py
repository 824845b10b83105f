"""Models made narrower: hidden units taken out wherever they appear, so that what is left is an ordinary model.

It works on a specification and its weights in the layout that all frameworks share, so that no framework is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from lmkit.specs.models.base import ModelSpec, Units, Weights
from lmkit.specs.signature import Signature

if TYPE_CHECKING:
    import numpy as np

Model = TypeVar("Model", bound=ModelSpec)


class Narrowed(NamedTuple):
    """A narrower model.

    Attributes:
        spec: what it is.
        weights: its weights.
        removed: the numbers of the units that were taken out, in the order of ``spec.units``.
    """

    spec: ModelSpec
    weights: Weights
    removed: list[np.ndarray]


def importance(units: Units, weights: Weights) -> np.ndarray:
    """How much each of some units matters (count,): ‖weights that make it‖₂ · ‖weights that use it‖₂.

    The magnitude of weights ranks units (Li et al., 2017). The product of both sides, over every layer that shares the
    units, is what no rescaling of a relu unit changes, and is zero for a unit that nothing reads; as with the
    first-order measure of Molchanov et al. (2019), a large weight on one side alone does not save a unit.
    """
    import numpy as np

    sides = []
    for slices in (units.made, units.used):
        squares = np.zeros(units.width)
        for piece in slices:
            values = np.take(weights[piece.weight].astype(np.float64), piece.places(units.width), piece.axis)
            first = piece.axis or 0  # the axis of the units, which that of their places follows
            others = tuple(i for i in range(values.ndim) if i != first)
            squares += np.square(values).sum(axis=others)
        sides.append(np.sqrt(squares))
    return np.asarray(sides[0] * sides[1])


def narrowed(spec: ModelSpec, signature: Signature, weights: Weights, share: float) -> Narrowed:
    """A model without the ``share`` of the units of each hidden layer that matters least.

    Args:
        spec: the model.
        signature: what it takes and gives.
        weights: its weights.
        share: of the units to take out, in (0, 1); at least one unit, or one a group of a normalization, stays.
    """
    import numpy as np

    sets = spec.units(signature)
    widths = kept_widths(spec, signature, sets, share)
    smaller, removed = dict(weights), []
    for units in sets:
        kept = _largest(importance(units, weights), widths[units.fields[0]], units.groups)
        removed.append(np.setdiff1d(np.arange(units.width), kept))
        for piece in (*units.made, *units.used):
            gone = piece.places(units.width)[removed[-1]].ravel()
            left = np.delete(smaller[piece.weight], gone, piece.axis)
            rows = len(smaller[piece.weight])
            smaller[piece.weight] = np.ascontiguousarray(left.reshape(rows, -1) if piece.axis is None else left)
    return Narrowed(resized(spec, widths), smaller, removed)


def kept_widths(spec: ModelSpec, signature: Signature, sets: Sequence[Units], share: float) -> dict[str, int]:
    """The field of each width that units can be taken from, such as ``hidden.0`` → how many stay.

    Where blocks are added to their input, widths that were equal stay equal, and those that were not stay different: a
    skip or a shortcut neither comes nor goes.
    """
    found: dict[str, int] = {}
    strict = bool(getattr(spec, "residual", False))
    entering = signature.shape[-1] if strict and signature.shape else 0
    for units in sorted(sets, key=lambda units: units.width):
        below = [width for other in sets if other.width < units.width and (width := found.get(other.fields[0]))]
        kept = max(1, round((1 - share) * units.width / units.groups)) * units.groups
        while strict and kept < units.width and (kept in below or kept < max(below, default=0) or kept == entering):
            kept += units.groups
        found |= dict.fromkeys(units.fields, kept)
    return found


def resized(spec: Model, widths: Mapping[str, int]) -> Model:
    """The same model with other widths.

    >>> from lmkit.specs.models import MLP
    >>> resized(MLP(hidden=[8, 8]), {"hidden.1": 4}).hidden
    (8, 4)
    """
    values = spec.model_dump() | spec.follows(widths)
    for path, width in widths.items():
        name, _, place = path.partition(".")
        values[name] = (
            tuple(width if i == int(place) else old for i, old in enumerate(values[name])) if place else width
        )
    return type(spec)(**values)


def _largest(values: np.ndarray, keep: int, groups: int) -> np.ndarray:
    """The places of the ``keep`` largest, as many of each group of neighbours, in order."""
    import numpy as np

    size = len(values) // groups
    order = np.argsort(-values.reshape(groups, size), axis=1, kind="stable")[:, : keep // groups]
    return np.asarray(np.sort(order + size * np.arange(groups)[:, None], axis=None))


def parameters(weights: Weights) -> int:
    """How many numbers are in weights."""
    return sum(values.size for values in weights.values())


def present_widths(sets: Iterable[Units]) -> dict[str, int]:
    """The widths that units can be taken from, as they are."""
    return {field: units.width for units in sets for field in units.fields}
