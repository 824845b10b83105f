"""Notebook templates: their parameters are read and checked before papermill executes them.

A template is a notebook with one cell tagged ``parameters``, best of literals, each with its type and a comment:

    epochs: int | None = None  # passes over the training data

Any other Python is possible there too; what it assigns are parameters without a type.

A template that declares ``overrides: dict`` describes an experiment, which is built from the parameters that have the
short name of an experiment's path (``data``, ``epochs``, ``lr``, …) and from the paths in ``overrides``, and checked.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.batch.parameter_usage import READS_ALL
from lmkit.batch.parameters import Parameter, missing_imports, parameter_value, parse_cell, read_parameters
from lmkit.custom import trust
from lmkit.exceptions import TemplateError, nearest
from lmkit.experiment.experiment import Experiment
from lmkit.experiment.schema import SchemaReader, experiment_schema, short_names
from lmkit.specs.plain import parse_value, plain

if TYPE_CHECKING:
    import pandas as pd

OVERRIDES = "overrides"

SECTIONS = ("data", "model", "training")
"""The sections of an experiment that a mapping of parameters may contain as mappings."""


@dataclass(frozen=True)
class Template:
    """A notebook that takes parameters.

    Attributes:
        name: its name in ``lmkit run``.
        path: the path of the notebook.
        title: its first heading.
        parameters: name → parameter, in the order of the cell.
        notebook: its content.
        any_name: whether any name is a parameter, since the tagged cell is not Python.
        warnings: what is unusual about it, in sentences.
    """

    name: str
    path: Path
    title: str
    parameters: dict[str, Parameter]
    notebook: dict[str, Any] = field(repr=False)
    any_name: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def bundled(self) -> bool:
        """Whether it is one of lmkit's own templates."""
        return self.path == template_paths().get(self.name)

    def reads(self, name: str) -> bool:
        """Whether a code cell other than that of the parameters may read ``name``."""
        tagged = next((c for c in _code(self.notebook) if "parameters" in _tags(c)), None)
        return any({name, *READS_ALL} & _names_read(_source(c)) for c in _code(self.notebook) if c is not tagged)


# -- reading --------------------------------------------------------------------------------------


def templates() -> pd.DataFrame:
    """Return the parameters of lmkit's templates, one per row.

    Columns: template, title, parameter, type, default, allowed (bounds or choices in words), documentation.
    """
    from lmkit.display.listing import Listing

    rows = [
        (template.name, template.title, p.name, p.annotation, p.default, allowed(template, p), p.documentation)
        for template in map(read_template, template_paths())
        for p in template.parameters.values()
    ]
    return Listing(rows, columns=["template", "title", "parameter", "type", "default", "allowed", "documentation"])


def allowed(template: Template, parameter: Parameter) -> str:
    """Return the valid values of a parameter in words; empty where its type says all.

    >>> train = read_template("train")
    >>> [allowed(train, train.parameters[name]) for name in ("epochs", "framework", "name")]
    ['at least 1', 'torch, tensorflow', '']
    """
    from pydantic import TypeAdapter

    if OVERRIDES in template.parameters and (path := short_names().get(parameter.name)):
        return experiment_schema().describe(path)
    return SchemaReader(TypeAdapter(parameter.type).json_schema()).describe("")


def template_paths() -> dict[str, Path]:
    """Return lmkit's templates: name → path of the notebook."""
    package = Path(__file__).parents[1]
    # inside the package in a wheel, next to it in a checkout
    folder = next((f for f in (package / "templates", package.parent / "templates") if f.is_dir()), package)
    return {p.stem: p for p in sorted(folder.glob("*.ipynb"))}


def read_template(template: str | Path) -> Template:
    """Read a template.

    Args:
        template: its name, or the path of a notebook.

    Raises:
        TemplateError: there is no such notebook, it is invalid, or the types of its parameters are not imported.
    """
    available = template_paths()
    path = available.get(str(template)) or Path(template).expanduser()
    if not path.is_file():
        raise TemplateError(f"no notebook {str(template)!r}; {nearest(str(template), available, 'templates:')}")
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [c["cell_type"] for c in notebook["cells"]]
        if not all(_is_cell(c) for c in notebook["cells"]) or not isinstance(notebook.get("metadata", {}), dict):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise TemplateError(f"{str(path)!r} is not a notebook; expected an .ipynb file, format 4") from None
    headings = [
        match[1].strip()
        for kind, cell in zip(cells, notebook["cells"], strict=True)
        if kind == "markdown" and (match := re.search(r"^#\s+(.+)$", _source(cell), re.MULTILINE))
    ]
    sources = [_source(c) for c in _code(notebook)]
    tagged = [i for i, c in enumerate(_code(notebook)) if "parameters" in _tags(c)]
    cell = sources[tagged[0]] if tagged else ""
    if tagged and (missing := missing_imports(cell, sources[: tagged[0]])):
        module = "pathlib" if missing == ["Path"] else "typing"
        line = "import typing" if missing == ["typing"] else f"from {module} import {', '.join(missing)}"
        raise TemplateError(
            f"{path.name}: the cell tagged 'parameters' uses {' and '.join(missing)} without an import; "
            f"add '{line}' to it"
        )
    parameters = read_parameters(cell)
    warnings = [f"{len(tagged)} cells are tagged 'parameters'; the first is used"] if len(tagged) > 1 else []
    if parameters is None:
        warnings.append("the cell tagged 'parameters' is not Python, so the names of parameters are not checked")
    return Template(
        path.stem,
        path.absolute(),
        headings[0] if headings else path.stem,
        parameters or {},
        notebook,
        parameters is None,
        tuple(warnings),
    )


def _is_cell(cell: Any) -> bool:
    """Whether what stands in a file for a cell has the parts that are read here."""
    source, metadata = cell.get("source", ""), cell.get("metadata", {})
    lines = source if isinstance(source, list) else [source]
    return isinstance(metadata, dict) and all(isinstance(line, str) for line in lines)


def _code(notebook: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (c for c in notebook["cells"] if c["cell_type"] == "code")


def _source(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _tags(cell: Mapping[str, Any]) -> list[str]:
    tags = cell.get("metadata", {}).get("tags", [])
    return [str(tag) for tag in tags] if isinstance(tags, list) else []


def _names_read(source: str) -> set[str]:
    """Return the names that code may read; in magics, which are not Python, every word counts."""
    magics = " ".join(line for line in source.splitlines() if re.match(r"\s*[%!]|[\w\s,]+=\s*[%!]", line))
    words = set(re.findall(r"\w+", magics))
    tree = parse_cell(source)
    if tree is None:
        return set(re.findall(r"\w+", source))
    augmented = {id(n.target) for n in ast.walk(tree) if isinstance(n, ast.AugAssign)}
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    return words | {n.id for n in names if isinstance(n.ctx, ast.Load) or id(n) in augmented}


# -- checking -------------------------------------------------------------------------------------


def check_parameters(
    template: Template, parameters: Mapping[str, Any], typed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Check parameters and return the values for the notebook, as plain values.

    Args:
        template: the template.
        parameters: parameter → value; for a template that declares ``overrides`` also path of an experiment → value.
        typed: more parameters, as typed on a command line: texts that are read by the declared types; they have
            precedence.

    Raises:
        TemplateError: a parameter is unknown, of the wrong type, set twice or never read by the notebook.
        ConfigError: the experiment that they describe is invalid.
    """
    declared, typed = template.parameters, typed or {}
    parameters = _with_paths(template, parameters)
    if (parameters or typed) and not declared and not template.any_name:
        first = next(iter({**parameters, **typed}))
        raise TemplateError(
            f"{first}: the template {template.name!r} has no parameters: none of its cells is tagged 'parameters'; "
            "tag one that contains lines such as 'rate: float = 0.1  # learning rate'"
        )
    values: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    for name, value in {**parameters, **typed}.items():
        if name in declared or (template.any_name and name.isidentifier()):
            parameter = declared.get(name) or Parameter(name, "", None, "", Any)
            values[name] = parameter_value(parameter, value, name in typed, template.name)
        else:
            _check_path(template, name)
            overrides[name] = parse_value(value) if name in typed else plain(value)
    for path in [p for p in overrides if _parameter_of(declared, p)]:
        name = _parameter_of(declared, path)
        if name in values:
            raise TemplateError(f"{name} and {path} are the same parameter; use one of them")
        values[name] = parameter_value(declared[name], overrides.pop(path), False, template.name)
    if overrides:
        values[OVERRIDES] = {**values.get(OVERRIDES, declared[OVERRIDES].default or {}), **overrides}
    for name in values:
        if not template.reads(name):
            raise TemplateError(f"{name}: no cell of the template {template.name!r} reads it, so it has no effect")
    return values


def _with_paths(template: Template, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters, in which the sections of an experiment become paths, such as ``training.epochs``.

    A parameter whose declared type takes a mapping stays as it is, as does every one of a template without
    ``overrides``.
    """
    if OVERRIDES not in template.parameters:
        return {str(name): value for name, value in parameters.items()}
    return expand_sections(parameters, unless=lambda name, value: _takes(template, name, value))


def expand_sections(parameters: Mapping[str, Any], unless: Callable[[str, Any], bool] | None = None) -> dict[str, Any]:
    """Return parameters, in which the members of the sections of an experiment are paths.

    >>> expand_sections({"training": {"epochs": 3}, "seed": 1})
    {'training.epochs': 3, 'seed': 1}
    """
    result: dict[str, Any] = {}
    for name, value in parameters.items():
        if name in SECTIONS and isinstance(value, Mapping) and not (unless and unless(name, value)):
            result |= {f"{name}.{key}": member for key, member in value.items()}
        else:
            result[str(name)] = value
    return result


def _takes(template: Template, name: str, value: Any) -> bool:
    """Whether the template declares the parameter with a type that takes the value."""
    try:
        return name in template.parameters and bool(
            [parameter_value(template.parameters[name], value, False, template.name)]
        )
    except TemplateError:
        return False


def _check_path(template: Template, name: str) -> None:
    """Raise a TemplateError unless the template accepts ``name`` as a path of an experiment."""
    declared = template.parameters
    if OVERRIDES not in declared:
        hint = nearest(name, declared, "parameters:")
        raise TemplateError(f"{name}: no such parameter of the template {template.name!r}; {hint}")
    if "." not in name and name not in short_names():
        raise TemplateError(
            f"{name}: no parameter of the template {template.name!r}, and no path of an experiment; "
            f"{nearest(name, dict.fromkeys([*declared, *short_names()]))}"
        )


def build_experiment(template: Template, values: Mapping[str, Any]) -> Experiment | None:
    """Return the experiment that a template's parameters describe; None if it declares no ``overrides``.

    Raises:
        ConfigError: the experiment is invalid.
        UntrustedCode: it was read from a run, and names code that this user has not run on this machine before.
    """
    if OVERRIDES not in template.parameters:
        return None
    names = short_names()
    settings = {n: values.get(n, p.default) for n, p in template.parameters.items() if n in names}
    parts = {name: value for name, value in settings.items() if value is not None}
    overrides = values.get(OVERRIDES, template.parameters[OVERRIDES].default or {})
    experiment = Experiment().override(parts).override(overrides)
    trust.adopt(experiment)
    return experiment


def _parameter_of(parameters: Mapping[str, Parameter], path: str) -> str:
    """Return the parameter whose name is the short name of ``path``; empty without one."""
    names = short_names()
    return next((n for n in parameters if n in names and names[n] == path and n != path), "")
