"""What a worker writes into a run's folder: its status and checkpoints."""

from __future__ import annotations

import socket
import time
from typing import Any

import numpy as np
from narrowing import require_value

from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.status import Status
from lmkit.system.processes import process


def write(folder: RunFolder, **fields: Any) -> None:
    """Writes a status of this process, but for ``fields``."""
    own = {"host": socket.gethostname(), "heartbeat": time.time(), **process()}
    folder.write_status(Status(**own | fields))


def arrays(step: int) -> dict[str, np.ndarray]:
    return {"dense_0.kernel": np.full((3, 2), step, np.float64), "dense_0.bias": np.full(2, step, np.float32)}


def save(folder: RunFolder, step: int, kind: str = "last") -> None:
    folder.save_checkpoint(kind, arrays(step), {"step": np.array(step)}, {"step": step, "best_loss": None})


def loaded(folder: RunFolder, kind: str = "last") -> int:
    """The step of a checkpoint, all of whose parts must be of one step."""
    weights, optimizer, state = require_value(folder.load_checkpoint(kind))
    step = int(state["step"])
    for name, values in arrays(step).items():
        assert weights[name].dtype == values.dtype
        assert np.array_equal(weights[name], values)
    assert optimizer["step"] == step
    return step
