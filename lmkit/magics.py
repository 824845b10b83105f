"""The magics: ``%lmkit VERB …``, and ``%%lmkit train`` with the experiment as YAML in the cell.

A line is read by the table of ``lmkit.verbs`` and calls the public function of the same name, whose result it returns.
Nothing is done here that those functions cannot do.
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

from lmkit.completion import complete
from lmkit.errors import CommandError, ConfigError, DataError, LmkitError, TemplateError, nearest
from lmkit.placeholders import Placeholders
from lmkit.specs.plain import load_yaml
from lmkit.verbs import VERBS, Verb, Word, add_words, word

INLINE = word("--inline", action="store_true", help="train in this kernel, before returning: for a debugger")

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
        """Filled in below with what help says."""
        silent = line.rstrip().endswith(";")  # as after any other expression, it keeps the result from being shown
        assert self.shell is not None
        values = Placeholders({**self.shell.user_ns, **(local_ns or {})})
        try:
            result = _call(line.rstrip(" ;"), cell, values)
        except LmkitError as error:
            raise _readable(error) from None
        except KeyboardInterrupt:
            said = "what ran in this kernel was interrupted; runs in their own processes go on: %lmkit runs"
            raise _readable(KeyboardInterrupt(said)) from None
        return None if silent else result


def load(shell: InteractiveShell) -> None:
    """Adds the magics and their completion to a shell."""
    unload(shell)
    shell.register_magics(LmkitMagics)
    shell.Completer.custom_matchers.append(_matcher)


def unload(shell: InteractiveShell) -> None:
    """Takes them away."""
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("lmkit", None)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "matcher_identifier", None) != "lmkit"]


# -- calling --------------------------------------------------------------------------------------


def _call(line: str, cell: str | None, values: Placeholders) -> Any:
    """Does what a line, and its cell, ask for."""
    try:
        words = shlex.split(values.hide(line))
    except ValueError as error:
        raise CommandError(f"%lmkit {line}: {error}; a quote inside a text needs the other kind around it") from None
    asked = "%lmkit" if cell is None else "%%lmkit"
    if cell is not None and not words:
        raise CommandError("%%lmkit: expected a verb, such as %%lmkit train; %lmkit help tells of them")
    if not words or words[0] in ("help", "-h", "--help"):
        print(_help(words[1]) if len(words) > 1 and words[1] != "help" else overview())
        return None
    verb = _find(words[0], asked)
    if {"-h", "--help"} & set(words):
        print(_help(verb.name))
        return None
    if cell is not None and not any("file" in _targets(w) for w in verb.words):
        raise CommandError(f"%%lmkit {verb.name} takes no cell; write one line: %lmkit {verb.example}")
    chosen = _parser(verb, asked).parse_args(words[1:])
    for name, read in vars(chosen).items():
        setattr(chosen, name, values.fill(read))
    if cell is None:
        return verb.call(chosen)
    return _with_cell(verb, chosen, cell, values)


def _find(name: str, asked: str) -> Verb:
    if name not in VERBS:
        raise CommandError(f"{asked} {name}: unknown verb; {nearest(name, [*VERBS, 'help'])}")
    return VERBS[name]


def _targets(argument: Word) -> tuple[Any, ...]:
    return (*argument.names, argument.options.get("dest"))


class _Parser(argparse.ArgumentParser):
    """Raises what it would have printed."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{self.prog}: {message}\n{self.format_usage()}{self.epilog}")


def _parser(verb: Verb, asked: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"{asked} {verb.name}", add_help=False, **verb.options("%lmkit"))
    # a cell takes the place of a file
    add_words(parser, [w for w in verb.words if asked == "%lmkit" or "file" not in _targets(w)])
    if verb.name == "train":
        add_words(parser, [INLINE])
    return parser


def overview() -> str:
    """What ``%lmkit help`` prints."""
    listed = "\n".join(f"  {v.name:<18} {v.help}\n{'':20} %lmkit {v.example}" for v in VERBS.values())
    return (
        "%lmkit VERB … calls the function of lmkit of the same name, and returns what it returns:\n\n"
        f"{listed}\n  {'help':<18} Tells of all verbs, or of the words of one\n{'':20} %lmkit help train\n\n{CELL}"
    )


def _help(name: str) -> str:
    verb = _find(name, "%lmkit help")
    return _parser(verb, "%lmkit").format_help() + (f"\n{CELL}" if verb.name == "train" else "")


LmkitMagics.lmkit.__doc__ = overview()


# -- the cell -------------------------------------------------------------------------------------


def _with_cell(verb: Verb, chosen: argparse.Namespace, cell: str, values: Placeholders) -> Any:
    """Does what a line asks for with the cell below it. Errors name the line that they speak of, and show it."""
    lines = cell.splitlines()

    def at(line: int, problem: str) -> str:
        return f"line {line + FIRST_LINE}: {problem}\n      {lines[line].strip()}" if line < len(lines) else problem

    hidden = values.hide(cell, FIRST_LINE)
    try:
        read = load_yaml(hidden)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = f"not YAML: {getattr(error, 'problem', None) or error}"
        raise ConfigError([at(min(mark.line, len(lines) - 1), problem) if mark else problem]) from None
    if read is not None and not isinstance(read, Mapping):
        raise ConfigError([at(0, f"given {read!r}, expected a mapping such as data: digits")])
    chosen.file = values.fill(read or {})
    changed = [path for path, _ in getattr(chosen, "parameter", ())]

    def located(problem: str) -> str:
        path = problem.partition(":")[0]
        line = _line(path.split("."), yaml.compose(hidden, yaml.SafeLoader))
        return problem if line is None or any(f".{path}".endswith(f".{c}") for c in changed) else at(line, problem)

    try:
        return verb.call(chosen)
    except ConfigError as error:
        raise ConfigError(map(located, error.problems)) from None
    except (DataError, TemplateError) as error:
        raise type(error)(located(str(error))) from None


def _line(path: list[str], node: yaml.Node | None) -> int | None:
    """The line on which a path, or as much of it as is there, is written."""
    line: int | None = None
    for name in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == name), None)
            if not found:
                return line
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and name.isdigit() and int(name) < len(node.value):
            node = node.value[int(name)]
            line = node.start_mark.line
        else:
            return line
    return line


# -- errors and completion ------------------------------------------------------------------------


def _readable(error: BaseException) -> BaseException:
    """The same error, which IPython shows as its message alone: how lmkit came to it helps nobody."""
    error._render_traceback_ = lambda: [f"{type(error).__name__}: {error}"]  # type: ignore[attr-defined]
    return error


@context_matcher(identifier="lmkit")
def _matcher(context: CompletionContext) -> Any:
    """Completes the words of a magic, and the fields of a cell; alone, where it knows any."""
    lines = context.full_text.split("\n")[: context.cursor_line]
    before = "\n".join([*lines, context.text_until_cursor])
    fragment, found = complete(before, context.line_with_cursor[context.cursor_position :])
    return {
        "completions": [SimpleCompletion(text) for text in found],
        "matched_fragment": fragment,
        "ordered": True,
        "suppress": True,
    }
