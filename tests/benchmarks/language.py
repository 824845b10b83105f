"""What a step of ``transformer:nano`` costs beside loops written by hand: ``python tests/benchmarks/language.py``.

The model is the preset's: 4 blocks, width 128, 4 heads, bytes, 128 places, 16 rows a batch. What is compared is the
trainer's steps, measured as in ``training.py`` beside this file; what a worker adds to write a step down, some
microseconds (measured there), is nothing beside the 200 milliseconds of one here. The loops written by hand shuffle and
record nothing; they are what one would write who knows the framework well: the same attention function, one matrix for
queries, keys and values, the fused optimizer in PyTorch; many steps in one ``tf.function``, rows gathered in the graph,
Keras's layers and TensorFlow's own operation of Adam there.

In each round each contender, in a new random order, trains the same number of epochs; a row tells the median over the
rounds of the ratio of CPU time a step, lmkit ÷ contender, and the 95 % bootstrap interval of that median. One process a
framework, one thread.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from training import Contender, Train, interval  # type: ignore[import-not-found]  # a script of this folder

from lmkit import Experiment
from lmkit.backends import get_backend
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.specs.signature import Signature

BATCH, BATCHES, LENGTH, VOCABULARY = 16, 4, 128, 256
DEPTH, WIDTH, HEADS = 4, 128, 4
RATE, BETA1, BETA2, EPSILON, DECAY = 1e-3, 0.9, 0.99, 1e-8, 0.01
GOALS = {"torch": 1.02, "tensorflow": 1.05}


def texts() -> tuple[np.ndarray, np.ndarray]:
    """Rows of random bytes, and what comes next."""
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH * BATCHES, LENGTH + 1)).astype(np.int32)
    return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])


def lmkit(framework: str, compiled: str) -> Train:
    """lmkit's trainer on epochs in a new order each."""
    experiment = Experiment(
        framework=framework,
        data={"source": "digits", "batch_size": BATCH},
        model={"family": "transformer", "depth": DEPTH, "width": WIDTH, "heads": HEADS},
        training={
            "compile": compiled,
            "clip_norm": None,
            "schedule": "constant",
            "optimizer": {"name": "adamw", "lr": RATE, "beta2": BETA2, "weight_decay": DECAY},
        },
    )
    backend, signature = get_backend(framework), Signature((LENGTH,), VOCABULARY, "language", VOCABULARY)
    model = backend.build(experiment.model, signature, "float32")
    backend.set_weights(model, experiment.model.initial_weights(signature, 0))
    part = Part(*texts())
    trainer = backend.trainer(model, experiment, Dataset(part, part, part, None), "categorical_crossentropy")
    rates = np.full(BATCHES, RATE)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            trainer.epoch(np.random.permutation(BATCH * BATCHES))
            trainer.advance(0, rates)

    return train


def torch_contenders() -> Iterator[Contender]:
    """Loops in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows, places, _ = x.shape
            q, k, v = (
                part.view(rows, places, HEADS, WIDTH // HEADS).transpose(1, 2)
                for part in self.qkv(self.norm1(x)).split(WIDTH, dim=2)
            )
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.project(mixed.transpose(1, 2).reshape(rows, places, WIDTH))
            return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
            self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
            self.norm = nn.LayerNorm(WIDTH)
            for p in self.parameters():
                if p.ndim > 1:
                    nn.init.normal_(p, std=0.02)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
            for block in self.blocks:
                x = block(x)
            return F.linear(self.norm(x), self.tokens.weight)

    X, Y = (torch.from_numpy(a).long() for a in texts())
    model = Model()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RATE, betas=(BETA1, BETA2), eps=EPSILON, weight_decay=DECAY, fused=True
    )

    def train(epochs: int) -> None:
        for _ in range(epochs):
            order = torch.randperm(len(X))
            for x, y in zip(X[order].split(BATCH), Y[order].split(BATCH), strict=True):
                loss = F.cross_entropy(model(x).view(-1, VOCABULARY), y.view(-1))
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

    yield Contender("by hand, fused AdamW", train, GOALS["torch"])


def tensorflow_contenders(compiled: bool) -> Iterator[Contender]:
    """Loops in TensorFlow, compiled by XLA where lmkit's own is."""
    import keras
    import tensorflow as tf

    L, ops = keras.layers, keras.ops
    X, Y = (tf.constant(a) for a in texts())

    def setting() -> Any:
        inputs = keras.Input((LENGTH,), dtype="int32")
        table = L.ReversibleEmbedding(VOCABULARY, WIDTH)
        x = table(inputs) + L.Embedding(LENGTH, WIDTH)(ops.arange(LENGTH))
        for _ in range(DEPTH):
            mixed = L.Dense(3 * WIDTH)(L.LayerNormalization(epsilon=1e-5)(x))
            heads = ops.reshape(mixed, (-1, LENGTH, 3 * HEADS, WIDTH // HEADS))
            mixed = ops.dot_product_attention(*ops.split(heads, 3, axis=2), is_causal=True)
            x = x + L.Dense(WIDTH)(ops.reshape(mixed, (-1, LENGTH, WIDTH)))
            inner = L.Dense(4 * WIDTH, activation=lambda z: tf.nn.gelu(z, approximate=True))
            x = x + L.Dense(WIDTH)(inner(L.LayerNormalization(epsilon=1e-5)(x)))
        return keras.Model(inputs, table(L.LayerNormalization(epsilon=1e-5)(x), reverse=True))

    def by_hand(raw: bool) -> Train:
        """An epoch in one function, rows gathered in the graph; Keras's optimizer or TensorFlow's own operations."""
        model = setting()
        optimizer = keras.optimizers.AdamW(RATE, beta_1=BETA1, beta_2=BETA2, epsilon=EPSILON, weight_decay=DECAY)
        optimizer.build(model.trainable_variables)
        variables = [v.value for v in model.trainable_variables]
        means, squares = ([tf.Variable(tf.zeros_like(v)) for v in variables] for _ in range(2))
        count = tf.Variable(0.0)
        rate, beta1, beta2, epsilon = (tf.constant(v, tf.float32) for v in (RATE, BETA1, BETA2, EPSILON))

        def update(gradients: list[Any]) -> None:
            if not raw:
                optimizer.apply(gradients, model.trainable_variables)
                return
            t = count.assign_add(1.0)
            powers = {"beta1_power": tf.pow(beta1, t), "beta2_power": tf.pow(beta2, t)}
            rates = {"lr": rate, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
            for v, m, s, g in zip(variables, means, squares, gradients, strict=True):
                v.assign_sub(v * (rate * DECAY))
                slots = {"var": v.handle, "m": m.handle, "v": s.handle}
                tf.raw_ops.ResourceApplyAdam(**slots, **powers, **rates, grad=tf.convert_to_tensor(g))

        @tf.function(jit_compile=compiled, autograph=False)
        def steps(order: Any) -> Any:
            def step(i: Any, told: Any) -> tuple[Any, Any]:
                rows = tf.gather(order, i)
                with tf.GradientTape() as tape:
                    logits = model(tf.gather(X, rows), training=True)
                    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.gather(Y, rows), logits=logits)
                    loss = tf.reduce_mean(losses)
                update(tape.gradient(loss, variables))
                return i + 1, told.write(i, loss)

            told = tf.TensorArray(tf.float32, size=BATCHES, element_shape=())
            start = (tf.constant(0), told)
            return tf.while_loop(lambda i, _: i < BATCHES, step, start, parallel_iterations=1)[1].stack()

        def train(epochs: int) -> None:
            for _ in range(epochs):
                steps(tf.constant(np.random.permutation(len(X)).astype(np.int32).reshape(BATCHES, BATCH)))

        return train

    yield Contender("by hand, TensorFlow's operations", by_hand(raw=True), GOALS["tensorflow"])
    yield Contender("by hand, Keras's optimizer", by_hand(raw=False), GOALS["tensorflow"])


def measure(framework: str, compiled: str, rounds: int) -> None:
    """Measures one framework and prints its rows."""
    rivals = torch_contenders() if framework == "torch" else tensorflow_contenders(compiled == "on")
    contenders = [Contender("lmkit", lmkit(framework, compiled), None), *rivals]
    starts = []
    for c in contenders:
        began = time.perf_counter()
        c.train(1)
        starts.append(time.perf_counter() - began)
        c.train(1)
    times = np.empty((rounds, len(contenders)))
    for r in range(rounds):
        for i in random.sample(range(len(contenders)), len(contenders)):
            began = time.process_time()
            contenders[i].train(1)
            times[r, i] = (time.process_time() - began) / BATCHES
    how = "" if framework == "torch" else ", XLA" if compiled == "on" else ", no XLA"
    print(f"\n{framework}{how} · transformer:nano, batch {BATCH}, length {LENGTH} · {rounds} rounds")
    print(f"  {'against':34} {'ms a step':>9}  {'start s':>7}   lmkit ÷ it   [95 % interval]   goal")
    for i, c in enumerate(contenders):
        ratios = times[:, 0] / times[:, i]
        low, high = interval(ratios)
        told = f"{np.median(ratios):10.3f}   [{low:.3f}, {high:.3f}]" if i else ""
        if c.goal:
            told += f"    ≤ {c.goal:.2f} {'met' if np.median(ratios) <= c.goal else 'MISSED'}"
        print(f"  {c.name:34} {np.median(times[:, i]) * 1e3:9.1f}  {starts[i]:7.2f} {told}", flush=True)


def main() -> None:
    """Measures both frameworks, each in a process of its own, or one of them here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=("torch", "tensorflow"))
    parser.add_argument("--compile", choices=("on", "off"), nargs="*", default=("on", "off"))
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    if given.framework is None:
        for framework in ("torch", "tensorflow"):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--framework", framework], check=True)
    elif given.framework == "torch":
        import torch

        torch.set_num_threads(1)
        measure("torch", "auto", given.rounds)
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for compiled in given.compile:
            measure("tensorflow", compiled, given.rounds)


if __name__ == "__main__":
    main()
