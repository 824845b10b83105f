"""The environment variables that imports read, and imports that are too slow, for processes that import for others."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import cast

READ_AT_IMPORT = ("CUDA", "KERAS_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH_", "TF_", "TORCH", "XLA_")
"""Prefixes of the environment variables that libraries read when they are imported."""


def import_settings(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment variables that libraries read at import, and ignore later."""
    return {k: v for k, v in variables.items() if k.startswith(READ_AT_IMPORT)}


def skip_slow_imports() -> None:
    """Make imports of slow packages that lmkit does not need fail, in a process of lmkit's own.

    ``rfc3987_syntax`` builds a grammar of web addresses in a second; jsonschema, and so nbformat, uses it only for a
    format that no notebook has.
    """
    sys.modules.setdefault("rfc3987_syntax", cast("ModuleType", None))
