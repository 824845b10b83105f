"""The command line: the verbs of ``lmkit.commands.verbs``, and how their results are printed.

Progress goes to the standard error, results to the standard output. The exit status is 0 on success, 1 when a run did
not complete, 2 when the command was refused before it started, and 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP. A
sweep succeeds when one of its trials completed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import lmkit
from lmkit.commands.arguments import JSON, PairParser, add_arguments
from lmkit.commands.output import DONE, INTERRUPTED, NOT_COMPLETED, REFUSED, print_json
from lmkit.commands.signals import termination
from lmkit.commands.streams import standard_streams
from lmkit.commands.sweeps import stop_sweep, sweep, sweeps
from lmkit.commands.verbs import VERBS
from lmkit.exceptions import LmkitError, RunFailed, describe_exception, nearest
from lmkit.system.identity import shadowing_problem
from lmkit.system.imports import skip_slow_imports

if TYPE_CHECKING:
    from lmkit.batch.execute import Execution
    from lmkit.run.run import Run

DEBUG = "LMKIT_DEBUG"
"""The environment variable with which an unexpected exception is shown with its traceback."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status."""
    if problem := shadowing_problem(lmkit):
        print(f"lmkit: {problem}", file=sys.stderr)
        if not hasattr(lmkit, "Experiment"):
            return REFUSED
    skip_slow_imports()
    words = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    if problem := _verb_problem(words):
        parser.error(problem)
    args = parser.parse_args(words)
    with termination() as signals:
        status = _execute(args)
    return status if status == DONE or signals is None else signals.status(status)


def _execute(args: argparse.Namespace) -> int:
    """Call the function of a verb, and report its errors; returns the exit status."""
    try:
        status = COMMANDS.get(args.verb, show)(args)
        sys.stdout.flush()
        return status
    except LmkitError as error:
        _report_error(args, str(error))
        return NOT_COMPLETED if isinstance(error, RunFailed) else REFUSED
    except KeyboardInterrupt:
        _report_error(args, "interrupted", "interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no second error at the exit
        return DONE
    except OSError as error:  # such as a full disk
        where = f": {str(error.filename)!r}" if error.filename else ""
        _report_error(args, f"{error.strerror or error}{where}")
        return NOT_COMPLETED
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        _report_error(args, f"{describe_exception(error)}; {DEBUG}=1 shows the traceback")
        return NOT_COMPLETED


def _report_error(args: argparse.Namespace, message: str, state: str = "refused") -> None:
    print(f"lmkit: {message}", file=sys.stderr)
    if "json" in args and args.json:
        print_json({"run": None, "state": state, "metrics": {}, "error": message})


# -- the verbs ------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> int:
    """Run a template, and print the paths of its results; with ``-``, read or write a notebook as a stream."""
    with standard_streams(args) as to_stdout:
        execution: Execution = VERBS["run"].call(args)
        if to_stdout:
            print(execution.notebook.read_text(encoding="utf-8"))
    return _print_execution(execution, args.json, to_stdout)


def _print_execution(execution: Execution, as_json: bool, to_stdout: bool) -> int:
    if as_json and not to_stdout:
        print_json(execution.to_dict())
    elif execution.log:
        print(f"log       {execution.log}")
        print(f"list its run: lmkit runs, stop the notebook: kill {execution.pid}", file=sys.stderr)
    elif not to_stdout:
        for path in execution.runs:
            print(f"run       {path}")
        print(f"notebook  {execution.notebook}")
        if execution.report:
            print(f"report    {execution.report}")
        for url in execution.copies:
            print(f"copy      {url}")
    if execution.error:
        print(f"lmkit: {execution.error}", file=sys.stderr)
    return DONE if execution.log or execution.state in ("completed", "prepared") else NOT_COMPLETED


def train(args: argparse.Namespace) -> int:
    """Train to the end, unless it is detached; Ctrl-C stops the run."""
    started: Run = VERBS["train"].call(args)
    if args.no_start:
        print(f"train it: python -m lmkit.worker {started.path}", file=sys.stderr)
        _outcome(started, args.json)
        return DONE
    if args.detach:
        print(f"watch it: lmkit watch {started.name}, stop it: lmkit stop {started.name}", file=sys.stderr)
        _outcome(started, args.json)
        return DONE
    print(f"run {started.path}", file=sys.stderr)
    try:
        _watch(started)
    except KeyboardInterrupt:
        if started.status.live:
            started.stop().wait()
        print(f"{started.state}; continue: lmkit resume {started.name}", file=sys.stderr)
    return _outcome(started, args.json)


def watch(args: argparse.Namespace) -> int:
    """Print a line per epoch; Ctrl-C ends the watching, not the run."""
    watched = lmkit.attach(args.run, runs=args.runs)
    _watch(watched)
    return _outcome(watched, args.json)


def runs(args: argparse.Namespace) -> int:
    """Print the runs as a table."""
    table = VERBS["runs"].call(args)
    if args.json:
        print_json([_result(lmkit.attach(path)) for path in table["path"]])
    elif table.empty:
        print("no runs yet; start one: lmkit run train", file=sys.stderr)
    else:
        print(table.drop(columns="path").to_string(index=False, na_rep="", float_format="{:.4g}".format))
    return DONE


def convert(args: argparse.Namespace) -> int:
    """Convert a run, and print the path of the new one."""
    return _outcome(VERBS["convert"].call(args), args.json)


def generate(args: argparse.Namespace) -> int:
    """Print the generated text."""
    text = VERBS["generate"].call(args)
    if args.json:
        print_json({"text": text})
    else:
        print(text)
    return DONE


def describe(args: argparse.Namespace) -> int:
    """Print the summary of a dataset."""
    summary = VERBS["describe"].call(args)
    if args.json:
        facts = dict(summary.facts.rows)
        print_json(
            {"data": facts, "classes": [list(row) for row in summary.balance.rows], "warnings": list(summary.warnings)}
        )
    else:
        print(summary)
    return DONE


def plan(args: argparse.Namespace) -> int:
    """Print a plan; the exit status does not depend on whether it fits."""
    estimate = VERBS["plan"].call(args)
    if args.json:
        print_json(estimate.to_dict())
    else:
        print(estimate.text)
    return DONE


def report(args: argparse.Namespace) -> int:
    """Write a report, and print its path."""
    path = VERBS["report"].call(args)
    if args.json:
        print_json({"report": str(path)})
    else:
        print(f"report    {path}")
    return DONE


def templates(args: argparse.Namespace) -> int:
    """Print the templates, each with its parameters."""
    table = VERBS["templates"].call(args)
    if args.json:
        print_json(json.loads(table.to_json(orient="records")))
        return DONE
    for name, parameters in table.groupby("template", sort=False):
        print(f"{name}: {parameters['title'].iloc[0]}")
        for row in parameters.itertuples():
            bounds = f" ({row.allowed})" if row.allowed else ""
            print(f"  {row.parameter}: {row.type} = {row.default!r}  # {row.documentation}{bounds}")
    return DONE


def compare(args: argparse.Namespace) -> int:
    """Compare, and print the table and the recommendation."""
    compared = VERBS["compare"].call(args, wait=True)
    recommended = compared.recommend(*([args.constraint] if args.constraint else []))
    if args.json:
        print_json(
            {"variants": compared.to_list(), "recommended": recommended.variant.name, "reason": recommended.reason}
        )
    else:
        print(compared.table.text)
        print(f"\n{recommended}")
    return DONE


def bundle(args: argparse.Namespace) -> int:
    """Write a bundle, and print its path."""
    folder = VERBS["bundle"].call(args)
    if args.json:
        print_json({"bundle": str(folder)})
    else:
        print(f"bundle    {folder}")
    return DONE


def mirror(args: argparse.Namespace) -> int:
    """Send runs or a sweep to a tracker until they end, and print where to see them."""
    tracked = VERBS["mirror"].call(args)
    if args.json:
        print_json(tracked.places)
    else:
        print(tracked)
    return DONE


def learning_curve(args: argparse.Namespace) -> int:
    """Train and print a learning curve, a line per trial; Ctrl-C stops it, and the same command continues it."""
    curve = VERBS["learning-curve"].call(args, tell=lambda line: print(line, file=sys.stderr, flush=True))
    if args.json:
        print_json(curve.to_dict())
    else:
        print(curve.text)
    print(f"{curve.sweep.name}: {curve.sweep.summary()}", file=sys.stderr)
    return DONE if curve.sweep.state == "completed" else NOT_COMPLETED


def steer(args: argparse.Namespace) -> int:
    """Send a command to a run, and wait until its state shows the outcome."""
    steered: Run = VERBS[args.verb].call(args)
    until = UNTIL.get(args.verb, ())
    if until:
        steered.wait_for(*until)
    state = steered.state
    print(repr(steered))
    return DONE if not until or state in until else NOT_COMPLETED


def show(args: argparse.Namespace) -> int:
    """Print the result of a verb that needs no printing of its own."""
    result = VERBS[args.verb].call(args)
    if args.json:
        print_json(result.to_dict() if hasattr(result, "to_dict") else str(result))
    else:
        print(result)
    return DONE


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
    "learning-curve": learning_curve,
    "templates": templates,
}
"""Verb → what calls it and prints its result; ``show`` for the others."""

UNTIL = {"pause": ("paused",), "resume": ("running", "completed"), "stop": ("stopped", "completed")}
"""Verb → the states in which it has succeeded."""


# -- output ---------------------------------------------------------------------------------------


def _watch(started: Run) -> None:
    """Print the lines of a run until it ends."""
    try:
        started.watch(sys.stderr)
    except RunFailed as error:
        print(f"lmkit: {error}", file=sys.stderr)


def _outcome(ended: Run, as_json: bool) -> int:
    if as_json:
        print_json(_result(ended))
    else:
        print(f"run       {ended.path}")
    return DONE if ended.state == "completed" else NOT_COMPLETED


def _result(run: Run) -> dict[str, Any]:
    status = run.status
    record = {"run": str(run.path), "name": run.name, "state": status.state, "metrics": status.metrics or {}}
    return record | ({"error": status.reason} if status.state in ("failed", "lost") else {})


class _Parser(PairParser):
    """A parser whose errors begin with the problem; the usage follows."""

    def error(self, message: str) -> NoReturn:
        self.exit(REFUSED, f"{self.prog}: {message}\n{self.format_usage()}")


def _verb_problem(words: Sequence[str]) -> str:
    """What is wrong with the verb of a command; empty where it is one of the command line, or an option."""
    verb = next(iter(words), "-")
    if verb.startswith("-") or (verb in VERBS and not VERBS[verb].notebook_only):
        return ""
    if verb in VERBS:
        return f"{verb} needs a notebook; in a cell: %lmkit {VERBS[verb].example}"
    return f"unknown verb {verb!r}; {nearest(verb, [name for name in VERBS if not VERBS[name].notebook_only])}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lmkit", description="Train and deploy models, in PyTorch or TensorFlow alike.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"lmkit {lmkit.__version__}")
    subparsers = parser.add_subparsers(metavar="VERB", required=True, dest="verb")
    for name, verb in VERBS.items():
        if not verb.notebook_only:
            subparser = subparsers.add_parser(name, help=verb.help, **verb.parser_options("lmkit"))
            add_arguments(subparser, [*verb.arguments, *([] if COMMANDS.get(name) is steer else [JSON])])
    return parser


if __name__ == "__main__":
    sys.exit(main())
