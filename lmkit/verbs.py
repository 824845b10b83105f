"""The verbs that are typed: ``lmkit pause last`` on a command line, ``%lmkit pause last`` in a notebook.

Each takes the same words in both places and calls the public function of the same name. The command line prints what
comes of it, the magic returns it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

import lmkit
from lmkit.data.objects import referred
from lmkit.errors import SweepError, TemplateError
from lmkit.placeholders import Typed
from lmkit.specs.plain import load_yaml, not_yaml

if TYPE_CHECKING:
    import pandas as pd

    from lmkit.batch.execution import Execution
    from lmkit.deploy.comparison import Comparison
    from lmkit.description import Description
    from lmkit.mirrors import Mirrored
    from lmkit.planning.plan import Plan
    from lmkit.run import Run, Runs
    from lmkit.sweeping.sweep import Sweep
    from lmkit.widgets.configurator import Configurator
    from lmkit.widgets.monitor import Monitor


class Word(NamedTuple):
    """One argument of a verb, as ``ArgumentParser.add_argument`` takes it."""

    names: tuple[str, ...]
    options: dict[str, Any]


class Verb(NamedTuple):
    """One verb.

    Attributes:
        name: as it is typed.
        help: what it does, in one line.
        words: its arguments.
        example: a line that uses it, beginning with its name.
        call: does it with the words that were read, and returns what comes of it.
    """

    name: str
    help: str
    words: tuple[Word, ...]
    example: str
    call: Callable[[argparse.Namespace], Any]

    def options(self, prefix: str) -> dict[str, Any]:
        """What an ``ArgumentParser`` of this verb is made with, where ``prefix`` is typed before it."""
        return {"description": self.help, "epilog": f"example: {prefix} {self.example}", "allow_abbrev": False}


VERBS: dict[str, Verb] = {}
"""Name → verb, in the order in which help tells of them."""


# -- the words ------------------------------------------------------------------------------------


def word(*names: str, **options: Any) -> Word:
    """An argument, given as to ``ArgumentParser.add_argument``."""
    return Word(names, options)


def add_words(parser: argparse.ArgumentParser, words: Iterable[Word]) -> None:
    """Adds arguments to a parser."""
    for each in words:
        parser.add_argument(*each.names, **each.options)


def _parameter(metavar: str) -> Word:
    return word(
        "-p", nargs=2, action="append", type=Typed, default=[], dest="parameter", metavar=(metavar, "VALUE"),
        help="one to set, as often as needed; a path is such as training.optimizer.lr",
    )  # fmt: skip


RUN = word("run", metavar="RUN", help="a run's name, the beginning of it, its short id, or: last")
SEVERAL = word("run", metavar="RUN", nargs="*", help="names of runs, each as a whole, its beginning or its short id")
TIME_LIMIT = word("--time-limit", type=float, metavar="SECONDS", help="end the notebook, and its runs, after so long")
RUNS = word("--runs", metavar="DIR", help="where runs are kept (default: $LMKIT_RUNS or ./runs)")


# -- the verbs ------------------------------------------------------------------------------------


def _verb(*words: Word, example: str) -> Callable[[Callable[[argparse.Namespace], Any]], Callable[..., Any]]:
    """Makes a function a verb, called as the function is and documented by its first line."""

    def add(call: Callable[[argparse.Namespace], Any]) -> Callable[..., Any]:
        name = call.__name__.replace("_", "-")
        documentation = (call.__doc__ or "").partition("\n")[0].rstrip(".")
        VERBS[name] = Verb(name, documentation, words, example, call)
        return call

    return add


@_verb(
    word("file", metavar="EXPERIMENT", nargs="?", help="what to begin with: a YAML or JSON file, or the name of a run"),
    RUNS,
    example="new experiment.yaml",
)
def new(chosen: argparse.Namespace) -> Configurator:
    """Opens the form that makes an experiment."""
    return lmkit.configure(_given(chosen), runs=chosen.runs)


@_verb(
    word("file", metavar="FILE", help="an experiment as YAML or JSON"),
    _parameter("PATH"),
    RUNS,
    example="train experiment.yaml -p training.optimizer.lr 0.1",
)
def train(chosen: argparse.Namespace) -> Run:
    """Trains what a file describes."""
    inline = getattr(chosen, "inline", False)
    given = _given(chosen, inline)
    if not isinstance(given, lmkit.Experiment):
        given = lmkit.Experiment.from_dict(given) if isinstance(given, Mapping) else lmkit.Experiment.load(given)
    changes = referred({path: _value(typed) for path, typed in chosen.parameter}, chosen.runs, inline=inline)
    for path in ("data", "data.source"):
        if _in_memory(changes.get(path)):
            changes |= {f"data.{name}": value for name, value in _kept(changes.pop(path), chosen.runs, inline).items()}
    return lmkit.train(given.override(changes), inline=inline, runs=chosen.runs)


@_verb(
    word("file", metavar="DATA", help="a source, such as digits or a table's file, or the file of an experiment"),
    _parameter("PATH"),
    RUNS,
    example="describe table.csv -p target price",
)
def describe(chosen: argparse.Namespace) -> Description:
    """Tells what there is to train on: rows, classes, examples, warnings."""
    changes = {path: _value(typed) for path, typed in chosen.parameter}
    return lmkit.describe(_given(chosen), runs=chosen.runs, **changes)


@_verb(
    word("file", metavar="FILE", help="an experiment as YAML or JSON; or a run's name, or a model: transformer:gpt2"),
    _parameter("PATH"),
    word("--device", metavar="NAME", help="cpu or cuda (default: the first GPU, else the processor)"),
    word("--memory", metavar="AMOUNT", type=Typed, help="that the device has, such as 24GB (default: what is free)"),
    word("--devices", metavar="N", type=Typed, nargs="+", help="counts of devices, to table a large model over them"),
    word("--vocabulary", metavar="N", type=Typed, help="tokens that there are, instead of the data's"),
    word("--length", metavar="N", type=Typed, help="tokens of a row, instead of the data's"),
    word("--quick", action="store_true", help="do not measure this machine; no times, unless it was measured before"),
    RUNS,
    example="plan experiment.yaml -p model transformer:gpt2",
)
def plan(chosen: argparse.Namespace) -> Plan:
    """Says what an experiment takes in memory, storage and time, and whether it fits."""
    changes = {path: _value(typed) for path, typed in chosen.parameter}
    settings = {name: _value(getattr(chosen, name)) for name in ("device", "memory", "vocabulary", "length")}
    devices = chosen.devices and tuple(map(_value, chosen.devices))
    calibrate: Any = "cached" if chosen.quick else True
    return lmkit.plan(_given(chosen), **settings, devices=devices, calibrate=calibrate, runs=chosen.runs, **changes)


@_verb(
    word("template", metavar="TEMPLATE", help="a template's name (see: templates) or a notebook"),
    _parameter("NAME"),
    word("-f", dest="file", metavar="FILE", help="parameters as YAML or JSON"),
    word("-o", dest="output", metavar="OUT.ipynb", help="where to put the executed notebook"),
    TIME_LIMIT,
    RUNS,
    example="run train -p framework tensorflow -p epochs 30",
)
def run(chosen: argparse.Namespace) -> Execution:
    """Executes a notebook template, and makes a report of it."""
    given, typed = _parameters(chosen)
    return lmkit.run_template(
        chosen.template, given, typed=typed, output=chosen.output, runs=chosen.runs,
        time_limit=chosen.time_limit,
    )  # fmt: skip


@_verb(
    word("template", metavar="TEMPLATE", help="a template's name, a notebook, or a file of an experiment"),
    word("--grid", action="append", default=[], metavar="PATH=VALUES", help="all of them, such as lr=0.1,0.01"),
    word(
        "--search",
        action="append",
        default=[],
        metavar="PATH=RANGE",
        help="drawn from, such as model.dropout=0..0.5, lr=1e-4..1e-1:log, hidden=[32],[64]",
    ),
    word("--trials", type=int, metavar="N", help="how many (default: every combination of the grid)"),
    word("--method", metavar="METHOD", help="grid, random or tpe (default: tpe where there is a search)"),
    word("--objective", action="append", metavar="OBJECTIVE", help="such as val_loss (the default), or 'maximize f1'"),
    word("--prune", metavar="RULE", help="median or halving: give up weak trials before their end"),
    word("--name", metavar="SWEEP", help="of the sweep; the same command with it goes on with what is not finished"),
    word("--workers", type=int, metavar="N", help="trials at a time (default: by cores and free memory)"),
    word("--engine", default="threads", metavar="ENGINE", help="where they are executed (default: threads)"),
    word("--seed", type=int, default=0, metavar="N", help="decides what is drawn"),
    word("--retry-failed", action="store_true", help="try those again that failed for good"),
    _parameter("NAME"),
    word("-f", dest="file", metavar="FILE", help="parameters of all trials, and grid and search, as YAML or JSON"),
    word("--time-limit", type=float, metavar="SECONDS", help="end a trial after so long"),
    RUNS,
    example="sweep train --grid lr=0.1,0.01 --search model.dropout=0..0.5 --trials 8 --name night-1",
)
def sweep(chosen: argparse.Namespace) -> Sweep:
    """Executes a notebook for many parameter sets, or goes on with that."""
    given, typed = _parameters(chosen)
    varied: dict[str, Any] = {
        name: {**_mapping(name, given.pop(name, {})), **_dimensions(f"--{name}", getattr(chosen, name))}
        for name in ("grid", "search")
    }
    return lmkit.sweep(
        chosen.template, given, typed=typed, **varied, trials=chosen.trials, method=chosen.method,
        objective=chosen.objective, prune=chosen.prune, name=chosen.name, workers=chosen.workers, engine=chosen.engine,
        seed=chosen.seed, time_limit=chosen.time_limit, retry_failed=chosen.retry_failed, runs=chosen.runs,
        inline=getattr(chosen, "inline", False), tell=getattr(chosen, "tell", None),
    )  # fmt: skip


@_verb(
    word("sweep", metavar="SWEEP", nargs="?", help="a sweep's name, or: last (default: a list of all)"),
    RUNS,
    example="sweeps night-1",
)
def sweeps(chosen: argparse.Namespace) -> pd.DataFrame | Sweep:
    """Lists the sweeps, or shows one's trials."""
    return lmkit.attach_sweep(chosen.sweep, runs=chosen.runs) if chosen.sweep else lmkit.sweeps(chosen.runs)


@_verb(word("sweep", metavar="SWEEP", help="a sweep's name, or: last"), RUNS, example="stop-sweep night-1")
def stop_sweep(chosen: argparse.Namespace) -> Sweep:
    """Ends a sweep, after checkpoints; the command that began it goes on."""
    return lmkit.stop_sweep(chosen.sweep, runs=chosen.runs)


@_verb(RUNS, example="runs")
def runs(chosen: argparse.Namespace) -> pd.DataFrame:
    """Lists the runs, the newest first."""
    return lmkit.runs(chosen.runs)


@_verb(SEVERAL, RUNS, example="attach last")
def attach(chosen: argparse.Namespace) -> Run | Runs:
    """Finds runs by their names, wherever they were started."""
    return lmkit.attach(*chosen.run, runs=chosen.runs)


@_verb(SEVERAL, RUNS, example="monitor last")
def monitor(chosen: argparse.Namespace) -> Monitor:
    """Shows runs live, laid over each other, with the controls to steer them."""
    return lmkit.monitor(*chosen.run, root=chosen.runs)


@_verb(RUN, RUNS, example="watch last")
def watch(chosen: argparse.Namespace) -> Run:
    """Prints a line an epoch until a run has ended; an interrupt ends only the watching."""
    return lmkit.watch(chosen.run, runs=chosen.runs)


@_verb(RUN, RUNS, example="pause last")
def pause(chosen: argparse.Namespace) -> Run:
    """Lets a run wait, after a checkpoint."""
    return lmkit.pause(chosen.run, runs=chosen.runs)


@_verb(RUN, RUNS, example="resume last")
def resume(chosen: argparse.Namespace) -> Run:
    """Goes on with a paused, stopped, failed or lost run from its last checkpoint."""
    return lmkit.resume(chosen.run, runs=chosen.runs)


@_verb(RUN, RUNS, example="stop last")
def stop(chosen: argparse.Namespace) -> Run:
    """Ends a run, after a checkpoint."""
    return lmkit.stop(chosen.run, runs=chosen.runs)


@_verb(RUN, RUNS, example="checkpoint last")
def checkpoint(chosen: argparse.Namespace) -> Run:
    """Lets a run write a checkpoint now."""
    return _handle(chosen).checkpoint()


@_verb(
    RUN,
    word("text", metavar="TEXT", help="what to write; in quotes where it has spaces"),
    RUNS,
    example="note last 'a smaller step from here on'",
)
def note(chosen: argparse.Namespace) -> Run:
    """Writes a note into a run's log."""
    return _handle(chosen).note(str(chosen.text))


@_verb(
    RUN,
    word("value", metavar="VALUE", type=Typed, help="a number greater than 0"),
    RUNS,
    example="set-learning-rate last 0.001",
)
def set_learning_rate(chosen: argparse.Namespace) -> Run:
    """Goes on at another learning rate."""
    return _handle(chosen).set_learning_rate(_value(chosen.value))


@_verb(
    RUN,
    word("prompt", metavar="PROMPT", nargs="?", default="", help="what to go on from; in quotes where it has spaces"),
    word("--tokens", metavar="N", type=Typed, default=100, help="how many to write at most"),
    word("--temperature", metavar="T", type=Typed, default=1.0, help="under 1 bolder, over 1 more varied"),
    word("--top-k", metavar="K", type=Typed, help="draw from the K most probable tokens only"),
    word("--seed", metavar="N", type=Typed, default=0, help="decides what is drawn"),
    RUNS,
    example="generate last 'def ' --tokens 200",
)
def generate(chosen: argparse.Namespace) -> str:
    """Lets a language model go on with a prompt."""
    settings = {name: _value(getattr(chosen, name)) for name in ("tokens", "temperature", "top_k", "seed")}
    return lmkit.generate(chosen.run, str(_value(chosen.prompt)), **settings, runs=chosen.runs)


@_verb(
    RUN,
    word("to", metavar="FRAMEWORK", help="torch or tensorflow"),
    RUNS,
    example="convert last tensorflow",
)
def convert(chosen: argparse.Namespace) -> Run:
    """Carries a completed run's model to the other framework, as a new run."""
    return lmkit.convert(chosen.run, chosen.to, runs=chosen.runs)


@_verb(
    SEVERAL,
    word(
        "-t", dest="techniques", action="append", metavar="NAME", help="a technique, as often as needed (default: all)"
    ),
    word(
        "--for",
        dest="constraint",
        metavar="WORDS",
        help="what to recommend, such as 'smallest within 1 point of accuracy'",
    ),
    word("--batch", dest="batches", action="append", type=int, metavar="ROWS", help="rows a call (default: 1 and 32)"),
    word("--threads", type=int, default=1, metavar="N", help="threads of each process (default: one)"),
    word("--rounds", type=int, default=45, metavar="N", help="how often each is timed, at most (default: 45)"),
    word("--again", action="store_true", help="measure anew what was measured before"),
    word("--patience", type=float, default=1800.0, metavar="S", help="seconds that one step of a variant may take"),
    word("--saved", action="store_true", help="measure nothing; show what was measured before"),
    word("--no-limits", dest="limits", action="store_false", help="do not measure what this machine can do at best"),
    RUNS,
    example="compare last -t onnx -t onnx-int8-static --for 'fastest within 1 point of accuracy'",
)
def compare(chosen: argparse.Namespace) -> Comparison:
    """Applies deployment techniques to runs, and measures each beside the untouched model."""
    if chosen.saved:
        return lmkit.comparison(chosen.run or "last", runs=chosen.runs)
    return lmkit.compare(
        chosen.run or "last", chosen.techniques, batches=tuple(chosen.batches or (1, 32)), threads=chosen.threads,
        rounds=chosen.rounds, again=chosen.again, wait=getattr(chosen, "wait", None), limits=chosen.limits,
        patience=chosen.patience, runs=chosen.runs,
    )  # fmt: skip


@_verb(
    RUN,
    word("technique", metavar="TECHNIQUE", help="which variant, such as onnx"),
    word("out", metavar="DIR", help="the folder to write, empty or not there yet"),
    word("--layout", default="plain", help="plain, triton or tensorflow-serving"),
    RUNS,
    example="bundle last onnx out/",
)
def bundle(chosen: argparse.Namespace) -> Path:
    """Writes a variant of a run as a folder to deploy."""
    return lmkit.bundle(chosen.run, chosen.technique, chosen.out, layout=chosen.layout, runs=chosen.runs)


@_verb(
    word("run", metavar="RUN", nargs="*", help="a run's name, or: last; or several; or an executed .ipynb file"),
    word("-o", dest="output", metavar="OUT", help="an .html, .ipynb or .pdf file (default: in the run's folder)"),
    word("--compared", action="store_true", help="of what was compared of the runs before"),
    word("--sweep", metavar="SWEEP", help="of a sweep: its name, or: last"),
    word("--interactive", action="store_true", help="charts that can be zoomed; the page is 4.8 MB larger"),
    RUNS,
    example="report last -o report.html",
)
def report(chosen: argparse.Namespace) -> Path:
    """Writes runs, a comparison, a sweep or an executed notebook as a page that renders anywhere."""
    given = chosen.run if isinstance(chosen.run, list | tuple) else [chosen.run]
    source: Any = given[0] if len(given) == 1 else list(given) or "last"
    if chosen.compared:
        source = lmkit.comparison(source, runs=chosen.runs)
    if chosen.sweep:
        source = lmkit.attach_sweep(chosen.sweep, runs=chosen.runs)
    return lmkit.report(source, chosen.output, interactive=chosen.interactive, runs=chosen.runs)


@_verb(
    word("run", metavar="RUN", nargs="*", help="runs, or a sweep's name (default: the last run)"),
    word("--sweep", metavar="SWEEP", help="a sweep: its name, or: last"),
    word("--to", default="tensorboard", metavar="NAME", help="tensorboard or mlflow (default: tensorboard)"),
    word("--where", metavar="PLACE", help="the folder of event files, or the tracking server's address"),
    word("--every", metavar="N", type=Typed, help="steps that a point is the mean of (default: about 5,000 points)"),
    RUNS,
    example="mirror night-1 --to mlflow --where http://127.0.0.1:5000",
)
def mirror(chosen: argparse.Namespace) -> Mirrored:
    """Tells runs or a sweep to TensorBoard or MLflow, while they go on or afterwards."""
    source: Any = lmkit.attach_sweep(chosen.sweep, runs=chosen.runs) if chosen.sweep else chosen.run or "last"
    return lmkit.mirror(source, chosen.to, where=chosen.where, every=_value(chosen.every), runs=chosen.runs)


@_verb(example="templates")
def templates(chosen: argparse.Namespace) -> pd.DataFrame:
    """Lists the templates and their parameters."""
    return lmkit.templates()


# -- what they share ------------------------------------------------------------------------------


def _handle(chosen: argparse.Namespace) -> Run:
    return chosen.run if isinstance(chosen.run, lmkit.Run) else lmkit.attach(chosen.run, runs=chosen.runs)


def _given(chosen: argparse.Namespace, inline: bool = False) -> Any:
    """The experiment that a verb was given: a file's name, a mapping, or one that is made already."""
    given = chosen.file
    if isinstance(given, Mapping):
        given = referred(given, chosen.runs, inline=inline)
    if isinstance(given, Mapping) and "data" in given:
        return {**given, "data": _kept(given["data"], chosen.runs, inline)}
    return given


def _parameters(chosen: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """The parameters that a verb was given: values, and texts that were typed."""
    given = chosen.file if isinstance(chosen.file, Mapping) else _read(chosen.file) if chosen.file else {}
    pairs = dict(chosen.parameter)
    typed = {str(name): str(value) for name, value in pairs.items() if isinstance(value, Typed)}
    return {**_flat(given), **{str(name): value for name, value in pairs.items() if name not in typed}}, typed


def _mapping(name: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise SweepError(f"{name}: given {given!r}, expected a mapping such as {{lr: [0.1, 0.01]}}")
    return given


def _dimensions(option: str, words: Iterable[str]) -> dict[str, str]:
    """What was typed as ``PATH=VALUES``."""
    found: dict[str, str] = {}
    for each in words:
        path, equals, values = str(each).partition("=")
        if not equals or not path.strip():
            raise SweepError(f"{option}: given {each!r}, expected PATH=VALUES, such as {option} lr=0.1,0.01")
        if path in found:
            raise SweepError(f"{option}: {path} is given twice")
        found[path.strip()] = values
    return found


def _value(typed: Any) -> Any:
    return typed.value if isinstance(typed, Typed) else typed


def _in_memory(data: Any) -> bool:
    """Whether it is data itself, and not what describes some."""
    if isinstance(data, Mapping):
        return "training" in data  # parts, handed over one by one
    return data is not None and not isinstance(data, str | PurePath | bool | int | float)


def _kept(data: Any, runs: str | None, inline: bool = False) -> Any:
    """Data in memory as what names them, once they are kept beside the runs; else what describes data, as it is."""
    from lmkit.data.store import keep

    if isinstance(data, Mapping) and _in_memory(data.get("source")):
        return {**keep(data["source"], runs, inline=inline), **{k: v for k, v in data.items() if k != "source"}}
    return keep(data, runs, inline=inline) if _in_memory(data) else data


def _read(path: str) -> Mapping[str, Any]:
    """The parameters in a YAML or JSON file."""
    try:
        values = load_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise TemplateError(f"the file of parameters {path!r} cannot be read as text: {why}") from None
    except yaml.YAMLError as error:
        raise TemplateError(f"{path}: {not_yaml(error)}") from None
    if not isinstance(values, Mapping):
        raise TemplateError(f"{path}: given {values!r}, expected a mapping of parameters, such as {{epochs: 3}}")
    return values


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a template, in which the parts of an experiment become paths, such as ``training.epochs``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping) and name in ("data", "model", "training")
        found |= {f"{name}.{k}": v for k, v in value.items()} if nested else {str(name): value}
    return found
