"""What a whole run costs, from the call to the result: ``python tests/benchmarks/whole_run.py [--framework torch]``.

Every contender gets the same arrays and returns the same: rows split by class, standardized by the training part, one
thread, a new shuffled order for every epoch, validation loss and accuracy after each epoch, loss and accuracy of the
test part at the end. lmkit does it by ``lk.train(inline=True)``, with everything that a run folder holds: every step's
loss, the training accuracy and AUC of each epoch, events, status, checkpoint, predictions, environment.

* PyTorch: the best loop by hand (fused optimizer, an epoch gathered by one index, its batches views) and the loop that
  introductions teach (``DataLoader``, ``loss.item()``).
* Keras: ``Model.fit`` as it is, and with ``steps_per_execution=32``.
* Lightning, skorch and the Trainer of transformers are not measured.

How: all contenders of a framework live in one process. In each round every one of them, in a new random order, makes a
whole run; a row tells the median over the rounds of the ratio of CPU times, lmkit ÷ contender, with the 95 % bootstrap
interval of that median. Each has made a run before, so that neither imports nor the first tracing count.

``--worker`` compares a warm worker with an inline run by the clock on the wall, in pairs: on a machine that others use,
the least difference is nearest to what a quiet machine would tell.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from training import interval  # type: ignore[import-not-found]  # the file beside this one

import lmkit as lk

Data = tuple[np.ndarray, np.ndarray]
Parts = tuple[Data, Data, Data]
Contender = tuple[str, Callable[[], float], dict[str, float]]
"""A name, a whole run that returns its test accuracy, and workload → what lmkit's time by its time should be."""


class Workload(NamedTuple):
    """A model, its data and the extent of training, by Adam at 0.001."""

    name: str
    data: Data
    hidden: tuple[int, ...]
    batch: int
    epochs: int


def noise(rows: int = 20_000, columns: int = 30, classes: int = 5) -> Data:
    """Classes of rows around random centres."""
    draw = np.random.default_rng(0)
    y = draw.integers(0, classes, rows)
    return draw.normal(size=(classes, columns))[y] * 0.5 + draw.normal(size=(rows, columns)), y


def workloads() -> list[Workload]:
    """The two of the table."""
    return [
        Workload("digits, 64-64-10, batch 32, 30 epochs", load_digits(return_X_y=True), (64,), 32, 30),
        Workload("20,000 x 30 rows, 30-128-128-5, batch 64, 6 epochs", noise(), (128, 128), 64, 6),
    ]


def prepared(work: Workload) -> Parts:
    """Training, validation and test part, split and standardized as lmkit does."""
    X, y = work.data
    X, test_X, y, test_y = train_test_split(X, y, test_size=0.2, random_state=0, stratify=y)
    X, validation_X, y, validation_y = train_test_split(X, y, test_size=0.25, random_state=0, stratify=y)
    scaler = StandardScaler().fit(X)
    pairs = ((X, y), (validation_X, validation_y), (test_X, test_y))
    a, b, c = ((scaler.transform(rows).astype(np.float32), labels.astype(np.int64)) for rows, labels in pairs)
    return a, b, c


def settings(work: Workload, framework: str, root: Path) -> dict[str, Any]:
    """What ``lk.train`` is called with."""
    return {
        "data": work.data,
        "framework": framework,
        "model": {"family": "mlp", "hidden": list(work.hidden)},
        "optimizer": {"name": "adam", "lr": 1e-3},
        "training": {"threads": 1, "early_stopping": None, "schedule": {"name": "constant"}},
        "batch_size": work.batch,
        "epochs": work.epochs,
        "runs": root,
    }


def torch_contenders(work: Workload) -> Iterator[Contender]:
    """Loops in PyTorch."""
    import torch
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, TensorDataset

    def setting(**options: bool) -> tuple[Any, Any, list[Any]]:
        parts = [tuple(map(torch.as_tensor, part)) for part in prepared(work)]
        widths = (parts[0][0].shape[1], *work.hidden, int(work.data[1].max()) + 1)
        layers: list[torch.nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1])
        return model, torch.optim.Adam(model.parameters(), lr=1e-3, **options), parts

    def evaluate(model: Any, part: Any) -> tuple[float, float]:
        model.eval()
        with torch.inference_mode():
            z = model(part[0])
            scores = F.cross_entropy(z, part[1]).item(), (z.argmax(1) == part[1]).float().mean().item()
        model.train()
        return scores

    def by_hand() -> float:
        model, optimizer, (training, validation, test) = setting(fused=True)
        parameters = list(model.parameters())
        for _ in range(work.epochs):
            order = torch.randperm(len(training[0]))
            X, Y = (values[order].split(work.batch) for values in training)
            for x, y in zip(X, Y, strict=True):
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                for p in parameters:
                    p.grad = None
            evaluate(model, validation)
        return evaluate(model, test)[1]

    def textbook() -> float:
        model, optimizer, (training, validation, test) = setting()
        batches = DataLoader(TensorDataset(*training), batch_size=work.batch, shuffle=True)
        for _ in range(work.epochs):
            total = 0.0
            for x, y in batches:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                total += loss.item()
            evaluate(model, validation)
        return evaluate(model, test)[1]

    yield "by hand: fused, whole batches", by_hand, dict.fromkeys(("digits", "20,000"), 0.95)
    yield "textbook: DataLoader, loss.item()", textbook, {}


def tensorflow_contenders(work: Workload) -> Iterator[Contender]:
    """Keras."""
    import keras

    def fit(**options: int) -> float:
        training, validation, test = prepared(work)
        layers = [keras.layers.Dense(width, activation="relu") for width in work.hidden]
        outputs = keras.layers.Dense(int(work.data[1].max()) + 1)
        model = keras.Sequential([keras.Input((training[0].shape[1],)), *layers, outputs])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"], **options)
        model.fit(*training, batch_size=work.batch, epochs=work.epochs, validation_data=validation, verbose=0)
        return float(model.evaluate(*test, verbose=0)[1])

    yield "keras.Model.fit", fit, {"digits": 0.15, "20,000": 0.20}
    yield "keras.Model.fit, steps_per_execution=32", lambda: fit(steps_per_execution=32), {}


CONTENDERS = {"torch": torch_contenders, "tensorflow": tensorflow_contenders}


def measure(framework: str, work: Workload, rounds: int, root: Path) -> None:
    """Measures one workload and prints its rows."""
    options = settings(work, framework, root)
    lmkit: Contender = ("lmkit, inline", lambda: lk.train(**options, inline=True).metrics["accuracy"], {})
    contenders = [lmkit, *CONTENDERS[framework](work)]
    accuracies = [run() for _, run, _ in contenders]
    times = np.empty((rounds, len(contenders)))
    for r in range(rounds):
        for i in random.sample(range(len(contenders)), len(contenders)):
            began = time.process_time()
            contenders[i][1]()
            times[r, i] = time.process_time() - began
    print(f"\n{framework} · {work.name} · {rounds} rounds")
    print(f"  {'against':42} {'CPU s':>7} {'accuracy':>9}   lmkit ÷ it   [95 % interval]   goal")
    for i, (name, _, goals) in enumerate(contenders):
        ratios = times[:, 0] / times[:, i]
        low, high = interval(ratios)
        line = f"{np.median(ratios):10.3f}   [{low:.3f}, {high:.3f}]" if i else ""
        goal = next((value for start, value in goals.items() if work.name.startswith(start)), None)
        if goal:
            line += f"    ≤ {goal:.2f} {'met' if np.median(ratios) <= goal else 'MISSED'}"
        print(f"  {name:42} {np.median(times[:, i]):7.3f} {accuracies[i]:9.3f} {line}", flush=True)


def measure_worker(framework: str, work: Workload, rounds: int, root: Path) -> None:
    """Compares a warm worker with inline runs by the clock on the wall."""
    options = settings(work, framework, root)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for r in range(rounds + 1):
        for inline in random.sample([False, True], 2):
            began = time.perf_counter()
            lk.train(**options, **({"inline": True} if inline else {"wait": True}))
            if r:
                seconds[inline].append(time.perf_counter() - began)
    pairs = np.subtract(seconds[False], seconds[True])
    low, high = interval(pairs)
    print(f"\n{framework} · {work.name} · {rounds} pairs, seconds of the clock on the wall")
    print(f"  worker {np.median(seconds[False]):.3f} (least {min(seconds[False]):.3f}), inline", end=" ")
    print(f"{np.median(seconds[True]):.3f} (least {min(seconds[True]):.3f}): worker − inline", end=" ")
    print(
        f"{np.median(pairs):.3f} [{low:.3f}, {high:.3f}], of the least {min(seconds[False]) - min(seconds[True]):.3f}"
    )


def main() -> None:
    """Measures both frameworks, each in a process of its own, or one of them here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=tuple(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--worker", action="store_true")
    args = parser.parse_args()
    if args.framework is None:
        for framework in CONTENDERS:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--framework", framework], check=True)
        return
    if args.framework == "torch":
        import torch

        torch.set_num_threads(1)
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    for work in workloads():
        with tempfile.TemporaryDirectory() as root:
            (measure_worker if args.worker else measure)(args.framework, work, args.rounds, Path(root))


if __name__ == "__main__":
    main()
