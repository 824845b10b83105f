"""Notebook templates: their parameters are read and checked before anything starts; then papermill executes them.

A template is a notebook with one cell tagged ``parameters`` that assigns literals, each with its type and a comment:

    epochs: int = 50  # passes over the training part

A template that declares ``overrides: dict`` describes an experiment: its parameters that are called as a path of an
``Experiment`` ends (``data``, ``epochs``, ``lr``, …) and the paths in ``overrides`` make it, and it is checked as a whole.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import math
import os
import re
import secrets
import shutil
import sys
import tokenize
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from lmkit.errors import MissingPackage, TemplateError, nearest
from lmkit.experiment import Experiment, paths
from lmkit.runfolder import RunFolder, runs_root
from lmkit.specs.plain import parse_value, plain

if TYPE_CHECKING:
    import pandas as pd

RUN_TYPE = "application/vnd.lmkit.run+json"
"""Under this type a displayed run says where its folder is."""

OVERRIDES = "overrides"
KERNEL_STARTS = 3
"""How often a kernel is started at most: two that start at once may choose the same port."""


class Parameter(NamedTuple):
    """One parameter of a template.

    Attributes:
        name: what it is assigned to.
        annotation: its type as written; empty where none is.
        default: its value in the template.
        documentation: the comment behind it.
        type: its type; Any where none is written.
    """

    name: str
    annotation: str
    default: Any
    documentation: str
    type: Any


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
        """Whether any code cell besides the parameters' own reads ``name``."""
        return any(name in _names_read(_source(c)) for c in _code(self.notebook) if "parameters" not in _tags(c))


@dataclass(frozen=True)
class Execution:
    """An executed template.

    Attributes:
        notebook: the executed notebook; where a cell failed, with everything up to it.
        report: the notebook as a page; None where none could be made.
        runs: the folders of the runs that it displayed.
        state: completed; else the state of the first run that is not, or failed where a cell did.
        error: why it did not complete, in one readable message; empty where it did.
    """

    notebook: Path
    report: Path | None
    runs: list[Path]
    state: str
    error: str = ""


# -- finding and reading --------------------------------------------------------------------------


def templates() -> pd.DataFrame:
    """The parameters of the known templates, one a row: template, title, parameter, type, default, documentation."""
    import pandas as pd

    rows = [
        (template.name, template.title, p.name, p.annotation, p.default, p.documentation)
        for template in map(read_template, known_templates())
        for p in template.parameters.values()
    ]
    return pd.DataFrame(rows, columns=["template", "title", "parameter", "type", "default", "documentation"])


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
            f"given {str(template)!r}, expected a template or the path of an .ipynb file; {nearest(str(template), known)}"
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


def read_parameters(source: str, where: str = "the parameters cell") -> dict[str, Parameter]:
    """The parameters that a cell assigns: name, type, default, and the comment behind each.

    Args:
        source: the cell's code: one literal a name, ``name: type = value  # comment``.
        where: what messages call it.

    Raises:
        TemplateError: it is not Python, or holds something else than that.

    >>> read_parameters("colour: str = '#fff'  # of the line")["colour"].documentation
    'of the line'
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise TemplateError(f"{where}: the cell tagged 'parameters' is not Python: {error}") from None
    comments = {
        token.start[0]: token.string.lstrip("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a text that explains the cell
        targets = (
            [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
        )
        names = [t.id for t in targets if isinstance(t, ast.Name)]
        value = getattr(node, "value", None)
        if len(names) != 1 or len(targets) != 1 or value is None:
            raise TemplateError(
                f"{where}: expected only 'name: type = value  # comment' in the cell tagged 'parameters', "
                f"given: {ast.unparse(node)}"
            )
        try:
            default = plain(ast.literal_eval(value))
        except ValueError:
            raise TemplateError(
                f"{where}: the default of {names[0]!r} is {ast.unparse(value)}; expected a literal, such as a number, "
                "a text, a list or None"
            ) from None
        annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
        found[names[0]] = Parameter(
            names[0],
            ast.unparse(annotation) if annotation else "",
            default,
            comments.get(node.end_lineno or node.lineno, ""),
            _type(annotation, f"{where}: {names[0]}") if annotation else Any,
        )
    return found


def _type(annotation: ast.expr, where: str) -> Any:
    """The type that an annotation stands for: built-in ones and those of ``typing``; nothing in it is called."""
    names = {t.__name__: t for t in (bool, int, float, str, list, dict, tuple)} | {"Path": Path, "typing": typing}
    names |= {n: getattr(typing, n) for n in ("Any", "Literal", "Optional", "Union", "Annotated")}
    allowed = (ast.Name, ast.Subscript, ast.BinOp, ast.BitOr, ast.Constant, ast.Tuple, ast.List, ast.Load, ast.Attribute,
               ast.UnaryOp, ast.USub)  # fmt: skip
    text = ast.unparse(annotation)
    try:
        if not all(isinstance(n, allowed) for n in ast.walk(annotation)):
            raise TypeError
        return eval(compile(ast.Expression(annotation), where, "eval"), {"__builtins__": {}}, names)
    except (NameError, TypeError, AttributeError):
        raise TemplateError(
            f"{where}: the type {text} is not understood; expected one made of {', '.join(sorted(names))}"
        ) from None


def _code(notebook: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (c for c in notebook["cells"] if c["cell_type"] == "code")


def _source(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _tags(cell: Mapping[str, Any]) -> list[str]:
    return list(cell.get("metadata", {}).get("tags", []))


def _names_read(source: str) -> set[str]:
    """The names that code reads. Of what is not plain Python (magics) every word counts."""
    plain_lines = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    magics = " ".join(line for line in source.splitlines() if line.lstrip().startswith(("%", "!")))
    words = set(re.findall(r"\w+", magics))
    try:
        tree = ast.parse(plain_lines)
    except SyntaxError:
        return set(re.findall(r"\w+", source))
    return words | {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


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
    values: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    typed = typed or {}
    for name, value in {**given, **typed}.items():
        if name in known:
            values[name] = _value(known[name], value, name in typed, template.name)
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
        values[name] = _value(known[name], overrides.pop(path), False, template.name)
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


def _value(parameter: Parameter, value: Any, text: bool, template: str) -> Any:
    """``value`` as a plain one of the parameter's type."""
    from pydantic import TypeAdapter, ValidationError

    readings = _readings(value, parameter.type) if text else [plain(value)]
    adapter = TypeAdapter(parameter.type)
    for reading in readings:
        try:
            # JSON's rules: no text for a number, but a list for a tuple and a text for a path
            adapter.validate_json(json.dumps(reading), strict=True)
        except (ValidationError, TypeError):
            continue
        return reading
    raise TemplateError(
        f"{parameter.name}: given {value!r}, expected {parameter.annotation or 'a plain value'} "
        f"(a parameter of the template {template!r}; its default is {parameter.default!r})"
    )


def _readings(text: str, wanted: Any) -> list[Any]:
    """What a text on a command line may mean, the likeliest first."""
    words = {"none": None, "nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    value = words.get(text.strip().lower(), parse_value(text))
    if wanted is str or isinstance(value, str):
        return [text]
    return [value, text]  # the text itself, for a type such as `str | None`


# -- executing ------------------------------------------------------------------------------------


def run_template(
    template: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    typed: Mapping[str, str] | None = None,
    output: str | Path | None = None,
    runs: str | Path | None = None,
    log: TextIO | None = None,
) -> Execution:
    """Executes a template with papermill and makes the page beside it.

    What the notebook prints appears at once on ``log``. The executed notebook ends in the folder of the run that it made,
    as ``<template>.ipynb``, and the page beside it as ``report.html``. A cell that fails ends the execution: the notebook
    up to there is kept, and ``error`` says why.

    Args:
        template: the name of a known template, or the path of a notebook.
        parameters: parameter → value; where the template declares ``overrides``, also path → value, such as
            ``{"training.optimizer.lr": 0.1}``.
        typed: more of them, as typed on a command line: texts, which are read by the declared types.
        output: where to put the executed notebook instead.
        runs: where runs are kept (default: $LMKIT_RUNS or ./runs).
        log: where to print; default: the standard error.

    Raises:
        TemplateError: no such template; a parameter is unknown, of the wrong type or never read.
        ConfigError, DataError: the experiment that the parameters describe cannot be, or not with this data.
        MissingPackage: papermill, nbconvert or the framework is not installed.

    >>> run_template("train", {"epochs": 3, "training.optimizer.lr": 0.1}).state  # doctest: +SKIP
    'completed'
    """
    chosen = read_template(template)
    values = check_parameters(chosen, parameters or {}, typed)
    experiment = described_experiment(chosen, values)
    if experiment is not None:
        from lmkit.backends import require
        from lmkit.run import check_data

        require(experiment.framework)
        check_data(experiment, runs)
    _need_packages()
    root = runs_root(runs)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    notebook = root / ".notebooks" / f"{stamp}-{chosen.name}-{secrets.token_hex(3)}.ipynb"
    try:
        notebook.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TemplateError(
            f"no notebook can be kept under {str(root)!r}: {error.strerror}; name another folder"
        ) from None
    problem = _execute(chosen, values, notebook, root, log or sys.stderr)
    made = _runs_in(notebook)
    place = Path(output) if output else made[0] / f"{chosen.name}.ipynb" if len(made) == 1 else notebook
    if place != notebook:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(notebook, place)
    state, reason = _outcome(made)
    error = f"{place}: {problem or reason}" if problem or reason else ""
    in_run = len(made) == 1 and not output
    report = _page(place, place.with_name("report.html") if in_run else place.with_suffix(".html"))
    return Execution(place, report, made, "failed" if problem and state == "completed" else state, error)


def _need_packages() -> None:
    import importlib.util

    missing = [n for n in ("papermill", "nbconvert", "ipykernel") if importlib.util.find_spec(n) is None]
    if missing:
        raise MissingPackage(
            f"executing a template needs {', '.join(missing)}, which is not installed: "
            "python -m pip install 'lmkit[batch]'"
        )


def _execute(template: Template, values: dict[str, Any], output: Path, root: Path, log: TextIO) -> str:
    """Executes a template; returns what went wrong, if anything."""
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    prepared = load_notebook_node(str(template.path))
    if values:
        prepared = parameterize_notebook(prepared, values, kernel_name="python3", language="python")
        # a notebook's metadata is JSON, which has no NaN
        prepared.metadata.papermill["parameters"] = json.loads(json.dumps(values), parse_constant=str)
    for attempt in range(1, KERNEL_STARTS + 1):
        try:
            papermill.execute_notebook(
                nbformat.from_dict(prepared),
                str(output).replace("{", "{{").replace("}", "}}"),  # papermill fills in braces
                kernel_name="python3",
                language="python",
                progress_bar=False,
                stdout_file=log,
                stderr_file=log,
                store_widget_state=False,
                kernel_manager_class=_kernel_manager({"LMKIT_RUNS": str(root)}),
            )
            return ""
        except papermill.PapermillExecutionError as error:
            return f"cell [{error.exec_count}] failed: {error.ename}: {error.evalue}"
        except DeadKernelError:
            return "its kernel died while a cell ran; a run that it started goes on: `lmkit runs`"
        except RuntimeError as error:  # what nbclient raises where a kernel never answered
            if attempt == KERNEL_STARTS:
                return f"its kernel did not start, {KERNEL_STARTS} times: {error}"
    raise AssertionError("unreachable")


def _kernel_manager(environment: Mapping[str, str]) -> type:
    """A kernel manager that starts this very Python, whatever kernels are registered, with ``environment`` added."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class Kernels(KernelSpecManager):  # type: ignore[misc]
        """Knows no kernel but ipykernel's own, whose Python is ``sys.executable``."""

        def _kernel_dirs_default(self) -> list[str]:
            return []

    class ThisPython(AsyncKernelManager):  # type: ignore[misc]
        """Starts it."""

        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return Kernels(parent=self)

        async def _async_start_kernel(self, **arguments: Any) -> None:
            env = {**os.environ, **(arguments.pop("env", None) or {}), **environment}
            await super()._async_start_kernel(env=env, **arguments)

        start_kernel = _async_start_kernel

    return ThisPython


def _runs_in(notebook: Path) -> list[Path]:
    """The folders of the runs that an executed notebook displays, as they came."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError):
        return []
    shown = [o.get("data", {}).get(RUN_TYPE) for c in cells for o in c.get("outputs", [])]
    found = dict.fromkeys(Path(s["run"]) for s in shown if isinstance(s, dict) and "run" in s)
    return [p for p in found if (p / "experiment.yaml").is_file()]


def _outcome(made: list[Path]) -> tuple[str, str]:
    """The state of the first run that did not complete, and why: from the runs' folders, which alone know."""
    for path in made:
        status = RunFolder(path).status()
        if status.state != "completed":
            return status.state, f"the run {path.name} is {status.state}" + (
                f": {status.reason}" if status.reason else ""
            )
    return "completed", ""


def _page(notebook: Path, place: Path) -> Path | None:
    """The page of a notebook, where there is a notebook to make it of."""
    from lmkit.report import page

    with contextlib.suppress(TemplateError):
        return page(notebook, place)
    return None
