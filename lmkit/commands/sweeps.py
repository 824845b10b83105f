"""How the command line executes and prints sweeps."""

from __future__ import annotations

import argparse
import json
import sys
from textwrap import indent
from typing import TYPE_CHECKING, Any

import lmkit
from lmkit.commands.output import DONE, NOT_COMPLETED, print_json
from lmkit.commands.verbs import VERBS

if TYPE_CHECKING:
    from lmkit.sweeping.sweep import Sweep


def sweep(args: argparse.Namespace) -> int:
    """Run a sweep, a line per trial; Ctrl-C stops its trials, and the same command continues."""
    result: Sweep = VERBS["sweep"].call(
        args, inline=not args.detach, tell=lambda line: print(line, file=sys.stderr, flush=True)
    )
    if args.json:
        print_json(_sweep_result(result))
    else:
        print(f"sweep     {result.path}")
        for trial in result.failed:
            print(f"{trial.state:<9} trial {trial.number}: {indent(trial.error, ' ' * 10).lstrip()}")
            print(f"          {trial.notebook or trial.path}")
        for trial in result.front_of(result.trials) if len(result.objectives) > 1 else ():
            print(f"front     trial {trial.number}: {result.describe_values(trial)}")
    print(f"{result.name}: {result.summary()}", file=sys.stderr)
    if args.detach:
        print(f"show it: lmkit sweeps {result.name}, stop it: lmkit stop-sweep {result.name}", file=sys.stderr)
        return DONE
    return DONE if result.state == "completed" else NOT_COMPLETED


def sweeps(args: argparse.Namespace) -> int:
    """Print the sweeps, or the trials of one."""
    result = VERBS["sweeps"].call(args)
    if not isinstance(result, lmkit.Sweep):
        if args.json:
            print_json(json.loads(result.to_json(orient="records")))
        elif result.empty:
            print("no sweeps yet; start one: lmkit sweep train --grid lr=0.1,0.01", file=sys.stderr)
        else:
            print(result.drop(columns="path").to_string(index=False, na_rep="", float_format="{:.4g}".format))
    elif args.json:
        print_json(_sweep_result(result))
    else:
        print(result.to_table(10**6).text)
    return DONE


def stop_sweep(args: argparse.Namespace) -> int:
    """Stop a sweep, and wait until it has stopped."""
    stopped = VERBS["stop-sweep"].call(args).wait()
    if args.json:
        print_json(_sweep_result(stopped))
    else:
        print(repr(stopped))
    return DONE


def _sweep_result(sweep: Sweep) -> dict[str, Any]:
    trials = sweep.trials
    records = [
        {
            "number": t.number,
            "state": t.state,
            "parameters": t.parameters,
            "values": t.values,
            "run": str(t.run) if t.run else None,
            "notebook": str(t.notebook) if t.notebook else None,
            "seconds": t.seconds,
            **({"error": t.error} if t.error else {}),
        }
        for t in trials
    ]
    best = sweep.leader(trials)
    result = {"sweep": str(sweep.path), "state": sweep.state, "best": best and best.number, "trials": records}
    return result | ({"front": [t.number for t in sweep.front_of(trials)]} if len(sweep.objectives) > 1 else {})
