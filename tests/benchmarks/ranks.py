"""What several processes gain and cost: ``python tests/benchmarks/ranks.py [--framework torch] [--rounds 5]``.

``transformer:nano`` in batches of 32 rows of 128 tokens, on one machine:

- *one process*: lmkit with one process of two threads;
- *two processes*: lmkit with ``devices: 2``, each process with one thread;
- *bare loop*: two processes of one thread with the same model, batch and optimizer in a loop of PyTorch's
  ``DistributedDataParallel`` and nothing else (PyTorch only).

Each round runs all of them in a new random order. A row tells the median over the rounds of the milliseconds of a
step, on the wall clock, without the first steps; and the ratios that matter: throughput of two processes by that of one
(goal: 0.95 or more), and lmkit's step by the bare loop's (goal: 1.03 or less). The last row is what one chunk of steps
costs for the clock and the commands of the first process, as a share of a chunk of 50 ms (goal: 1 % or less).

On a machine that computes something else, processes that wait for each other lose more than one process does.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np

import lmkit as lk
from lmkit.system.process_group import ProcessGroup, connect_pairs
from lmkit.training.ranks import Ranks

BATCH, LENGTH, SKIPPED = 32, 128, 10
CHUNK_SECONDS = 0.05


def write_text(folder: Path) -> Path:
    """Write a text of random words, and return its path."""
    generator = np.random.default_rng(0)
    words = ["".join(chr(97 + c) for c in generator.integers(0, 26, n)) for n in generator.integers(2, 9, 500)]
    path = folder / "words.txt"
    path.write_text(" ".join(generator.choice(words, 120_000)), encoding="utf-8")
    return path


def time_lmkit(text: Path, framework: str, devices: int, threads: int, steps: int) -> float:
    """Return the seconds of a step of lmkit, everything between two steps included."""
    run = lk.train(
        {
            "data": {"source": str(text), "batch_size": BATCH},
            "model": "transformer:nano",
            "framework": framework,
            "training": {
                "steps": steps,
                "epochs": 10,
                "validate_every": None,
                "early_stopping": None,
                "readings": "off",
                "compile": "off",
                "threads": threads,
                "devices": devices,
                "checkpoint_seconds": 1e6,
            },
        },
        wait=True,
        runs=text.parent,
    )
    if run.state != "completed":
        raise SystemExit(f"{run.name}: {run.state}: {run.status.reason}")
    lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [record for record in map(json.loads, lines) if "step" in record]
    ends = [(record["step"] + len(record["loss"]) - 1, record["time"]) for record in records]
    first = next(end for end in ends if end[0] >= SKIPPED)
    return float((ends[-1][1] - first[1]) / (ends[-1][0] - first[0]))


def train_bare(rank: int, file: str, steps: int, result: Connection) -> None:
    """Train by a bare loop; the first process sends the seconds of a step."""
    import torch
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    from lmkit.backends import get_backend
    from lmkit.specs.signature import Signature

    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    spec = lk.Experiment(data={"source": "words.txt"}, model="transformer:nano").model
    signature = Signature((LENGTH,), 257, "language", vocabulary=257)
    model = get_backend("torch").build(spec, signature, "float32")
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(parallel.parameters(), fused=True)
    rows = torch.randint(0, 257, (steps, BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    mine = rows[:, rank * BATCH // 2 : (rank + 1) * BATCH // 2]
    begin = 0.0
    for step, batch in enumerate(mine):
        if step == SKIPPED:
            begin = time.perf_counter()
        z = parallel(batch[:, :-1])
        loss = torch.nn.functional.cross_entropy(z.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
    if rank == 0:
        result.send((time.perf_counter() - begin) / (steps - SKIPPED))
    distributed.destroy_process_group()


def time_bare(folder: Path, steps: int) -> float:
    """Return the seconds of a step of the bare loop."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    file = folder / f"processes-{time.time_ns()}"
    processes = [context.Process(target=train_bare, args=(rank, str(file), steps, sender)) for rank in range(2)]
    for process in processes:
        process.start()
    seconds: float = receiver.recv()
    for process in processes:
        process.join()
    return seconds


def share_chunks(ranks: Ranks, chunks: int) -> None:
    """Do what the loop asks of the other processes in a number of chunks."""
    for _ in range(chunks):
        ranks.consult("", lambda _: ([], ""))
        ranks.clock()
        ranks.clock()
        ranks.share(False)


def time_sharing(chunks: int = 2000) -> float:
    """Return the seconds that one chunk costs for the clock and the commands of the first process."""
    sockets = connect_pairs(2)
    child = os.fork()
    if child == 0:
        sockets[0][0].close()
        share_chunks(Ranks(ProcessGroup(1, 2, sockets[1])), chunks)
        os._exit(0)
    sockets[1][0].close()
    begin = time.perf_counter()
    share_chunks(Ranks(ProcessGroup(0, 2, sockets[0])), chunks)
    seconds = (time.perf_counter() - begin) / chunks
    os.waitpid(child, 0)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", default="torch", choices=["torch", "tensorflow"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    sharing = time_sharing()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = write_text(folder)
        contenders: dict[str, Any] = {
            "one process": lambda: time_lmkit(text, args.framework, 1, 2, args.steps),
            "two processes": lambda: time_lmkit(text, args.framework, 2, 1, args.steps),
        }
        if args.framework == "torch":
            contenders["bare loop"] = lambda: time_bare(folder, args.steps)
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(args.rounds):
            for contender in random.sample(list(contenders), len(contenders)):
                seconds[contender].append(contenders[contender]())
    for contender, values in seconds.items():
        spread = f"{1e3 * min(values):.0f}-{1e3 * max(values):.0f}"
        print(f"{contender:14} {1e3 * statistics.median(values):8.1f} ms a step  ({spread})")
    print(f"throughput of two processes by one: {_ratio(seconds, 'one process', 'two processes'):.3f} (goal 0.95)")
    if "bare loop" in seconds:
        print(f"lmkit's step by the bare loop's:    {_ratio(seconds, 'two processes', 'bare loop'):.3f} (goal 1.03)")
    print(
        f"clock and commands: {1e6 * sharing:.0f} µs a chunk, {100 * sharing / CHUNK_SECONDS:.2f} % of 50 ms (goal 1 %)"
    )


def _ratio(seconds: dict[str, list[float]], above: str, below: str) -> float:
    return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


if __name__ == "__main__":
    main()
