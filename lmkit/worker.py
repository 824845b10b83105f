"""``python -m lmkit.worker FOLDER``: train the run in a folder, as one process or as one of several.

Launched alone it trains the run to its end; where ``training.devices`` says so it starts the processes of this machine.
Launched by torchrun, by Slurm's ``srun`` or with ``TF_CONFIG`` it is one of the run's processes:

    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-endpoint HOST:29400 -m lmkit.worker runs/RUN
    srun python -m lmkit.worker runs/RUN

The folder lies on a disk that all machines share; ``lk.train(…, start=False)`` and ``lmkit train --no-start`` create
it.
"""

from __future__ import annotations

import os
import sys

from lmkit.exceptions import LmkitError
from lmkit.executors.forkserver import preload
from lmkit.executors.launch import Launch, group_key, read_launch, to_environment
from lmkit.executors.supervisor import read_rank_variable, train_rank, work
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.ranks import remove_ranks
from lmkit.runfolder.silent import SilentFolder
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
        launch = read_launch()
        if launch is None:
            preload(folder.experiment.framework)
            work(folder)
        else:
            return join(folder, launch)
    except LmkitError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if folder.status().state != "failed" else 1


def join(folder: RunFolder, launch: Launch) -> int:
    """Train as one of the processes that another program launched; return the code to exit with."""
    from lmkit.training.ranks import RankFailed, Ranks
    from lmkit.training.train import train

    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") or 0)
    status = folder.status()
    if restarts and status.state == "failed":  # an error of the run itself is the same again
        print(f"{folder.name} failed: {status.reason}", file=sys.stderr)
        return 1
    address, local = (launch.host, launch.port), (launch.local_rank, launch.local_world)
    os.environ.update(to_environment(launch))
    if launch.rank == 0:
        remove_ranks(folder)  # those of an earlier launch
    group = connect(launch.rank, launch.world, address, group_key(folder), local)
    try:
        train(folder if launch.rank == 0 else SilentFolder(folder.path), Ranks(group))
    except RankFailed:
        return 1
    finally:
        group.close()
    return 0 if folder.status().state != "failed" else 1


if __name__ == "__main__":
    sys.exit(main())
