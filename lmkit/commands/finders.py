"""Verbs that find a setting by trying it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import lmkit
from lmkit.commands import arguments
from lmkit.commands.arguments import EXPERIMENT, RUNS, Kind, argument, parameter, parse
from lmkit.commands.verb import verb
from lmkit.experiment.placeholders import RawText

if TYPE_CHECKING:
    from lmkit.finders.learning_rate import LearningRateTest
    from lmkit.finders.micro_batch import MicroBatchTest


@verb(
    EXPERIMENT,
    parameter(Kind.PATH, "PATH"),
    argument("--low", metavar="RATE", type=RawText, help="lowest learning rate (default: 1e-06)"),
    argument("--high", metavar="RATE", type=RawText, help="highest learning rate (default: 10)"),
    argument("--steps", metavar="N", type=RawText, help="steps over which the rate rises (default: 120)"),
    RUNS,
    example="find-learning-rate experiment.yaml -p optimizer sgd",
)
def find_learning_rate(args: argparse.Namespace) -> LearningRateTest:
    """Find a learning rate: raise it step by step, and see where the loss falls fastest."""
    settings = {name: parse(value) for name in ("low", "high", "steps") if (value := getattr(args, name)) is not None}
    return lmkit.find_learning_rate(args.file, runs=args.runs, **settings, **arguments.changes(args))


@verb(
    EXPERIMENT,
    parameter(Kind.PATH, "PATH"),
    RUNS,
    example="find-micro-batch experiment.yaml -p batch_size 256",
)
def find_micro_batch(args: argparse.Namespace) -> MicroBatchTest:
    """Find the largest micro-batch that fits into memory, with the time of each size."""
    return lmkit.find_micro_batch(args.file, runs=args.runs, **arguments.changes(args))
