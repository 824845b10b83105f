"""Verbs of runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import lmkit
from lmkit.commands.arguments import RUN, RUN_NAMES, RUNS, Kind, argument, parse
from lmkit.commands.verb import verb
from lmkit.experiment.placeholders import RawText

if TYPE_CHECKING:
    import pandas as pd

    from lmkit.display.table import Table
    from lmkit.doctor.diagnosis import Diagnosis
    from lmkit.run.run import Run
    from lmkit.run.runs import Runs
    from lmkit.sweeping.diagnosis import SweepDiagnosis
    from lmkit.widgets.monitor import Monitor


@verb(RUNS, example="runs")
def runs(args: argparse.Namespace) -> pd.DataFrame:
    """List the runs, the newest first."""
    return lmkit.runs(args.runs)


@verb(
    RUN_NAMES,
    argument("--trust", action="store_true", help="allow the code that the runs name to run"),
    RUNS,
    example="attach last",
    notebook_only=True,
)
def attach(args: argparse.Namespace) -> Run | Runs:
    """Find runs by their names, wherever they were started."""
    return lmkit.attach(*args.run, runs=args.runs, trust=args.trust)


@verb(
    argument(
        "source",
        kind=Kind.EXPERIMENT_OR_RUN,
        metavar="SOURCE",
        help="a run, a sweep, the folder of a bundle, or an experiment as YAML or JSON",
    ),
    RUNS,
    example="trust last",
)
def trust(args: argparse.Namespace) -> Table:
    """Allow the code that a run, sweep, bundle or file from elsewhere names to run on this machine."""
    return lmkit.trust(args.source, runs=args.runs)


@verb(RUN, RUNS, example="pack last")
def pack(args: argparse.Namespace) -> Table:
    """Copy the functions and data that a run names into its folder, which can then be copied alone."""
    return lmkit.pack(args.run, runs=args.runs)


@verb(RUN_NAMES, RUNS, example="monitor last", notebook_only=True)
def monitor(args: argparse.Namespace) -> Monitor:
    """Show runs live in one chart, with controls to steer them."""
    return lmkit.monitor(*args.run, root=args.runs)


@verb(RUN, RUNS, example="watch last")
def watch(args: argparse.Namespace) -> Run:
    """Print a line per epoch until a run ends; Ctrl-C stops watching, not the run."""
    return lmkit.watch(args.run, runs=args.runs)


@verb(
    argument("run", kind=Kind.RUN, metavar="RUN", nargs="?", help="a run's name, its short id, or: last (the default)"),
    argument("--sweep", kind=Kind.SWEEP, metavar="SWEEP", help="examine the trials of a sweep: its name, or: last"),
    argument("--autopsy", action="store_true", help="of a run that diverged, repeat it to the first bad number"),
    argument("--test", action="store_true", help="try the run out: one batch, dealt targets, whether the change helps"),
    argument("--seconds", metavar="N", type=RawText, default=60, help="maximum seconds of the tests (default: 60)"),
    RUNS,
    example="doctor last --test --seconds 60",
)
def doctor(args: argparse.Namespace) -> Diagnosis | SweepDiagnosis:
    """Say what is wrong with a run or the trials of a sweep, with the evidence and what to change."""
    if args.sweep:
        return lmkit.attach_sweep(args.sweep, runs=args.runs).doctor()
    args.run = args.run or "last"
    return _handle(args).doctor(autopsy=args.autopsy, test=args.test, seconds=parse(args.seconds))


@verb(RUN, RUNS, example="pause last")
def pause(args: argparse.Namespace) -> Run:
    """Pause a run after a checkpoint."""
    return lmkit.pause(args.run, runs=args.runs)


@verb(
    RUN,
    argument("--devices", type=int, help="devices to continue on; default: those of the experiment"),
    argument("--strategy", help="how they share a step, such as ddp or fsdp"),
    RUNS,
    example="resume last",
)
def resume(args: argparse.Namespace) -> Run:
    """Resume a paused, stopped, failed or lost run from its last checkpoint."""
    return lmkit.resume(args.run, devices=args.devices, strategy=args.strategy, runs=args.runs)


@verb(RUN, RUNS, example="stop last")
def stop(args: argparse.Namespace) -> Run:
    """Stop a run after a checkpoint."""
    return lmkit.stop(args.run, runs=args.runs)


@verb(RUN, RUNS, example="checkpoint last")
def checkpoint(args: argparse.Namespace) -> Run:
    """Write a checkpoint of a run now."""
    return _handle(args).checkpoint()


@verb(
    RUN,
    argument("text", metavar="TEXT", help="text of the note; in quotes if it has spaces"),
    RUNS,
    example="note last 'a smaller step from here on'",
)
def note(args: argparse.Namespace) -> Run:
    """Write a note into a run's log."""
    return _handle(args).note(str(args.text))


@verb(
    RUN,
    argument("value", metavar="VALUE", type=RawText, help="a number greater than 0"),
    RUNS,
    example="set-learning-rate last 0.001",
)
def set_learning_rate(args: argparse.Namespace) -> Run:
    """Change the learning rate of a run."""
    return _handle(args).set_learning_rate(parse(args.value))


@verb(
    RUN,
    argument(
        "prompt", metavar="PROMPT", nargs="?", default="", help="the beginning of the text; in quotes if it has spaces"
    ),
    argument("--tokens", metavar="N", type=RawText, default=100, help="maximum number of tokens"),
    argument(
        "--temperature",
        metavar="T",
        type=RawText,
        default=1.0,
        help="sampling temperature: below 1 more likely tokens, above 1 more varied text",
    ),
    argument("--top-k", metavar="K", type=RawText, help="sample from the K most probable tokens only"),
    argument("--seed", metavar="N", type=RawText, default=0, help="random seed of the sampling"),
    RUNS,
    example="generate last 'def ' --tokens 200",
)
def generate(args: argparse.Namespace) -> str:
    """Generate text from a prompt."""
    settings = {name: parse(getattr(args, name)) for name in ("tokens", "temperature", "top_k", "seed")}
    return lmkit.generate(args.run, str(parse(args.prompt)), **settings, runs=args.runs)


@verb(
    RUN,
    argument("to", kind=Kind.FRAMEWORK, metavar="FRAMEWORK", help="torch or tensorflow"),
    RUNS,
    example="convert last tensorflow",
)
def convert(args: argparse.Namespace) -> Run:
    """Convert a completed run's model to the other framework, as a new run."""
    return lmkit.convert(args.run, args.to, runs=args.runs)


def _handle(args: argparse.Namespace) -> Run:
    """The run of a verb that steers one."""
    return args.run if isinstance(args.run, lmkit.Run) else lmkit.attach(args.run, runs=args.runs)
