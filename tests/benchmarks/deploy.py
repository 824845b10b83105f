"""What deployment gains, how honest its intervals are, where its time goes: ``python tests/benchmarks/deploy.py``.

- ``variants``: of the project's own MLP, CNN (both on digits) and nano language model (on made-up sentences), trained
  briefly in each framework, the fastest and the smallest variant that lose at most a point of accuracy (2 % of
  perplexity). Goals: 1.5 times as fast at one row a call, and 3.5 times as small, as the baseline.
- ``control``: the baseline against itself, twenty pairs of processes; at least 19 intervals are to contain 1.
- ``time``: eight variants of an MLP within 90 seconds, and what takes them.

The baseline is what somebody has who trained the model and calls it: ``model(x)`` in PyTorch, eager, in inference mode;
in TensorFlow the model in one ``tf.function``, which is how ``model.predict`` runs it, and is several times as fast as
``model(x)`` operation by operation: a gain over that would be easier had. The goal is held to the baseline;
``model(x)`` of both is measured beside, and told as ``than eager``. All on one thread.

A quiet machine is wanted: two cores, nothing else running; the whole takes about fifteen minutes. Ratios are of rounds
side by side and stand some load, the clock of ``time`` does not.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["LMKIT_WIDGETS"] = "off"
os.environ["OMP_NUM_THREADS"] = "1"

import lmkit as lk
from lmkit.deploy.compare.builder import Builder
from lmkit.deploy.compare.comparison import Comparison
from lmkit.deploy.compare.constraint import main_metric
from lmkit.deploy.measure.baselines import Baselines
from lmkit.deploy.measure.timing import measure_latency
from lmkit.display.units import format_bytes, format_latency
from lmkit.system.rpc import Process

FRAMEWORKS, MODELS = ("torch", "tensorflow"), ("mlp", "cnn", "nano")
FASTER, SMALLER, SECONDS, HELD = 1.5, 3.5, 90.0, 19
WITHIN = {"mlp": "within 1 point of accuracy", "cnn": "within 1 point of accuracy", "nano": "within 2 % of perplexity"}

QUANTIZED = ["onnx", "onnx-int8-dynamic", "onnx-int8-static"]
COMMON = [
    *QUANTIZED,
    "prune-30+onnx",
    "prune-50+onnx",
    "prune-50+onnx-int8-dynamic",
    "prune-50+onnx-int8-static",
    "distil+onnx-int8-dynamic",
]
EXTRA = {
    "torch": [],
    "tensorflow": [
        "litert",
        "litert-int8-dynamic",
        "other-framework+onnx-int8-dynamic",
        "distil+other-framework+onnx-int8-dynamic",
    ],
}
EIGHT = {
    "torch": [
        "onnx",
        "onnx-int8-dynamic",
        "onnx-int8-static",
        "torch-export",
        "prune-50",
        "prune-50+onnx",
        "prune-50+onnx-int8-static",
        "distil+onnx",
    ],
    "tensorflow": [
        "onnx",
        "saved-model",
        "litert",
        "compile",
        "prune-50",
        "prune-50+litert",
        "prune-50+onnx",
        "distil+onnx",
    ],
}


def trained(framework: str, model: str, root: Path, steps: int = 200) -> lk.Run:
    """One of the three models, after some seconds of training."""
    name = f"{model}-{framework}"
    if model == "nano":
        file = root / "words.txt"
        draw = random.Random(0)
        words = [
            "the",
            "quick",
            "brown",
            "fox",
            "jumps",
            "over",
            "lazy",
            "dogs",
            "and",
            "then",
            "sleeps",
            "under",
            "trees",
        ]
        file.write_text("\n".join(" ".join(draw.choices(words, k=12)) + "." for _ in range(4000)), encoding="utf-8")
        settings: dict[str, Any] = {"data": {"source": str(file)}, "model": "transformer:nano", "steps": steps}
    elif model == "cnn":
        settings = {"data": "digits", "model": "cnn:small", "epochs": 8}
    else:
        settings = {"data": "digits", "model": "mlp:small", "epochs": 20}
    return lk.train(framework=framework, name=name, runs=root, inline=True, **settings)


def variants(frameworks: list[str], models: list[str], names: list[str], rounds: int, steps: int) -> bool:
    """Compares, and prints the fastest and the smallest of each run; whether all goals are met."""
    rows, met = [], True
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            for framework in frameworks:
                run = trained(framework, model, Path(folder), steps)
                wanted = names or (QUANTIZED if model == "nano" else COMMON) + EXTRA[framework]
                compared = lk.compare(run, wanted, rounds=rounds, batches=(1,), wait=True)
                eager = _eager(run, compared)
                base = compared[0]
                for aim in ("fastest", "smallest"):
                    best = compared.best(f"{aim} {WITHIN[model]}")
                    metric = main_metric(best)
                    speed, size = 1 / best.latency[0].ratio.value, base.size_bytes / best.size_bytes
                    goal = speed >= FASTER if aim == "fastest" else size >= SMALLER
                    met &= goal
                    rows.append(
                        f"{model:5} {framework:11} {aim:9} {best.technique:28} {speed:6.2f}x "
                        f"[{1 / best.latency[0].ratio.high:.2f}, {1 / best.latency[0].ratio.low:.2f}] "
                        f"{eager / best.latency[0].p50.value:7.2f}x {size:6.2f}x  {format_bytes(best.size_bytes):>8}  "
                        f"{metric} {base.metrics[metric]:.4g} -> {best.metrics[metric]:.4g}  "
                        f"{'met' if goal else 'MISSED'}"
                    )
                    print(rows[-1], flush=True)
    print("\nmodel framework   aim       variant                      faster  [95 %]      than eager smaller")
    print("\n".join(rows))
    return met


def _eager(run: lk.Run, compared: Comparison) -> float:
    """Seconds of ``model(x)`` with one row, the shortest median of ten blocks."""
    import numpy as np

    maker = Builder(str(run.path))
    X: Any = np.asarray(maker.trained.data.test.X[:1])
    model = maker.trained.model
    if run.experiment.framework == "torch":
        import torch

        torch.set_num_threads(1)
        model.eval()
        x = torch.from_numpy(X)

        def call() -> None:
            with torch.inference_mode():
                model(x)
    else:
        import tensorflow as tf

        x = tf.constant(X)

        def call() -> None:
            model(x, training=False)

    blocks = []
    for _ in range(11):
        times: list[float] = []
        end = time.perf_counter() + 0.1
        while time.perf_counter() < end or len(times) < 3:
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        blocks.append(float(np.median(times)))
    return min(blocks[1:])


def control(frameworks: list[str], pairs: int = 20) -> bool:
    """Twenty pairs of processes of the same MLP, in a chain, as in a comparison; whether enough intervals contain 1."""
    met = True
    with tempfile.TemporaryDirectory() as folder:
        for framework in frameworks:
            run = trained(framework, "mlp", Path(folder))
            maker, place, rows = Builder(str(run.path)), run.path / "variants" / "baseline", Path(folder) / "rows.npy"
            place.parent.mkdir()
            maker.make("baseline", str(place))
            maker.rows(str(rows))
            bench = ("lmkit.deploy.measure.server", place, 1, rows)
            held, widths, inside = 0, [], 0
            with Baselines(lambda bench=bench: Process(*bench)) as baselines:  # type: ignore[misc]
                for pair in range(pairs):
                    one, other = baselines.pair()
                    baselines.prepare()
                    with Process(*bench) as third:
                        third.ask("load")
                        found = measure_latency(third, one, other, 1, baselines.spreads[1], same=not pair)
                    held += found.control.low <= 1 <= found.control.high
                    inside += found.ratio.low <= 1 <= found.ratio.high
                    widths.append((found.control.high - found.control.low) / 2)
                    baselines.turn()
            widths.sort()
            met &= held >= HELD * pairs / 20
            print(
                f"{framework}: baseline against baseline, {held} of {pairs} intervals contain 1 (a third process "
                f"against both: {inside}); half an interval is ±{widths[len(widths) // 2]:.1%}; processes differ by "
                f"{baselines.spreads[1].deviation:.1%}; {'met' if held >= HELD * pairs / 20 else 'MISSED'}",
                flush=True,
            )
    return met


def clock(frameworks: list[str]) -> bool:
    """Eight variants of an MLP, on the clock; the machine's limits are measured within it, as the first time."""
    met = True
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LMKIT_CACHE"] = str(Path(folder) / "cache")
        for framework in frameworks:
            run = trained(framework, "mlp", Path(folder))
            spent: defaultdict[str, float] = defaultdict(float)
            now = [time.perf_counter(), "starts"]

            def tell(_: Comparison, doing: str, spent: Any = spent, now: Any = now) -> None:
                spent[now[1]] += time.perf_counter() - now[0]
                first = doing.split()[0] if " " in doing else "ends"
                now[:] = [time.perf_counter(), first]

            began = time.perf_counter()
            compared = lk.compare(run, EIGHT[framework], tell=tell, wait=True)
            taken = time.perf_counter() - began
            met &= taken <= SECONDS
            told = ", ".join(f"{name} {seconds:.1f}" for name, seconds in sorted(spent.items(), key=lambda s: -s[1]))
            imported = sum(v.seconds["import_seconds"] + v.seconds["load_seconds"] for v in compared.measured)
            print(
                f"{framework}: {len(compared.measured)} of {len(compared)} variants in {taken:.1f} s ({told}; of "
                f"loading, imports and models of the variants themselves {imported:.1f}); "
                f"one call {format_latency(compared[0].latency[0].p50.value)}; "
                f"{'met' if taken <= SECONDS else 'MISSED'}",
                flush=True,
            )
            os.environ["LMKIT_CACHE"] = str(Path(folder) / f"cache-{framework}")
    return met


def main() -> None:
    """Runs the parts that are asked for; ends with 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=("variants", "control", "time", []), default=[])
    parser.add_argument("--framework", choices=FRAMEWORKS, action="append")
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("-t", dest="techniques", action="append", help="a technique (default: a dozen)")
    parser.add_argument("--rounds", type=int, default=45)
    parser.add_argument("--steps", type=int, default=200, help="of training the language model (default: 200)")
    given = parser.parse_args()
    parts, frameworks = given.parts or ["control", "time", "variants"], given.framework or list(FRAMEWORKS)
    met = True
    if "control" in parts:
        met &= control(frameworks)
    if "time" in parts:
        met &= clock(frameworks)
    if "variants" in parts:
        met &= variants(frameworks, given.model or list(MODELS), given.techniques or [], given.rounds, given.steps)
    sys.exit(not met)


if __name__ == "__main__":
    main()
