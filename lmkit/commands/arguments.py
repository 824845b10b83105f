"""The arguments of the verbs: what each stands for, and how what was typed becomes what the functions take."""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lmkit.exceptions import SweepError, TemplateError, shorten
from lmkit.experiment.origin import note_file
from lmkit.experiment.placeholders import RawText
from lmkit.specs.plain import load_yaml, not_yaml

MAX_QUOTED = 80
"""Characters of a value in a message."""


class Kind(Enum):
    """What an argument stands for, by which it is completed."""

    TEXT = auto()
    RUN = auto()
    RUNS_FOLDER = auto()
    SWEEP = auto()
    TEMPLATE = auto()
    EXPERIMENT_FILE = auto()
    EXPERIMENT_OR_RUN = auto()
    FRAMEWORK = auto()
    SAMPLER = auto()
    PRUNER = auto()
    PATH = auto()
    PARAMETER = auto()
    VALUE = auto()
    DIMENSION = auto()


class Argument(NamedTuple):
    """One argument of a verb.

    Attributes:
        names: a name, or option strings, as ``ArgumentParser.add_argument`` takes them.
        kinds: what each of its words stands for; empty for a switch.
        options: the rest of what ``add_argument`` takes.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    options: dict[str, Any]

    @property
    def is_option(self) -> bool:
        """Whether it begins with a dash."""
        return self.names[0].startswith("-")

    @property
    def destination(self) -> str:
        """The attribute of the parsed arguments that holds it."""
        return str(self.options.get("dest") or self.names[0].lstrip("-").replace("-", "_"))


def argument(*names: str, kind: Kind | tuple[Kind, ...] = Kind.TEXT, **options: Any) -> Argument:
    """Return an argument, given as to ``ArgumentParser.add_argument``."""
    switch = str(options.get("action", "")).startswith("store_")
    kinds = () if switch else kind if isinstance(kind, tuple) else (kind,)
    return Argument(names, kinds, options)


def add_arguments(parser: argparse.ArgumentParser, arguments: Iterable[Argument]) -> None:
    """Add arguments to a parser."""
    for item in arguments:
        parser.add_argument(*item.names, **item.options)


def parameter(kind: Kind, metavar: str) -> Argument:
    """Return the repeatable option ``-p NAME VALUE``, or ``-p NAME=VALUE``."""
    return argument(
        "-p",
        kind=(kind, Kind.VALUE),
        action="append",
        type=_read_pair,
        default=[],
        dest="parameter",
        metavar=f"{metavar} VALUE",
        help="set a parameter (repeatable), e.g. -p training.optimizer.lr 0.1, or -p training.optimizer.lr=0.1",
    )


def _read_pair(text: str) -> list[RawText]:
    """Return the name and the value of ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"given {text!r}, expected NAME VALUE or NAME=VALUE")
    return [RawText(name), RawText(value)]


class PairParser(argparse.ArgumentParser):
    """A parser of options that take ``NAME VALUE`` or ``NAME=VALUE``, where a value may begin with a dash.

    The parser of a verb refuses words that it does not know itself, so that the usage is that of the verb.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse words in which each name is joined with its value, as one word that belongs to its option."""
        actions, words = self._option_string_actions, list(sys.argv[1:] if args is None else args)
        joined: list[str] = []
        while words:
            word = words.pop(0)
            action = actions.get(word)
            if action is not None and action.type is _read_pair and words:
                name = words.pop(0)
                takes_next = "=" not in name and words and words[0] not in actions
                word += f"{name}={words.pop(0)}" if takes_next else name
            joined.append(word)
        parsed, unknown = super().parse_known_args(joined, namespace)
        if unknown and self._subparsers is None:
            option = unknown[0].partition("=")[0]
            similar = get_close_matches(option, actions, n=1) if option.startswith("--") else []
            hint = f"; did you mean {similar[0]}?" if similar else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return parsed, unknown


PARAMETERS: tuple[Argument, ...] = (
    parameter(Kind.PARAMETER, "NAME"),
    argument(
        "-r",
        kind=(Kind.PARAMETER, Kind.TEXT),
        action="append",
        type=_read_pair,
        default=[],
        dest="raw",
        metavar="NAME TEXT",
        help="set a parameter to a text as it is (repeatable)",
    ),
    argument("-y", action="append", default=[], dest="yaml", metavar="YAML", help="parameters as a YAML text"),
    argument("-b", action="append", default=[], dest="base64", metavar="BASE64", help="the same, encoded in base64"),
)
"""The parameters of a template: the options of papermill's command line."""

KERNEL: tuple[Argument, ...] = (
    argument("-k", dest="kernel", default="", metavar="KERNEL", help="a registered kernel (default: this Python)"),
    argument("--cwd", metavar="DIR", help="folder that the kernel works in (default: that of the notebook)"),
)
"""How the kernel of a template is started."""

RUN = argument("run", kind=Kind.RUN, metavar="RUN", help="a run's name or its beginning, its short id, or: last")
EXPERIMENT = argument(
    "file",
    kind=Kind.EXPERIMENT_FILE,
    metavar="FILE",
    help="an experiment as YAML or JSON, a data source, a model, or a run",
)
RUN_NAMES = argument(
    "run", kind=Kind.RUN, metavar="RUN", nargs="*", help="names of runs or their beginnings, short ids, or: last"
)
RUNS = argument(
    "--runs", kind=Kind.RUNS_FOLDER, metavar="DIR", help="folder of the runs (default: $LMKIT_RUNS or ./runs)"
)
INLINE = argument("--inline", action="store_true", help="train in this kernel before returning, e.g. for a debugger")
JSON = argument("--json", action="store_true", help="print the result as JSON")


# -- values ---------------------------------------------------------------------------------------


def parse(text: Any) -> Any:
    """Return the value that a typed text stands for; a value of the notebook as it is."""
    return text.value if isinstance(text, RawText) else text


def changes(args: argparse.Namespace) -> dict[str, Any]:
    """Return the paths that ``-p`` changes, and their values."""
    return {path: parse(text) for path, text in args.parameter}


# -- parameters of templates ----------------------------------------------------------------------


def template_parameters(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the parameters of a template: values, and texts that the template's types interpret.

    As in papermill, the order is ``-b``, ``-f``, ``-y``, ``-p``, ``-r``; the last value of a name counts.
    """
    values: dict[str, Any] = {}
    for text in args.base64:
        values |= _mapping(_decode(text), "-b")
    if args.file:
        values |= args.file if isinstance(args.file, Mapping) else _read(args.file)
    for text in args.yaml:
        values |= _mapping(text, "-y")
    pairs = dict(args.parameter)
    texts = {str(name): str(value) for name, value in pairs.items() if isinstance(value, RawText)}
    values |= {str(name): value for name, value in pairs.items() if name not in texts}
    for name, text in args.raw:
        values[str(name)] = str(text)
        texts.pop(str(name), None)
    return values, texts


def _decode(text: str) -> str:
    """Return the text that is encoded in base64."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        raise TemplateError(f"-b: given {text[:MAX_QUOTED]!r}, expected YAML encoded in base64") from None


def _read(path: str) -> Mapping[str, Any]:
    """The parameters in a YAML or JSON file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise TemplateError(f"the file of parameters {path!r} cannot be read as text: {why}") from None
    values = _mapping(text, path)
    note_file(values, Path(path))
    return values


def _mapping(text: str, where: str) -> Mapping[str, Any]:
    """Return the parameters in a YAML or JSON text."""
    try:
        values = load_yaml(text)
    except yaml.YAMLError as error:
        raise TemplateError(f"{where}: {not_yaml(error)}") from None
    if not isinstance(values, Mapping):
        raise TemplateError(
            f"{where}: given {shorten(values)}, expected a mapping of parameters, such as {{epochs: 3}}"
        )
    return values


# -- the space of a sweep -------------------------------------------------------------------------


def search_space(name: str, values: Any, texts: Iterable[str]) -> dict[str, Any]:
    """Return the grid or the search of a sweep: a mapping of a file or cell, and what was typed as ``PATH=VALUES``."""
    if not isinstance(values, Mapping):
        raise SweepError(f"{name}: given {shorten(values)}, expected a mapping such as {{lr: [0.1, 0.01]}}")
    typed: dict[str, str] = {}
    for text in texts:
        path, equals, choices = str(text).partition("=")
        if not equals or not path.strip():
            raise SweepError(f"--{name}: given {shorten(text)}, expected PATH=VALUES, such as --{name} lr=0.1,0.01")
        if path in typed:
            raise SweepError(f"--{name}: {path} is given twice")
        typed[path.strip()] = choices
    return {**values, **typed}
