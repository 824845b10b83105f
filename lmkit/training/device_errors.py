"""What an error of a device means, and what helps; and the memory of a device, given back."""

from __future__ import annotations

import gc
import sys

from lmkit.backends import get_backend
from lmkit.backends.facts import FRAMEWORKS
from lmkit.backends.out_of_memory import describe


def explain_device_error(framework: str, error: BaseException, device: str) -> str:
    """Return what is to be done about memory that ran out, or about an operation that is not deterministic.

    Empty for another error.

    Args:
        framework: that raised it.
        error: what was raised.
        device: where the run trains; empty where that was not settled yet.
    """
    if isinstance(error, MemoryError):
        return describe("this machine", "in training")
    if FRAMEWORKS[framework] not in sys.modules:
        return ""
    backend = get_backend(framework)
    if backend.is_out_of_memory(error):
        return describe(device, "in training")
    if operation := backend.nondeterministic_operation(error):
        elsewhere = "" if device in ("", "cpu") else ", or device: cpu"
        return (
            f"training.deterministic: {operation} has no deterministic implementation in {framework} on "
            f"{device or 'this device'}; write training: {{deterministic: false}}{elsewhere}"
        )
    return ""


def free_device(framework: str) -> None:
    """Give back the memory of a device that a run in this process has left."""
    gc.collect()
    get_backend(framework).free_memory()
