"""Verbs of templates and sweeps."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lmkit
from lmkit.commands import arguments
from lmkit.commands.arguments import KERNEL, PARAMETERS, RUNS, Kind, argument
from lmkit.commands.verb import verb

if TYPE_CHECKING:
    import pandas as pd

    from lmkit.batch.execute import Execution
    from lmkit.sweeping.sweep import Sweep


@verb(
    argument(
        "template",
        kind=Kind.TEMPLATE,
        metavar="TEMPLATE",
        help="a template's name (see: templates), a notebook, or -: one from the standard input",
    ),
    *PARAMETERS,
    argument("-f", dest="file", kind=Kind.EXPERIMENT_FILE, metavar="FILE", help="parameters as YAML or JSON"),
    argument("-o", dest="output", metavar="OUT.ipynb", help="the executed notebook; -: the standard output"),
    *KERNEL,
    argument("--prepare-only", action="store_true", help="write the notebook with its parameters, do not execute it"),
    argument("--time-limit", type=float, metavar="SECONDS", help="end the notebook and its runs after SECONDS"),
    argument("--detach", action="store_true", help="return at once; the notebook is executed in the background"),
    RUNS,
    example="run train -p framework tensorflow -p epochs 30",
)
def run(args: argparse.Namespace) -> Execution:
    """Run a notebook template, and write a report of it."""
    values, texts = arguments.template_parameters(args)
    return lmkit.run_template(
        args.template,
        values,
        typed=texts,
        output=args.output,
        runs=args.runs,
        time_limit=args.time_limit,
        kernel=args.kernel,
        cwd=args.cwd,
        prepare_only=args.prepare_only,
        detach=args.detach,
    )


@verb(
    argument(
        "template",
        kind=Kind.TEMPLATE,
        metavar="TEMPLATE",
        help="a template's name, a notebook, or the file of an experiment",
    ),
    argument(
        "--grid",
        kind=Kind.DIMENSION,
        action="append",
        default=[],
        metavar="PATH=VALUES",
        help="values to try, all combinations (repeatable), e.g. lr=0.1,0.01",
    ),
    argument(
        "--search",
        kind=Kind.DIMENSION,
        action="append",
        default=[],
        metavar="PATH=RANGE",
        help="range or choices to search (repeatable), e.g. model.dropout=0..0.5, lr=1e-4..1e-1:log, hidden=[32],[64]",
    ),
    argument("--trials", type=int, metavar="N", help="number of trials (default: every combination of the grid)"),
    argument("--method", kind=Kind.SAMPLER, metavar="METHOD", help="grid, random or tpe (default: tpe with --search)"),
    argument(
        "--objective",
        action="append",
        metavar="OBJECTIVE",
        help="what to optimize: val_loss (default), or e.g. 'maximize f1'",
    ),
    argument("--prune", kind=Kind.PRUNER, metavar="RULE", help="stop weak trials early: median or halving"),
    argument(
        "--name",
        kind=Kind.SWEEP,
        metavar="SWEEP",
        help="name of the sweep, by which it is continued",
    ),
    argument("--workers", type=int, metavar="N", help="trials at a time (default: from cores and free memory)"),
    argument("--engine", default="threads", metavar="ENGINE", help="threads (default), dask://…, ray://…"),
    argument("--seed", type=int, default=0, metavar="N", help="random seed of the search"),
    argument("--retry-failed", action="store_true", help="retry trials that failed"),
    argument("--detach", action="store_true", help="return at once; the sweep continues in the background"),
    *PARAMETERS,
    argument(
        "-f",
        dest="file",
        kind=Kind.EXPERIMENT_FILE,
        metavar="FILE",
        help="parameters of all trials, grid and search, as YAML or JSON",
    ),
    argument("--time-limit", type=float, metavar="SECONDS", help="end a trial after SECONDS"),
    argument("--trust", action="store_true", help="allow the code that the experiment names to run"),
    *KERNEL,
    RUNS,
    example="sweep train --grid lr=0.1,0.01 --search model.dropout=0..0.5 --trials 8 --name night-1",
)
def sweep(args: argparse.Namespace, *, inline: bool = False, tell: Callable[[str], None] | None = None) -> Sweep:
    """Run a notebook for many parameter sets, or continue a sweep."""
    values, texts = arguments.template_parameters(args)
    varied: dict[str, Any] = {
        name: arguments.search_space(name, values.pop(name, {}), getattr(args, name)) for name in ("grid", "search")
    }
    return lmkit.sweep(
        args.template,
        values,
        typed=texts,
        **varied,
        trials=args.trials,
        method=args.method,
        objective=args.objective,
        prune=args.prune,
        name=args.name,
        workers=args.workers,
        engine=args.engine,
        seed=args.seed,
        time_limit=args.time_limit,
        retry_failed=args.retry_failed,
        kernel=args.kernel,
        cwd=args.cwd,
        trust=args.trust,
        runs=args.runs,
        inline=inline,
        tell=tell,
    )


@verb(
    argument("sweep", kind=Kind.SWEEP, metavar="SWEEP", nargs="?", help="a sweep's name, or: last (default: list all)"),
    RUNS,
    example="sweeps night-1",
)
def sweeps(args: argparse.Namespace) -> pd.DataFrame | Sweep:
    """List the sweeps, or show the trials of one."""
    return lmkit.attach_sweep(args.sweep, runs=args.runs) if args.sweep else lmkit.sweeps(args.runs)


@verb(
    argument("sweep", kind=Kind.SWEEP, metavar="SWEEP", help="a sweep's name, or: last"),
    RUNS,
    example="stop-sweep night-1",
)
def stop_sweep(args: argparse.Namespace) -> Sweep:
    """Stop a sweep after its trials have saved a checkpoint; run the same command to continue."""
    return lmkit.stop_sweep(args.sweep, runs=args.runs)


@verb(example="templates")
def templates(_: argparse.Namespace) -> pd.DataFrame:
    """List the templates and their parameters."""
    return lmkit.templates()
