"""What a launcher of several processes says in the environment: torchrun, ``TF_CONFIG`` or Slurm."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.exceptions import ConfigError, DamagedFile, shorten
from lmkit.system.files import make_directory
from lmkit.system.reading import read_bytes

if TYPE_CHECKING:
    from lmkit.runfolder.folder import RunFolder

KEY_BYTES = 32

KEY_TIMEOUT = 5.0
"""Seconds in which the process that creates the key has written it."""

SLURM_PORTS = range(20_000, 40_000)
"""Ports of which a job of Slurm takes one, by its number."""


class Launch(NamedTuple):
    """One process of a run that another program launches.

    Attributes:
        rank, world: number of this process, from 0, and of processes.
        local_rank, local_world: the same of those on this machine.
        host, port: at which the first process listens.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    host: str
    port: int


def read_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Return what the environment says of this process; None where it is launched alone.

    torchrun sets ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT``; the port after that one is used, for
    torchrun listens at it. ``TF_CONFIG`` lists the workers. ``srun`` sets ``SLURM_PROCID`` and ``SLURM_NTASKS``.

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        launch = _read_torchrun(environment)
    elif "TF_CONFIG" in environment:
        launch = _read_tf_config(environment)
    elif "SLURM_PROCID" in environment and "SLURM_STEP_NODELIST" in environment:
        launch = _read_slurm(environment)
    else:
        return None
    if not 0 <= launch.rank < launch.world:
        raise ConfigError([f"process: given rank {launch.rank} of {launch.world}, expected 0 to {launch.world - 1}"])
    return launch if launch.world > 1 else None


def _read_torchrun(environment: Mapping[str, str]) -> Launch:
    rank, world = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    local_rank, local_world = _number(environment, "LOCAL_RANK", rank), _number(environment, "LOCAL_WORLD_SIZE", world)
    host = environment.get("MASTER_ADDR", "127.0.0.1")
    return Launch(rank, world, local_rank, local_world, host, _number(environment, "MASTER_PORT") + 1)


def _read_tf_config(environment: Mapping[str, str]) -> Launch:
    text = environment["TF_CONFIG"]
    try:
        config = json.loads(text)
        workers, rank = config["cluster"]["worker"], config["task"]["index"]
        addresses = [worker.rpartition(":") for worker in workers]
        ports = [int(port) for _, _, port in addresses]
        hosts = [host for host, _, _ in addresses]
        if config["task"]["type"] not in ("worker", "chief") or "chief" in config["cluster"]:
            raise ValueError
        local = [other for other, host in enumerate(hosts) if host == hosts[rank]]
        return Launch(rank, len(workers), local.index(rank), len(local), hosts[0], ports[0])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        expected = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'
        raise ConfigError([f"TF_CONFIG: given {shorten(text)}, expected {expected}"]) from None


def _read_slurm(environment: Mapping[str, str]) -> Launch:
    rank, world = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_NTASKS", 1)
    local_rank = _number(environment, "SLURM_LOCALID", 0)
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", environment.get("SLURM_TASKS_PER_NODE", str(world)))
    local_world = int(match[0]) if (match := re.match(r"\d+", tasks)) else world
    port = SLURM_PORTS[_number(environment, "SLURM_JOB_ID", 0) % len(SLURM_PORTS)]
    return Launch(rank, world, local_rank, local_world, first_host(environment["SLURM_STEP_NODELIST"]), port)


def first_host(nodes: str) -> str:
    """Return the first host of a list in Slurm's notation.

    >>> first_host("gpu[03-05,9]"), first_host("a1,b2"), first_host("n[1,4]-x")
    ('gpu03', 'a1', 'n1-x')
    """
    match = re.match(r"([^,\[]*)(?:\[(\d+)[^\]]*\]([^,\[]*))?", nodes)
    assert match is not None
    return "".join(filter(None, match.groups()))


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not text.isdecimal() or len(text) > 9:
        raise ConfigError([f"{name}: given {shorten(text)}, expected a number"])
    return int(text)


def group_key(folder: RunFolder) -> bytes:
    """Return the secret by which the processes of a run know each other: a file that only this user may read."""
    make_directory(folder.path, "ranks")
    path = folder.inside("ranks", "key")
    with suppress(FileExistsError):  # another process was faster
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
    until = time.monotonic() + KEY_TIMEOUT
    while len(key := read_bytes(path, KEY_BYTES)) < KEY_BYTES:
        if time.monotonic() > until:
            raise DamagedFile(path, f"it has {len(key)} bytes, expected {KEY_BYTES}; delete it")
        time.sleep(KEY_TIMEOUT / 50)
    return key


def remove_key(folder: RunFolder) -> None:
    """Delete the secret of a run that has ended, so that no copy of its folder holds it."""
    if not folder.status().live:
        folder.inside("ranks", "key").unlink(missing_ok=True)


def to_environment(launch: Launch) -> dict[str, Any]:
    """Return the variables by which PyTorch finds the first process."""
    return {
        "RANK": str(launch.rank),
        "WORLD_SIZE": str(launch.world),
        "LOCAL_RANK": str(launch.local_rank),
        "MASTER_ADDR": launch.host,
        "MASTER_PORT": str(launch.port - 1),
    }
