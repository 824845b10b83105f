"""The process that measures a machine: ``python -m lmkit.planning.probe FRAMEWORK PRECISION THREADS``.

It trains small models with the trainer of every run, so what it measures is what a run would take; nothing here knows
which framework it is. Models that differ in one thing alone tell what that thing costs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from lmkit.backends import get_backend
from lmkit.data.batches import Part
from lmkit.data.preparation import Dataset
from lmkit.environment import peak_memory
from lmkit.executors.forkserver import preload
from lmkit.executors.worker import FORKS
from lmkit.experiment import Experiment
from lmkit.loop import train
from lmkit.planning.counting import Cost, costs
from lmkit.planning.timing import Speed, overhead_layers, seconds_per_step, weighty
from lmkit.runfolder import RunFolder
from lmkit.specs.signature import Signature

SECONDS, REPEATS = 0.012, 8
"""How long a model is trained at a time, and how often: the shortest counts, and other programs disturb some."""

STEPS = 50
"""Steps of an epoch of the models."""


class Probe:
    """Trains small models in one framework."""

    def __init__(self, framework: str, precision: str) -> None:
        self.framework, self.precision = framework, precision
        self.backend = get_backend(framework)

    def alone(self) -> tuple[int, float]:
        """A whole run that trains next to nothing: the memory that it takes, and seconds an epoch besides its steps."""
        training = {"epochs": 6, "precision": self.precision, "compile": "off", "optimizer": "adam"}
        model = {"family": "mlp", "hidden": []}
        spec = Experiment(framework=self.framework, data="wine", model=model, training=training)
        with tempfile.TemporaryDirectory() as root:
            folder = RunFolder.create(spec, root)
            train(folder)
            epochs = [e for e in folder.events.read()[0] if e.type == "epoch"]
        each = [b.time - a.time - (b.data["seconds"] - a.data["seconds"]) for a, b in pairwise(epochs)]
        return peak_memory(), max(0.0, min(each))

    def apart(self) -> tuple[int, float]:
        """That run as a worker, which is a fork of a process that has loaded all but computed nothing."""
        if not FORKS:
            return self.alone()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the fork server waits for nobody
        given, told = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(told, json.dumps(self.alone()).encode())
            finally:
                os._exit(0)
        os.close(told)
        with os.fdopen(given) as answer:
            memory, epoch = json.load(answer)
        os.waitpid(child, 0)
        return memory, epoch

    def step(self, rows: int, signature: Signature, **model: Any) -> tuple[float, float, list[Cost]]:
        """Seconds of a step, seconds until the first was taken, and what its layers cost."""
        training = {"precision": self.precision, "compile": "off", "optimizer": "adam"}
        data = {"source": "digits", "batch_size": rows}
        spec = Experiment(framework=self.framework, data=data, model=model, training=training)
        draw = np.random.default_rng(0)
        X: Any = draw.standard_normal((rows * STEPS, signature.features)).astype(self.precision)
        y: Any = draw.integers(0, 10, len(X))
        if signature.vocabulary:
            X = y = draw.integers(0, signature.vocabulary, (rows * STEPS, *signature.shape), np.int32)
        began = time.perf_counter()
        built = self.backend.build(spec.model, signature, self.precision)
        self.backend.set_weights(built, spec.model.initial_weights(signature, 0))
        part = Part(X, y)
        dataset: Any = Dataset(part, Part(X[:1], y[:1]), Part(X[:1], y[:1]), None)  # type: ignore[arg-type]
        trainer = self.backend.trainer(built, spec, dataset, "categorical_crossentropy")
        trainer.epoch(np.arange(len(X)), 0)
        rates = np.full(STEPS, 1e-4)
        trainer.advance(0, rates[:1])
        first = time.perf_counter() - began
        taken: list[float] = []
        at, n = 1, 2
        while len(taken) < REPEATS:
            began, worked = time.perf_counter(), time.process_time()
            trainer.advance(at, rates[:n])
            passed, worked = time.perf_counter() - began, time.process_time() - worked
            # a processor works no less than it would alone, however long others keep it waiting
            taken.append((min(passed, worked) if trainer.device == "cpu" else passed) / n)
            at += n
            n = max(1, min(STEPS // 4, int(SECONDS / max(taken[-1], 1e-6))))
            if at + n > STEPS:
                trainer.epoch(np.arange(len(X)), 0)
                at = 0
        heads = getattr(spec.model, "heads", 0)
        found = costs(spec.model.layers(signature), signature, rows, self.framework, self.precision, heads)
        return min(taken[1:]), first, found

    def speed(self) -> Speed:
        """All that is known of how fast this machine trains."""
        memory, epoch = self.apart()
        flat, square = Signature((64,), 10), Signature((16, 16, 1), 10)
        text = Signature((64,), 64, "language", 64)
        tiny, first, few = self.step(32, flat, family="mlp", hidden=[])
        deep, later, many = self.step(32, flat, family="mlp", hidden=[8] * 8)
        layer = max(1e-7, (deep - tiny) / (overhead_layers(many) - overhead_layers(few)))
        start = max(0.0, (later - first) / (len(many) - len(few)))
        speed = Speed(
            step=max(1e-7, tiny - layer * overhead_layers(few)),
            layer=layer,
            memory=memory,
            epoch=epoch,
            start=max(0.0, first - start * len(few)),
            start_layer=start,
        )

        def rest(taken: float, found: list[Cost], known: Speed) -> float:
            """What a step took beyond what is known; some of it always counts."""
            return max(0.1 * taken, taken - seconds_per_step(found, known))

        taken, _, found = self.step(1, flat, family="mlp", hidden=[2048, 2048])  # more than a cache holds
        speed = alone = speed.but(parameter=rest(taken, found, speed) / sum(c.parameters for c in found))
        for rows, width in ((32, 128), (256, 512)):
            taken, _, found = self.step(rows, flat, family="mlp", hidden=[width, width])
            seconds = rest(taken, found, alone) / sum(c.flops for c in found)
            speed = speed.with_product(max(c.flops for c in found), seconds)
        plain = taken
        taken, _, found = self.step(
            256, flat, family="mlp", hidden=[512, 512], activation="gelu", normalization="layer"
        )
        speed = speed.but(element=max(0.02 * taken, taken - plain) / weighty(found))
        taken, _, found = self.step(32, square, family="cnn", channels=[16, 32], pooling="none", gather="average")
        work = sum(c.flops for c in found if c.kind == "convolution")
        speed = speed.but(convolution=rest(taken, found, speed) / work)
        taken, _, found = self.step(16, text, family="transformer", width=64, heads=4, depth=2)
        work = sum(c.flops for c in found if c.kind == "attention")
        return speed.but(attention=rest(taken, found, speed) / work)


def main(framework: str, precision: str, threads: int) -> None:
    """Measures, and prints what was found as JSON."""
    began = time.perf_counter()
    preload(framework)
    probe = Probe(framework, precision)
    loaded = time.perf_counter()
    if threads:
        probe.backend.set_threads(threads)
    found = asdict(probe.speed())
    environment = probe.backend.environment()
    took = {"loading": loaded - began, "measuring": time.perf_counter() - loaded}
    print(json.dumps({"speed": found, "device": environment["device"], "threads": environment["threads"], **took}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
