"""What several processes gain and cost: ``python tests/benchmarks/ranks.py [--framework torch] [--rounds 9]``.

``transformer:nano`` in batches of 32 rows of 128 tokens, on one machine:

- *one process*: lmkit with one process of two threads;
- *two processes*: lmkit with ``devices: 2``, each process with one thread;
- *bare loop*: two processes of one thread with the same model, batch, optimizer and clipping in a loop of PyTorch's
  ``DistributedDataParallel`` and nothing else (PyTorch only).

All of them are started once, and wait. In each round every one of them, in a new random order, trains for a few
seconds while the others wait: lmkit's runs are paused and resumed. A row tells the median over the rounds of the
milliseconds of a step, on the wall clock and of the processor. Ratios are taken within a round: throughput of two
processes by that of one (goal: 0.95 or more), and lmkit's step by the bare loop's (goal: 1.03 or less).

The first section is what one chunk of steps costs for the clock and the commands of the first process, as a share of a
chunk of 50 ms (goal: 1 % or less).

On a machine that computes something else, processes that wait for each other lose more than one process does: there the
processor's time tells more than the wall clock.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import psutil

import lmkit as lk
from lmkit.runfolder.ranks import read_ranks
from lmkit.system.process_group import ProcessGroup, connect_pairs
from lmkit.training.ranks import Ranks

BATCH, LENGTH, SKIPPED, LEARNING_RATE = 32, 128, 5, 1e-3
CHUNK_SECONDS = 0.05


class Cost(NamedTuple):
    """Seconds of a step: on the wall clock, and of the processor in all processes together."""

    wall: float
    cpu: float


def write_text(folder: Path) -> Path:
    """Write a text of random words, and return its path."""
    generator = np.random.default_rng(0)
    words = ["".join(chr(97 + c) for c in generator.integers(0, 26, n)) for n in generator.integers(2, 9, 500)]
    path = folder / "words.txt"
    path.write_text(" ".join(generator.choice(words, 120_000)), encoding="utf-8")
    return path


def wait_until(condition: Callable[[], bool], run: lk.Run) -> None:
    """Wait for a condition of a run."""
    while not condition():
        if not run.status.live:
            raise SystemExit(f"{run.name}: {run.state}: {run.status.reason}")
        time.sleep(0.02)


@contextmanager
def start_lmkit(text: Path, framework: str, devices: int, threads: int) -> Iterator[Callable[[float], Cost]]:
    """Start a run and pause it; yield a function that trains for some seconds and returns what a step cost."""
    run = lk.train(
        {
            "data": {"source": str(text), "batch_size": BATCH},
            "model": "transformer:nano",
            "framework": framework,
            "training": {
                "epochs": 10**6,
                "validate_every": None,
                "early_stopping": None,
                "schedule": {"name": "constant"},
                "readings": "off",
                "compile": "off",
                "threads": threads,
                "devices": devices,
                "checkpoint_seconds": 1e6,
                "idle_limit": None,
            },
        },
        runs=text.parent,
    )
    try:
        wait_until(lambda: run.status.step >= SKIPPED, run)
        run.pause()
        wait_until(lambda: run.state == "paused", run)
        pids = [record.pid for record in read_ranks(run.folder)] or [run.status.pid]
        processes = [psutil.Process(pid) for pid in pids]
        metrics = run.path / "metrics.jsonl"
        yield lambda seconds: _time_run(run, processes, metrics, seconds)
    finally:
        run.stop().wait()


def _time_run(run: lk.Run, processes: list[psutil.Process], metrics: Path, seconds: float) -> Cost:
    """Return the cost of a step while a paused run trains: from one record of steps to another."""
    marks: list[tuple[int, float, float]] = []
    with metrics.open(encoding="utf-8") as file:
        file.seek(0, os.SEEK_END)
        run.resume()
        while (
            len(marks) < 3 or marks[-1][1] - marks[1][1] < seconds
        ):  # the first record may hold steps before the pause
            wait_until(lambda: os.fstat(file.fileno()).st_size > file.tell(), run)
            cpu = sum(sum(process.cpu_times()[:2]) for process in processes)
            records = [record for record in map(json.loads, file.read().splitlines()) if "step" in record]
            marks += [(record["step"] + len(record["loss"]) - 1, record["time"], cpu) for record in records]
    run.pause()
    wait_until(lambda: run.state == "paused", run)
    (first, begin, begin_cpu), (last, end, end_cpu) = marks[1], marks[-1]
    return Cost((end - begin) / (last - first), (end_cpu - begin_cpu) / (last - first))


def train_bare(rank: int, file: str, requests: Connection) -> None:
    """Train by a bare loop: receive a number of steps, send the seconds of one; until None is received."""
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
    optimizer = torch.optim.AdamW(parallel.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), fused=True)
    rows = torch.randint(0, 257, (20, BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    mine = rows[:, rank * BATCH // 2 : (rank + 1) * BATCH // 2]
    while (steps := requests.recv()) is not None:
        begin, begin_cpu = time.perf_counter(), time.process_time()
        for step in range(steps):
            batch = mine[step % len(mine)]
            z = parallel(batch[:, :-1])
            loss = torch.nn.functional.cross_entropy(z.flatten(0, 1), batch[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parallel.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()
        requests.send(Cost((time.perf_counter() - begin) / steps, (time.process_time() - begin_cpu) / steps))
    distributed.destroy_process_group()


@contextmanager
def start_bare(folder: Path) -> Iterator[Callable[[float], Cost]]:
    """Start the bare loop; yield a function that trains for some seconds and returns what a step cost."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    file = str(folder / "processes")
    processes = [context.Process(target=train_bare, args=(rank, file, pipes[rank][1])) for rank in range(2)]

    def take(steps: int) -> Cost:
        for connection, _ in pipes:
            connection.send(steps)
        costs = [connection.recv() for connection, _ in pipes]
        return Cost(max(cost.wall for cost in costs), sum(cost.cpu for cost in costs))

    for process in processes:
        process.start()
    try:
        walls = [take(SKIPPED).wall]

        def train(seconds: float) -> Cost:
            cost = take(max(4, round(seconds / walls[-1])))
            walls.append(cost.wall)
            return cost

        yield train
    finally:
        for connection, _ in pipes:
            connection.send(None)
        for process in processes:
            process.join()


def share_chunks(ranks: Ranks, chunks: int) -> None:
    """Do what the loop asks of the other processes in a number of chunks."""
    for _ in range(chunks):
        ranks.consult("", lambda _: ([], ""))
        ranks.clock()
        ranks.clock()
        ranks.share(False)


def time_sharing(rounds: int = 20, chunks: int = 100) -> list[Cost]:
    """Return what one chunk costs the first process for the clock and the commands, in each of some rounds."""
    sockets = connect_pairs(2)
    child = os.fork()
    if child == 0:
        sockets[0][0].close()
        share_chunks(Ranks(ProcessGroup(1, 2, sockets[1])), rounds * chunks)
        os._exit(0)
    sockets[1][0].close()
    ranks = Ranks(ProcessGroup(0, 2, sockets[0]))
    costs = []
    for _ in range(rounds):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        share_chunks(ranks, chunks)
        costs.append(Cost((time.perf_counter() - begin) / chunks, (time.process_time() - begin_cpu) / chunks))
    os.waitpid(child, 0)
    return costs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", default="torch", choices=["torch", "tensorflow"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.5, help="of training in each round")
    parser.add_argument("--budget", type=float, default=70.0, help="seconds after which no further round begins")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else the runs would go on without this process
    sharing = time_sharing()
    wall, cpu = (statistics.median(values) for values in zip(*sharing, strict=True))
    print(
        f"clock and commands: {1e6 * wall:.0f} µs a chunk, {100 * wall / CHUNK_SECONDS:.2f} % of 50 ms (goal 1 %); "
        f"least {1e6 * min(sharing).wall:.0f} µs, processor {1e6 * cpu:.0f} µs",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name, ExitStack() as contexts:
        folder = Path(name)
        text = write_text(folder)
        contenders = {
            "one process": contexts.enter_context(start_lmkit(text, args.framework, 1, 2)),
            "two processes": contexts.enter_context(start_lmkit(text, args.framework, 2, 1)),
        }
        if args.framework == "torch":
            contenders["bare loop"] = contexts.enter_context(start_bare(folder))
        costs: dict[str, list[Cost]] = {name: [] for name in contenders}
        until = time.monotonic() + args.budget
        for number in range(1, args.rounds + 1):
            if time.monotonic() > until:
                break
            for contender in random.sample(list(contenders), len(contenders)):
                costs[contender].append(contenders[contender](args.seconds))
            row = ", ".join(
                f"{name} {1e3 * values[-1].wall:.0f} ({1e3 * values[-1].cpu:.0f})" for name, values in costs.items()
            )
            print(f"round {number}, ms a step (of the processor): {row}", flush=True)
    for contender, values in costs.items():
        walls = [cost.wall for cost in values]
        print(
            f"{contender:14} {1e3 * statistics.median(walls):8.1f} ms a step  "
            f"({1e3 * min(walls):.0f}-{1e3 * max(walls):.0f}), processor "
            f"{1e3 * statistics.median(cost.cpu for cost in values):.1f} ms"
        )
    print(f"throughput of two processes by one: {_ratios(costs, 'one process', 'two processes')} (goal 0.95)")
    if "bare loop" in costs:
        print(f"lmkit's step by the bare loop's:    {_ratios(costs, 'two processes', 'bare loop')} (goal 1.03)")


def _ratios(costs: dict[str, list[Cost]], above: str, below: str) -> str:
    pairs = list(zip(costs[above], costs[below], strict=True))
    wall, cpu = statistics.median(a.wall / b.wall for a, b in pairs), statistics.median(a.cpu / b.cpu for a, b in pairs)
    return f"{wall:.3f} on the wall clock, {cpu:.3f} by the processor's time"


if __name__ == "__main__":
    main()
