"""The process that forks workers: ``python -m lmkit.executors.forkserver FRAMEWORK``, one job a line on its input.

It imports the framework but never computes with it, so that no thread of the framework and no GPU is held when it
forks. It ends with its input, so with the process that it serves, however that one dies; the workers go on.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmkit.executors.worker import FORKS

PRELOAD = {"torch": ("torch",), "tensorflow": ("tensorflow", "keras")}
"""What a worker would spend its first seconds on importing."""

PRELOAD_ALWAYS = (
    "safetensors.numpy",
    "sklearn.datasets",
    "sklearn.impute",
    "sklearn.model_selection",
    "scipy.special",
    "scipy.stats",
)


def main(framework: str) -> None:
    """Serves jobs until the input ends."""
    loaded = False
    for line in sys.stdin:
        if not loaded:
            loaded = True
            preload(framework)
        if not line.strip():  # it was to make itself ready
            continue
        job = json.loads(line)
        if FORKS:
            _fork(job)
        else:
            _work(job)


def _fork(job: dict[str, Any]) -> None:
    """Forks the worker of one run.

    The worker begins once the status names it, so at every moment whoever watches asks for a process which, if it
    died, will never train: the server, until then, or the worker. What goes wrong here ends the server.
    """
    from lmkit.runfolder import RunFolder, process

    wait, go = os.pipe()
    worker = os.fork()
    if worker == 0:
        try:
            os.close(go)
            os.setsid()
            if os.read(wait, 1):
                os.close(wait)
                _work(job)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(0)  # nothing of the server's own is to be run down here
    os.close(wait)
    try:
        folder = RunFolder(job["folder"])
        folder.write_status(replace(folder.status(), heartbeat=time.time(), **process(worker)))
        os.write(go, b".")
    finally:
        os.close(go)


def preload(framework: str) -> None:
    """Imports what workers need. What fails here fails in the worker again, and is written down there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in (*PRELOAD_ALWAYS, *PRELOAD.get(framework, ()), "lmkit.loop", f"lmkit.backends.{framework}"):
        try:
            importlib.import_module(name)
        except Exception as error:
            print(f"{name}: {error}", file=sys.stderr)
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers; the system takes them away


def _work(job: dict[str, Any]) -> None:
    """Becomes the worker of one run."""
    from lmkit.loop import train
    from lmkit.runfolder import RunFolder

    folder = RunFolder(job["folder"])
    try:
        log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(job["environment"])
    if Path(job["cwd"]).is_dir():
        os.chdir(job["cwd"])
    sys.path[:] = job["path"]  # modules lie where they lie for whoever started the run
    train(folder)
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
