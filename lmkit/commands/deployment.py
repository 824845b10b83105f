"""Verbs of what follows training: comparison, bundle, report, trackers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmkit
from lmkit.commands.arguments import RUN, RUN_NAMES, RUNS, Kind, argument, parse
from lmkit.commands.verb import verb
from lmkit.experiment.placeholders import RawText

if TYPE_CHECKING:
    from lmkit.deploy.compare.comparison import Comparison
    from lmkit.trackers import Export


@verb(
    RUN_NAMES,
    argument("-t", dest="techniques", action="append", metavar="NAME", help="a technique (repeatable; default: all)"),
    argument(
        "--for",
        dest="constraint",
        metavar="TEXT",
        help="what to recommend, such as 'smallest within 1 point of accuracy'",
    ),
    argument(
        "--batch",
        dest="batches",
        action="append",
        type=int,
        metavar="ROWS",
        help="rows per call (repeatable; default: 1 and 32)",
    ),
    argument("--threads", type=int, default=1, metavar="N", help="threads per process (default: 1)"),
    argument("--device", default="cpu", metavar="NAME", help="where to measure: cpu (default) or cuda:N"),
    argument("--rounds", type=int, default=45, metavar="N", help="maximum number of timings per variant (default: 45)"),
    argument("--again", action="store_true", help="repeat earlier measurements"),
    argument("--patience", type=float, default=1800.0, metavar="SECONDS", help="time limit of each step of a variant"),
    argument("--saved", action="store_true", help="show earlier measurements only"),
    argument("--no-limits", dest="limits", action="store_false", help="do not benchmark this machine"),
    RUNS,
    example="compare last -t onnx -t onnx-int8-static --for 'fastest within 1 point of accuracy'",
)
def compare(args: argparse.Namespace, *, wait: bool | None = None) -> Comparison:
    """Apply deployment techniques to runs, and measure each against the original model."""
    if args.saved:
        return lmkit.comparison(args.run or "last", runs=args.runs)
    return lmkit.compare(
        args.run or "last",
        args.techniques,
        batches=tuple(args.batches or (1, 32)),
        threads=args.threads,
        device=args.device,
        rounds=args.rounds,
        again=args.again,
        wait=wait,
        limits=args.limits,
        patience=args.patience,
        runs=args.runs,
    )


@verb(
    RUN,
    argument("technique", metavar="TECHNIQUE", help="the variant, such as onnx"),
    argument("out", metavar="DIR", help="the folder to write; empty or new"),
    argument("--layout", default="plain", help="plain, triton or tensorflow-serving"),
    argument("--raw-rows", action="store_true", help="put the preprocessing into the file (ONNX)"),
    RUNS,
    example="bundle last onnx out/",
)
def bundle(args: argparse.Namespace) -> Path:
    """Write a variant of a run as a folder to deploy."""
    return lmkit.bundle(args.run, args.technique, args.out, layout=args.layout, raw_rows=args.raw_rows, runs=args.runs)


@verb(
    argument(
        "run", kind=Kind.RUN, metavar="RUN", nargs="*", help="names of runs, or: last; or an executed .ipynb file"
    ),
    argument("-o", dest="output", metavar="OUT", help="an .html, .ipynb or .pdf file (default: in the run's folder)"),
    argument("--compared", action="store_true", help="report the comparison of the runs"),
    argument("--sweep", kind=Kind.SWEEP, metavar="SWEEP", help="report a sweep: its name, or: last"),
    argument("--interactive", action="store_true", help="interactive charts; adds 4.8 MB to the page"),
    argument("--private", action="store_true", help="leave out folders and commands"),
    argument("--explain", action="store_true", help="show what the model of a run looks at"),
    RUNS,
    example="report last -o report.html",
)
def report(args: argparse.Namespace) -> Path:
    """Write runs, a comparison, a sweep or an executed notebook as a self-contained page."""
    runs = args.run if isinstance(args.run, list | tuple) else [args.run]
    source: Any = runs[0] if len(runs) == 1 else list(runs) or "last"
    if args.compared:
        source = lmkit.comparison(source, runs=args.runs)
    if args.sweep:
        source = lmkit.attach_sweep(args.sweep, runs=args.runs)
    return lmkit.report(
        source,
        args.output,
        interactive=args.interactive,
        private=args.private,
        explain=args.explain,
        runs=args.runs,
    )


@verb(
    argument(
        "run", kind=Kind.RUN, metavar="RUN", nargs="*", help="names of runs, or a sweep's name (default: the last run)"
    ),
    argument("--sweep", kind=Kind.SWEEP, metavar="SWEEP", help="a sweep: its name, or: last"),
    argument("--to", default="tensorboard", metavar="NAME", help="tensorboard or mlflow (default: tensorboard)"),
    argument("--where", metavar="ADDRESS", help="folder of the event files, or address of the tracking server"),
    argument("--every", metavar="N", type=RawText, help="steps averaged per point (default: about 5,000 points)"),
    RUNS,
    example="mirror night-1 --to mlflow --where http://127.0.0.1:5000",
)
def mirror(args: argparse.Namespace) -> Export:
    """Send runs or a sweep to TensorBoard or MLflow, during training or afterwards."""
    source: Any = lmkit.attach_sweep(args.sweep, runs=args.runs) if args.sweep else args.run or "last"
    return lmkit.mirror(source, args.to, where=args.where, every=parse(args.every), runs=args.runs)
