"""What imports read, and what they cost: of processes that import once for many."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import cast

READ_AT_IMPORT = ("CUDA", "KERAS_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH_", "TF_", "TORCH", "XLA_")
"""Beginnings of the variables that are read while a library loads."""


def import_settings(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Those of the environment's variables that are read while libraries load: later they change nothing."""
    return {k: v for k, v in variables.items() if k.startswith(READ_AT_IMPORT)}


def skip_slow_imports() -> None:
    """Takes what costs a second to import and serves nothing here for not installed: in a process that is lmkit's own.

    ``rfc3987_syntax`` builds a grammar of web addresses, of which jsonschema, and so nbformat, would check a format
    that no notebook has.
    """
    sys.modules.setdefault("rfc3987_syntax", cast("ModuleType", None))
