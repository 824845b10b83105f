"""Completion: in a line of the magic a verb, a run, a template, a path; in its cell a field or a value."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from lmkit.batch.templates import read_template, template_paths
from lmkit.commands.arguments import Kind
from lmkit.commands.verbs import VERBS, Verb
from lmkit.exceptions import TemplateError
from lmkit.experiment.placeholders import Placeholders
from lmkit.experiment.schema import experiment_schema
from lmkit.runfolder.find import run_folders
from lmkit.specs.plain import compose_yaml
from lmkit.sweeping.folder import sweep_folders
from lmkit.sweeping.pruners import PRUNERS
from lmkit.sweeping.samplers import METHODS

MAX_RUNS = 100
"""Maximum number of runs that are offered, the newest first."""

EXPERIMENTS = (".yaml", ".yml", ".json")
"""The suffixes of experiment files."""


def complete(before: str, after: str = "") -> tuple[str, list[str]]:
    """Return what may be typed at the cursor.

    Args:
        before: the cell up to the cursor.
        after: the rest of the cursor's line.

    Returns:
        The end of ``before`` to replace, and its replacements.

    >>> complete("%lmkit pau")
    ('pau', ['pause'])
    """
    first, below, body = before.partition("\n")
    if below and re.match(r"%%lmkit\s+(train|new)\b", first):
        return _in_cell(body, after)
    line = re.match(r"\s*(?:[^=%]*=\s*)?%%?lmkit\s+(.*)$", before.rpartition("\n")[2])
    return _in_line(line[1]) if line else ("", [])


# -- a line ---------------------------------------------------------------------------------------


class Cursor(NamedTuple):
    """Where a line is completed.

    Attributes:
        fragment: what was typed of the word at the cursor.
        previous: the word before it.
        positional: the positional arguments before it.
        folder: the folder of ``--runs``, if given.
        in_option: the word belongs to an option.
    """

    fragment: str
    previous: str
    positional: list[str]
    folder: str | None
    in_option: bool


def _in_line(text: str) -> tuple[str, list[str]]:
    words = text.split()
    fragment = words.pop() if words and not text[-1].isspace() else ""
    if not words:
        return fragment, _beginning(fragment, [*VERBS, "help"])
    if words[0] == "help":
        return fragment, _beginning(fragment, VERBS)
    if words[0] in VERBS:
        return fragment, _argument(VERBS[words[0]], words[1:], fragment)
    return fragment, []


def _argument(verb: Verb, words: list[str], fragment: str) -> list[str]:
    """What may follow the words of a verb, by the kind of the argument that comes next."""
    options = {name: item for item in verb.arguments for name in item.names if item.is_option}
    arguments = [item for item in verb.arguments if not item.is_option]
    expected: list[Kind] = []
    positional: list[str] = []
    folder: str | None = None
    for word in words:
        if expected:
            folder = word if expected.pop(0) is Kind.RUNS_FOLDER else folder
        elif word in options:
            expected = list(options[word].kinds)
        else:
            positional.append(word)
    if not expected and fragment.startswith("-"):
        return _beginning(fragment, options)
    repeated = bool(arguments) and arguments[-1].options.get("nargs") == "*"
    if expected:
        kind = expected[0]
    elif len(positional) < len(arguments) or repeated:
        kind = arguments[min(len(positional), len(arguments) - 1)].kinds[0]
    else:
        return _beginning(fragment, options)
    cursor = Cursor(fragment, words[-1] if words else "", positional, folder, bool(expected))
    return COMPLETERS[kind](cursor) if kind in COMPLETERS else []


def _beginning(fragment: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(fragment)]


def _ending(fragment: str, paths: list[str]) -> list[str]:
    """The paths that continue, from their first part or a later one, what was typed."""
    return [path for path in paths if f".{fragment}" in f".{path}"]


def _runs(cursor: Cursor) -> list[str]:
    """The runs whose name, name without the time, or short id begins with what was typed."""
    fragment = cursor.fragment
    names = [folder.name for folder in reversed(run_folders(cursor.folder))]
    matches = [
        name
        for name in names
        if any(part.startswith(fragment) for part in (name, name.split("-", 2)[-1], name.rsplit("-", 1)[-1]))
    ]
    return [*_beginning(fragment, ["last"] if names else []), *matches[:MAX_RUNS]]


def _sweeps(cursor: Cursor) -> list[str]:
    names = [folder.name for folder in reversed(sweep_folders(cursor.folder))]
    return _beginning(cursor.fragment, [*(["last"] if names and not cursor.in_option else []), *names])


def _files(fragment: str, *suffixes: str) -> list[str]:
    """The files of experiments, or with other suffixes, and the folders that may hold one."""
    folder = fragment.rpartition("/")[0]
    entries = Path(folder or ".").expanduser().glob("[!.]*")
    names = sorted(path.name + "/" if path.is_dir() else path.name for path in entries)
    names = [name for name in names if name.endswith(("/", *(suffixes or EXPERIMENTS)))]
    return _beginning(fragment, [f"{folder}/{name}" if "/" in fragment else name for name in names])


def _parameters(cursor: Cursor) -> list[str]:
    """The parameters of the template on the line, and every path of an experiment."""
    parameters: list[str] = []
    with contextlib.suppress(TemplateError):
        parameters = list(read_template(cursor.positional[0]).parameters) if cursor.positional else []
    return _ending(cursor.fragment, [*parameters, *experiment_schema().paths()])


def _values(cursor: Cursor) -> list[str]:
    """The values of the path before the cursor."""
    paths = experiment_schema().paths()
    path = next((p for p in paths if p == cursor.previous or p.endswith(f".{cursor.previous}")), None)
    return _beginning(cursor.fragment, experiment_schema().values(path)) if path else []


COMPLETERS: dict[Kind, Callable[[Cursor], list[str]]] = {
    Kind.RUN: _runs,
    Kind.SWEEP: _sweeps,
    Kind.TEMPLATE: lambda cursor: [
        *_beginning(cursor.fragment, template_paths()),
        *_files(cursor.fragment, ".ipynb"),
    ],
    Kind.EXPERIMENT_FILE: lambda cursor: _files(cursor.fragment),
    Kind.EXPERIMENT_OR_RUN: lambda cursor: [*_runs(cursor), *_files(cursor.fragment)],
    Kind.FRAMEWORK: lambda cursor: _beginning(cursor.fragment, experiment_schema().values("framework")),
    Kind.SAMPLER: lambda cursor: _beginning(cursor.fragment, METHODS),
    Kind.PRUNER: lambda cursor: _beginning(cursor.fragment, PRUNERS),
    Kind.PATH: lambda cursor: _ending(cursor.fragment, experiment_schema().paths()),
    Kind.PARAMETER: _parameters,
    Kind.DIMENSION: _parameters,
    Kind.VALUE: _values,
}
"""Kind of an argument → what completes it; the others are not completed."""


# -- a cell ---------------------------------------------------------------------------------------

_CURSOR = "\ue002"


def _in_cell(body: str, after: str) -> tuple[str, list[str]]:
    """Complete YAML that may be incomplete: put a mark at the cursor, and find it in the parsed nodes."""
    word = re.search(r"(\w[\w.-]*(:\w*)?)?\Z", body)
    fragment = word[0] if word else ""
    head = Placeholders({}).hide(body.removesuffix(fragment))
    for mark in (f"{_CURSOR}: ", _CURSOR):  # as the name of a field, or as a value
        with contextlib.suppress(yaml.YAMLError):
            for path, node in _marked(compose_yaml(head + mark + _closing(head)), ()):
                values = {key.value: value.value for key, value in node.value}
                if _CURSOR not in values:
                    field = ".".join((*path, next(k for k, v in values.items() if v == _CURSOR)))
                    return fragment, _beginning(fragment, experiment_schema().values(field))
                fields = experiment_schema().fields(".".join(path), values)
                names = [name for name in _beginning(fragment, fields) if name not in values]
                return fragment, [n if after.lstrip().startswith(":") else f"{n}: " for n in names]
    return fragment, []


def _closing(text: str) -> str:
    """The brackets and braces that close those open at the end of a text."""
    opened: list[str] = []
    for bracket in re.findall(r"[][{}]", re.sub(r"'[^'\n]*'|\"[^\"\n]*\"|(?<!\S)#.*", "", text)):
        if bracket in "[{":
            opened.append("]" if bracket == "[" else "}")
        elif opened:
            opened.pop()
    return "".join(reversed(opened))


def _marked(node: yaml.Node | None, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], yaml.MappingNode]]:
    """The mapping that holds the mark, and the path to it."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if _CURSOR in (key.value, value.value):
                yield path, node
            yield from _marked(value, (*path, key.value))
