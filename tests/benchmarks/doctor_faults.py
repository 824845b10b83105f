"""Planted faults beside healthy runs: ``python tests/benchmarks/doctor_faults.py --runs DIR [--again] [--table FILE]``.

Each experiment with a fault names the checks that are right about it; the healthy ones must not be called ill. Printed
are, for each run, what the doctor says, and a table for each framework: named (the right check is sure or likely),
first (it is the first in the list), wrong sure findings beside the right one, and false findings in healthy runs. The
thresholds were tuned on seeds 0 to 2; seeds 3 and 4 are held out, and have rows of their own.

Runs stay in DIR, and one that has ended is not trained again, so that another diagnosis takes some seconds; ``--again``
trains nothing at all. ``--remedies`` trains each run with a fault with the change that is offered first beside one
without, as the doctor's tests do, and counts where it helps. ``--public`` takes thirty experiments modelled on public
reports of failing training instead, on which nothing was tuned.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import lmkit as lk
from lmkit.custom.objects import references
from lmkit.doctor.bench import TestBench
from lmkit.exceptions import LmkitError
from lmkit.specs.references import HELD
from tests.benchmarks.doctor_cases import FAULTS, HEALTHY, Case
from tests.benchmarks.doctor_public import PUBLIC

SEEDS, TUNED = 5, 3
"""Seeds of each case, and those on which thresholds may be tuned: the first ones."""

Row = dict[str, Any]
"""What was said of a run: case, framework, seed, right, state, findings."""


def train(item: Case, framework: str, seed: int, runs: Path, **changes: Any) -> lk.Run:
    """Train a case and return its run."""
    settings = dict(item.settings)
    source, options, batch, spec = (settings.pop(name) for name in ("data", "options", "batch", "model"))
    settings = {name: value(framework) if name == "loss" else value for name, value in settings.items()}
    spec = spec(framework) if callable(spec) else spec
    options = {f"data.{name}": value for name, value in {"batch_size": batch, **options}.items()}
    if "squashed-twice" in item.right and "model.outputs" not in settings:
        options["model.outputs"] = "logits"
    return lk.train(
        data=source(seed) if callable(source) else source,
        model=spec,
        framework=framework,
        seed=seed,
        runs=runs,
        inline=True,
        checkpoint_seconds=1e6,
        **settings,
        **{**options, **changes},
    )


def open_run(item: Case, framework: str, seed: int, root: Path, *, again: bool) -> lk.Run | None:
    """Return the run of a case, trained where it has not ended yet; None where nothing may be trained."""
    runs = root / f"{framework}-{re.sub(r'[^a-z0-9.]+', '-', item.name)}-{seed}"
    ended = [path.parent for path in runs.glob("*/status.json") if json.loads(path.read_text())["state"] != "running"]
    if ended:
        return lk.attach(ended[0].name, runs=runs)
    return None if again else train(item, framework, seed, runs)


def examine(item: Case, framework: str, seed: int, root: Path, *, again: bool) -> Row | None:
    """Return what the doctor says about a case; None where nothing may be trained."""
    row = {"case": item.name, "framework": framework, "seed": seed, "right": list(item.right)}
    row |= {"address": item.address, "cause": item.cause} if item.address else {}
    try:
        run = open_run(item, framework, seed, root, again=again)
        if run is None:
            return None
        findings = run.doctor().findings
    except LmkitError as error:  # refused before the first step, which is an answer too
        return row | {"state": f"refused: {str(error).splitlines()[0][:200]}", "findings": []}
    if run.state == "failed" and not run.status.step and run.status.cause == "error":  # its worker refused it
        return row | {"state": f"refused: {(run.status.reason or '').splitlines()[0][:200]}", "findings": []}
    said = [[f.check, f.confidence, [c.check for c in f.consequences]] for f in findings]
    return row | {"state": run.state, "findings": said, "change": [bool(f.change) for f in findings]}


def judge(row: Row) -> dict[str, bool]:
    """Return what is right and wrong about what was said of a run."""
    loud = [f for f in row["findings"] if f[1] != "hint"]
    right = set(row["right"])
    inside = {f[0] for f in loud} | {name for f in loud for name in f[2]}
    sure = [f[0] for f in loud if f[1] == "sure"]
    refused = row["state"].startswith("refused")
    if not right:
        return {"false sure": bool(sure), "false likely": bool(loud) and not sure}
    return {
        "named": bool(inside & right) or refused,
        "first": refused or (bool(loud) and loud[0][0] in right),
        "wrong sure": any(name not in right for name in sure) and bool(inside & right),
        "wrong instead": bool(sure) and not inside & right,
    }


def describe(row: Row) -> str:
    """Return what was said of a run, in a line."""
    verdict = judge(row)
    said = "; ".join(f"{name} ({confidence})" for name, confidence, _ in row["findings"]) or "nothing"
    if row["right"]:
        mark = "first" if verdict["first"] else "later" if verdict["named"] else "MISSED"
        mark += " +wrong" if verdict["wrong sure"] else ""
    else:
        mark = "FALSE" if verdict["false sure"] else "likely" if verdict["false likely"] else "quiet"
    return f"{row['framework']:10} {row['seed']} {row['case']:28} {row['state'][:60]:9} {mark:12} {said}"


def summarize(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the table: for each framework, of the seeds on which thresholds were tuned, of others, of the reports."""
    table = []
    for framework in sorted({row["framework"] for row in rows}):
        for part in ("tuned", "held out", "public"):
            part_rows = [r for r in rows if r["framework"] == framework and name_part(r) == part]
            ill, healthy = ([judge(r) for r in part_rows if bool(r["right"]) is is_ill] for is_ill in (True, False))
            if not part_rows:
                continue
            shares = {"faults": len(ill), "healthy": len(healthy)}
            for names, verdicts in ((("named", "first", "wrong sure"), ill), (("false sure", "false likely"), healthy)):
                shares |= {
                    name: round(100 * sum(v[name] for v in verdicts) / max(1, len(verdicts)), 1)  # type: ignore[misc]
                    for name in names
                }
            table.append({"framework": framework, "seeds": part, **shares})
    return table


def name_part(row: Row) -> str:
    """Return the row of the table to which a run belongs."""
    return "public" if "address" in row else "tuned" if row["seed"] < TUNED else "held out"


def agreement(rows: list[Row]) -> tuple[int, int]:
    """Return in how many pairs of runs both frameworks say the same, but for hints, and the number of pairs."""
    pairs: dict[tuple[str, int], list[set[str]]] = {}
    for row in rows:
        loud = {f[0] for f in row["findings"] if f[1] != "hint"}
        pairs.setdefault((row["case"], row["seed"]), []).append(loud)
    both = [pair for pair in pairs.values() if len(pair) == 2]
    return sum(a == b for a, b in both), len(both)


def print_table(rows: list[Row]) -> None:
    """Print the table in Markdown."""
    table = summarize(rows)
    if not table:
        return
    print("| " + " | ".join(table[0]) + " |\n|" + "---|" * len(table[0]))
    for line in table:
        print("| " + " | ".join(str(value) for value in line.values()) + " |")
    same, count = agreement(rows)
    print(f"\nthe same findings in both frameworks: {same} of {count} pairs of runs")


def try_remedy(item: Case, framework: str, seed: int, root: Path) -> str | None:
    """Return whether the change of the strongest finding of a case helps, in a line; None where none is offered."""
    try:
        run = open_run(item, framework, seed, root, again=False)
        assert run is not None
        if any(name.startswith(HELD) for name in references(run.experiment).values()):
            run = train(item, framework, seed, root / "again")  # its model existed in another process
        with contextlib.ExitStack() as cleanup:
            bench = TestBench(run.folder, cleanup)
            result = bench.run("remedy", 60.0)
    except LmkitError as error:
        return f"refused: {str(error).splitlines()[0][:100]}"
    if bench.finding is None:
        return None
    return f"{result.outcome}: {bench.finding.check}: {result.answer}"


def try_remedies(items: list[Case], frameworks: list[str], seeds: list[int], root: Path) -> dict[str, Any]:
    """Try the changes that are offered for planted faults, and return how many help, and each in words."""
    lines: list[str] = []
    for seed in seeds:
        for item in items:
            for framework in frameworks:
                if item.right and (text := try_remedy(item, framework, seed, root)) is not None:
                    lines.append(f"{framework} {seed} {item.name}: {text}")
                    print(lines[-1], flush=True)
    outcomes = [
        line.partition(f": {o}: ")[1] and o for line in lines for o in ("passed", "failed") if f": {o}: " in line
    ]
    helped = outcomes.count("passed")
    print(f"\nthe change helps in {helped} of {len(outcomes)} cases in which one was tried")
    return {"helped": helped, "tried": len(outcomes), "lines": lines}


def main() -> None:
    """Train or open all cases, and print what is said about them and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=["torch", "tensorflow"], action="append")
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--seeds", help=f"seeds, as 0,1,2 (default: 0 to {SEEDS - 1})")
    parser.add_argument("--runs", type=Path, help="where runs are, and stay (default: a temporary folder)")
    parser.add_argument("--again", action="store_true", help="diagnose the runs that have ended; train nothing")
    parser.add_argument("--public", action="store_true", help="take the experiments modelled on public reports")
    parser.add_argument("--remedies", action="store_true", help="try the changes that are offered instead")
    parser.add_argument("--table", type=Path, help="write what was said, and the table, as JSON")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    seeds = [int(s) for s in args.seeds.split(",")] if args.seeds else list(range(SEEDS))
    cases = PUBLIC if args.public else [*FAULTS, *HEALTHY]
    items = [item for item in cases if not args.only or args.only in item.name]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        root = args.runs or Path(temporary)
        if args.remedies:
            record = try_remedies(items, args.framework or ["torch", "tensorflow"], seeds, root)
            if args.table:
                args.table.write_text(json.dumps(record) + "\n")
            return
        for seed in seeds:
            for item in items:
                for framework in args.framework or ["torch", "tensorflow"]:
                    row = examine(item, framework, seed, root, again=args.again)
                    if row is not None:
                        rows.append(row)
                        print(describe(row), flush=True)
    print_table(rows)
    if args.table:
        args.table.write_text(json.dumps({"table": summarize(rows), "agreement": agreement(rows), "runs": rows}) + "\n")


if __name__ == "__main__":
    main()
