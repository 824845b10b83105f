"""Trials without kernels, by an engine whose work is a function of the test; and clusters on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from lmkit.sweeping import driver
from lmkit.sweeping.engines import connect
from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import Job

Work = Callable[[Job], TrialOutcome]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    """Has the jobs of every sweep of this test done by a function."""

    class Pretended:
        def __init__(self, workers: int, function: Work) -> None:
            self.pool, self.function = ThreadPoolExecutor(workers), function

        def submit(self, job: Job) -> Future[TrialOutcome]:
            return self.pool.submit(self.function, job)

        def close(self) -> None:
            self.pool.shutdown()

    def use(function: Work) -> None:
        monkeypatch.setattr(driver, "connect", lambda engine, workers: Pretended(workers, function))

    return use


# -- clusters -------------------------------------------------------------------------------------

PATIENT = {
    "PYTHONUNBUFFERED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # whose handlers may wait for ever where Ray forks the server of a client
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "0",  # nobody waits for a page that nobody opens
    "RAY_raylet_start_wait_time_s": "30",  # see STARTS
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120",
}

STARTS = 4
"""Tries to start Ray: its raylet ends unless an agent is ready after 15 s (ray-project/ray#65983), and a machine may be
busy. ``ray start`` does not see that, and waits on."""

FORWARD = str(Path(__file__).with_name("forward.py"))


@pytest.fixture(scope="session", params=["threads", "dask", "ray"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of each engine, one after the other; what it needs runs on loopback for as long."""
    with {"threads": threads, "dask": dask, "ray": ray}[request.param]() as name:
        yield name


@contextmanager
def threads() -> Iterator[str]:
    yield "threads"


@pytest.fixture
def dask_of_its_own() -> Iterator[tuple[str, int]]:
    """A Dask cluster that a test may spoil: the name of the engine, and the process of its scheduler."""
    with dask_cluster() as found:
        yield found


@contextmanager
def dask() -> Iterator[str]:
    with dask_cluster() as (name, _):
        yield name


@contextmanager
def dask_cluster() -> Iterator[tuple[str, int]]:
    """A scheduler, and two workers of one thread."""
    common = ["--host", "127.0.0.1", "--no-dashboard"]
    with (
        tempfile.TemporaryDirectory(prefix="lmkit-") as folder,
        process("-m", "distributed.cli.dask_scheduler", *common, "--port", "0", cwd=folder) as scheduler,
    ):
        address = until(scheduler, "Scheduler at:").rpartition("tcp://")[2].strip()
        worker = ["-m", "distributed.cli.dask_worker", address, *common, "--nworkers", "2", "--nthreads", "1"]
        with process(*worker, "--death-timeout", "60", cwd=folder) as workers:
            for _ in range(2):
                until(workers, "Registered to:")
            yield f"dask://{address}", scheduler.pid


@contextmanager
def ray() -> Iterator[str]:
    """A machine in a network of its own, as Ray listens on all interfaces: its client server is reached by a socket."""
    import ray

    head = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    head += ["--ray-client-server-port=10001", f"--num-cpus={os.cpu_count()}", "--include-dashboard=false"]
    head += ["--object-store-memory=80000000", "--disable-usage-stats", "--no-monitor"]
    alone = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    folder = tempfile.mkdtemp(prefix="lmkit-")  # short: the names of sockets lie in it
    inside = [FORWARD, f"unix:{folder}/s", "tcp:10001", *head, f"--temp-dir={folder}/ray"]
    try:
        with start_patiently(inside, alone, folder), process(FORWARD, "tcp:0", f"unix:{folder}/s") as entry:
            name = f"ray://127.0.0.1:{until(entry, '').strip()}"
            connect(name, 1)  # one connection for all tests, as each takes seconds: Ray keeps it where there is one
            try:
                yield name
            finally:
                ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def start_patiently(arguments: list[str], before: list[str], folder: str) -> Iterator[None]:
    """Ray meanwhile, started anew in an empty folder where it does not come up; nothing of it stays."""
    for more in reversed(range(STARTS)):
        with process(*arguments, before=before) as server:
            try:
                until(server, "Ray runtime started")
            except AssertionError:
                if not more:
                    raise
            else:
                yield
                return
            finally:
                end_all(folder)
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(mode=0o700)


def end_all(folder: str) -> None:
    """Kill the processes whose command line names a folder: Ray's outlive ``ray start`` where that fails."""
    for each in psutil.process_iter(["cmdline"]):
        if any(f"{folder}/ray" in argument for argument in each.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


@contextmanager
def process(
    *arguments: str, before: list[str] | None = None, cwd: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A Python meanwhile, ended with all that it started."""
    started = subprocess.Popen(
        [*(before or []), sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, **PATIENT},
    )
    try:
        yield started
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            all_of_it = psutil.Process(started.pid).children(recursive=True)
            started.terminate()
            _, left = psutil.wait_procs(all_of_it, timeout=5)
            for each in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(5)
        started.kill()
        started.wait()
        if started.stdout:
            started.stdout.close()


def until(process: subprocess.Popen[str], text: str) -> str:
    """The next line that it prints with this text in it."""
    said = []
    assert process.stdout
    for line in process.stdout:
        if text in line:
            return line
        said.append(line)
    raise AssertionError(f"it ended without {text!r}: {''.join(said)}")
