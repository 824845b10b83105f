"""How fast this machine trains: measured once by ``lmkit.planning.probe`` in a process of its own, and kept.

The process imports the framework, so that whoever plans does not. What was found lies in the user's cache, one file for
each machine, framework, versions, precision and number of threads; delete it to measure anew.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from lmkit.backends import require
from lmkit.environment import cache_folder, processor
from lmkit.errors import LmkitError
from lmkit.events import JOURNAL
from lmkit.planning.timing import Speed

VERSION = 2
"""Of what is measured: a file of another one is not read."""

PATIENCE = 300.0
"""Seconds after which a measurement is given up."""


def cached(framework: str, precision: str, threads: int) -> Speed | None:
    """What was measured before, if it was; nothing is started."""
    try:
        told = json.loads(_file(framework, precision, threads).read_text(encoding="utf-8"))
        values = told["speed"]
        return Speed(**{**values, "products": tuple(map(tuple, values["products"]))})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def calibrated(framework: str, precision: str, threads: int) -> Speed:
    """What was measured before, or is now: some seconds, of which most are spent on importing the framework.

    Args:
        framework: which trains.
        precision: ``float32`` or ``float64``.
        threads: for one operation; 0: as many as the framework takes by itself.

    Raises:
        MissingPackage: the framework is not installed.
        LmkitError: it cannot be measured; the message says why.
    """
    found = cached(framework, precision, threads)
    if found is not None:
        return found
    require(framework)
    command = [sys.executable, "-m", "lmkit.planning.probe", framework, precision, str(threads)]
    try:
        # what it trains is no run of the notebook that may have asked
        environment = {name: value for name, value in os.environ.items() if name != JOURNAL}
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
        told = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        said = getattr(error, "stderr", None) or "" if isinstance(error, subprocess.TimeoutExpired) else done.stderr
        last = (str(said).strip().splitlines() or [type(error).__name__])[-1]
        raise LmkitError(f"{framework} could not be measured: {last}; plan without: calibrate=False") from None
    file = _file(framework, precision, threads)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as written:
            json.dump(told | {"for": _key(framework, precision, threads)}, written)
        Path(written.name).replace(file)
    except OSError:
        pass  # it is measured again next time
    values = told["speed"]
    return Speed(**{**values, "products": tuple(map(tuple, values["products"]))})


def _file(framework: str, precision: str, threads: int) -> Path:
    key = json.dumps(_key(framework, precision, threads), sort_keys=True)
    return cache_folder() / f"speed-{framework}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


@lru_cache(maxsize=64)
def _machine() -> dict[str, Any]:
    versions = {}
    for name in ("lmkit", "torch", "tensorflow", "keras", "numpy"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"processor": processor(), "cores": os.cpu_count(), "versions": versions, "version": VERSION}


def _key(framework: str, precision: str, threads: int) -> dict[str, Any]:
    """What decides how fast it is."""
    settings = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
    return {**_machine(), **settings, "framework": framework, "precision": precision, "threads": threads}
