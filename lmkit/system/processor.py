"""What the processor of this machine can compute in 16 bits."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

FLAGS = {"bfloat16": {"avx512_bf16", "amx_bf16", "bf16"}, "float16": {"avx512_fp16", "amx_fp16", "asimdhp"}}
"""Type → flags of Linux for processors with products in it."""


@cache
def has_arithmetic(dtype: str) -> bool | None:
    """Return whether the processor multiplies numbers of a 16-bit type; None where that is unknown.

    >>> has_arithmetic("float32")
    True
    """
    if dtype not in FLAGS:
        return True
    try:
        text = CPUINFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return bool(FLAGS[dtype] & set(match[1].split())) if match else None


def describe_slowness(dtype: str) -> str:
    """Return a sentence about steps in a 16-bit type that this processor does not have; empty where it does."""
    if has_arithmetic(dtype) is not False:
        return ""
    return (
        f"training.precision: this processor has no arithmetic in {dtype}: a step takes about ten times as long as in "
        "float32"
    )
