"""``python -m lmkit.worker FOLDER``: train the run in a folder, as one process or as one of several.

Launched alone it trains the run to its end; where ``training.devices`` says so it starts the processes of this machine.
Launched by torchrun, by Slurm's ``srun`` or with ``TF_CONFIG`` it is one of the run's processes:

    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-endpoint HOST:29400 -m lmkit.worker runs/RUN
    srun python -m lmkit.worker runs/RUN

The folder lies on a disk that all machines share; ``lk.train(…, start=False)`` and ``lmkit train --no-start`` create
it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from lmkit.exceptions import LmkitError
from lmkit.executors.forkserver import preload
from lmkit.executors.launch import Launch, group_key, read_launch, remove_key, to_environment
from lmkit.executors.launcher import work
from lmkit.executors.supervisor import OWNER_VARIABLE, read_rank_variable, train_rank
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.ranks import remove_ranks
from lmkit.system.process_group import connect

USAGE = "usage: python -m lmkit.worker FOLDER"


def main(arguments: list[str] | None = None) -> int:
    """Train the run in the folder that the command line names; return the code to exit with."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(USAGE, file=sys.stderr)
        return 2
    folder = RunFolder(arguments[0])
    try:
        group = read_rank_variable(os.getppid())
        if group is not None:
            return train_rank(folder.path, group, os.getppid())
        owner = json.loads(os.environ.pop(OWNER_VARIABLE, "null"))
        launch = read_launch()
        if launch is None and owner is None:
            preload(folder.experiment.framework)
            work(folder)
        else:
            return join(folder, launch, owner)
    except LmkitError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if folder.status().state != "failed" else 1


def join(folder: RunFolder, launch: Launch | None, owner: dict[str, Any] | None = None) -> int:
    """Train as one of the processes that another program launched; return the code to exit with.

    Args:
        folder: of the run.
        launch: this process among the others; None: it is alone.
        owner: the process that holds the run, as a status names it; None: the first process does.
    """
    from lmkit.training.ranks import RankFailed, Ranks
    from lmkit.training.train import train

    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") or 0)
    status = folder.status()
    if restarts and status.state == "failed":  # an error of the run itself is the same again
        print(f"{folder.name} failed: {status.reason}", file=sys.stderr)
        return 1
    ranks = Ranks(launcher=os.getppid() if owner else 0, owner=owner)
    if launch is not None:
        address, local = (launch.host, launch.port), (launch.local_rank, launch.local_world)
        os.environ.update(to_environment(launch))
        if launch.rank == 0:
            remove_ranks(folder)  # those of an earlier launch
        group = connect(launch.rank, launch.world, address, group_key(folder), local)
        ranks = Ranks(group, launcher=ranks.launcher, owner=owner)
    try:
        train(RunFolder(folder.path, writes=ranks.is_first), ranks)
    except RankFailed:
        return 1
    finally:
        ranks.close()
        if launch is not None and launch.rank == 0:
            remove_key(folder)
    return 0 if folder.status().state != "failed" else 1


if __name__ == "__main__":
    code = main()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # threads of the frameworks may wait for processes that have ended
