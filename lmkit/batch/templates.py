"""Notebook templates: their parameters are read and checked before anything starts; then papermill executes them.

A template is a notebook with one cell tagged ``parameters`` that assigns literals, each with its type and a comment:

    epochs: int = 50  # passes over the training part

A template that declares ``overrides: dict`` describes an experiment: its parameters that are called as a path of an
``Experiment`` ends (``data``, ``epochs``, ``lr``, …) and the paths in ``overrides`` make it, and it is checked as a
whole.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.batch.parameters import Parameter, parameter_value, read_parameters
from lmkit.batch.reading import BLIND
from lmkit.errors import TemplateError, nearest
from lmkit.experiment import Experiment, paths
from lmkit.specs.plain import parse_value, plain

if TYPE_CHECKING:
    import pandas as pd

OVERRIDES = "overrides"


@dataclass(frozen=True)
class Template:
    """A notebook that takes parameters.

    Attributes:
        name: what ``lmkit run`` calls it.
        path: the notebook.
        title: its first heading.
        parameters: by name, in the order in which they are written.
        notebook: its content.
    """

    name: str
    path: Path
    title: str
    parameters: dict[str, Parameter]
    notebook: dict[str, Any] = field(repr=False)

    def reads(self, name: str) -> bool:
        """Whether any code cell besides the parameters' own may read ``name``."""
        return any(
            {name, *BLIND} & _names_read(_source(c)) for c in _code(self.notebook) if "parameters" not in _tags(c)
        )


# -- finding and reading --------------------------------------------------------------------------


def templates() -> pd.DataFrame:
    """The parameters of the known templates, one a row.

    Columns: template, title, parameter, type, default, allowed (bounds or choices, in words; of an experiment's path
    those of the experiment), documentation.
    """
    import pandas as pd

    rows = [
        (template.name, template.title, p.name, p.annotation, p.default, allowed(template, p), p.documentation)
        for template in map(read_template, known_templates())
        for p in template.parameters.values()
    ]
    return pd.DataFrame(rows, columns=["template", "title", "parameter", "type", "default", "allowed", "documentation"])


def allowed(template: Template, parameter: Parameter) -> str:
    """What values a parameter may have, in words; empty where its type says all.

    >>> train = read_template("train")
    >>> [allowed(train, train.parameters[name]) for name in ("epochs", "framework", "name")]
    ['at least 1', 'torch, tensorflow', '']
    """
    from pydantic import TypeAdapter

    schema: Mapping[str, Any] = TypeAdapter(parameter.type).json_schema()
    if OVERRIDES in template.parameters and (path := _ends().get(parameter.name)):
        schema = whole = Experiment.model_json_schema()
        for name in path.split("."):
            schema = next((k["properties"][name] for k in _kinds(schema, whole) if name in k.get("properties", {})), {})
        return _in_words(schema, whole)
    return _in_words(schema, schema)


_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


def _kinds(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives that a schema leaves."""
    if "$ref" in schema:
        return _kinds(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return [kind for a in alternatives for kind in _kinds(a, whole)] if alternatives else [schema]


def _in_words(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    said: list[str] = []
    for kind in _kinds(schema, whole):
        said += [str(v) for v in kind.get("enum", [kind["const"]] if "const" in kind else [])]
        bounds = [f"{words} {kind[key]}" for key, words in _BOUNDS.items() if key in kind]
        said += [" and ".join(bounds)] if bounds else []
    return ", ".join(dict.fromkeys(said))


def known_templates() -> dict[str, Path]:
    """The templates that come with lmkit: name → notebook."""
    package = Path(__file__).parents[1]
    # in a wheel they lie inside the package, in a checkout beside it
    folder = next((f for f in (package / "templates", package.parent / "templates") if f.is_dir()), package)
    return {p.stem: p for p in sorted(folder.glob("*.ipynb"))}


def read_template(template: str | Path) -> Template:
    """A template by its name, or the path of a notebook of one's own.

    Raises:
        TemplateError: there is none, it is no notebook, or its parameters cannot be understood.
    """
    known = known_templates()
    path = known.get(str(template)) or Path(template).expanduser()
    if not path.is_file():
        raise TemplateError(
            f"given {str(template)!r}, expected a template or the path of an .ipynb file; "
            f"{nearest(str(template), known)}"
        )
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [c["cell_type"] for c in notebook["cells"]]
    except (ValueError, KeyError, TypeError):
        raise TemplateError(f"{str(path)!r} is no notebook; expected an .ipynb file, format 4") from None
    headings = [
        m[1].strip()
        for kind, cell in zip(cells, notebook["cells"], strict=True)
        if kind == "markdown" and (m := re.search(r"^#\s+(.+)$", _source(cell), re.MULTILINE))
    ]
    tagged = [c for c in _code(notebook) if "parameters" in _tags(c)]
    if len(tagged) > 1:
        raise TemplateError(f"{path.name}: {len(tagged)} cells are tagged 'parameters', expected one")
    parameters = read_parameters(_source(tagged[0]), path.name) if tagged else {}
    return Template(path.stem, path.absolute(), headings[0] if headings else path.stem, parameters, notebook)


def _code(notebook: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (c for c in notebook["cells"] if c["cell_type"] == "code")


def _source(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _tags(cell: Mapping[str, Any]) -> list[str]:
    return list(cell.get("metadata", {}).get("tags", []))


def _names_read(source: str) -> set[str]:
    """The names that code may read. Of what is not plain Python (magics) every word counts."""
    plain_lines = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    magics = " ".join(line for line in source.splitlines() if line.lstrip().startswith(("%", "!")))
    words = set(re.findall(r"\w+", magics))
    try:
        tree = ast.parse(plain_lines)
    except SyntaxError:
        return set(re.findall(r"\w+", source))
    changed = {id(n.target) for n in ast.walk(tree) if isinstance(n, ast.AugAssign)}
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    return words | {n.id for n in names if isinstance(n.ctx, ast.Load) or id(n) in changed}


# -- checking -------------------------------------------------------------------------------------


def check_parameters(
    template: Template, given: Mapping[str, Any], typed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What is handed to the notebook for ``given``, as plain values.

    Args:
        template: whose parameters they are.
        given: parameter → value, or the path of an experiment → value where the template declares ``overrides``.
        typed: the same as typed on a command line: texts, which are read by the declared types; they come first.

    Raises:
        TemplateError: a parameter is unknown, of the wrong type, given twice or never read by the notebook.
        ConfigError: the experiment that they describe cannot be.
    """
    known = template.parameters
    if (given or typed) and not known:
        first = next(iter({**given, **(typed or {})}))
        raise TemplateError(
            f"{first}: the template {template.name!r} has no parameters: none of its cells is tagged 'parameters'; "
            "tag one that holds lines such as 'rate: float = 0.1  # what it is'"
        )
    values: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    typed = typed or {}
    for name, value in {**given, **typed}.items():
        if name in known:
            values[name] = parameter_value(known[name], value, name in typed, template.name)
        elif OVERRIDES not in known:
            raise TemplateError(f"{name}: the template {template.name!r} has no such parameter; {nearest(name, known)}")
        elif "." in name or name in _ends():
            overrides[name] = parse_value(value) if name in typed else plain(value)
        else:
            raise TemplateError(
                f"{name}: no parameter of the template {template.name!r}, and no path of an experiment; "
                f"{nearest(name, dict.fromkeys([*known, *_ends()]))}"
            )
    for path in [p for p in overrides if _called(known, p)]:
        name = _called(known, path)
        if name in values:
            raise TemplateError(f"{name} and {path} are the same; give one of them")
        values[name] = parameter_value(known[name], overrides.pop(path), False, template.name)
    if overrides:
        values[OVERRIDES] = {**values.get(OVERRIDES, known[OVERRIDES].default), **overrides}
    for name in values:
        if not template.reads(name):
            raise TemplateError(
                f"{name}: no cell of the template {template.name!r} reads it, so it would change nothing"
            )
    return values


def described_experiment(template: Template, values: Mapping[str, Any]) -> Experiment | None:
    """The experiment that a template's parameters make; None where it declares no ``overrides``.

    Raises:
        ConfigError: there cannot be such an experiment.
    """
    if OVERRIDES not in template.parameters:
        return None
    ends = _ends()
    chosen = {n: values.get(n, p.default) for n, p in template.parameters.items() if n in ends}
    parts = {name: value for name, value in chosen.items() if value is not None}
    return Experiment().override(parts).override(values.get(OVERRIDES, template.parameters[OVERRIDES].default))


def full_path(name: str) -> str:
    """The path of an experiment that a name stands for; the name itself where it stands for none.

    >>> full_path("lr")
    'training.optimizer.lr'
    """
    head, dot, rest = name.partition(".")
    return _ends().get(head, head) + dot + rest


@cache
def _ends() -> dict[str, str]:
    """What a path of an experiment may be called by: its end, where no other path ends so, or itself."""
    known = list(paths(Experiment()))
    ends = [p.rsplit(".", 1)[-1] for p in known]
    return {e: p for e, p in zip(ends, known, strict=True) if ends.count(e) == 1} | {
        p: p for p in known if "." not in p
    }


def _called(known: Mapping[str, Parameter], path: str) -> str:
    """The parameter that stands for ``path``, if any."""
    ends = _ends()
    return next((n for n in known if n in ends and ends[n] == path and n != path), "")
