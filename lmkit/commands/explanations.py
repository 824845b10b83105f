"""Verbs that explain a trained model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import lmkit
from lmkit.commands.arguments import RUN, RUNS, argument, parse
from lmkit.commands.verb import verb
from lmkit.experiment.placeholders import RawText

if TYPE_CHECKING:
    from lmkit.explanations.explanation import Explanation


@verb(
    RUN,
    argument(
        "--row",
        dest="rows",
        action="append",
        type=RawText,
        metavar="N",
        help="number of a row of the test part, or the name of a node (repeatable; default: 100 rows)",
    ),
    argument("--column", dest="columns", action="append", metavar="NAME", help="a column to show (repeatable)"),
    argument("--method", dest="methods", action="append", metavar="NAME", help="a method (repeatable; default: all)"),
    argument(
        "--class",
        dest="target",
        metavar="NAME",
        help="the class to explain (default: class 1 of two, else the predicted one)",
    ),
    argument("--baseline", default="mean", help="what attributions start from: mean or zero (default: mean)"),
    argument("--seed", metavar="N", type=RawText, default=0, help="random seed of shuffles"),
    RUNS,
    example="explain last --row 7 --column age",
)
def explain(args: argparse.Namespace) -> Explanation:
    """Explain what a model looks at: attributions, importance and dependence of columns."""
    return lmkit.explain(
        args.run,
        [parse(row) for row in args.rows] if args.rows else None,
        target=args.target,
        columns=args.columns,
        methods=args.methods,
        baseline=args.baseline,
        seed=parse(args.seed),
        runs=args.runs,
    )
