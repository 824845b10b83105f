"""The inputs of a plan: the signature of the model, the rows of the data, the counts of devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmkit.data.kinds import get_kind
from lmkit.exceptions import ConfigError, shorten
from lmkit.experiment.experiment import Experiment
from lmkit.specs.signature import Signature


def check_device_counts(devices: Any) -> tuple[int, ...] | None:
    """Return counts of devices as a tuple; None for None.

    Raises:
        ConfigError: one is not a positive integer, or none is given.
    """
    if devices is None:
        return None
    counts = (devices,) if isinstance(devices, int) else tuple(devices)
    invalid = [n for n in counts if isinstance(n, bool) or not isinstance(n, int) or n < 1]
    if invalid or not counts:
        raise ConfigError([f"devices: given {shorten(devices)}, expected counts of devices such as 8 or (1, 8, 64)"])
    return counts


def read_signature(
    experiment: Experiment, vocabulary: int | None, length: int | None, runs: str | Path | None
) -> tuple[Signature, int | None]:
    """Return the signature of the model and the number of rows; the data is read only if nothing else tells them.

    Raises:
        ConfigError: ``vocabulary`` or ``length`` is invalid, or the vocabulary is unknown before training.
        DataError: the data cannot be trained on.
    """
    data = experiment.data
    for name, value in (("vocabulary", vocabulary), ("length", length)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError([f"{name}: given {shorten(value)}, expected a number of at least 1"])
    signature = data.signature
    if vocabulary or length:
        tokens = vocabulary or (signature.vocabulary if signature else 0)
        has_length = signature is not None and signature.vocabulary
        positions = length or (signature.shape[0] if signature and has_length else None)
        positions = positions or getattr(experiment.model, "context", None)
        if not tokens or not positions:
            raise ConfigError(["vocabulary, length: expected both for texts; give both, or use data: python_docs"])
        return Signature.of_text(positions, tokens), None
    return get_kind(data).read_signature(data, runs)
