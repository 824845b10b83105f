"""What a trainer reads of its model for the doctor, and over how many rows and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from lmkit.runfolder.readings import LayerReading, WeightReading


class Probe(NamedTuple):
    """What a trainer reads of its model over some rows, dropout off.

    Attributes:
        loss: their mean loss.
        outputs: (rows, …), as the model gives them.
        layers, weights, mixed, curvature, dealt, places, frozen, frozen_share, dropout: as in
            ``lmkit.runfolder.readings.Reading``.
    """

    loss: float
    outputs: np.ndarray
    layers: tuple[LayerReading, ...]
    weights: tuple[WeightReading, ...]
    mixed: float | None = None
    curvature: float | None = None
    dealt: float | None = None
    places: tuple[float, ...] = ()
    frozen: tuple[str, ...] = ()
    frozen_share: float = 0.0
    dropout: float = 0.0


PROBE_NUMBERS = 2**20
"""Numbers of a weight whose change is measured, at most: its first ones."""

EXACT_ROWS = 8
"""Rows in each of the three groups of the tests that settle by arithmetic whether rows mix and layers bend."""
