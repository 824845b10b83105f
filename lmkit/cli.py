"""The command line: the verbs of ``lmkit.verbs``, and what is printed of what comes of them.

What happens while something runs goes to the standard error, results to the standard output. The exit status is 0 when
what was asked for is done, 1 when a run did not complete, 2 when it was refused before it began.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import lmkit
from lmkit import verbs
from lmkit.errors import LmkitError, RunFailed
from lmkit.imports import skip_slow_imports
from lmkit.verbs import VERBS, add_words, word

if TYPE_CHECKING:
    from lmkit.run import Run
    from lmkit.sweeping.sweep import Sweep

DONE, NOT_COMPLETED, REFUSED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    skip_slow_imports()
    chosen = _parser().parse_args(arguments)
    try:
        done = COMMANDS[chosen.verb](chosen)
        sys.stdout.flush()
        return done
    except LmkitError as error:
        _refused(chosen, str(error))
        return NOT_COMPLETED if isinstance(error, RunFailed) else REFUSED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor is it told again at the exit
        return DONE
    except OSError as error:  # such as a full disk
        where = f": {str(error.filename)!r}" if error.filename else ""
        _refused(chosen, f"{error.strerror or error}{where}")
        return NOT_COMPLETED


def _refused(chosen: argparse.Namespace, why: str) -> None:
    print(f"lmkit: {why}", file=sys.stderr)
    if getattr(chosen, "json", False):
        _json({"run": None, "state": "refused", "metrics": {}, "error": why})


# -- the verbs ------------------------------------------------------------------------------------


def run(chosen: argparse.Namespace) -> int:
    """Executes a template, and tells where what it made lies."""
    done = verbs.run(chosen)
    first = lmkit.attach(done.runs[0]) if done.runs else None
    if chosen.json:
        _json(
            {
                "run": str(done.runs[0]) if done.runs else None,
                "state": done.state,
                "metrics": (first.status.metrics if first else None) or {},
                "notebook": str(done.notebook),
                "report": str(done.report) if done.report else None,
                **({"error": done.error} if done.error else {}),
            }
        )
    else:
        for path in done.runs:
            print(f"run       {path}")
        print(f"notebook  {done.notebook}")
        if done.report:
            print(f"report    {done.report}")
    if done.error:
        print(f"lmkit: {done.error}", file=sys.stderr)
    return DONE if done.state == "completed" else NOT_COMPLETED


def train(chosen: argparse.Namespace) -> int:
    """Trains to the end; Ctrl-C stops the run."""
    started = verbs.train(chosen)
    print(f"run {started.path}", file=sys.stderr)
    try:
        _watch(started)
    except KeyboardInterrupt:
        if started.status.live:
            started.stop().wait()
        print(f"{started.state}; go on: lmkit resume {started.name}", file=sys.stderr)
    return _outcome(started, chosen.json)


def watch(chosen: argparse.Namespace) -> int:
    """Prints a line an epoch; Ctrl-C ends the watching, not the run."""
    found = lmkit.attach(chosen.run, runs=chosen.runs)
    _watch(found)
    return _outcome(found, chosen.json)


def sweep(chosen: argparse.Namespace) -> int:
    """Drives a sweep, a line a trial; Ctrl-C stops its trials, and the same command goes on."""
    chosen.inline, chosen.tell = True, lambda line: print(line, file=sys.stderr, flush=True)
    done = verbs.sweep(chosen)
    if chosen.json:
        _json(_told(done))
    else:
        print(f"sweep     {done.path}")
        for trial in done.failed:
            print(f"failed    trial {trial.number}: {trial.error.partition(chr(10))[0]}")
            print(f"          {trial.notebook or trial.path}")
    print(f"{done.name}: {done.summary()}", file=sys.stderr)
    return DONE if done.state == "completed" else NOT_COMPLETED


def sweeps(chosen: argparse.Namespace) -> int:
    """Prints the sweeps, or the trials of one."""
    found = verbs.sweeps(chosen)
    if not isinstance(found, lmkit.Sweep):
        if chosen.json:
            _json(json.loads(found.to_json(orient="records")))
        elif found.empty:
            print("no sweeps yet; start one: lmkit sweep train --grid lr=0.1,0.01", file=sys.stderr)
        else:
            print(found.drop(columns="path").to_string(index=False, na_rep="", float_format="{:.4g}".format))
    elif chosen.json:
        _json(_told(found))
    else:
        print(found.shown(10**6).text)
    return DONE


def stop_sweep(chosen: argparse.Namespace) -> int:
    """Asks a sweep to end, and waits until it has."""
    asked = verbs.stop_sweep(chosen).wait()
    if chosen.json:
        _json(_told(asked))
    else:
        print(repr(asked))
    return DONE


def _told(done: Sweep) -> dict[str, Any]:
    known = done.trials
    trials = [
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
        for t in known
    ]
    best = done.leader(known)
    return {"sweep": str(done.path), "state": done.state, "best": best and best.number, "trials": trials}


def runs(chosen: argparse.Namespace) -> int:
    """Prints the runs as a table."""
    table = verbs.runs(chosen)
    if chosen.json:
        _json([_result(lmkit.attach(path)) for path in table["path"]])
    elif table.empty:
        print("no runs yet; start one: lmkit run train", file=sys.stderr)
    else:
        print(table.drop(columns="path").to_string(index=False, na_rep="", float_format="{:.4g}".format))
    return DONE


def convert(chosen: argparse.Namespace) -> int:
    """Converts a run, and tells where the new one lies."""
    return _outcome(verbs.convert(chosen), chosen.json)


def generate(chosen: argparse.Namespace) -> int:
    """Prints what a language model writes."""
    text = verbs.generate(chosen)
    if chosen.json:
        _json({"text": text})
    else:
        print(text)
    return DONE


def describe(chosen: argparse.Namespace) -> int:
    """Prints what there is to train on."""
    found = verbs.describe(chosen)
    if chosen.json:
        facts = dict(found.facts.rows)
        _json({"data": facts, "classes": [list(row) for row in found.balance.rows], "warnings": list(found.warnings)})
    else:
        print(found)
    return DONE


def plan(chosen: argparse.Namespace) -> int:
    """Prints what an experiment takes; the exit status does not tell whether it fits."""
    made = verbs.plan(chosen)
    if chosen.json:
        _json(made.to_dict())
    else:
        print(made.text)
    return DONE


def report(chosen: argparse.Namespace) -> int:
    """Writes a report, and tells where."""
    path = verbs.report(chosen)
    if chosen.json:
        _json({"report": str(path)})
    else:
        print(f"report    {path}")
    return DONE


def templates(chosen: argparse.Namespace) -> int:
    """Prints the templates, each with its parameters."""
    table = verbs.templates(chosen)
    if chosen.json:
        _json(json.loads(table.to_json(orient="records")))
        return DONE
    for name, parameters in table.groupby("template", sort=False):
        print(f"{name}: {parameters['title'].iloc[0]}")
        for row in parameters.itertuples():
            bounds = f" ({row.allowed})" if row.allowed else ""
            print(f"  {row.parameter}: {row.type} = {row.default!r}  # {row.documentation}{bounds}")
    return DONE


def compare(chosen: argparse.Namespace) -> int:
    """Compares, and prints the table and what to ship."""
    chosen.wait = True
    compared = verbs.compare(chosen)
    recommended = compared.recommend(*([chosen.constraint] if chosen.constraint else []))
    if chosen.json:
        _json({"variants": compared.to_list(), "recommended": recommended.variant.name, "reason": recommended.reason})
    else:
        print(compared.table.text)
        print(f"\n{recommended}")
    return DONE


def bundle(chosen: argparse.Namespace) -> int:
    """Writes a bundle, and tells where."""
    written = verbs.bundle(chosen)
    if chosen.json:
        _json({"bundle": str(written)})
    else:
        print(f"bundle    {written}")
    return DONE


def mirror(chosen: argparse.Namespace) -> int:
    """Tells runs or a sweep to a tracker, to their ends, and says where they are seen."""
    told = verbs.mirror(chosen)
    if chosen.json:
        _json(told.places)
    else:
        print(told)
    return DONE


def steer(chosen: argparse.Namespace) -> int:
    """Asks a run for something, and waits until its state tells whether it was done."""
    asked: Run = VERBS[chosen.verb].call(chosen)
    until = UNTIL.get(chosen.verb, ())
    if until:
        asked.wait_for(*until)
    state = asked.state
    print(repr(asked))
    return DONE if not until or state in until else NOT_COMPLETED


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "train": train,
    "sweep": sweep,
    "sweeps": sweeps,
    "stop-sweep": stop_sweep,
    "runs": runs,
    "watch": watch,
    **dict.fromkeys(("pause", "resume", "stop", "checkpoint", "note", "set-learning-rate"), steer),
    "convert": convert,
    "compare": compare,
    "bundle": bundle,
    "describe": describe,
    "generate": generate,
    "plan": plan,
    "report": report,
    "mirror": mirror,
    "templates": templates,
}
"""Verb → what calls it and prints what comes of it."""

UNTIL = {"pause": ("paused",), "resume": ("running", "completed"), "stop": ("stopped", "completed")}
"""Verb → the states that tell that it was done."""

JSON = word("--json", action="store_true", help="the last line is one JSON object")


# -- what they share ------------------------------------------------------------------------------


def _watch(started: Run) -> None:
    """Prints a run's lines; how it ended is told by whoever called."""
    try:
        started.watch(sys.stderr)
    except RunFailed as error:
        print(f"lmkit: {error}", file=sys.stderr)


def _outcome(ended: Run, as_json: bool) -> int:
    if as_json:
        _json(_result(ended))
    else:
        print(f"run       {ended.path}")
    return DONE if ended.state == "completed" else NOT_COMPLETED


def _result(of: Run) -> dict[str, Any]:
    status = of.status
    told = {"run": str(of.path), "name": of.name, "state": status.state, "metrics": status.metrics or {}}
    return told | ({"error": status.reason} if status.state in ("failed", "lost") else {})


def _json(value: Any) -> None:
    print(json.dumps(value), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lmkit", description="Train and deploy models, in PyTorch or TensorFlow alike.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"lmkit {lmkit.__version__}")
    added = parser.add_subparsers(metavar="VERB", required=True, dest="verb")
    for name, function in COMMANDS.items():
        verb = VERBS[name]
        its = added.add_parser(name, help=verb.help, **verb.options("lmkit"))
        add_words(its, [*verb.words, *([] if function is steer else [JSON])])
    return parser


if __name__ == "__main__":
    sys.exit(main())
