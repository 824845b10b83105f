"""Verbs of surfaces: gradient descent, and the loss of a run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import lmkit
from lmkit.commands.arguments import RUN, RUNS, argument, parse
from lmkit.commands.verb import verb
from lmkit.experiment.placeholders import RawText

if TYPE_CHECKING:
    from lmkit.surfaces.landscape import Landscape
    from lmkit.widgets.descent import Descent

OUTPUT = argument("-o", dest="output", metavar="FILE", help="write the player as .html, or a picture as .png")

OPTIONS = ("lr", "momentum", "start", "steps", "condition", "noise", "batch", "seed", "framework")


@verb(
    argument(
        "--surface",
        metavar="NAME",
        default="ravine",
        help="bowl, ravine (default), saddle, rosenbrock, beale, plateau or regression",
    ),
    argument("--lr", metavar="RATE", type=RawText, help="learning rate (default: one that suits the surface)"),
    argument(
        "--optimizers",
        metavar="NAME",
        nargs="+",
        default=["sgd"],
        help="sgd (default), momentum, nesterov, adam, adamw",
    ),
    argument("--momentum", metavar="BETA", type=RawText, help="momentum of SGD, or beta1 of Adam (default: 0.9)"),
    argument("--start", metavar="W", type=RawText, nargs=2, help="the two weights of step 0"),
    argument("--steps", metavar="N", type=RawText, help="maximum number of steps"),
    argument("--condition", metavar="K", type=RawText, help="condition number of the ravine"),
    argument("--noise", metavar="SD", type=RawText, help="standard deviation of noise on the gradient"),
    argument("--batch", metavar="N", type=RawText, help="rows per step of the regression"),
    argument("--seed", metavar="N", type=RawText, help="random seed of noise and batches"),
    argument("--framework", metavar="NAME", help="whose optimizers take the steps: torch or tensorflow"),
    OUTPUT,
    example="descent --surface ravine --lr 0.1",
)
def descent(args: argparse.Namespace) -> Descent:
    """Show gradient descent on a surface."""
    values = {name: getattr(args, name) for name in OPTIONS}
    values["start"] = args.start and [parse(text) for text in args.start]
    settings = {name: parse(value) for name, value in values.items() if value is not None}
    player = lmkit.descent(args.surface, optimizers=args.optimizers, **settings)
    if args.output:
        player.save(args.output)
    return player


@verb(
    RUN,
    argument("--directions", metavar="NAME", default="path", help="path (default: retrains the run), or random"),
    argument("--size", metavar="N", type=RawText, help="points per side: 6, 11, 21 (default) or 41"),
    argument("--span", metavar="S", type=RawText, help="how far a slice along random directions reaches (default: 1)"),
    argument("--seed", metavar="N", type=RawText, help="random seed of the directions"),
    OUTPUT,
    RUNS,
    example="landscape last --directions random",
)
def landscape(args: argparse.Namespace) -> Landscape:
    """Compute a slice through the loss of a run."""
    settings = {name: parse(value) for name in ("size", "span", "seed") if (value := getattr(args, name)) is not None}
    computed = lmkit.landscape(args.run, directions=args.directions, runs=args.runs, **settings)
    if args.output:
        lmkit.descent(computed).save(args.output)
    return computed
