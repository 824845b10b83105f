"""Kernels that are forked do as those that are started do."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from written_notebook import printed, write_notebook

from lmkit.batch import warm_servers
from lmkit.batch.execute import Execution, run_template
from lmkit.batch.kernel_server import ForkedKernel, KernelServer
from lmkit.batch.warm_servers import in_use, kernel_server, prepare


def run(tmp_path: Path, *cells: str) -> Execution:
    return run_template(write_notebook(tmp_path / "own.ipynb", *cells), log=io.StringIO(), runs=tmp_path / "runs")


LOOKS = """
import os, subprocess, sys, threading, random
print(os.environ["LMKIT_RUNS"], os.getcwd(), sys.path[0] == "", __name__)
print(subprocess.run(["false"]).returncode, os.getsid(0) == os.getpid(), os.getppid())
"""


def test_a_forked_kernel_is_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(warm_servers, "FORKS", False)
        started = printed(run(tmp_path, LOOKS).notebook).split()
    with in_use(), in_use():
        prepare({})
        forker = kernel_server()
        assert forker is not None
        first = run(tmp_path, LOOKS, "a = random.random()\nprint(a)")
        assert (first.state, first.error) == ("completed", "")
        *forked, drawn = printed(first.notebook).split()
        assert forked[:-1] == started[:-1]
        assert (int(started[-1]), int(forked[-1])) == (os.getpid(), forker._process.pid)
        assert printed(run(tmp_path, "import random\nprint(random.random())").notebook).strip() != drawn
        died = run(tmp_path, "import os\nos.kill(os.getpid(), 9)")
        assert died.error == "its kernel died while a cell ran"
        assert run(tmp_path, "1 / 0").error == "cell [1] failed: ZeroDivisionError: division by zero"
    assert kernel_server() is None
    assert forker._process.poll() is not None


DRAWS = """
import sys
print("matplotlib.figure" in sys.modules)
import numpy as np, matplotlib.pyplot as plt
print(np.random.random())
plt.plot([1, 2])
"""


def test_what_an_experiment_needs_is_imported_before_the_fork_as_if_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)
    with in_use():
        prepare({}, "torch")
        drawn = [run(tmp_path, DRAWS).notebook for _ in range(2)]
        trained = run(tmp_path, "import lmkit as lk\nlk.train(data='wine', epochs=2)").notebook
    first, second = (printed(notebook).split() for notebook in drawn)
    assert first[0] == second[0] == "True"
    assert first[1] != second[1]  # the random state is no copy of the server's
    for notebook in (drawn[0], trained):
        shown = [o for c in nbformat.read(notebook, as_version=4).cells for o in c.get("outputs", [])]
        assert any("image/png" in o.get("data", {}) for o in shown)


def test_a_kernel_whose_libraries_are_to_be_set_otherwise_is_started(tmp_path: Path) -> None:
    with in_use():
        prepare({"OMP_NUM_THREADS": "7"})
        forker = kernel_server()
        assert forker is not None
        assert printed(run(tmp_path, "import os\nprint(os.getppid())").notebook) == f"{os.getpid()}\n"


def test_servers_are_kept_by_whoever_holds_them_only() -> None:
    assert prepare({}, "torch") == {}
    assert kernel_server() is None


def test_where_the_server_is_gone_kernels_are_started(tmp_path: Path) -> None:
    with in_use():
        prepare({})
        forker = kernel_server()
        assert forker is not None
        forker._process.kill()
        forker._process.wait()
        assert printed(run(tmp_path, "import os\nprint(os.getppid())").notebook) == f"{os.getpid()}\n"


def test_kernels_end_with_their_server(tmp_path: Path) -> None:
    forker = KernelServer(os.environ)
    connection = tmp_path / "kernel.json"
    kernel = forker.fork(["ipykernel_launcher", "-f", str(connection)], os.environ, None)
    assert kernel is not None
    until = time.monotonic() + 30
    while not connection.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert kernel.poll() is None
    forker._process.kill()
    forker.close()
    assert kernel.wait(30) == -1
    assert not psutil.pid_exists(kernel.pid)


def test_a_process_is_waited_for_signalled_and_known_to_be_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    known = ForkedKernel(child.pid)
    assert known.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        known.wait(0.1)
    known.terminate()
    child.wait()
    assert (known.wait(10), known.poll()) == (-1, -1)
    known.kill()  # nothing happens
    assert ForkedKernel(child.pid).poll() == -1


def test_elsewhere_kernels_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_servers, "FORKS", False)
    with in_use():
        assert prepare({}, "torch") == {}
        assert kernel_server() is None
