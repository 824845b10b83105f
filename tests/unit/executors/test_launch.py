"""What torchrun, TF_CONFIG and Slurm say in the environment, and the key of a run's processes."""

from __future__ import annotations

import json
import socket
import stat

import pytest

import lmkit as lk
from lmkit.exceptions import ConfigError, DamagedFile
from lmkit.executors import launch
from lmkit.executors.launch import Launch, group_key, read_launch, remove_key, to_environment
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.status import Status
from lmkit.system.processes import process

WORKERS = {"cluster": {"worker": ["a:4000", "b:4001", "a:4002"]}, "task": {"type": "worker", "index": 2}}


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "29500"}, None),
        (
            {
                "RANK": "3",
                "WORLD_SIZE": "4",
                "LOCAL_RANK": "1",
                "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "node1",
                "MASTER_PORT": "29500",
            },
            Launch(3, 4, 1, 2, "node1", 29501),
        ),
        ({"TF_CONFIG": json.dumps(WORKERS)}, Launch(2, 3, 1, 2, "a", 4000)),
        (
            {
                "SLURM_PROCID": "5",
                "SLURM_NTASKS": "8",
                "SLURM_LOCALID": "1",
                "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
                "SLURM_STEP_NODELIST": "gpu[07-08]",
                "SLURM_JOB_ID": "20001",
            },
            Launch(5, 8, 1, 4, "gpu07", 20001),
        ),
    ],
    ids=["nothing", "one process", "torchrun", "TF_CONFIG", "slurm"],
)
def test_the_launcher_says_which_process_this_is(environment: dict[str, str], launch: Launch | None) -> None:
    assert read_launch(environment) == launch


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "x", "WORLD_SIZE": "2", "MASTER_PORT": "1"}, "RANK: given 'x', expected a number"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_PORT": "1"}, "given rank 2 of 2, expected 0 to 1"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_PORT: given '', expected a number"),
        ({"TF_CONFIG": "{"}, 'TF_CONFIG: given .*, expected {"cluster"'),
        ({"TF_CONFIG": json.dumps(WORKERS | {"task": {"type": "ps", "index": 0}})}, "TF_CONFIG: given"),
    ],
    ids=["no number", "rank too large", "no port", "no JSON", "parameter server"],
)
def test_what_a_launcher_says_wrong_is_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_launch(environment)


def test_pytorch_finds_the_first_process() -> None:
    variables = to_environment(Launch(1, 2, 0, 1, "node1", 29501))
    assert (variables["MASTER_ADDR"], variables["MASTER_PORT"], variables["RANK"]) == ("node1", "29500", "1")


def test_the_key_is_one_for_all_and_only_this_users() -> None:
    folder = RunFolder.create(lk.Experiment())
    key = group_key(folder)
    assert len(key) == 32
    assert group_key(folder) == key
    assert stat.S_IMODE((folder.path / "ranks" / "key").stat().st_mode) == 0o600


def test_the_key_of_a_run_that_has_ended_is_deleted_and_a_short_one_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "KEY_TIMEOUT", 0.0)
    folder = RunFolder.create(lk.Experiment())
    path = folder.path / "ranks" / "key"
    group_key(folder)
    folder.write_status(Status(state="running", host=socket.gethostname(), **process()))
    remove_key(folder)
    assert path.exists()  # the processes are restarted, and need it
    folder.write_status(Status(state="completed"))
    remove_key(folder)
    assert not path.exists()
    path.write_bytes(b"")
    with pytest.raises(DamagedFile, match="it has 0 bytes, expected 32"):
        group_key(folder)
