"""The command line: each verb parses its words and calls the function of the same name.

What happens while something runs goes to the standard error, results to the standard output. The exit status is 0 when
what was asked for is done, 1 when a run did not complete, 2 when it was refused before it began.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmkit
from lmkit.errors import ConfigError, LmkitError, RunFailed
from lmkit.specs.plain import load_yaml, parse_value

if TYPE_CHECKING:
    from lmkit.run import Run

DONE, NOT_COMPLETED, REFUSED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    chosen = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] = chosen.function
    try:
        return verb(chosen)
    except LmkitError as error:
        print(f"lmkit: {error}", file=sys.stderr)
        if getattr(chosen, "json", False):
            _json({"run": None, "state": "refused", "metrics": {}, "error": str(error)})
        return NOT_COMPLETED if isinstance(error, RunFailed) else REFUSED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        sys.stderr.close()
        return DONE


# -- the verbs ------------------------------------------------------------------------------------


def run(chosen: argparse.Namespace) -> int:
    """Executes a template."""
    from lmkit.batch.execution import run_template

    given = _file(chosen.file) if chosen.file else {}
    done = run_template(chosen.template, given, typed=dict(chosen.parameter), output=chosen.output, runs=chosen.runs)
    first = lmkit.attach(done.runs[0]) if done.runs else None
    if chosen.json:
        _json(
            {
                "run": str(done.runs[0]) if done.runs else None,
                "state": done.state,
                "metrics": (first.status.metrics if first else None) or {},
                "notebook": str(done.notebook),
                "report": str(done.report) if done.report else None,
                **({"error": done.error} if done.error else {}),
            }
        )
    else:
        for path in done.runs:
            print(f"run       {path}")
        print(f"notebook  {done.notebook}")
        if done.report:
            print(f"report    {done.report}")
    if done.error:
        print(f"lmkit: {done.error}", file=sys.stderr)
    return DONE if done.state == "completed" else NOT_COMPLETED


def train(chosen: argparse.Namespace) -> int:
    """Trains what a file describes, without a notebook."""
    changes = {path: parse_value(value) for path, value in chosen.parameter}
    started = lmkit.train(lmkit.Experiment.load(chosen.file).override(changes), runs=chosen.runs)
    print(f"run {started.path}", file=sys.stderr)
    try:
        _watch(started)
    except KeyboardInterrupt:
        if started.status.live:
            started.stop().wait()
        print(f"{started.state}; go on: lmkit resume {started.name}", file=sys.stderr)
    return _outcome(started, chosen.json)


def watch(chosen: argparse.Namespace) -> int:
    """Prints a line an epoch; Ctrl-C ends the watching, not the run."""
    found = _attach(chosen)
    _watch(found)
    return _outcome(found, chosen.json)


def runs(chosen: argparse.Namespace) -> int:
    """Lists the runs."""
    table = lmkit.runs(chosen.runs)
    if chosen.json:
        _json([_result(lmkit.attach(path)) for path in table["path"]])
    elif table.empty:
        print("no runs yet; start one: lmkit run train", file=sys.stderr)
    else:
        print(table.drop(columns="path").to_string(index=False, na_rep="", float_format="{:.4g}".format))
    return DONE


def pause(chosen: argparse.Namespace) -> int:
    """Asks a run to wait."""
    return _steer(chosen, lambda r: r.pause(), ("paused",))


def resume(chosen: argparse.Namespace) -> int:
    """Goes on with a run."""
    return _steer(chosen, lambda r: r.resume(), ("running", "completed"))


def stop(chosen: argparse.Namespace) -> int:
    """Asks a run to end, and waits until it has."""
    return _steer(chosen, lambda r: r.stop(), ("stopped", "completed"))


def checkpoint(chosen: argparse.Namespace) -> int:
    """Asks a run for a checkpoint."""
    return _steer(chosen, lambda r: r.checkpoint())


def note(chosen: argparse.Namespace) -> int:
    """Writes a note into a run's log."""
    return _steer(chosen, lambda r: r.note(chosen.text))


def set_learning_rate(chosen: argparse.Namespace) -> int:
    """Changes a run's learning rate."""
    return _steer(chosen, lambda r: r.set_learning_rate(parse_value(chosen.value)))


def report(chosen: argparse.Namespace) -> int:
    """Writes a run, or an executed notebook, as a page."""
    path = lmkit.report(chosen.run, chosen.output, runs=chosen.runs)
    _json({"report": str(path)}) if chosen.json else print(f"report    {path}")
    return DONE


def templates(chosen: argparse.Namespace) -> int:
    """Lists the templates and their parameters."""
    table = lmkit.templates()
    if chosen.json:
        _json(json.loads(table.to_json(orient="records")))
        return DONE
    for name, parameters in table.groupby("template", sort=False):
        print(f"{name}: {parameters['title'].iloc[0]}")
        for row in parameters.itertuples():
            print(f"  {row.parameter}: {row.type} = {row.default!r}  # {row.documentation}")
    return DONE


# -- what they share ------------------------------------------------------------------------------


def _attach(chosen: argparse.Namespace) -> Run:
    return lmkit.attach(chosen.run, runs=chosen.runs)


def _watch(started: Run) -> None:
    """Prints a run's lines; how it ended is told by whoever called."""
    try:
        started.watch(sys.stderr)
    except RunFailed as error:
        print(f"lmkit: {error}", file=sys.stderr)


def _outcome(ended: Run, as_json: bool) -> int:
    if as_json:
        _json(_result(ended))
    else:
        print(f"run       {ended.path}")
    return DONE if ended.state == "completed" else NOT_COMPLETED


def _steer(chosen: argparse.Namespace, ask: Callable[[Run], Any], until: tuple[str, ...] = ()) -> int:
    """Asks a run for something, and waits until its state tells whether it was done."""
    found = _attach(chosen)
    ask(found)
    if until:
        found.wait_for(*until)
    status = found.status
    print(repr(found))
    return DONE if not until or status.state in until else NOT_COMPLETED


def _result(of: Run) -> dict[str, Any]:
    status = of.status
    told = {"run": str(of.path), "name": of.name, "state": status.state, "metrics": status.metrics or {}}
    return told | ({"error": status.reason} if status.state in ("failed", "lost") else {})


def _json(value: Any) -> None:
    print(json.dumps(value), flush=True)


def _file(path: str) -> dict[str, Any]:
    """The parameters in a YAML or JSON file; the parts of an experiment become paths, such as ``training.epochs``."""
    import yaml

    try:
        values = load_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"the file of parameters {path!r} cannot be read: {error.strerror}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not YAML: {error}"]) from None
    if not isinstance(values, Mapping):
        raise ConfigError([f"{path}: given {values!r}, expected a mapping of parameters, such as {{epochs: 3}}"])
    found: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping) and name in ("data", "model", "training")
        found |= {f"{name}.{k}": v for k, v in value.items()} if nested else {str(name): value}
    return found


# -- the words ------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lmkit", description="Train and deploy models, in PyTorch or TensorFlow alike.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"lmkit {lmkit.__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(function: Callable[[argparse.Namespace], int], words: str, **options: Any) -> argparse.ArgumentParser:
        name = function.__name__.replace("_", "-")
        added: argparse.ArgumentParser = verbs.add_parser(
            name, help=words, description=words, allow_abbrev=False, **options
        )
        added.set_defaults(function=function)
        if function is not templates:
            added.add_argument("--runs", metavar="DIR", help="where runs are kept (default: $LMKIT_RUNS or ./runs)")
        return added

    def parameters(added: argparse.ArgumentParser, metavar: str) -> None:
        added.add_argument(
            "-p", nargs=2, action="append", default=[], dest="parameter", metavar=(metavar, "VALUE"),
            help="one to set, as often as needed; a path is such as training.optimizer.lr",
        )  # fmt: skip

    def as_json(added: argparse.ArgumentParser) -> None:
        added.add_argument("--json", action="store_true", help="the last line is one JSON object")

    added = verb(run, "execute a notebook template, and make a report of it")
    added.add_argument("template", metavar="TEMPLATE", help="a template's name (see `lmkit templates`) or a notebook")
    parameters(added, "NAME")
    added.add_argument("-f", dest="file", metavar="FILE", help="parameters as YAML or JSON")
    added.add_argument("-o", dest="output", metavar="OUT.ipynb", help="where to put the executed notebook")
    as_json(added)

    added = verb(train, "train what a file describes, without a notebook; Ctrl-C stops it")
    added.add_argument("file", metavar="FILE", help="an experiment as YAML or JSON")
    parameters(added, "PATH")
    as_json(added)

    as_json(verb(runs, "list the runs, the newest first"))
    for function, words in (
        (watch, "print a line an epoch until a run has ended; Ctrl-C ends only the watching"),
        (pause, "let a run wait, after a checkpoint"),
        (resume, "go on with a paused, stopped, failed or lost run from its last checkpoint"),
        (stop, "end a run, after a checkpoint"),
        (checkpoint, "let a run write a checkpoint now"),
        (note, "write a note into a run's log"),
        (set_learning_rate, "go on at another learning rate"),
    ):
        added = verb(function, words)
        added.add_argument("run", metavar="RUN", help="a run's name, the beginning of it, its short id, or: last")
        if function is watch:
            as_json(added)
    verbs.choices["note"].add_argument("text", metavar="TEXT")
    verbs.choices["set-learning-rate"].add_argument("value", metavar="VALUE")
    added = verb(report, "write a run, or an executed notebook, as one page that renders anywhere")
    added.add_argument("run", metavar="RUN", help="a run's name, or: last; or an executed .ipynb file")
    added.add_argument(
        "-o", dest="output", metavar="OUT", help="an .html or .ipynb file (default: in the run's folder)"
    )
    as_json(added)
    as_json(verb(templates, "list the templates and their parameters"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
