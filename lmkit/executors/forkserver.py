"""The fork server: ``python -m lmkit.executors.forkserver FRAMEWORK`` forks a worker for each line of its input.

It imports the framework but never computes with it, so that no thread of the framework and no GPU is in use when it
forks. It ends when its input ends, so with the process that it serves; the workers continue.
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

from lmkit.backends.facts import FRAMEWORKS, PRELOAD
from lmkit.executors.worker import FORKS
from lmkit.system.environment import PACKAGES, installed_versions
from lmkit.system.files import open_log

PRELOAD_ALWAYS = (
    "safetensors.numpy",
    "sklearn.datasets",
    "sklearn.impute",
    "sklearn.model_selection",
    "scipy.special",
    "scipy.stats",
)


def main(framework: str) -> None:
    """Serve jobs until the input ends."""
    loaded = False
    for line in sys.stdin:
        if not loaded:
            loaded = True
            preload(framework)
        if not line.strip():  # an empty line: preload only
            continue
        job = json.loads(line)
        if FORKS:
            check_unused(framework)
            _fork(job)
        else:
            _work(job)


def _fork(job: dict[str, Any]) -> None:
    """Fork the worker of one run.

    The worker begins after the status names its process. Until then the status names the server, so that at any time
    the run is lost exactly if the process that its status names is gone. An exception here ends the server.
    """
    from lmkit.runfolder.folder import RunFolder
    from lmkit.system.processes import process

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
            os._exit(0)  # without the cleanup of the server
    os.close(wait)
    try:
        folder = RunFolder(job["folder"])
        folder.write_status(replace(folder.status(), heartbeat=time.time(), **process(worker)))
        os.write(go, b".")
    finally:
        os.close(go)


def check_unused(framework: str) -> None:
    """Assert that no framework has begun to use a device in this process.

    A fork of it could use no GPU, and would wait for threads that it does not have. It ends the server.
    """
    module = sys.modules.get(FRAMEWORKS[framework])
    if module is not None:  # else its import failed, which the worker reports
        assert not module.backend.is_initialized(), f"{framework} uses a device in the fork server, before a fork"


def preload(framework: str) -> None:
    """Import the modules that workers need. An import that fails here fails again in the worker, which reports it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # to see whether there is a GPU begins to use none
    for name in (*PRELOAD_ALWAYS, *PRELOAD.get(framework, ()), "lmkit.training.train", f"lmkit.backends.{framework}"):
        try:
            importlib.import_module(name)
        except Exception as error:
            print(f"{name}: {error}", file=sys.stderr)
    installed_versions(PACKAGES)  # workers inherit them
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers are not waited for; the system reaps them


def _work(job: dict[str, Any]) -> None:
    """Train one run in this process, or in several that it starts."""
    from lmkit.executors.launcher import work
    from lmkit.runfolder.folder import RunFolder

    folder = RunFolder(job["folder"])
    try:
        log = open_log(folder.log)
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
    sys.path[:] = job["path"]  # import modules as the process that started the run does
    work(folder)
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
