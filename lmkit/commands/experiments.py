"""Verbs of experiments and data."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import lmkit
from lmkit.commands import arguments
from lmkit.commands.arguments import EXPERIMENT, INLINE, RUNS, Kind, argument, parameter, parse
from lmkit.commands.verb import verb
from lmkit.experiment.placeholders import RawText

if TYPE_CHECKING:
    from lmkit.planning.plan import Plan
    from lmkit.run.run import Run
    from lmkit.tables.dataset import DatasetSummary
    from lmkit.widgets.configurator import Configurator


@verb(
    argument(
        "file",
        kind=Kind.EXPERIMENT_OR_RUN,
        metavar="EXPERIMENT",
        nargs="?",
        help="what to start from: a YAML or JSON file, or the name of a run",
    ),
    RUNS,
    example="new experiment.yaml",
    notebook_only=True,
)
def new(args: argparse.Namespace) -> Configurator:
    """Open the form that configures an experiment."""
    return lmkit.configure(args.file, runs=args.runs)


@verb(
    EXPERIMENT,
    parameter(Kind.PATH, "PATH"),
    argument("--trust", action="store_true", help="allow the code that the file or run names to run"),
    argument("--detach", action="store_true", help="return at once, as in a notebook; training continues"),
    argument("--no-start", action="store_true", help="only create the run's folder, for python -m lmkit.worker"),
    RUNS,
    example="train experiment.yaml -p training.optimizer.lr 0.1",
    notebook_arguments=(INLINE,),
)
def train(args: argparse.Namespace, *, inline: bool = False) -> Run:
    """Train an experiment."""
    from lmkit.run.resolve import resolve_experiment

    experiment = resolve_experiment(args.file, arguments.changes(args), runs=args.runs, inline=inline)
    return lmkit.train(experiment, inline=inline, trust=args.trust, start=not args.no_start, runs=args.runs)


@verb(
    argument("file", metavar="DATA", help="a data source, such as digits or a table's file; or an experiment or a run"),
    parameter(Kind.PATH, "PATH"),
    RUNS,
    example="describe table.csv -p target price",
)
def describe(args: argparse.Namespace) -> DatasetSummary:
    """Describe a dataset: rows, classes, examples, warnings."""
    return lmkit.describe(args.file, runs=args.runs, **arguments.changes(args))


@verb(
    argument(
        "file",
        kind=Kind.EXPERIMENT_FILE,
        metavar="FILE",
        help="an experiment as YAML or JSON, a data source, a model such as transformer:gpt2, or a run",
    ),
    parameter(Kind.PATH, "PATH"),
    argument("--device", metavar="NAME", help="cpu, cuda, cuda:N or mps (default: that of the experiment)"),
    argument(
        "--memory", metavar="AMOUNT", type=RawText, help="memory of the device, such as 24GB (default: the free memory)"
    ),
    argument(
        "--devices",
        metavar="N",
        type=RawText,
        nargs="+",
        help="numbers of devices, to print a table of a large model over them",
    ),
    argument("--vocabulary", metavar="N", type=RawText, help="size of the vocabulary, instead of the data's"),
    argument("--length", metavar="N", type=RawText, help="tokens per row, instead of the data's"),
    argument(
        "--quick", action="store_true", help="do not benchmark this machine; no times, unless it was benchmarked before"
    ),
    RUNS,
    example="plan experiment.yaml -p model transformer:gpt2",
)
def plan(args: argparse.Namespace) -> Plan:
    """Estimate the memory, storage and time of an experiment, and whether it fits."""
    settings = {name: parse(getattr(args, name)) for name in ("device", "memory", "vocabulary", "length")}
    devices = args.devices and tuple(map(parse, args.devices))
    calibrate: Any = "cached" if args.quick else True
    changes = arguments.changes(args)
    return lmkit.plan(args.file, **settings, devices=devices, calibrate=calibrate, runs=args.runs, **changes)
