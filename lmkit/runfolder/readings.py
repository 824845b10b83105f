"""Readings of a run: statistics of layers, weights and outputs at some steps, in ``readings.jsonl``.

A worker appends one line per reading; ``load_readings`` returns those that count, for a resumed worker takes back the
readings after its checkpoint, as it does steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lmkit.exceptions import DamagedFile
from lmkit.runfolder.events import MAX_STEP
from lmkit.system.files import JsonLines
from lmkit.system.records import Count, Statistic, Text, parse_record

if TYPE_CHECKING:
    import numpy as np

MAX_READINGS = 500
"""Readings in the file of a run, at most."""

MAX_LAYERS, MAX_WEIGHTS, MAX_PLACES = 64, 128, 64
"""Layers, weights and places of a sequence in a reading, at most; of more, so many at equal distances."""

MAX_FROZEN = 8
"""Frozen weights that are named, at most."""

MAX_BYTES = 2**26
"""Bytes of the file that are read at once."""

SATURATION = 0.97
"""The size of a tanh from which its slope is below 0.06: the unit is saturated. A sigmoid is half of one about 0.5."""


@dataclass(frozen=True, kw_only=True)
class LayerReading:
    """What comes into a layer with weights, over the probe rows; never the data itself.

    Attributes:
        name: of the layer.
        kind: its class in the framework.
        units: the length of the axis of units.
        low, high: the smallest and the largest number.
        spread: the standard deviation of all numbers.
        row_spread: the standard deviation over rows, a mean over units and positions.
        silent: the share of units that are 0 in all rows.
        saturated: the share of numbers at the flat ends of a tanh or a sigmoid; 0 for unbounded activations.
    """

    name: Text
    kind: Text = ""
    units: Count = 0
    low: Statistic = None
    high: Statistic = None
    spread: Statistic = None
    row_spread: Statistic = None
    silent: Statistic = None
    saturated: Statistic = None


@dataclass(frozen=True, kw_only=True)
class WeightReading:
    """A weight that training changes.

    Attributes:
        name: as in checkpoints.
        size: its numbers.
        axes: of its shape: 2 or more for a matrix or a convolution.
        norm: ‖w‖₂.
        gradient: ‖∂J/∂w‖₂ over the probe rows, dropout off.
        zeros: the share of its gradient that is exactly 0.
        update: ‖Δw‖₂ / ‖w‖₂ of the step after the reading; None where none followed.
        is_connected: whether the loss depends on it.
        is_used: whether the outputs depend on it, of a weight that the loss does not depend on by a gradient.
    """

    name: Text
    size: Count = 0
    axes: Count = 0
    norm: Statistic = None
    gradient: Statistic = None
    zeros: Statistic = None
    update: Statistic = None
    is_connected: bool = True
    is_used: bool = True

    @property
    def is_kernel(self) -> bool:
        """Whether it is the matrix of a layer: no bias, no normalization, no table of vectors."""
        return self.axes > 1 and "embedding" not in self.name

    @property
    def gradient_per_number(self) -> float | None:
        """The root mean square of the gradient."""
        return None if self.gradient is None or not self.size else self.gradient / math.sqrt(self.size)


@dataclass(frozen=True, kw_only=True)
class OutputReading:
    """The outputs of the model, as it gives them.

    Attributes:
        low, high: the smallest and the largest number.
        row_spread: the standard deviation over rows, a mean over outputs.
        sum_low, sum_high: the smallest and the largest sum of a row's outputs.
        top_class: the most frequent prediction, as a number of a class; None for numbers.
        top_share: its share of the predictions.
        class_share: the share of that class in the targets.
    """

    low: Statistic = None
    high: Statistic = None
    row_spread: Statistic = None
    sum_low: Statistic = None
    sum_high: Statistic = None
    top_class: Count | None = None
    top_share: Statistic = None
    class_share: Statistic = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Statistics of a run at one step, over some training rows with dropout off.

    Attributes:
        step: steps taken before it.
        rows: the number of probe rows.
        loss: their mean loss.
        layers, weights, outputs: see there.
        mixed: the largest change of a row's outputs when other rows of its batch change, relative to their spread; None
            where it was not tried: the families compute each row by itself.
        curvature: |f(u) + f(v) − f(u+v) − f(0)|, relative: 0 for a model that is linear in its inputs.
        dealt: the relative change of the loss when the targets are dealt to other rows: 0 if it ignores whose they are.
        places: ‖∂J/∂xₜ‖₂ by place t of a sequence; of tokens, by their vectors.
        frozen: names of weights that training does not change, at most ``MAX_FROZEN``; frozen_share: their share of all
            numbers. Both at the first reading only.
        dropout: the largest share that a layer for dropout leaves out.
        waiting: the share of the time of training so far that steps waited for batches; waiting_seconds: for each.
    """

    step: Annotated[int, Field(ge=0, lt=MAX_STEP)]
    rows: Count = 0
    loss: Statistic = None
    layers: tuple[LayerReading, ...] = ()
    weights: tuple[WeightReading, ...] = ()
    outputs: OutputReading = field(default_factory=OutputReading)
    mixed: Statistic = None
    curvature: Statistic = None
    dealt: Statistic = None
    places: tuple[Statistic, ...] = ()
    frozen: tuple[Text, ...] = ()
    frozen_share: Statistic = None
    dropout: Statistic = None
    waiting: Statistic = None
    waiting_seconds: Statistic = None

    def to_record(self) -> dict[str, Any]:
        """Return the reading as it is written: numbers with five digits, layers and weights as columns."""
        record = {name: _rounded(value) for name, value in vars(self).items()}
        for name in ("layers", "weights"):
            items = record[name]
            keys = vars(items[0]) if items else {}
            record[name] = {key: [_rounded(getattr(item, key)) for item in items] for key in keys}
        return record | {"outputs": _rounded(vars(self.outputs))}


def parse_reading(record: Mapping[str, Any], path: Path) -> Reading:
    """Return the reading in a line of the file.

    Raises:
        DamagedFile: a value has another type.
    """
    values = dict(record)
    for name in ("layers", "weights"):
        columns = values.get(name) or {}
        if not isinstance(columns, Mapping) or not all(isinstance(column, list) for column in columns.values()):
            raise DamagedFile(path, f"{name}: expected columns")
        values[name] = [dict(zip(columns, row, strict=False)) for row in zip(*columns.values(), strict=False)]
    return parse_record(Reading, values, path)


def valid_readings(records: Iterable[Mapping[str, Any]], path: Path, earlier: Iterable[Reading] = ()) -> list[Reading]:
    """Return the readings that count, by step, each as last taken; damaged lines are skipped.

    Args:
        records: lines of the file.
        path: of the file, for messages.
        earlier: the readings of the lines before.
    """
    readings = {reading.step: reading for reading in earlier}
    for record in records:
        if "resumed" in record:
            step = record["resumed"]
            if isinstance(step, int):
                readings = {s: reading for s, reading in readings.items() if s <= step}
            continue
        try:
            reading = parse_reading(record, path)
        except DamagedFile:
            continue
        readings[reading.step] = reading
    return [readings[step] for step in sorted(readings)][-MAX_READINGS:]


def load_readings(path: Path) -> list[Reading]:
    """Return the readings of a run's ``readings.jsonl``; empty where there is none."""
    return valid_readings(JsonLines(path).read(quiet=True, limit=MAX_BYTES)[0], path)


def layer_reading(name: str, kind: str, units: int, statistics: Iterable[float]) -> LayerReading:
    """Return the reading of a layer from the statistics that both backends compute.

    Args:
        name: of the layer.
        kind: its class.
        units: the length of the axis of units.
        statistics: low, high, spread, row_spread, the share of silent units, the share of numbers beyond
            ±``SATURATION``, and the share further than half of it from 0.5.
    """
    low, high, spread, row_spread, silent, beyond, at_ends = statistics
    if high <= 1 and -1 <= low < 0:
        saturated = beyond
    elif high <= 1 and low > 0:
        saturated = at_ends
    else:
        saturated = 0.0
    values = {"low": low, "high": high, "spread": spread, "row_spread": row_spread, "silent": silent}
    return LayerReading(name=name, kind=kind, units=units, saturated=saturated, **values)


def evenly(items: list[Any], most: int) -> list[Any]:
    """Return at most so many of the items, the first and the last among them.

    >>> evenly([1, 2, 3, 4, 5], 3)
    [1, 3, 5]
    """
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def pool_places(norms: np.ndarray) -> tuple[float, ...]:
    """Return the norms of a sequence's places (places,); of a long one the root mean squares over stretches."""
    import numpy as np

    pieces = np.array_split(np.asarray(norms, dtype=np.float64), min(len(norms), MAX_PLACES))
    return tuple(float(np.sqrt(np.mean(piece**2))) for piece in pieces)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
