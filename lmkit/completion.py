"""What may be typed next: in a line of the magic a verb, a run, a template, a path; in its cell a field or a value."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lmkit.batch.templates import known_templates, read_template
from lmkit.errors import TemplateError
from lmkit.experiment import TAGS, Experiment
from lmkit.placeholders import Placeholders
from lmkit.runfolder import run_folders
from lmkit.specs.data import BUNDLED, PYTHON_DOCS
from lmkit.specs.models import PRESETS
from lmkit.sweeping.folder import sweep_folders
from lmkit.sweeping.methods import METHODS
from lmkit.sweeping.pruning import RULES
from lmkit.verbs import VERBS, Verb

MOST = 100
"""Runs that are offered at most, the newest first."""

EXPERIMENTS = (".yaml", ".yml", ".json")
"""How the files of experiments end."""

CHOICES = {"METHOD": METHODS, "RULE": tuple(RULES)}
"""What stands for a word of a verb, where there are few."""

SOURCES = (*BUNDLED, PYTHON_DOCS)
WORDS: dict[str, Iterable[str]] = {"data": SOURCES, "data.source": SOURCES, "model": PRESETS}
"""Values that the schema knows only as texts."""


def complete(before: str, after: str = "") -> tuple[str, list[str]]:
    """What may stand at the cursor.

    Args:
        before: the cell up to the cursor.
        after: the rest of the cursor's line.

    Returns:
        The end of ``before`` that is to be replaced, and what by.

    >>> complete("%lmkit pa")
    ('pa', ['pause'])
    """
    first, below, body = before.partition("\n")
    if below and re.match(r"%%lmkit\s+(train|new)\b", first):
        return _in_cell(body, after)
    line = re.match(r"\s*(?:[^=%]*=\s*)?%%?lmkit\s+(.*)$", before.rpartition("\n")[2])
    return _in_line(line[1]) if line else ("", [])


# -- a line ---------------------------------------------------------------------------------------


def _in_line(text: str) -> tuple[str, list[str]]:
    words = text.split()
    fragment = words.pop() if words and not text[-1].isspace() else ""
    if not words:
        found = [*VERBS, "help"]
    elif words[0] == "help":
        found = list(VERBS)
    elif words[0] in VERBS:
        return fragment, _words(VERBS[words[0]], words[1:], fragment)
    else:
        found = []
    return fragment, _beginning(fragment, found)


def _words(verb: Verb, given: list[str], fragment: str) -> list[str]:
    """What may follow the words that a verb was given."""
    options = {name: w.options for w in verb.words for name in w.names if name.startswith("-")}
    places = [w.options for w in verb.words if not w.names[0].startswith("-")]
    awaited: list[str] = []
    taken: list[str] = []
    folder: str | None = None
    for word in given:
        if awaited:
            folder = word if awaited.pop(0) == "DIR" else folder
        elif word in options:
            metavar = options[word].get("metavar", ())  # one that takes no word has none
            awaited = list(metavar) if isinstance(metavar, tuple) else [metavar]
        else:
            taken.append(word)
    if awaited:
        kind = awaited[0]
    elif fragment.startswith("-"):
        return _beginning(fragment, options)
    elif len(taken) < len(places):
        kind = places[len(taken)]["metavar"]
    else:
        kind = places[-1]["metavar"] if places and places[-1].get("nargs") == "*" else ""
    if kind == "":
        return _beginning(fragment, options)
    if kind == "RUN":
        return _runs(fragment, folder)
    if kind == "SWEEP":
        names = [f.name for f in reversed(sweep_folders(folder))]
        return _beginning(fragment, [*(["last"] if names and not awaited else []), *names])
    if kind in CHOICES:
        return _beginning(fragment, CHOICES[kind])
    if kind in ("PATH=VALUES", "PATH=RANGE"):
        return _ending(fragment, [*_parameters(taken), *_paths()])
    if kind == "EXPERIMENT":
        return [*_runs(fragment, folder), *_files(fragment)]
    if kind == "FILE":
        return _files(fragment)
    if kind == "FRAMEWORK":
        return _beginning(fragment, _values(("framework",)))
    if kind == "TEMPLATE":
        return [*_beginning(fragment, known_templates()), *_files(fragment, ".ipynb")]
    if kind == "PATH":
        return _ending(fragment, _paths())
    if kind == "NAME":
        return _ending(fragment, [*_parameters(taken), *_paths()])
    if kind == "VALUE" and given and awaited:
        path = next((p for p in _paths() if p == given[-1] or p.endswith(f".{given[-1]}")), "")
        return _beginning(fragment, _values(tuple(path.split("."))))
    return []


def _beginning(fragment: str, known: Any) -> list[str]:
    return [k for k in known if k.startswith(fragment)]


def _ending(fragment: str, paths: list[str]) -> list[str]:
    """The paths that go on, from their first part or a later one, with what was typed."""
    return [p for p in paths if f".{fragment}" in f".{p}"]


def _runs(fragment: str, folder: str | None) -> list[str]:
    """The runs whose name, name without the time, or short id begins with what was typed."""
    names = [f.name for f in reversed(run_folders(folder))]
    known = [n for n in names if any(p.startswith(fragment) for p in (n, n.split("-", 2)[-1], n.rsplit("-", 1)[-1]))]
    return [*_beginning(fragment, ["last"] if names else []), *known[:MOST]]


def _files(fragment: str, *endings: str) -> list[str]:
    """The files of an experiment, or with other ``endings``, and the folders that might hold one."""
    folder = fragment.rpartition("/")[0]
    found = Path(folder or ".").expanduser().glob("[!.]*")
    shown = [p.name + "/" if p.is_dir() else p.name for p in found]
    names = sorted(n for n in shown if n.endswith(("/", *(endings or EXPERIMENTS))))
    return _beginning(fragment, [f"{folder}/{n}" if "/" in fragment else n for n in names])


def _parameters(taken: list[str]) -> list[str]:
    try:
        return list(read_template(taken[0]).parameters) if taken else []
    except TemplateError:
        return []


# -- a cell ---------------------------------------------------------------------------------------

_CURSOR = "\ue002"


def _in_cell(body: str, after: str) -> tuple[str, list[str]]:
    """Completes YAML that need not be whole yet: a mark is put at the cursor, and looked for in what YAML reads."""
    typed = re.search(r"(\w[\w.-]*(:\w*)?)?\Z", body)
    fragment = typed[0] if typed else ""
    head = Placeholders({}).hide(body.removesuffix(fragment))
    for mark in (f"{_CURSOR}: ", _CURSOR):  # as the name of a field, or as a value
        with contextlib.suppress(yaml.YAMLError):
            for path, node in _marked(yaml.compose(head + mark + _closing(head), yaml.SafeLoader), ()):
                given = {k.value: v.value for k, v in node.value}
                if _CURSOR not in given:
                    path = (*path, next(k for k, v in given.items() if v == _CURSOR))
                    return fragment, _beginning(fragment, _values(path))
                names = [n for n in _beginning(fragment, _fields(path, given)) if n not in given]
                return fragment, [n if after.lstrip().startswith(":") else f"{n}: " for n in names]
    return fragment, []


def _closing(text: str) -> str:
    """What closes the brackets and braces that are open at the end of a text."""
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


# -- the schema -----------------------------------------------------------------------------------


@cache
def _schema() -> dict[str, Any]:
    return Experiment.model_json_schema()


def _kinds(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The alternatives that a schema leaves."""
    if "$ref" in schema:
        return _kinds(_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return [kind for a in alternatives for kind in _kinds(a)] if alternatives else [dict(schema)]


def _at(path: tuple[str, ...]) -> list[dict[str, Any]]:
    """The alternatives for what stands at a path."""
    kinds = _kinds(_schema())
    for name in path:
        kinds = [k for kind in kinds if name in kind.get("properties", ()) for k in _kinds(kind["properties"][name])]
    return kinds


def _tag(kind: Mapping[str, Any]) -> str | None:
    """The word that says that a part is of this kind, such as ``adam``."""
    return next((f["const"] for t in TAGS if "const" in (f := kind.get("properties", {}).get(t, {}))), None)


def _fields(path: tuple[str, ...], given: Mapping[str, Any]) -> list[str]:
    """The fields of the part at a path, of the kind that its fields given so far say."""
    kinds = _at(path)
    said = [k for k in kinds if _tag(k) in (given.get(t) for t in TAGS)]
    return list(dict.fromkeys(name for kind in said or kinds for name in kind.get("properties", ())))


def _values(path: tuple[str, ...]) -> list[str]:
    """The values that are known for a path."""
    found = [*WORDS.get(".".join(path), ())]
    for kind in _at(path):
        tag = _tag(kind)
        found += [tag] if tag else []
        found += map(str, kind.get("enum", ()))
        found += [str(kind["const"])] if "const" in kind else []
        found += {"boolean": ["true", "false"], "null": ["null"]}.get(kind.get("type", ""), [])
    return list(dict.fromkeys(found))


@cache
def _paths() -> list[str]:
    """Every path of an experiment, of whatever kind its parts are."""

    def below(path: tuple[str, ...]) -> Iterator[str]:
        for name in _fields(path, {}):
            yield ".".join((*path, name))
            yield from below((*path, name))

    return list(below(()))
