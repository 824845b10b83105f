"""What a run was made with: versions, hardware, git commit, the command."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil


def environment(backend: dict[str, Any]) -> dict[str, Any]:
    """What a run was made with: versions, hardware, git commit, the command."""
    packages = ("lmkit", "numpy", "pandas", "scikit-learn", "torch", "tensorflow", "keras", "safetensors")
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "cpu": processor(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "backend": backend,
        "git_commit": _git_commit(),
        "command": os.environ.get("LMKIT_COMMAND", command()),
        "folder": str(Path.cwd()),
    }


def command() -> str:
    """The command that this process was started with; empty in a notebook's kernel, which nobody types."""
    return "" if Path(sys.argv[0]).name == "ipykernel_launcher.py" else shlex.join(sys.argv)


def processor() -> dict[str, Any]:
    """The processor's name, and its abilities that matter to int8 arithmetic."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {"name": platform.processor() or platform.machine(), "abilities": []}
    lines = [line.partition(":") for line in text.split("\n\n")[0].splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in lines}  # one tab before the colon, or two
    flags = set(fields.get("flags", "").split())
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "avx512_bf16", "amx_bf16")
    return {
        "name": fields.get("model name", platform.machine()),
        "abilities": [f for f in wanted if f in flags],
    }


def has_vnni() -> bool:
    """Whether the processor multiplies eight-bit numbers without saturating in between (VNNI)."""
    return any("vnni" in ability or ability.startswith("amx") for ability in processor()["abilities"])


def cache_folder() -> Path:
    """Where measurements are kept: $LMKIT_CACHE, else lmkit in the user's cache folder."""
    if given := os.environ.get("LMKIT_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lmkit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "lmkit" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lmkit"


def _git_commit() -> str | None:
    try:
        out = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return out.stdout.strip() or None if out.returncode == 0 else None


def peak_memory() -> int:
    """The most resident memory that this process ever had, in bytes; 0 where the system does not tell.

    A fork counts from what it began with; the system's older counter would count what its parent had before.
    """
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    with contextlib.suppress(ImportError):
        import resource  # not on Windows

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most
    return 0
