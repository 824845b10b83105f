"""A form made from the JSON schema of a pydantic model, in plain ipywidgets.

    text, number, list    a line of text, read as YAML would          Field
    choice, truth         a menu or two buttons; a box to tick        Field
    part                  its fields, rare ones folded away           Group
    one of several parts  a menu; the fields of the chosen part       Choice
    part or nothing       a box to tick that shows its fields         Switch

A field's type, bounds, choices, default and documentation come from the schema, so a new field shows by itself. What is
typed is passed on as it is, never refused here: whoever owns the schema says what is wrong with it, in his own words,
and ``Form.tell`` puts each sentence beside the field that it speaks of.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import ipywidgets as W

from lmkit.specs.plain import dump_yaml, parse_value

OFF = "off"
"""What an optional field shows when it is empty."""

BUTTONS = 2
"""Up to so many choices are buttons side by side; more are a menu."""


class Hint(NamedTuple):
    """What a schema cannot say of a field, unless it carries these words itself.

    Attributes:
        unit: of its numbers.
        label: what it is called, instead of its name.
        rare: folded away; None: as optional fields and empty lists are.
    """

    unit: str = ""
    label: str = ""
    rare: bool | None = None


class Form:
    """A form over a JSON schema.

    Args:
        schema: of an object, as ``model_json_schema()`` gives it.
        hints: path, or the last part of one, → what the schema does not say.
        controls: path → a widget of one's own for that field; its ``value`` is text.
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
        self.rows: dict[str, Row] = {}
        self._definitions = schema.get("$defs", {})
        self._told: set[Row] = set()
        self._quiet = 0
        self._changed = changed or (lambda: None)
        # one model for all rows instead of one a row: a form opens in a third of the messages
        self.style = {"description_width": "8.5em"}
        self.layout = W.Layout(width="auto")
        with self.quiet():
            self.root = Group(self, "", self.resolve(schema))
            self.root.set({})

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
        node: Node = self.root
        for name in filter(None, path.split(".")):
            node = node.inner(name)
        return node

    def tell(self, problems: Iterable[str]) -> list[str]:
        """Shows each ``path: sentence`` beside its field, and returns those that have none."""
        homeless, told = [], {}
        for problem in problems:
            path, sentence = split_problem(problem)
            while path and path not in self.rows:
                path = path.rpartition(".")[0]
            if path:
                told.setdefault(self.rows[path], []).append(sentence)
            else:
                homeless.append(problem)
        for row in self._told - set(told):
            row.problem = ""
        for row, sentences in told.items():
            row.problem = "; ".join(sentences)
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


def split_problem(problem: str) -> tuple[str, str]:
    """A problem's path, empty where it names none, and its sentence.

    >>> split_problem("training.epochs: given 0, expected at least 1")
    ('training.epochs', 'given 0, expected at least 1')
    """
    path, colon, sentence = problem.partition(": ")
    return (path, sentence) if colon and re.fullmatch(r"\w+(\.\w+)*", path) else ("", problem)


class Row:
    """A control and beside it its unit, its documentation while it is looked at, and what is wrong with it."""

    def __init__(self, control: W.DOMWidget, unit: str = "", text: str = "") -> None:
        self.unit, self._text, self._problem = unit, text, ""
        self.note = W.HTML()
        self.note.add_class("lkc-note")
        self.widget = W.HBox([control, self.note])
        self.widget.add_class("lkc-row")
        control.add_class("lkc-control")
        self._draw()

    @property
    def text(self) -> str:
        """The documentation."""
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        if text != self._text:
            self._text = text
            self._draw()

    @property
    def problem(self) -> str:
        """What is wrong."""
        return self._problem

    @problem.setter
    def problem(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self.widget.add_class("lkc-bad") if problem else self.widget.remove_class("lkc-bad")
            self._draw()

    @property
    def visible(self) -> bool:
        """Whether it is shown."""
        return "lkc-hidden" not in self.widget._dom_classes

    @visible.setter
    def visible(self, visible: bool) -> None:
        self.widget.remove_class("lkc-hidden") if visible else self.widget.add_class("lkc-hidden")

    def _draw(self) -> None:
        if self._problem:
            self.note.value = f'<span class="lkc-problem" role="alert">{html.escape(self._problem)}</span>'
            return
        unit = f'<span class="lkc-unit">{html.escape(self.unit)}</span>' if self.unit else ""
        self.note.value = f'{unit}<span class="lkc-doc"><span>{html.escape(self._text)}</span></span>'


class Node:
    """A place in the form.

    Attributes:
        path: such as ``training.optimizer.lr``.
        rare: whether it is folded away.
        widgets: what shows it.
    """

    path: str
    rare: bool
    widgets: list[W.Widget]

    def get(self) -> Any:
        """What it holds, as a plain value."""
        raise NotImplementedError

    def set(self, value: Any) -> None:
        """Takes up a plain value."""
        raise NotImplementedError

    def inner(self, name: str) -> Node:
        """The node called ``name`` in it."""
        raise KeyError(f"{self.path} has no fields; asked for {name!r}")


class Field(Node):
    """A value: text, a number, a list, a choice, true or false."""

    def __init__(self, form: Form, path: str, schema: dict[str, Any]) -> None:
        options = [form.resolve(s) for s in schema.get("anyOf", [])]
        real = [s for s in options if s.get("type") != "null"]
        self.path, self.default = path, schema.get("default")
        self.optional = len(real) < len(options)
        kind = {**(real[0] if len(real) == 1 else {}), **schema}
        hint = form.hint(path, schema)
        unset = self.default is None and self.optional
        self.rare = hint.rare if hint.rare is not None else unset or self.default == []
        self.read, self.write = _codec(kind, self.optional)
        text = _documentation(kind)
        label = hint.label or path.rsplit(".", 1)[-1].replace("_", " ")
        self.control = form.controls.get(path) or self._make(kind, form, label)
        self.control.tooltip = text
        if isinstance(self.control, W.Text):
            self.control.placeholder = self.control.placeholder or (OFF if self.optional else "")
        self.control.observe(form.changed, "value")
        self.row = form.rows[path] = Row(self.control, hint.unit, text)
        self.widgets = [self.row.widget]

    def _make(self, schema: Mapping[str, Any], form: Form, label: str) -> W.DOMWidget:
        looks = {"description": label, "style": form.style, "layout": form.layout}
        if schema.get("type") == "boolean" and not self.optional:
            return W.Checkbox(indent=True, **looks)
        if "enum" in schema:
            options = [(str(v), v) for v in schema["enum"]]
            if self.optional:
                options.insert(0, (OFF, None))
            if len(options) <= BUTTONS:
                buttons = W.ToggleButtons(options=options, **{**looks, "style": {**form.style, "button_width": "auto"}})
                buttons.add_class("lkc-buttons")
                return buttons
            return W.Dropdown(options=options, **looks)
        return W.Text(continuous_update=True, **looks)

    def get(self) -> Any:
        """What it holds; its default while it is hidden."""
        return self.read(self.control.value) if self.row.visible else self.default

    def set(self, value: Any) -> None:
        """Takes up a plain value."""
        self.control.value = self.write(value)


class Constant(Node):
    """What a part is: not shown, and not changed."""

    def __init__(self, path: str, value: Any) -> None:
        self.path, self.value = path, value
        self.rare, self.widgets = False, []

    def get(self) -> Any:
        """What it is."""
        return self.value

    def set(self, value: Any) -> None:
        """It stays what it is."""


class Group(Node):
    """A part: its fields one under the other, the rare ones behind a fold that names them."""

    def __init__(self, form: Form, path: str, schema: dict[str, Any]) -> None:
        self.path, self.form = path, form
        self.rare = form.hint(path, schema).rare or False
        self.text = schema.get("description", "")
        self.nodes = {name: node_for(form, f"{path}.{name}".lstrip("."), s) for name, s in schema["properties"].items()}
        rare = [n for n in self.nodes.values() if n.rare and n.widgets]
        common = [w for n in self.nodes.values() if not n.rare for w in n.widgets]
        self.fold = Fold([form.hint(n.path, {}).label or _last(n.path) for n in rare], [w for n in rare for w in n.widgets])
        self.widgets = [*common, *(self.fold.widgets if rare else [])]

    def get(self) -> dict[str, Any]:
        """What its fields hold."""
        return {name: node.get() for name, node in self.nodes.items()}

    def set(self, value: Mapping[str, Any] | None) -> None:
        """Takes up a mapping; fields that it lacks take their defaults."""
        value = value or {}
        for name, node in self.nodes.items():
            node.set(value[name] if name in value else _default(node))
        if any(n.rare and n.get() != _default(n) for n in self.nodes.values()):
            self.fold.open = True

    def inner(self, name: str) -> Node:
        """The field called ``name``."""
        return self.nodes[name]


class Choice(Node):
    """One of several parts: a menu of them, and the fields of the chosen one, which are made when they are needed."""

    def __init__(self, form: Form, path: str, schema: dict[str, Any]) -> None:
        members = [form.resolve(s) for s in schema.get("oneOf", schema.get("anyOf", []))]
        self.tag = tag_of(members)
        self.form, self.path, self.default = form, path, schema.get("default")
        hint = form.hint(path, schema)
        self.rare = hint.rare or False
        self.kinds = {m["properties"][self.tag]["const"]: m for m in members}
        self.groups: dict[str, Group] = {}
        self.menu = W.Dropdown(
            options=list(self.kinds), description=hint.label or _last(path), style=form.style, layout=form.layout
        )
        self.row = form.rows[path] = Row(self.menu, hint.unit)
        self.box = W.VBox()
        self.box.add_class("lkc-inner")
        self.widgets = [self.row.widget, self.box]
        self.text = schema.get("description", "")
        self.menu.observe(self._chosen, "value")
        self._chosen()

    @property
    def group(self) -> Group:
        """The fields of the chosen part."""
        kind = self.menu.value
        if kind not in self.groups:
            with self.form.quiet():
                self.groups[kind] = Group(self.form, self.path, self.kinds[kind])
                self.groups[kind].set({})
        return self.groups[kind]

    def _chosen(self, _: Any = None) -> None:
        self.box.children = self.group.widgets
        # fields of the same path in another part are no longer there to be told anything
        for node in self.group.nodes.values():
            if isinstance(node, Field):
                self.form.rows[node.path] = node.row
        about = self.kinds[self.menu.value]["properties"][self.tag].get("description", "")
        self.row.text = f"{self.menu.value}: {about}" if about else self.text
        self.menu.tooltip = f"{self.text} {self.row.text}".strip()
        self.form.changed()

    def get(self) -> dict[str, Any]:
        """What the chosen part's fields hold."""
        return self.group.get()

    def set(self, value: Mapping[str, Any] | None) -> None:
        """Takes up a part, of the kind that its tag names."""
        value = value or {}
        kind = value.get(self.tag, next(iter(self.kinds)))
        with self.form.quiet():
            self.menu.value = kind
            self.group.set(value)

    def inner(self, name: str) -> Node:
        """The field called ``name`` of the chosen part."""
        return self.group.inner(name)


class Switch(Node):
    """A part, or nothing: a box to tick, under which its fields appear."""

    def __init__(self, form: Form, path: str, schema: dict[str, Any], part: dict[str, Any]) -> None:
        self.form, self.path, self.default = form, path, schema.get("default")
        hint = form.hint(path, schema)
        self.rare = hint.rare if hint.rare is not None else self.default is None
        self.part = part
        text = schema.get("description") or part.get("description", "")
        self.box = W.Checkbox(
            description=hint.label or _last(path), indent=True, style=form.style, layout=form.layout, tooltip=text
        )
        self.row = form.rows[path] = Row(self.box, hint.unit, text)
        self.inside = W.VBox()
        self.inside.add_class("lkc-inner")
        self.widgets = [self.row.widget, self.inside]
        self._node: Node | None = None
        self.box.observe(self._switched, "value")

    @property
    def node(self) -> Node:
        """The part inside."""
        if self._node is None:
            with self.form.quiet():
                row = self.form.rows[self.path]
                self._node = node_for(self.form, self.path, self.part)
                self._node.set({})
                self.form.rows[self.path] = row  # the box stands for the whole part
        return self._node

    def _switched(self, _: Any = None) -> None:
        self.inside.children = self.node.widgets if self.box.value else []
        self.form.changed()

    def get(self) -> Any:
        """What its fields hold, or None."""
        return self.node.get() if self.box.value else None

    def set(self, value: Mapping[str, Any] | None) -> None:
        """Takes up a part, or None."""
        with self.form.quiet():
            if value is not None:
                self.node.set(value)
            self.box.value = value is not None

    def inner(self, name: str) -> Node:
        """The field called ``name`` of the part inside."""
        return self.node.inner(name)


class Fold:
    """Widgets behind a button that names them."""

    def __init__(self, names: Sequence[str], widgets: Sequence[W.Widget]) -> None:
        self.names = ", ".join(names)
        self.button = W.ToggleButton(tooltip=f"Show or hide: {self.names}")
        self.button.add_class("lkc-fold")
        self.box = W.VBox(list(widgets))
        self.button.observe(self._draw, "value")
        self.widgets: list[W.Widget] = [self.button, self.box]
        self._draw()

    @property
    def open(self) -> bool:
        """Whether they are shown."""
        return bool(self.button.value)

    @open.setter
    def open(self, shown: bool) -> None:
        self.button.value = shown

    def _draw(self, _: Any = None) -> None:
        self.button.description = "▾ fewer" if self.open else f"▸ more: {self.names}"
        self.box.remove_class("lkc-hidden") if self.open else self.box.add_class("lkc-hidden")


# -- the schema -----------------------------------------------------------------------------------


def node_for(form: Form, path: str, schema: Mapping[str, Any]) -> Node:
    """The node that a schema asks for."""
    whole = form.resolve(schema)
    if "const" in whole:
        return Constant(path, whole["const"])
    if "properties" in whole:
        return Group(form, path, whole)
    options = [form.resolve(s) for s in whole.get("oneOf", whole.get("anyOf", []))]
    parts = [s for s in options if s.get("type") != "null"]
    if parts and tag_of(parts):
        return Choice(form, path, whole)
    if len(parts) == 1 and len(options) == 2 and ("properties" in parts[0] or "oneOf" in parts[0]):
        return Switch(form, path, whole, parts[0])
    return Field(form, path, whole)


def tag_of(members: Sequence[Mapping[str, Any]]) -> str:
    """The field whose constant tells several parts apart; empty where there is none."""
    if len(members) < 2 or not all("properties" in m for m in members):
        return ""
    shared = set.intersection(*({k for k, s in m["properties"].items() if "const" in s} for m in members))
    return min(shared, default="")


def _default(node: Node) -> Any:
    return node.get() if isinstance(node, Constant) else getattr(node, "default", None)


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1].replace("_", " ")


_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def _documentation(schema: Mapping[str, Any]) -> str:
    """What the schema says of a field, and its bounds."""
    items = schema.get("items", {})
    bounds = ", ".join(f"{word} {(schema | items)[key]:g}" for key, word in _BOUNDS.items() if key in schema | items)
    each = "each " if items and bounds else ""
    return " ".join(t for t in (schema.get("description", ""), f"({each}{bounds})" if bounds else "") if t)


def _codec(schema: Mapping[str, Any], optional: bool) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """How a control's value is read as a plain value, and how a plain value is written into the control."""
    kind = schema.get("type")
    if "enum" in schema or (kind == "boolean" and not optional):
        return (lambda v: v), (lambda v: v)
    if kind == "string":
        return (lambda v: v or None) if optional else (lambda v: v), lambda v: v or ""
    if kind == "array":
        text = schema.get("items", {}).get("type") == "string"
        return (lambda v: _read_list(v, text)), _write_list
    return (lambda v: _read(v, optional)), _write


def _read(text: str, optional: bool = False) -> Any:
    text = text.strip()
    return (None if optional else "") if not text else parse_value(text)


def _write(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else dump_yaml([value])[1:-2]


def _read_list(text: str, words: bool) -> list[Any]:
    """``64, 64`` or ``[64, 64]``; a word that holds a comma is quoted."""
    text = text.strip().removeprefix("[").removesuffix("]").strip()
    if not text:
        return []
    items = [t.strip() for t in next(csv.reader([text], skipinitialspace=True))]
    if items and not items[-1]:
        items.pop()  # somebody is about to type the next one
    return items if words else [_read(t) for t in items]


def _write_list(value: Iterable[Any] | None) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(value or ())
    return re.sub(r",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", ", ", line.getvalue())
