"""Verbs of what limits a model: learning curves, and the rows that it gets wrong."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

import lmkit
from lmkit.commands import arguments
from lmkit.commands.arguments import EXPERIMENT, RUN, RUNS, Kind, argument, parameter, parse
from lmkit.commands.verb import verb
from lmkit.experiment.placeholders import RawText

if TYPE_CHECKING:
    from lmkit.analysis.curve import LearningCurve
    from lmkit.analysis.errors import Errors


@verb(
    EXPERIMENT,
    parameter(Kind.PATH, "PATH"),
    argument("--sizes", metavar="N", type=RawText, default=6, help="numbers of training rows (default: 6)"),
    argument("--seeds", metavar="N", type=RawText, default=3, help="seeds for each (default: 3)"),
    argument("--metric", metavar="NAME", help="the score (default: accuracy for classes, mae for numbers)"),
    argument("--workers", type=int, metavar="N", help="trials at a time (default: from cores and free memory)"),
    RUNS,
    example="learning-curve digits -p model mlp:small --sizes 5 --seeds 2",
)
def learning_curve(args: argparse.Namespace, *, tell: Callable[[str], None] | None = None) -> LearningCurve:
    """Train on growing shares of the rows, and estimate what more rows would give."""
    return lmkit.learning_curve(
        args.file,
        sizes=parse(args.sizes),
        seeds=parse(args.seeds),
        metric=args.metric,
        workers=args.workers,
        runs=args.runs,
        tell=tell,
        **arguments.changes(args),
    )


@verb(
    RUN,
    argument("--part", metavar="PART", help="training, validation or test (default: validation and test)"),
    argument("--count", metavar="N", type=RawText, default=12, help="rows of each table (default: 12)"),
    RUNS,
    example="errors last --part test",
)
def errors(args: argparse.Namespace) -> Errors:
    """Show the worst rows of a run, suspicious labels, and slices in which it errs more."""
    return lmkit.errors(args.run, part=args.part, count=parse(args.count), runs=args.runs)
