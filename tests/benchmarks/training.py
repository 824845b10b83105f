"""What lmkit's trainers cost beside loops written by hand: ``python tests/benchmarks/training.py [--framework torch]``.

What is compared: training steps. lmkit takes them as a worker does, by ``lmkit.training.fit.Fit`` on a real run
folder: the seeded order of each epoch, the look at the control file, every step's loss and rate recorded and flushed,
the status written, all of it on the clock. The loops written by hand shuffle each epoch too, and record nothing. What
follows an epoch's last step (metrics of the training part, the epoch's line in the log) has no part in a loop of
steps and is left out, but shown once, as "lmkit, whole epochs", measured against lmkit's own steps. The two loops by
hand in PyTorch are the plain one, and one with every trick that lmkit knows but no recording. The step's matrix
products alone are shown because a ratio of whole steps cannot fall below their share.

How: all contenders of a workload live in one process with one thread. In each round every one of them, in a new random
order, trains the same number of epochs for about ``--seconds`` of CPU time; its share of a round is CPU time a step. A
row tells the median over the rounds of the ratio lmkit ÷ contender, and the 95 % bootstrap interval of that median.
CPU time and pairs, because other people's work on the same machine moves everything else.

The start (the first epoch: tracing, compiling, first allocations) is counted apart, in seconds of a clock on the wall.
"""

from __future__ import annotations

import argparse
import contextlib
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

from lmkit.data.memory import store_data
from lmkit.experiment.experiment import Experiment
from lmkit.runfolder.folder import RunFolder
from lmkit.training.callbacks import Validation
from lmkit.training.checkpoints import Checkpoints
from lmkit.training.control import Signals
from lmkit.training.fit import Callback, Fit
from lmkit.training.recorder import Recorder
from lmkit.training.setup import build_components
from lmkit.training.train import build_fit


class Workload(NamedTuple):
    """A model, its data and its optimizer. The rows fill whole batches, and those whole calls of 32 steps."""

    name: str
    widths: tuple[int, ...]
    batch: int
    batches: int
    optimizer: str
    rate: float


WORKLOADS = (
    Workload("MLP 10-10-1, batch 32, SGD", (10, 10, 1), 32, 320, "sgd", 0.01),
    Workload("MLP 64-256-256-10, batch 64, Adam", (64, 256, 256, 10), 64, 192, "adam", 1e-5),
)

Train = Callable[[int], None]
"""Trains so many epochs."""


class Contender(NamedTuple):
    """Another loop, and how lmkit's time divided by its time should be at most."""

    name: str
    train: Train
    goal: float | None


class LmkitSteps:
    """lmkit's training on a real run folder, without what follows an epoch's last step unless ``whole``."""

    def __init__(self, folder: RunFolder, whole: bool = False) -> None:
        self.recorder = Recorder(folder, folder.experiment)
        self.components = build_components(folder, folder.experiment, contextlib.ExitStack())
        self.fit = build_fit(self.recorder, self.components, Signals())
        self.checkpoints = next(c for c in self.fit.callbacks if isinstance(c, Checkpoints))
        if not whole:
            validation = next(c for c in self.fit.callbacks if isinstance(c, Validation))
            self.fit.callbacks[self.fit.callbacks.index(validation)] = Unmeasured()
        self.paused = time.monotonic()

    @property
    def trainer(self) -> Any:
        return self.components.trainer

    def __call__(self, epochs: int) -> None:
        """Trains so many epochs and writes all of them."""
        away = time.monotonic() - self.paused  # while others trained, this run's own clocks stood still
        self.checkpoints.saved += away
        self.recorder.flushed += away
        self.recorder.status_written += away
        for _ in range(epochs):
            self.fit.run_epoch()
        self.recorder.flush()
        self.paused = time.monotonic()


class Unmeasured(Callback):
    """Takes the place of the validation."""

    def on_epoch_end(self, fit: Fit) -> None:
        fit.progress.loss_sum, fit.progress.rows_seen = 0.0, 0


def experiment(work: Workload, framework: str, root: Path, compiled: str = "auto") -> Experiment:
    """The workload as an experiment that never ends, on labels too noisy to be learned."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(work.batch * work.batches, work.widths[0]))
    y = draw.integers(0, max(2, work.widths[-1]), len(X))
    return Experiment.from_dict(
        {
            "name": "benchmark",
            "framework": framework,
            "data": {**store_data((X, y), root), "validation": 0.0, "test": 0.0, "batch_size": work.batch},
            "model": {"family": "mlp", "hidden": list(work.widths[1:-1])},
            "training": {
                "epochs": 10**6,
                "early_stopping": None,
                "optimizer": {"name": work.optimizer, "lr": work.rate},
                "compile": compiled,
            },
        }
    )


def products(work: Workload) -> Train:
    """A step's matrix products alone, in NumPy: what is left of a wide model's step where all else costs nothing."""
    draw = np.random.default_rng(0)
    terms = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(work.widths)):
        shapes = [(work.batch, fan_in, fan_out), (fan_in, work.batch, fan_out), (work.batch, fan_out, fan_in)]
        for rows, inner, columns in shapes[: 3 if i else 2]:  # nobody asks for the gradient of the data
            a, b = (draw.normal(size=size).astype(np.float32) for size in ((rows, inner), (inner, columns)))
            terms.append((a, b, np.empty((rows, columns), np.float32)))

    def train(epochs: int) -> None:
        for _ in range(epochs * work.batches):
            for a, b, out in terms:
                np.matmul(a, b, out=out)

    return train


# -- PyTorch ------------------------------------------------------------------------------------------


def torch_contenders(work: Workload, lmkit: LmkitSteps) -> Iterator[Contender]:
    """Loops in PyTorch."""
    import torch
    from torch.nn import functional as F
    from torch.optim.adam import adam
    from torch.optim.sgd import sgd
    from torch.utils.data import DataLoader, TensorDataset

    X, Y = (torch.as_tensor(a) for a in lmkit.components.data.training)
    loss_of = F.binary_cross_entropy_with_logits if work.widths[-1] == 1 else F.cross_entropy

    def setting(**options: bool) -> tuple[Any, list[Any], Any]:
        layers: list[torch.nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(work.widths):
            layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1])
        make = torch.optim.SGD if work.optimizer == "sgd" else torch.optim.Adam
        return model, list(model.parameters()), make(model.parameters(), lr=work.rate, **options)

    def by_hand() -> Train:
        """An epoch gathered by one index, its batches views; the fused optimizer's own step."""
        model, parameters, optimizer = setting(fused=True)

        def train(epochs: int) -> None:
            for _ in range(epochs):
                order = torch.randperm(len(X))
                for x, y in zip(X[order].split(work.batch), Y[order].split(work.batch), strict=True):
                    loss_of(model(x), y).backward()
                    optimizer.step()
                    for p in parameters:
                        p.grad = None

        return train

    def by_hand_bare() -> Train:
        """The same, with the optimizer's functional form, which nothing wraps, on the weights without their graph."""
        model, parameters, _ = setting()
        values = [p.detach() for p in parameters]
        means, squares = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
        counts = [torch.zeros(()) for _ in parameters]

        def update() -> None:
            gradients = [p.grad for p in parameters]
            common: dict[str, Any] = {"lr": work.rate, "weight_decay": 0.0, "maximize": False, "fused": True}
            if work.optimizer == "sgd":
                buffers: list[Any] = [None] * len(parameters)
                sgd(values, gradients, buffers, momentum=0.0, dampening=0.0, nesterov=False, **common)
            else:
                betas = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False}
                adam(values, gradients, means, squares, [], counts, **betas, **common)

        def train(epochs: int) -> None:
            for _ in range(epochs):
                order = torch.randperm(len(X))
                for x, y in zip(X[order].split(work.batch), Y[order].split(work.batch), strict=True):
                    loss_of(model(x), y).backward()
                    update()
                    for p in parameters:
                        p.grad = None

        return train

    def textbook() -> Train:
        """As the introductions write it."""
        model, _, optimizer = setting()
        batches = DataLoader(TensorDataset(X, Y), batch_size=work.batch, shuffle=True)

        def train(epochs: int) -> None:
            for _ in range(epochs):
                total = 0.0
                for x, y in batches:
                    optimizer.zero_grad()
                    loss = loss_of(model(x), y)
                    loss.backward()
                    optimizer.step()
                    total += loss.item()

        return train

    yield Contender("by hand, fused optimizer.step()", by_hand(), 1.03)
    yield Contender("by hand, fused, functional optimizer", by_hand_bare(), 1.03)
    yield Contender("textbook: DataLoader, loss.item()", textbook(), 0.70)


# -- TensorFlow ---------------------------------------------------------------------------------------


def tensorflow_contenders(work: Workload, lmkit: LmkitSteps) -> Iterator[Contender]:
    """Loops in TensorFlow, compiled by XLA where lmkit's own is."""
    import keras
    import tensorflow as tf

    X, Y = lmkit.components.data.training
    compiled, binary = lmkit.trainer.compiled, work.widths[-1] == 1

    def setting() -> tuple[Any, Any]:
        layers = [keras.layers.Dense(width, activation="relu") for width in work.widths[1:-1]]
        model = keras.Sequential([keras.Input((work.widths[0],)), *layers, keras.layers.Dense(work.widths[-1])])
        make = keras.optimizers.SGD if work.optimizer == "sgd" else keras.optimizers.Adam
        return model, make(work.rate)

    def loss_of(y: Any, z: Any) -> Any:
        if binary:
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=z))
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=z))

    def by_hand(raw: bool, k: int = 32) -> Train:
        """``k`` steps in one function, rows gathered in the graph; Keras's optimizer or TensorFlow's own operations."""
        model, optimizer = setting()
        optimizer.build(model.trainable_variables)
        variables = [v.value for v in model.trainable_variables]
        means, squares = ([tf.Variable(tf.zeros_like(v)) for v in variables] for _ in range(2))
        count = tf.Variable(0.0)
        x_all, y_all = tf.constant(X), tf.constant(Y)
        rate, beta1, beta2, epsilon = (tf.constant(v, tf.float32) for v in (work.rate, 0.9, 0.999, 1e-8))

        def update(gradients: list[Any]) -> None:
            if not raw:
                optimizer.apply(gradients, model.trainable_variables)
            elif work.optimizer == "sgd":
                for v, g in zip(variables, gradients, strict=True):
                    tf.raw_ops.ResourceApplyGradientDescent(var=v.handle, alpha=rate, delta=g)
            else:
                t = count.assign_add(1.0)
                powers = {"beta1_power": tf.pow(beta1, t), "beta2_power": tf.pow(beta2, t)}
                rates = {"lr": rate, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
                for v, m, s, g in zip(variables, means, squares, gradients, strict=True):
                    slots = {"var": v.handle, "m": m.handle, "v": s.handle}
                    tf.raw_ops.ResourceApplyAdam(**slots, **powers, **rates, grad=g)

        @tf.function(jit_compile=compiled, autograph=False)
        def steps(order: Any, first: Any) -> Any:
            def step(i: Any, told: Any) -> tuple[Any, Any]:
                rows = tf.gather(order, first + i)
                with tf.GradientTape() as tape:
                    loss = loss_of(tf.gather(y_all, rows), model(tf.gather(x_all, rows), training=True))
                update(tape.gradient(loss, variables))
                return i + 1, told.write(i, loss)

            told = tf.TensorArray(tf.float32, size=k, element_shape=())
            return tf.while_loop(lambda i, _: i < k, step, (tf.constant(0), told), parallel_iterations=1)[1].stack()

        firsts = [tf.constant(i, tf.int32) for i in range(0, work.batches, k)]

        def train(epochs: int) -> None:
            for _ in range(epochs):
                order = np.random.permutation(len(X)).astype(np.int32).reshape(work.batches, work.batch)
                on_device = tf.constant(order)
                for first in firsts:
                    steps(on_device, first)

        return train

    def fit() -> Train:
        """``keras.Model.fit``, every setting its default; what it prints goes nowhere."""
        model, optimizer = setting()
        losses = keras.losses
        loss = losses.BinaryCrossentropy if binary else losses.SparseCategoricalCrossentropy
        model.compile(optimizer, loss(from_logits=True))

        def train(epochs: int) -> None:
            with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
                model.fit(X, Y, batch_size=work.batch, epochs=epochs)

        return train

    yield Contender("by hand, k = 32, TensorFlow's operations", by_hand(raw=True), 1.05)
    yield Contender("by hand, k = 32, Keras's optimizer", by_hand(raw=False), 1.05)
    yield Contender("keras.Model.fit, defaults", fit(), 0.20)


# -- measuring ----------------------------------------------------------------------------------------


def interval(ratios: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median."""
    drawn = np.random.default_rng(0).choice(ratios, (4000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(low), float(high)


def measure(framework: str, compiled: str, work: Workload, rounds: int, seconds: float) -> None:
    """Measures one workload and prints its rows."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        spec = experiment(work, framework, root, compiled)
        lmkit, whole = (LmkitSteps(RunFolder.create(spec, root), whole) for whole in (False, True))
        rivals = {"torch": torch_contenders, "tensorflow": tensorflow_contenders}[framework](work, lmkit)
        contenders = [
            Contender("lmkit", lmkit, None),
            *rivals,
            Contender("the step's matrix products alone, NumPy", products(work), None),
            Contender("lmkit, whole epochs", whole, None),
        ]
        starts, epochs = [], []
        for c in contenders:
            began = time.perf_counter()
            c.train(1)
            starts.append(time.perf_counter() - began)
            c.train(1)
            began = time.process_time()
            c.train(1)
            epochs.append(max(1, round(seconds / (time.process_time() - began))))
        times = np.empty((rounds, len(contenders)))
        for r in range(rounds):
            for i in random.sample(range(len(contenders)), len(contenders)):
                began = time.process_time()
                contenders[i].train(epochs[i])
                times[r, i] = (time.process_time() - began) / (epochs[i] * work.batches)
        how = {"torch": "", "tensorflow": ", XLA" if getattr(lmkit.trainer, "compiled", False) else ", no XLA"}[
            framework
        ]
        print(f"\n{framework}{how} · {work.name} · {rounds} rounds")
        print(f"  {'against':42} {'µs a step':>9}  {'start s':>7}   lmkit ÷ it   [95 % interval]   goal")
        for i, c in enumerate(contenders):
            ratios = times[:, 0] / times[:, i]
            if c.train is whole:
                ratios = 1 / ratios
            low, high = interval(ratios)
            told = f"{np.median(ratios):10.3f}   [{low:.3f}, {high:.3f}]" if i else ""
            if c.train is whole:
                told += "   it ÷ lmkit's steps"
            elif c.goal:
                told += f"    ≤ {c.goal:.2f} {'met' if np.median(ratios) <= c.goal else 'MISSED'}"
            print(f"  {c.name:42} {np.median(times[:, i]) * 1e6:9.1f}  {starts[i]:7.2f} {told}", flush=True)


def main() -> None:
    """Measures both frameworks, each in a process of its own, or one of them here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=("torch", "tensorflow"))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.3, help="CPU time of one block")
    given = parser.parse_args()
    if given.framework is None:
        for framework in ("torch", "tensorflow"):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--framework", framework], check=True)
        return
    if given.framework == "torch":
        import torch

        torch.set_num_threads(1)
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    for work in WORKLOADS:
        for compiled in ("on", "off") if given.framework == "tensorflow" else ("auto",):
            measure(given.framework, compiled, work, given.rounds, given.seconds)


if __name__ == "__main__":
    main()
