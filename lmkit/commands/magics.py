"""The magics: ``%lmkit VERB …``, and ``%%lmkit train`` with the experiment as YAML in the cell.

A line is parsed by the table of ``lmkit.commands.verbs`` and calls the public function of the same name, whose result
it returns. Nothing is done here that those functions cannot do.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from typing import Any, NoReturn

import yaml
from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand

from lmkit.commands.arguments import PairParser, add_arguments
from lmkit.commands.completion import complete
from lmkit.commands.verbs import VERBS, Verb
from lmkit.exceptions import CommandError, ConfigError, DataError, LmkitError, TemplateError, nearest, shorten
from lmkit.experiment.placeholders import Placeholders
from lmkit.specs.plain import compose_yaml, load_yaml

CELL = """\
The experiment can be written in the cell, as YAML:

  %%lmkit train
  data: {source: digits, batch_size: $rows}
  model: {hidden: [$width, {2 * width}]}
  training: {epochs: 5, optimizer: {name: adam, lr: $rate}}

%%lmkit new opens the form on such a cell, and %%lmkit run TEMPLATE takes a template's parameters from it.

In a line or a cell, $name and {expression} are values of the notebook, as they are: numbers, texts, lists, None, and
data in memory (data: $frame). Braces with a key, {key: value}, are YAML; anything else in braces is Python.
In quotes, or amid other text, a value becomes text. $$ is a dollar sign, {{…}} is {…} untouched."""

FIRST_LINE = 2
"""The number of the first line below ``%%lmkit``, as editors count."""


@magics_class
class LmkitMagics(Magics):
    """``%lmkit`` and ``%%lmkit``."""

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def lmkit(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Replaced below by the overview."""
        silent = line.rstrip().endswith(";")  # hides the result, as after any other expression
        assert self.shell is not None
        values = Placeholders({**self.shell.user_ns, **(local_ns or {})})
        try:
            result = _call(line.rstrip(" ;"), cell, values)
        except LmkitError as error:
            raise _readable(error) from None
        except KeyboardInterrupt:
            message = "interrupted in this kernel; runs in their own processes continue: %lmkit runs"
            raise _readable(KeyboardInterrupt(message)) from None
        return None if silent else result


def load(shell: InteractiveShell) -> None:
    """Add the magics and their completion to a shell."""
    unload(shell)
    shell.register_magics(LmkitMagics)
    shell.Completer.custom_matchers.append(_matcher)


def unload(shell: InteractiveShell) -> None:
    """Remove the magics and their completion from a shell."""
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("lmkit", None)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "matcher_identifier", None) != "lmkit"]


# -- calling --------------------------------------------------------------------------------------


def _call(line: str, cell: str | None, values: Placeholders) -> Any:
    """Run a line, and its cell."""
    try:
        words = shlex.split(values.hide(line))
    except ValueError as error:
        raise CommandError(f"%lmkit {line}: {error}; a quote inside a text needs the other kind around it") from None
    prefix = "%lmkit" if cell is None else "%%lmkit"
    if cell is not None and not words:
        raise CommandError("%%lmkit: expected a verb, such as %%lmkit train; %lmkit help lists them")
    if not words or words[0] in ("help", "-h", "--help"):
        print(_help(words[1]) if len(words) > 1 and words[1] != "help" else overview())
        return None
    verb = _find(words[0], prefix)
    if {"-h", "--help"} & set(words):
        print(_help(verb.name))
        return None
    if cell is not None and not any(item.destination == "file" for item in verb.arguments):
        raise CommandError(f"%%lmkit {verb.name} takes no cell; write one line: %lmkit {verb.example}")
    texts = vars(_parser(verb, prefix).parse_args(words[1:]))
    switches = {item.destination: texts.pop(item.destination) for item in verb.notebook_arguments}
    args = argparse.Namespace(**{name: values.fill(text) for name, text in texts.items()})
    if cell is None:
        return verb.call(args, **switches)
    return _with_cell(verb, args, switches, cell, values)


def _find(name: str, prefix: str) -> Verb:
    if name not in VERBS:
        raise CommandError(f"{prefix} {name}: unknown verb; {nearest(name, [*VERBS, 'help'])}")
    return VERBS[name]


class _Parser(PairParser):
    """A parser that raises its error message."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{self.prog}: {message}\n{self.format_usage()}{self.epilog}")


def _parser(verb: Verb, prefix: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"{prefix} {verb.name}", add_help=False, **verb.parser_options("%lmkit"))
    # a cell replaces a file
    add_arguments(parser, [item for item in verb.arguments if prefix == "%lmkit" or item.destination != "file"])
    add_arguments(parser, verb.notebook_arguments)
    return parser


def overview() -> str:
    """Return what ``%lmkit help`` prints."""
    listed = "\n".join(f"  {v.name:<18} {v.help}\n{'':20} %lmkit {v.example}" for v in VERBS.values())
    return (
        "%lmkit VERB … calls the function of lmkit of the same name, and returns what it returns:\n\n"
        f"{listed}\n  {'help':<18} List the verbs, or the arguments of one\n{'':20} %lmkit help train\n\n{CELL}"
    )


def _help(name: str) -> str:
    verb = _find(name, "%lmkit help")
    return _parser(verb, "%lmkit").format_help() + (f"\n{CELL}" if verb.name == "train" else "")


LmkitMagics.lmkit.__doc__ = overview()


# -- the cell -------------------------------------------------------------------------------------


def _with_cell(verb: Verb, args: argparse.Namespace, switches: dict[str, Any], cell: str, values: Placeholders) -> Any:
    """Run a line with the cell below it; an error names the line that it is about, and shows it."""
    lines = cell.splitlines()

    def at(line: int, problem: str) -> str:
        return f"line {line + FIRST_LINE}: {problem}\n      {lines[line].strip()}" if line < len(lines) else problem

    hidden = values.hide(cell, FIRST_LINE)
    try:
        content = load_yaml(hidden)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = f"not YAML: {getattr(error, 'problem', None) or error}"
        raise ConfigError([at(min(mark.line, len(lines) - 1), problem) if mark else problem]) from None
    if content is not None and not isinstance(content, Mapping):
        raise ConfigError([at(0, f"given {shorten(content)}, expected a mapping such as data: digits")])
    args.file = values.fill(content or {})
    changed = [path for path, _ in args.parameter] if "parameter" in args else []

    def located(problem: str) -> str:
        path = problem.partition(":")[0]
        line = _line(path.split("."), compose_yaml(hidden))
        return problem if line is None or any(f".{path}".endswith(f".{c}") for c in changed) else at(line, problem)

    try:
        return verb.call(args, **switches)
    except ConfigError as error:
        raise ConfigError(map(located, error.problems)) from None
    except (DataError, TemplateError) as error:
        raise type(error)(located(str(error))) from None


def _line(path: list[str], node: yaml.Node | None) -> int | None:
    """The line of a path, or of as much of it as the cell holds."""
    line: int | None = None
    for name in path:
        if isinstance(node, yaml.MappingNode):
            item = next(((k, v) for k, v in node.value if k.value == name), None)
            if not item:
                return line
            line, node = item[0].start_mark.line, item[1]
        elif isinstance(node, yaml.SequenceNode) and name.isdigit() and int(name) < len(node.value):
            node = node.value[int(name)]
            line = node.start_mark.line
        else:
            return line
    return line


# -- errors and completion ------------------------------------------------------------------------


def _readable(error: BaseException) -> BaseException:
    """The same error, which IPython shows as its message without a traceback."""
    error._render_traceback_ = lambda: [f"{type(error).__name__}: {error}"]  # type: ignore[attr-defined]
    return error


@context_matcher(identifier="lmkit")
def _matcher(context: CompletionContext) -> Any:
    """Complete the arguments of a magic and the fields of a cell; other completions are suppressed."""
    lines = context.full_text.split("\n")[: context.cursor_line]
    before = "\n".join([*lines, context.text_until_cursor])
    fragment, texts = complete(before, context.line_with_cursor[context.cursor_position :])
    return {
        "completions": [SimpleCompletion(text) for text in texts],
        "matched_fragment": fragment,
        "ordered": True,
        "suppress": True,
    }
