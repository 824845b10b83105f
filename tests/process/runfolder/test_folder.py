"""A run's folder after the death of a process: its status and its checkpoints."""

import os
import subprocess
import sys

import pytest
from narrowing import require_value
from written_folder import loaded, save, write

from lmkit import Experiment
from lmkit.runfolder.folder import RunFolder
from lmkit.system.processes import process


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(Experiment(name="here"), tmp_path / "runs")


# -- lost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "running", "paused"])
def test_a_worker_that_died_is_lost_at_once(folder, state):
    worker = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    write(folder, state=state, step=5, **process(worker.pid))
    assert folder.status().state == state
    worker.kill()
    worker.wait()
    require_value(worker.stdin).close()
    status = folder.status()
    assert (status.state, status.step, status.live) == ("lost", 5, False)
    assert status.reason == "its worker ended without a final status"


def test_a_worker_that_nobody_has_buried_is_lost_too(folder):
    worker = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    write(folder, state="running", **process(worker.pid))
    worker.kill()
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert folder.status().state == "lost"
    worker.wait()
    require_value(worker.stdin).close()


# -- checkpoints ----------------------------------------------------------------------------------


DIES = """
import os, shutil, sys
from pathlib import Path
import numpy as np
from lmkit.runfolder.folder import RunFolder

place, name, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
owner = {"fsync": os, "rename": Path, "rmtree": shutil}[name]
real, calls = getattr(owner, name), [0]

def dies(*args, **options):
    calls[0] += 1
    if calls[0] == at:
        os._exit(9)  # as by kill -9: nothing is tidied up
    return real(*args, **options)

setattr(owner, name, dies)
RunFolder(place).save_checkpoint(
    "last",
    {"dense_0.kernel": np.full((3, 2), 2, np.float64), "dense_0.bias": np.full(2, 2, np.float32)},
    {"step": np.array(2)},
    {"step": 2, "best_loss": None},
)
"""


@pytest.mark.parametrize(
    ("name", "at", "survives"),
    [
        ("fsync", 1, 1),  # while the new one is written
        ("fsync", 3, 1),
        ("rename", 1, 1),  # before the old one is put aside
        ("rename", 2, 1),  # between the two renames
        ("rmtree", 3, 2),  # before the old one is taken away
    ],
)
def test_a_worker_that_dies_while_it_writes_one_leaves_one(folder, name, at, survives):
    save(folder, 1)
    died = subprocess.run([sys.executable, "-c", DIES, str(folder.path), name, str(at)], check=False, timeout=60)
    assert died.returncode == 9
    assert loaded(folder) == survives
    save(folder, 3)  # and whoever goes on writes the next
    assert loaded(folder) == 3
    assert [p.name for p in folder.checkpoints.iterdir()] == ["last"]
