"""Batches from the host to the device: each is copied while the one before it is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch

Batch = tuple[torch.Tensor, torch.Tensor]
"""Rows and targets."""

SPLIT_SHARE = 0.25
"""The share of a GPU's free memory that a part of the data may take; a larger one stays on the host."""


class Copies(Protocol):
    """Copies batches to a device in the background."""

    def start(self, batch: Any) -> Batch:
        """Begin to copy a batch; return its tensors, which nothing may read yet."""

    def finish(self, batch: Batch) -> None:
        """Let computations that are queued from now on wait for the copy."""


class StreamCopies:
    """Copies from pinned memory, in a CUDA stream of its own: the host and the computations do not wait."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def start(self, batch: Any) -> Batch:
        """Begin to copy a batch."""
        with torch.cuda.stream(self.stream):
            x, y = (_from_host(a).pin_memory().to(self.device, non_blocking=True) for a in batch)
        return x, y

    def finish(self, batch: Batch) -> None:
        """Let the computations wait for the stream, and hold the memory until they are done with it."""
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self.stream)
        for tensor in batch:
            tensor.record_stream(current)


def load_batches(batches: Iterable[Any], device: torch.device) -> Iterator[Batch]:
    """Yield batches of arrays as tensors on a device; on a GPU each is gathered and copied ahead of its step."""
    if device.type == "cuda":
        yield from load_ahead(batches, StreamCopies(device))
        return
    for x, y in batches:
        yield to_device(x, device), to_device(y, device)


def load_ahead(batches: Iterable[Any], copies: Copies) -> Iterator[Batch]:
    """Yield each batch once what is computed next waits for its copy, and the copy of the one after it has begun."""
    iterator = iter(batches)
    following = _start_next(iterator, copies.start)
    while following is not None:
        current = following
        copies.finish(current)
        following = _start_next(iterator, copies.start)
        yield current


def _start_next(iterator: Iterator[Any], start: Callable[[Any], Batch]) -> Batch | None:
    batch = next(iterator, None)
    return None if batch is None else start(batch)


def _from_host(rows: Any) -> torch.Tensor:
    """Return rows as a tensor on the host; those of a read-only file as a copy."""
    return rows if isinstance(rows, torch.Tensor) else torch.from_numpy(np.array(rows))


def to_device(rows: Any, device: torch.device) -> torch.Tensor:
    """Return rows on the device."""
    return _from_host(rows).to(device)


def place_split(values: Any, device: torch.device, *, can_stay: bool = False) -> Any:
    """Return an array on the device; one that is mapped from a file, or computed on access, stays on the host.

    Args:
        values: the array.
        device: of the model.
        can_stay: whether it stays on the host, too, where it would take much of the memory of a GPU.
    """
    if not isinstance(values, np.ndarray) or isinstance(values, np.memmap):
        return values
    if can_stay and device.type == "cuda" and values.nbytes > SPLIT_SHARE * torch.cuda.mem_get_info(device)[0]:
        return values
    return torch.as_tensor(values).to(device)


def to_columns(*columns: list[Any]) -> list[np.ndarray]:
    """Return lists of numbers, or of scalar tensors in one transfer for all such lists, as arrays."""
    on_device = [bool(column) and isinstance(column[0], torch.Tensor) for column in columns]
    tensors = [value for column, is_tensor in zip(columns, on_device, strict=True) if is_tensor for value in column]
    fetched = torch.stack(tensors).cpu().numpy().astype(np.float64) if tensors else np.zeros(0)
    arrays, begin = [], 0
    for column, is_tensor in zip(columns, on_device, strict=True):
        arrays.append(fetched[begin : begin + len(column)] if is_tensor else np.array(column, dtype=np.float64))
        begin += len(column) if is_tensor else 0
    return arrays
