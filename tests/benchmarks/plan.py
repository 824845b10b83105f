"""Prints what was planned and what was measured: parameters, operations, memory at the peak, time a step.

    python tests/benchmarks/plan.py [FRAMEWORK …] [-k CASE]

Each model is trained by a worker of its own for a few epochs, with one thread, whose work is told apart from waiting.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lmkit as lk
from lmkit.planning.measured_usage import measure_usage, plan_of

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from flop_counters import tensorflow_flops, torch_flops

DIGITS: dict[str, Any] = {"source": "digits"}
TEXT: dict[str, Any] = {"source": "python_docs"}
BLOCKS: dict[str, Any] = {"family": "transformer", "width": 384, "depth": 6, "heads": 6, "context": 256}
CASES: dict[str, dict[str, Any]] = {
    "mlp small": {"data": DIGITS, "model": "mlp:small"},
    "mlp wide": {"data": DIGITS, "model": "mlp:wide"},
    "mlp 4096 × 2 (weights)": {"data": DIGITS, "model": {"family": "mlp", "hidden": [4096, 4096]}},
    "mlp 6000 × 2 (weights)": {"data": DIGITS, "model": {"family": "mlp", "hidden": [6000, 6000]}},
    "cnn small": {"data": DIGITS, "model": "cnn:small"},
    "cnn wide, 512 rows": {"data": {**DIGITS, "batch_size": 512}, "model": "cnn:wide"},
    "cnn 128 × 4 (activations)": {
        "data": {**DIGITS, "batch_size": 1024},
        "model": {"family": "cnn", "channels": [128, 128], "convolutions": 2, "activation": "gelu"},
    },
    "encoder": {"data": DIGITS, "model": {"family": "transformer", "width": 64, "depth": 2, "patch": 2}},
    "transformer nano": {"data": TEXT, "model": "transformer:nano"},
    "transformer 384 × 6": {"data": {**TEXT, "text": {"length": 256}, "batch_size": 8}, "model": BLOCKS},
}
STEPS = {
    "mlp 4096 × 2 (weights)": 36,
    "mlp 6000 × 2 (weights)": 36,
    "cnn 128 × 4 (activations)": 4,
    "cnn wide, 512 rows": 12,
    "mlp small": 600,
    "mlp wide": 400,
    "cnn small": 300,
    "encoder": 200,
    "transformer nano": 8,
    "transformer 384 × 6": 4,
}


def ratio(plan: float | None, found: float | None) -> str:
    """Planned, measured, and measured / planned."""
    return f"{plan or 0:>14,.5g} {found or 0:>14,.5g} {(found or 0) / plan if plan else 0:>6.2f}"


def work(spec: lk.Experiment) -> float:
    """Seconds a step that the processor works: what other programs hardly disturb.

    Of a run and one of thrice the steps, in a process of their own; what differs are steps.
    """
    n = max(3, (spec.training.steps or 0) // 8)
    code = (
        "import sys, time\nfrom lmkit.training.train import train\n"
        "from lmkit.runfolder.folder import RunFolder\nimport lmkit as lk\n"
        "spec, root, n = lk.Experiment.load(sys.argv[1]), sys.argv[2], int(sys.argv[3])\ntook = []\n"
        "for steps in (n, n, 3 * n):\n"
        "    folder = RunFolder.create(spec.override({'steps': steps, 'validation': 0, 'test': 0}), root)\n"
        "    began = time.process_time(); train(folder); took.append(time.process_time() - began)\n"
        "    assert folder.status().state == 'completed', folder.status().reason\n"
        "print((took[2] - took[1]) / (2 * n))"
    )
    with tempfile.TemporaryDirectory() as root:
        spec.save(Path(root) / "experiment.yaml")
        command = [sys.executable, "-c", code, str(Path(root) / "experiment.yaml"), root, str(n)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def main() -> None:
    """Prints a table for each framework."""
    parser = argparse.ArgumentParser()
    parser.add_argument("framework", nargs="*", default=["torch", "tensorflow"])
    parser.add_argument("-k", default="", metavar="CASE", help="a part of its name")
    chosen = parser.parse_args()
    for framework in chosen.framework:
        for name, case in CASES.items():
            if chosen.k not in name:
                continue
            steps = STEPS.get(name, 100)
            spec = lk.Experiment(framework=framework, **case).override(
                {
                    "optimizer": "adam",
                    "epochs": 1000,
                    "early_stopping": None,
                    "steps": steps,
                    "clip_norm": None,
                    "schedule": "constant",
                    "threads": 1,
                }
            )
            with tempfile.TemporaryDirectory() as root:
                run = lk.train(spec, runs=root, wait=True)
                if run.state != "completed":
                    print(name, run.status.reason)
                    continue
                lk.plan(spec, calibrate=True, runs=root)
                plan, found = plan_of(run), measure_usage(run)
            counter = {"torch": torch_flops, "tensorflow": tensorflow_flops}[framework]
            counted = counter(spec.model, plan.signature, spec.data.batch_size)
            print(f"{framework}: {name}")
            print(f"  parameters   {ratio(plan.parameters, found['parameters'])}")
            print(f"  operations   {ratio(plan.flops_per_step, counted)}")
            print(f"  memory, MB   {ratio(plan.memory_bytes['total'] / 1e6, (found['memory_bytes'] or 0) / 1e6)}")
            print(f"  checkpoint   {ratio(plan.checkpoint_bytes, found['checkpoint_bytes'])}")
            print(f"  ms a step    {ratio((plan.seconds_per_step or 0) * 1e3, (found['seconds_per_step'] or 0) * 1e3)}")
            print(f"  … of work    {ratio((plan.seconds_per_step or 0) * 1e3, work(spec) * 1e3)}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
