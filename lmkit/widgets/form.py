"""A form made from the JSON schema of a pydantic model, in plain ipywidgets.

A field's type, bounds, choices, default and documentation come from the schema, so a new field shows by itself. What is
typed is passed on as it is, never refused here: whoever owns the schema says what is wrong with it, in his own words,
and ``Form.tell`` puts each sentence beside the field that it speaks of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import ipywidgets as W

from lmkit.widgets.fields import LABEL_WIDTH, Field, Group, Node, Teller


class Hint(NamedTuple):
    """What a schema cannot say of a field, unless it carries these words itself.

    Attributes:
        unit: of its numbers.
        label: what it is called, instead of its name.
        empty: what an empty optional field says.
        rare: folded away; None: as optional fields and empty lists are.
    """

    unit: str = ""
    label: str = ""
    empty: str = "off"
    rare: bool | None = None


class Form:
    """A form over a JSON schema.

    Args:
        schema: of an object, as ``model_json_schema()`` gives it.
        hints: path, or the last part of one, → what the schema does not say.
        controls: path → a widget of one's own for that field; its ``value`` is text. One without a description has a
            trait ``about`` for the documentation.
        changed: called after every change that a person makes.

    >>> from lmkit import Experiment
    >>> form = Form(Experiment.model_json_schema())
    >>> form.value["training"]["optimizer"]["name"]
    'sgd'
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        *,
        hints: Mapping[str, Hint] | None = None,
        controls: Mapping[str, W.DOMWidget] | None = None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self.hints = dict(hints or {})
        self.controls = dict(controls or {})
        self._definitions = schema.get("$defs", {})
        self._changed = changed or (lambda: None)
        self._told: set[Teller] = set()
        self._quiet = 0
        self._looks: dict[type[W.DOMWidget], dict[str, Any]] = {}
        with self.quiet():
            self.root = Group(self, "", self.resolve(schema))
            self.root.set(None)

    @property
    def value(self) -> dict[str, Any]:
        """What the fields hold, as plain values, valid or not."""
        return self.root.get()

    @value.setter
    def value(self, value: Mapping[str, Any]) -> None:
        with self.quiet():
            self.root.set(value)

    def __getitem__(self, path: str) -> Node:
        """The node at ``path``."""
        for node in self._way(path):
            if node.path == path:
                return node
        raise KeyError(path)

    def field(self, path: str) -> Field:
        """The field at ``path``, which is no part."""
        node = self[path]
        if not isinstance(node, Field):
            raise KeyError(f"{path} is no single field")
        return node

    def _way(self, path: str) -> Iterator[Node]:
        """The nodes on the way to ``path``, as far as they exist."""
        node: Node = self.root
        for name in path.split("."):
            inner = node.inner(name)
            if inner is None:
                return
            yield inner
            node = inner

    def tell(self, problems: Iterable[str]) -> list[str]:
        """Shows each ``path: sentence`` beside its field, and returns those that have none."""
        homeless = []
        told: dict[Teller, list[str]] = {}
        for problem in problems:
            path, sentence = split_problem(problem)
            way = list(self._way(path)) if path else []
            row = next((n.row for n in reversed(way) if n.row), None)
            if row is None:
                homeless.append(problem)
                continue
            told.setdefault(row, []).append(sentence)
            for outer, node in zip([self.root, *way], way, strict=False):
                if node.rare and isinstance(outer, Group):
                    outer.fold.open = True
        for teller in self._told - set(told):
            teller.problem = ""
        for teller, sentences in told.items():
            teller.problem = "; ".join(sentences)
        self._told = set(told)
        return homeless

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Changes made here are the program's, not a person's."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    def changed(self, _: Any = None) -> None:
        """A control changed."""
        if not self._quiet:
            self._changed()

    def resolve(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """``schema`` with its reference followed; what stands beside the reference wins."""
        if "$ref" not in schema:
            return dict(schema)
        return {**self.resolve(self._definitions[schema["$ref"].rsplit("/", 1)[-1]]), **schema}

    def hint(self, path: str, schema: Mapping[str, Any]) -> Hint:
        """What is known of the field at ``path`` besides its type."""
        known = self.hints.get(path) or self.hints.get(path.rsplit(".", 1)[-1]) or Hint()
        return known._replace(**{k: schema[k] for k in Hint._fields if k in schema})

    def make(self, kind: type[W.DOMWidget], **traits: Any) -> Any:
        """A control. Those of a kind share one layout and one style: a form opens in half of the messages."""
        widget = kind(**{"style": {"description_width": LABEL_WIDTH}, **self._looks.get(kind, {}), **traits})
        self._looks.setdefault(kind, {"layout": widget.layout, "style": widget.style})
        return widget


def split_problem(problem: str) -> tuple[str, str]:
    """A problem's path, empty where it names none, and its sentence.

    >>> split_problem("training.epochs: given 0, expected at least 1")
    ('training.epochs', 'given 0, expected at least 1')
    """
    path, colon, sentence = problem.partition(": ")
    return (path, sentence) if colon and re.fullmatch(r"\w+(\.\w+)*", path) else ("", problem)
