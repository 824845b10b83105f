"""The training speed of this machine: measured once by ``lmkit.planning.probe`` in its own process, and cached.

Only that process imports the framework. The user's cache holds one file per machine, framework, versions, precision and
number of threads; delete it to measure again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from lmkit.backends import require
from lmkit.exceptions import LmkitError
from lmkit.planning.timing import Speed
from lmkit.runfolder.journal import JOURNAL
from lmkit.system.cores import available_cores
from lmkit.system.environment import installed_versions, processor
from lmkit.system.files import write_json
from lmkit.system.user_folders import cache_folder

VERSION = 2
"""The version of the measurement; files of other versions are ignored."""

TIMEOUT = 300.0
"""Seconds after which a measurement is cancelled."""

REPORT_SECONDS = 0.5
"""Seconds between two reports of its progress."""


def read_cache(framework: str, precision: str, threads: int) -> Speed | None:
    """Return the cached speed of this machine; None if it was not measured."""
    try:
        return _to_speed(json.loads(_file(framework, precision, threads).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def calibrate(framework: str, precision: str, threads: int, report: Callable[[str], None] | None = None) -> Speed:
    """Return the speed of this machine, from the cache or measured now, which takes some seconds.

    Args:
        framework: the framework that trains.
        precision: ``float32`` or ``float64``.
        threads: threads of one operation; 0: as many as the framework uses by default.
        report: called with a sentence of progress while it measures.

    Raises:
        MissingPackage: the framework is not installed.
        LmkitError: the measurement failed.
    """
    speed = read_cache(framework, precision, threads)
    if speed is not None:
        return speed
    require(framework)
    command = [sys.executable, "-m", "lmkit.planning.probe", framework, precision, str(threads)]
    try:
        # the probe's runs do not belong to the notebook that calls this
        environment = {name: value for name, value in os.environ.items() if name != JOURNAL}
        output, errors = _run(command, environment, f"measuring this machine with {framework}, once", report)
        record = json.loads(output.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        errors = f"it took longer than {TIMEOUT:g} seconds" if isinstance(error, subprocess.TimeoutExpired) else errors
        reason = (errors.strip().splitlines() or [type(error).__name__])[-1]
        raise LmkitError(f"{framework} could not be measured: {reason}; plan without: calibrate=False") from None
    file = _file(framework, precision, threads)
    with contextlib.suppress(OSError):  # measured again next time
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, record | {"for": _key(framework, precision, threads)})
    return _to_speed(record)


def _run(
    command: list[str], environment: dict[str, str], text: str, report: Callable[[str], None] | None
) -> tuple[str, str]:
    """Return what a command writes to its output and its errors; ``report`` gets ``text`` and the seconds so far.

    Raises:
        subprocess.TimeoutExpired: it did not end within ``TIMEOUT`` seconds; it was killed.
    """
    begin = time.monotonic()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.communicate(timeout=REPORT_SECONDS)
                seconds = time.monotonic() - begin
                if report is not None:
                    report(f"{text}: {seconds:.0f} s")
                if seconds > TIMEOUT:
                    raise subprocess.TimeoutExpired(command, TIMEOUT)
        finally:
            process.kill()


def _to_speed(record: dict[str, Any]) -> Speed:
    values = record["speed"]
    return Speed(**{**values, "products": tuple(map(tuple, values["products"]))})


def _file(framework: str, precision: str, threads: int) -> Path:
    key = json.dumps(_key(framework, precision, threads), sort_keys=True)
    return cache_folder() / f"speed-{framework}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


@lru_cache(maxsize=64)
def _machine() -> dict[str, Any]:
    versions = installed_versions(("lmkit", "torch", "tensorflow", "keras", "numpy"))
    return {"processor": processor(), "cores": available_cores(), "versions": versions, "version": VERSION}


def _key(framework: str, precision: str, threads: int) -> dict[str, Any]:
    """Return everything that a measured speed depends on."""
    settings = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
    return {**_machine(), **settings, "framework": framework, "precision": precision, "threads": threads}
