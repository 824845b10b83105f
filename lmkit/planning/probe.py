"""The process that measures a machine: ``python -m lmkit.planning.probe FRAMEWORK PRECISION THREADS``.

It trains small models with the trainer of every run, for any framework. Models that differ in one property measure the
cost of that property.
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
from lmkit.data.dataset import Dataset
from lmkit.executors.forkserver import preload
from lmkit.executors.worker import FORKS
from lmkit.experiment.experiment import Experiment
from lmkit.planning.counting import Cost, costs
from lmkit.planning.timing import Speed, overhead_layers, seconds_per_step, slow_numbers
from lmkit.runfolder.folder import RunFolder
from lmkit.specs.signature import Signature
from lmkit.system.environment import peak_memory
from lmkit.training.train import train

SECONDS, REPEATS = 0.012, 8
"""Seconds of one measurement, and how many there are; the shortest counts, as other programs disturb some."""

STEPS = 50
"""Steps per epoch of the models."""


class Probe:
    """Trains small models in one framework."""

    def __init__(self, framework: str, precision: str) -> None:
        self.framework, self.precision = framework, precision
        self.backend = get_backend(framework)

    def train_minimal(self) -> tuple[int, float]:
        """Train a minimal run; return its peak memory in bytes and the fixed seconds per epoch."""
        training = {"epochs": 6, "precision": self.precision, "compile": "off", "optimizer": "adam"}
        model = {"family": "mlp", "hidden": []}
        spec = Experiment(framework=self.framework, data="wine", model=model, training=training)
        with tempfile.TemporaryDirectory() as root:
            folder = RunFolder.create(spec, root)
            train(folder)
            epochs = [e for e in folder.events.read()[0] if e.type == "epoch"]
        seconds = [b.time - a.time - (b.data["seconds"] - a.data["seconds"]) for a, b in pairwise(epochs)]
        return peak_memory(), max(0.0, min(seconds))

    def train_minimal_in_fork(self) -> tuple[int, float]:
        """Train that run as workers do, in a fork of a process that has imported everything and computed nothing."""
        if not FORKS:
            return self.train_minimal()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the fork server ignores its children
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, json.dumps(self.train_minimal()).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            memory, epoch = json.load(pipe)
        os.waitpid(child, 0)
        return memory, epoch

    def measure_step(self, rows: int, signature: Signature, **model: Any) -> tuple[float, float, list[Cost]]:
        """Return the seconds of a step, the seconds until the end of the first, and the costs of the layers."""
        training = {"precision": self.precision, "compile": "off", "optimizer": "adam"}
        data = {"source": "digits", "batch_size": rows}
        spec = Experiment(framework=self.framework, data=data, model=model, training=training)
        rng = np.random.default_rng(0)
        X: Any = rng.standard_normal((rows * STEPS, signature.features)).astype(self.precision)
        y: Any = rng.integers(0, 10, len(X))
        if signature.vocabulary:
            X = y = rng.integers(0, signature.vocabulary, (rows * STEPS, *signature.shape), np.int32)
        start = time.perf_counter()
        network = self.backend.build(spec.model, signature, self.precision)
        self.backend.set_weights(network, spec.model.initial_weights(signature, 0))
        part = Part(X, y)
        dataset: Any = Dataset(part, Part(X[:1], y[:1]), Part(X[:1], y[:1]), None)  # type: ignore[arg-type]
        trainer = self.backend.trainer(network, spec, dataset, "categorical_crossentropy")
        trainer.epoch(np.arange(len(X)), 0)
        rates = np.full(STEPS, 1e-4)
        trainer.advance(0, rates[:1])
        first_step = time.perf_counter() - start
        seconds: list[float] = []
        position, n = 1, 2
        while len(seconds) < REPEATS:
            start, cpu_start = time.perf_counter(), time.process_time()
            trainer.advance(position, rates[:n])
            elapsed, cpu_elapsed = time.perf_counter() - start, time.process_time() - cpu_start
            # the time of the processor leaves out the time of other programs
            seconds.append((min(elapsed, cpu_elapsed) if trainer.device == "cpu" else elapsed) / n)
            position += n
            n = max(1, min(STEPS // 4, int(SECONDS / max(seconds[-1], 1e-6))))
            if position + n > STEPS:
                trainer.epoch(np.arange(len(X)), 0)
                position = 0
        heads = getattr(spec.model, "heads", 0)
        layer_costs = costs(spec.model.layers(signature), signature, rows, self.framework, self.precision, heads)
        return min(seconds[1:]), first_step, layer_costs

    def measure_speed(self) -> Speed:
        """Measure every part of the speed of this machine."""
        memory, epoch = self.train_minimal_in_fork()
        flat, square = Signature((64,), 10), Signature((16, 16, 1), 10)
        text = Signature.of_text(64, 64)
        tiny, tiny_first, tiny_costs = self.measure_step(32, flat, family="mlp", hidden=[])
        deep, deep_first, deep_costs = self.measure_step(32, flat, family="mlp", hidden=[8] * 8)
        layer = max(1e-7, (deep - tiny) / (overhead_layers(deep_costs) - overhead_layers(tiny_costs)))
        start = max(0.0, (deep_first - tiny_first) / (len(deep_costs) - len(tiny_costs)))
        speed = Speed(
            step=max(1e-7, tiny - layer * overhead_layers(tiny_costs)),
            layer=layer,
            memory=memory,
            epoch=epoch,
            start=max(0.0, tiny_first - start * len(tiny_costs)),
            start_layer=start,
        )

        def unexplained(seconds: float, layer_costs: list[Cost], speed: Speed) -> float:
            """Return the seconds of a step beyond the estimate of ``speed``, at least a tenth of the step."""
            return max(0.1 * seconds, seconds - seconds_per_step(layer_costs, speed))

        seconds, _, layer_costs = self.measure_step(1, flat, family="mlp", hidden=[2048, 2048])  # larger than a cache
        parameters = sum(cost.parameters for cost in layer_costs)
        speed = without_products = speed.replace(parameter=unexplained(seconds, layer_costs, speed) / parameters)
        for rows, width in ((32, 128), (256, 512)):
            seconds, _, layer_costs = self.measure_step(rows, flat, family="mlp", hidden=[width, width])
            operations = [cost.flops for cost in layer_costs]
            per_operation = unexplained(seconds, layer_costs, without_products) / sum(operations)
            speed = speed.with_product(max(operations), per_operation)
        plain = seconds
        seconds, _, layer_costs = self.measure_step(
            256, flat, family="mlp", hidden=[512, 512], activation="gelu", normalization="layer"
        )
        speed = speed.replace(element=max(0.02 * seconds, seconds - plain) / slow_numbers(layer_costs))
        seconds, _, layer_costs = self.measure_step(
            32, square, family="cnn", channels=[16, 32], pooling="none", gather="average"
        )
        operations = [cost.flops for cost in layer_costs if cost.kind == "convolution"]
        speed = speed.replace(convolution=unexplained(seconds, layer_costs, speed) / sum(operations))
        seconds, _, layer_costs = self.measure_step(16, text, family="transformer", width=64, heads=4, depth=2)
        operations = [cost.flops for cost in layer_costs if cost.kind == "attention"]
        return speed.replace(attention=unexplained(seconds, layer_costs, speed) / sum(operations))


def main(framework: str, precision: str, threads: int) -> None:
    """Measure the speed of this machine, and print it as JSON."""
    start = time.perf_counter()
    preload(framework)
    probe = Probe(framework, precision)
    loaded_at = time.perf_counter()
    if threads:
        probe.backend.set_threads(threads)
    speed = asdict(probe.measure_speed())
    environment = probe.backend.environment()
    durations = {"loading": loaded_at - start, "measuring": time.perf_counter() - loaded_at}
    print(json.dumps({"speed": speed, "device": environment["device"], "threads": environment["threads"], **durations}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
