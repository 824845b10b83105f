"""A form generated from the JSON schema of a pydantic model, in elements that one widget displays.

The type, bounds, choices, default and documentation of a field come from the schema, so that new fields appear without
a change here. The form does not validate: the model raises the errors, and ``Form.show_problems`` displays each next to
its field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lmkit.experiment.schema import SchemaReader
from lmkit.widgets import elements as E
from lmkit.widgets.fields import Field, Group, Hint, Node
from lmkit.widgets.rows import ProblemDisplay


class Form:
    """A form over a JSON schema.

    Args:
        schema: the schema of an object, from ``model_json_schema()``.
        hints: path, or its last part, → display settings.
        controls: path → a custom widget for that field with a text ``value``. A widget without a ``description`` has
            a trait ``about`` for the documentation.
        changed: called after every change by the user.

    >>> from lmkit import Experiment
    >>> form = Form(Experiment.model_json_schema())
    >>> form.value["training"]["optimizer"]["name"]
    'adam'
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        *,
        hints: Mapping[str, Hint] | None = None,
        controls: Mapping[str, E.Element] | None = None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self.hints = dict(hints or {})
        self.controls = dict(controls or {})
        self.resolve = SchemaReader(schema).resolve
        self._changed = changed or (lambda: None)
        self._displays: set[ProblemDisplay] = set()
        self._quiet = 0
        with self.quiet():
            self.root = Group(self, "", self.resolve(schema))
            self.root.set(None)

    @property
    def value(self) -> dict[str, Any]:
        """The values of the fields as plain values, valid or not."""
        return self.root.get()

    @value.setter
    def value(self, value: Mapping[str, Any]) -> None:
        with self.quiet():
            self.root.set(value)

    def __getitem__(self, path: str) -> Node:
        """Return the node at ``path``."""
        for node in self._nodes_to(path):
            if node.path == path:
                return node
        raise KeyError(path)

    def field(self, path: str) -> Field:
        """Return the single field at ``path``."""
        node = self[path]
        if not isinstance(node, Field):
            raise KeyError(f"{path} is not a single field")
        return node

    def _nodes_to(self, path: str) -> Iterator[Node]:
        """Yield the nodes from the root to ``path``, as far as they exist."""
        node: Node = self.root
        for name in path.split("."):
            inner = node.inner(name)
            if inner is None:
                return
            yield inner
            node = inner

    def show_problems(self, problems: Iterable[str]) -> list[str]:
        """Display each ``path: sentence`` next to its field, and return those without a field."""
        unplaced = []
        sentences_by_display: dict[ProblemDisplay, list[str]] = {}
        for problem in problems:
            path, sentence = split_problem(problem)
            nodes = list(self._nodes_to(path)) if path else []
            row = next((n.row for n in reversed(nodes) if n.row), None)
            if row is None:
                unplaced.append(problem)
                continue
            sentences_by_display.setdefault(row, []).append(in_fields(sentence))
            for outer, node in zip([self.root, *nodes], nodes, strict=False):
                if node.rare and isinstance(outer, Group):
                    outer.fold.is_open = True
        for display in self._displays - set(sentences_by_display):
            display.problem = ""
        for display, sentences in sentences_by_display.items():
            display.problem = "; ".join(sentences)
        self._displays = set(sentences_by_display)
        return unplaced

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Suppress change notifications: changes in this context are not the user's."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    def changed(self, _: Any = None) -> None:
        """Report a change of a control by the user."""
        if not self._quiet:
            self._changed()

    def hint(self, path: str, schema: Mapping[str, Any]) -> Hint:
        """Return the hint of the field at ``path``; keys of the schema take precedence."""
        hint = self.hints.get(path) or self.hints.get(path.rsplit(".", 1)[-1]) or Hint()
        return hint._replace(**{k: schema[k] for k in Hint._fields if k in schema})


def in_fields(sentence: str) -> str:
    """Return a sentence that says what to write in a configuration such that it says which field to set.

    >>> in_fields("it has 3 missing values; use data: {missing: drop} or {drop: [area]}")
    'it has 3 missing values; set missing: drop or drop: area'
    """
    text = re.sub(r"\buse data: (?=\{)", "set ", sentence)
    if text == sentence:
        return text
    return re.sub(r"\{(\w+): (?:…|\[?([^{}\[\]]*)\]?)\}", lambda m: f"{m[1]}: {m[2]}" if m[2] else m[1], text)


def split_problem(problem: str) -> tuple[str, str]:
    """Split a problem into its path, empty if it names none, and its sentence.

    >>> split_problem("training.epochs: given 0, expected at least 1")
    ('training.epochs', 'given 0, expected at least 1')
    """
    path, colon, sentence = problem.partition(": ")
    return (path, sentence) if colon and re.fullmatch(r"\w+(\.\w+)*", path) else ("", problem)
