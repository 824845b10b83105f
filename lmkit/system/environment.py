"""The environment of a run: versions, hardware, git commit, command."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from lmkit.system.optional import DISTRIBUTION
from lmkit.system.privacy import is_private, redact_command, shorten_home

PACKAGES = ("lmkit", "numpy", "pandas", "scikit-learn", "torch", "tensorflow", "keras", "safetensors")
"""The packages whose versions a run records."""


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of ``packages`` that are installed; ``lmkit`` is this package."""
    versions = {name: _installed_version(name) for name in packages}
    return {name: version for name, version in versions.items() if version}


@cache
def _installed_version(package: str) -> str:
    """Return the version of a package, empty where it is absent; once a process: it takes 5 ms, and is that in use."""
    try:
        return importlib.metadata.version(DISTRIBUTION if package == "lmkit" else package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def environment(backend: dict[str, Any]) -> dict[str, Any]:
    """The environment of a run: versions, hardware, git commit, command.

    Command and folder hold no secrets, and are empty where ``LMKIT_PRIVATE`` is on.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": installed_versions(PACKAGES),
        "cpu": processor(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "backend": backend,
        "git_commit": _git_commit(),
        "command": "" if is_private() else redact_command(os.environ.get("LMKIT_COMMAND", command())),
        "folder": "" if is_private() else shorten_home(str(Path.cwd())),
    }


def command() -> str:
    """The command that this process was started with, without secrets; empty in a kernel, which no person types."""
    program = Path(sys.argv[0]).name
    words = ["lmkit" if program in ("lmkit", "lmkit.exe") else sys.argv[0], *sys.argv[1:]]
    return "" if program == "ipykernel_launcher.py" else redact_command(shlex.join(words))


def processor() -> dict[str, Any]:
    """Return the processor's name, and its instruction sets for int8 and 16-bit arithmetic."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {"name": platform.processor() or platform.machine(), "abilities": []}
    lines = [line.partition(":") for line in text.split("\n\n")[0].splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in lines}  # one tab before the colon, or two
    flags = set(fields.get("flags", "").split())
    instruction_sets = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "avx512_bf16", "amx_bf16")
    return {
        "name": fields.get("model name", platform.machine()),
        "abilities": [f for f in instruction_sets if f in flags],
    }


def has_vnni() -> bool:
    """Return whether the processor multiplies 8-bit numbers without intermediate saturation (VNNI or AMX)."""
    return any("vnni" in ability or ability.startswith("amx") for ability in processor()["abilities"])


def _git_commit() -> str | None:
    try:
        out = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return out.stdout.strip() or None if out.returncode == 0 else None


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes; 0 if the system does not report it.

    A fork counts from its own start; the older counter, ru_maxrss, includes the peak of its parent.
    """
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    with contextlib.suppress(ImportError):
        import resource  # not on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return 0


INTERACTIVE = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")
"""Variables set by interactive notebook servers: Jupyter, VS Code, Colab; not by papermill, nbconvert and nbval."""


def has_widgets() -> bool:
    """Return whether the notebook displays widgets; LMKIT_WIDGETS=on or off overrides it."""
    setting = os.environ.get("LMKIT_WIDGETS", "")
    return setting == "on" or (setting != "off" and any(name in os.environ for name in INTERACTIVE))
