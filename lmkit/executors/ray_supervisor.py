"""The launcher of a run whose processes a Ray cluster executes: ``training.launcher: ray://HOST:PORT``.

One process a device, all of them in one placement group, so that they start together; until the cluster has room the
run is pending. Each is a child of an actor, and connects with the others as those of one machine do, so that Ray only
says where they run: both frameworks train through it alike. The folder of the run lies under the same path on every
machine. A process that is killed, and a machine that is lost, restart the run from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import LmkitError, RunStateError
from lmkit.executors.clusters import LAUNCHER, VERSION, Machine, check_versions, no_answer
from lmkit.executors.launch import remove_key
from lmkit.executors.ray_connection import HINT, check_cluster, connect_cluster
from lmkit.executors.supervisor import OWNER_VARIABLE, Supervisor, end_stopped
from lmkit.runfolder.commands import Stop, commands_since_resume, parse_command
from lmkit.runfolder.events import Failed, Finished
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.ranks import SilenceWatch, rank_log, read_ranks, remove_ranks
from lmkit.system.files import make_directory, open_log
from lmkit.system.processes import end_with_parent, process
from lmkit.training.control import Signals

if TYPE_CHECKING:
    from collections.abc import Mapping

POLL_SECONDS = 0.5
"""Interval at which the processes are asked for, as that goes over the network."""

LEASE_SECONDS = 12.0
"""Seconds without a question after which a process ends itself: its launcher is gone, and another one may start."""

ANSWER_SECONDS = 60.0
"""Seconds that an actor may take to answer; a machine may be busy."""

CONNECT_SECONDS = 120.0
"""Seconds that the connection to a cluster may take."""

START_SECONDS = 300.0
"""Seconds that an actor may take to start, once its place is reserved."""


class StopWaiting(Exception):
    """The run is to end before its processes have started."""


class RankActor:
    """One process of a run, on a machine of the cluster."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.asked = time.monotonic()

    def describe(self) -> tuple[str, str, int]:
        """Return the machine's name, the version of lmkit there, and its cores."""
        return socket.gethostname(), VERSION, os.cpu_count() or 1

    def reserve(self, folder: str) -> tuple[str, int]:
        """Return this machine's address, and a free port that another free one follows.

        Raises:
            FileNotFoundError: the folder of the run does not exist here.
        """
        if not (Path(folder) / "experiment.yaml").is_file():
            raise FileNotFoundError(folder)
        import ray

        host = ray.util.get_node_ip_address()
        for _ in range(100):
            with socket.create_server((host, 0)) as first, suppress(OSError, OverflowError):
                port = int(first.getsockname()[1])
                socket.create_server((host, port + 1)).close()
                return host, port
        raise OSError(f"no two ports of {host} are free")

    def start(self, folder: str, rank: int, directory: str, variables: Mapping[str, str]) -> int:
        """Start the process; return its id."""
        log = open_log(rank_log(RunFolder(folder), rank))
        parent = os.getpid()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lmkit.worker", folder],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory if Path(directory).is_dir() else None,
                env={**os.environ, **variables},
                preexec_fn=lambda: end_with_parent(parent),
            )
        finally:
            os.close(log)
        self.asked = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()
        return self.process.pid

    def poll(self) -> int | None:
        """Return the code with which the process ended; None while it runs."""
        self.asked = time.monotonic()
        return self.process.poll() if self.process else None

    def terminate(self) -> None:
        """Send SIGTERM: the run stops with a checkpoint."""
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def _watch(self) -> None:
        """Kill the process once nobody has asked for it for a while."""
        while self.process and self.process.poll() is None:
            time.sleep(1)
            if time.monotonic() - self.asked > LEASE_SECONDS:
                self.process.kill()


class RaySupervisor(Supervisor):
    """The processes of one run on a cluster.

    Args:
        folder: of the run, whose lock this process holds.
        world: number of processes.
        signals: that this process receives, and passes on.
    """

    def __init__(self, folder: RunFolder, world: int, signals: Signals) -> None:
        super().__init__(folder, world, signals)
        self.training = folder.resumed_experiment.training
        self.group: Any = None
        self.actors: list[Any] = []
        self.polled = 0.0

    def start(self) -> None:
        """Wait until the cluster has room for all processes, and start them."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        remove_ranks(self.folder)
        make_directory(self.folder.path, "ranks")
        self.pids, self.ends, self.silence, self.actors = {}, {}, SilenceWatch(), []
        bundle = self._bundle(ray)
        self.group = ray.util.placement_group([bundle] * self.world, strategy="PACK")
        ready = self.group.ready()
        while not ray.wait([ready], timeout=POLL_SECONDS)[0]:
            self._wait(bundle)
        ray.get(ready)
        actor = ray.remote(RankActor)
        for rank in range(self.world):
            strategy = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=rank)
            options = {"num_cpus": bundle["CPU"], "num_gpus": bundle.get("GPU", 0)}
            self.actors.append(actor.options(**options, max_restarts=0, scheduling_strategy=strategy).remote())
        machines = [self._describe(rank) for rank in range(self.world)]
        check_versions(self.training.launcher, {str(rank): m for rank, m in enumerate(machines)}, LAUNCHER)
        self._launch([machine.name for machine in machines if isinstance(machine, Machine)])

    def end(self) -> None:
        """Kill the processes that are left, and give their places back."""
        import ray

        for actor in self.actors:
            with suppress(Exception):
                ray.kill(actor)
        if self.group is not None:
            with suppress(Exception):
                ray.util.remove_placement_group(self.group)
        self.group, self.actors = None, []

    def _bundle(self, ray: Any) -> dict[str, float]:
        """Return the resources of one process."""
        bundle: dict[str, float] = {"CPU": self.training.threads or 1}
        has_gpus = ray.cluster_resources().get("GPU", 0) >= self.world
        if self.training.device.startswith("cuda") or (self.training.device == "auto" and has_gpus):
            bundle["GPU"] = 1
        return bundle

    def _wait(self, bundle: Mapping[str, float]) -> None:
        """Say that the run waits for the cluster.

        Raises:
            StopWaiting: a signal or a command ends the run.
        """
        count = f"{self.world * bundle['CPU']:g} CPUs" + (f" and {self.world} GPUs" if "GPU" in bundle else "")
        state = "restarting" if self.furthest else "pending"
        write_waiting(self.folder, self.signals, f"waiting for {count} of {self.training.launcher}", state)

    def _describe(self, rank: int) -> Machine | BaseException:
        import ray

        try:
            return Machine(*ray.get(self.actors[rank].describe.remote(), timeout=START_SECONDS))
        except Exception as error:
            return error

    def _launch(self, machines: list[str]) -> None:
        """Start the process of each actor."""
        import ray

        path = str(self.folder.path)
        try:
            addresses = ray.get([actor.reserve.remote(path) for actor in self.actors], timeout=ANSWER_SECONDS)
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, FileNotFoundError):
                raise
            raise RunStateError(
                f"no folder {path!r} on a machine of {self.training.launcher}; "
                "runs must lie on a disk that all machines share, under the same path"
            ) from None
        host, port = addresses[0]
        common = {name: value for name, value in os.environ.items() if name.startswith("LMKIT_")}
        common |= {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), "RAY_ENABLE_AUTO_CONNECT": "0"}
        common |= {"WORLD_SIZE": str(self.world), "MASTER_ADDR": host, "MASTER_PORT": str(port)}
        common |= {OWNER_VARIABLE: json.dumps(_owner())}
        starts = []
        for rank, actor in enumerate(self.actors):
            local = {
                "RANK": str(rank),
                "LOCAL_RANK": str(machines[:rank].count(machines[rank])),
                "LOCAL_WORLD_SIZE": str(machines.count(machines[rank])),
            }
            starts.append(actor.start.remote(path, rank, str(Path.cwd()), {**common, **local}))
        self.pids = dict(enumerate(ray.get(starts, timeout=ANSWER_SECONDS)))

    def _pass_signal(self) -> None:
        if self.signals.name and not self.signalled:
            self.signalled = True
            for rank in self.pids.keys() - self.ends.keys():
                self.actors[rank].terminate.remote()

    def _reap(self) -> None:
        if time.monotonic() - self.polled < POLL_SECONDS:
            return
        import ray

        self.polled = time.monotonic()
        codes = {rank: self.actors[rank].poll.remote() for rank in sorted(self.pids.keys() - self.ends.keys())}
        for rank, code in codes.items():
            try:
                ended = ray.get(code, timeout=ANSWER_SECONDS)
            except ray.exceptions.GetTimeoutError:
                continue
            except ray.exceptions.RayActorError:
                ended = -signal.SIGKILL
            if ended is not None:
                self.ends[rank] = ended


def write_waiting(folder: RunFolder, signals: Signals, reason: str, state: str = "pending") -> None:
    """Write what a run waits for.

    Raises:
        StopWaiting: a signal or a command ends the run.
    """
    folder.write_status(replace(folder.status(), state=state, reason=reason, heartbeat=time.time(), **_owner()))
    if signals.name:
        raise StopWaiting(signals.name)
    commands = commands_since_resume(folder.control.read(quiet=True)[0])
    if any(isinstance(parse_command(record), Stop) for record in commands):
        raise StopWaiting("on request")


def _owner() -> dict[str, Any]:
    """Return this process as a status names it."""
    return {"host": socket.gethostname(), **process()}


def supervise_on_ray(folder: RunFolder, world: int) -> None:
    """Train a run in ``world`` processes of a Ray cluster, to its end; a failure of the run is not raised.

    SIGTERM and SIGHUP stop the run with a checkpoint, and then end this process.

    Raises:
        RunStateError: another process trains the run.
    """
    signals = Signals()
    with folder.train_lock(), signals.noted():
        try:
            _run(folder, world, signals)
        except StopWaiting as stop:
            end_stopped(folder, str(stop), "signal" if signals.name else "requested")
        except Exception as error:
            launcher = folder.resumed_experiment.training.launcher
            problem = str(error).partition("\n")[0] or type(error).__name__
            reason = str(error) if isinstance(error, LmkitError) else f"{launcher}: {problem}; then `lmkit resume`"
            folder.write_status(replace(folder.status(), state="failed", reason=reason, cause="error"))
            folder.events.record(Failed(reason=reason, step=folder.status().step))
        remove_key(folder)
    signals.follow()


def _run(folder: RunFolder, world: int, signals: Signals) -> None:
    name = folder.resumed_experiment.training.launcher
    _wait_for_former(folder, signals)
    owns_connection = _connect(folder, name, signals)
    supervisor = RaySupervisor(folder, world, signals)
    try:
        supervisor.run()
    finally:
        supervisor.end()
        if owns_connection:
            import ray

            with suppress(Exception):
                ray.shutdown()


def _connect(folder: RunFolder, name: str, signals: Signals) -> bool:
    """Connect to a cluster; return whether ``ray.shutdown`` is due in the end.

    A thread connects, for Ray itself tries for minutes, and is not interrupted by a signal.

    Raises:
        StopWaiting: a signal or a command ends the run.
        LmkitError: the cluster does not answer.
    """
    outcome: list[bool | BaseException] = []

    def connect() -> None:
        try:
            check_cluster(name, LAUNCHER)
            outcome.append(connect_cluster(name, LAUNCHER))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=connect, name="lmkit-ray", daemon=True)
    thread.start()
    until = time.monotonic() + CONNECT_SECONDS
    thread.join(POLL_SECONDS)
    while not outcome:
        if time.monotonic() > until:
            raise no_answer(name, f"no connection within {CONNECT_SECONDS:g} seconds", HINT, LAUNCHER)
        write_waiting(folder, signals, f"connecting to {name}")
        thread.join(POLL_SECONDS)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _wait_for_former(folder: RunFolder, signals: Signals) -> None:
    """Wait until the processes of a launcher that was killed have noticed it, and ended."""
    events = folder.events.read()[0]
    if not events or events[-1].type in (Finished.type, Failed.type):
        return
    until = time.monotonic() + 2 * LEASE_SECONDS  # by this clock, as that of another machine may be ahead
    while time.monotonic() < until:
        if time.time() - max((record.heartbeat for record in read_ranks(folder)), default=0.0) >= LEASE_SECONDS:
            return
        write_waiting(folder, signals, "waiting for the processes of an earlier launch to end")
        time.sleep(POLL_SECONDS)
