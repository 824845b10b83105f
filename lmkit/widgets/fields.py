"""The places of a form: each a part of the schema, and the ipywidgets that show it.

text, number, list    a line of text, read as YAML would          Field
choice, truth         a menu or two buttons; a box to tick        Field
part                  its fields, rare ones folded away           Group
one of several parts  a menu; the fields of the chosen part       Choice
part or nothing       a box to tick that shows its fields         Switch
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import ipywidgets as W

from lmkit.widgets.schema import codec, documentation, tag_of

if TYPE_CHECKING:
    from lmkit.widgets.form import Form

BUTTONS = 2
"""Up to so many choices are buttons side by side; more are a menu."""

LABEL_WIDTH = "8.5em"


class Teller(Protocol):
    """Where a problem is told."""

    problem: str


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
            set_class(self.widget, "lkc-bad", bool(problem))
            self._draw()

    @property
    def visible(self) -> bool:
        """Whether it is shown."""
        return "lkc-hidden" not in self.widget._dom_classes

    @visible.setter
    def visible(self, visible: bool) -> None:
        set_class(self.widget, "lkc-hidden", not visible)

    def _draw(self) -> None:
        if self._problem:
            told = html.escape(self._problem)
            self.note.value = f'<span class="lkc-problem" role="alert" title="{told}">{told}</span>'
            return
        unit = f'<span class="lkc-unit">{html.escape(self.unit)}</span>' if self.unit else ""
        self.note.value = f'{unit}<span class="lkc-doc">{html.escape(self._text)}</span>'


def set_class(widget: W.DOMWidget, name: str, wanted: bool) -> None:
    """Gives ``widget`` a class of the style sheet, or takes it away."""
    if wanted:
        widget.add_class(name)
    else:
        widget.remove_class(name)


class Node:
    """A place in the form.

    Attributes:
        path: such as ``training.optimizer.lr``.
        label: what a person calls it.
        default: what it holds when nothing is said.
        rare: whether it is folded away.
        row: where its problems are told.
        widgets: what shows it.
    """

    row: Teller | None = None

    def __init__(self, form: Form, path: str, schema: Mapping[str, Any]) -> None:
        self.form, self.path = form, path
        self.hint = form.hint(path, schema)
        self.label = self.hint.label or path.rsplit(".", 1)[-1].replace("_", " ")
        self.text = str(schema.get("description", ""))
        self.default = schema.get("default")
        self.rare = bool(self.hint.rare)
        self.widgets: list[W.Widget] = []

    def get(self) -> Any:
        """What it holds, as a plain value."""
        raise NotImplementedError

    def set(self, value: Any) -> None:
        """Takes up a plain value."""
        raise NotImplementedError

    def inner(self, name: str) -> Node | None:
        """The node called ``name`` in it, None where there is none."""
        return None


class Constant(Node):
    """What a part is: not shown, and not changed."""

    def __init__(self, form: Form, path: str, schema: Mapping[str, Any]) -> None:
        super().__init__(form, path, schema)
        self.default = schema["const"]

    def get(self) -> Any:
        """What it is."""
        return self.default

    def set(self, value: Any) -> None:
        """It stays what it is."""


class Field(Node):
    """A value: text, a number, a list, a choice, true or false."""

    row: Row

    def __init__(self, form: Form, path: str, schema: Mapping[str, Any]) -> None:
        super().__init__(form, path, schema)
        options = [form.resolve(s) for s in schema.get("anyOf", [])]
        real = [s for s in options if s.get("type") != "null"]
        kind = {**(real[0] if len(real) == 1 else {}), **schema}
        self.optional = len(real) < len(options)
        if self.hint.rare is None:
            self.rare = self.default == [] or (self.optional and self.default is None)
        self.text = documentation(kind)
        self.read, self.write = codec(kind, self.optional)
        self.control = form.controls.get(path) or self._make(kind)
        if not self.control.has_trait("description"):
            self.control.about = self.text
        else:
            self.control.description, self.control.tooltip = self.label, self.text
        self.control.observe(form.changed, "value")
        self.row = Row(self.control, self.hint.unit, self.text)
        self.widgets = [self.row.widget]

    def _make(self, schema: Mapping[str, Any]) -> Any:
        if schema.get("type") == "boolean" and not self.optional:
            return self.form.make(W.Checkbox, description=self.label, indent=True)
        if "enum" not in schema:
            return self.form.make(W.Text, description=self.label, placeholder=self.hint.empty if self.optional else "")
        options = [*([(self.hint.empty, None)] if self.optional else []), *((str(v), v) for v in schema["enum"])]
        if len(options) > BUTTONS:
            return self.form.make(W.Dropdown, description=self.label, options=options)
        style = {"description_width": LABEL_WIDTH, "button_width": "auto"}
        return self.form.make(W.ToggleButtons, description=self.label, options=options, style=style)

    def get(self) -> Any:
        """What it holds; its default while it is hidden."""
        return self.read(self.control.value) if self.row.visible else self.default

    def set(self, value: Any) -> None:
        """Takes up a plain value; one that is no choice, but allowed, becomes one."""
        options = getattr(self.control, "options", ())
        if isinstance(self.control, W.Dropdown) and isinstance(value, str) and (value, value) not in options:
            self.control.options = [*options, (value, value)]
        self.control.value = self.write(value)


class Group(Node):
    """A part: its fields one under the other, the rare ones behind a fold that names them."""

    def __init__(self, form: Form, path: str, schema: Mapping[str, Any]) -> None:
        super().__init__(form, path, schema)
        self.nodes = {name: node_for(form, f"{path}.{name}".strip("."), s) for name, s in schema["properties"].items()}
        rare = [n for n in self.nodes.values() if n.rare]
        self.fold = Fold([n.label for n in rare], [w for n in rare for w in n.widgets])
        common = [w for n in self.nodes.values() if not n.rare for w in n.widgets]
        self.widgets = [*common, *(self.fold.widgets if rare else [])]

    def get(self) -> dict[str, Any]:
        """What its fields hold."""
        return {name: node.get() for name, node in self.nodes.items()}

    def set(self, value: Mapping[str, Any] | None) -> None:
        """Takes up a mapping; fields that it lacks take their defaults."""
        given = value or {}
        for name, node in self.nodes.items():
            node.set(given.get(name, node.default))
        self.fold.open = any(n.rare and n.get() != n.default for n in self.nodes.values())

    def inner(self, name: str) -> Node | None:
        """The field called ``name``."""
        return self.nodes.get(name)


class Choice(Node):
    """One of several parts: a menu of them, and the fields of the chosen one, which are made when they are needed."""

    row: Row

    def __init__(self, form: Form, path: str, schema: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(form, path, schema)
        self.tag = tag_of(members)
        self.kinds = {m["properties"][self.tag]["const"]: m for m in members}
        self.groups: dict[str, Group] = {}
        self.menu = form.make(W.Dropdown, description=self.label, options=list(self.kinds))
        self.row = Row(self.menu, self.hint.unit)
        self.inside = W.VBox()
        self.inside.add_class("lkc-inside")
        self.widgets = [self.row.widget, self.inside]
        self.menu.observe(self._chosen, "value")
        self._chosen()

    @property
    def group(self) -> Group:
        """The fields of the chosen part."""
        kind = self.menu.value
        if kind not in self.groups:
            with self.form.quiet():
                self.groups[kind] = Group(self.form, self.path, self.kinds[kind])
                self.groups[kind].set(None)
        return self.groups[kind]

    def _chosen(self, _: Any = None) -> None:
        self.inside.children = self.group.widgets
        about = self.kinds[self.menu.value]["properties"][self.tag].get("description", "")
        self.menu.tooltip = self.row.text = f"{self.text} {self.menu.value}: {about}".strip()
        self.form.changed()

    def get(self) -> dict[str, Any]:
        """What the chosen part's fields hold."""
        return self.group.get()

    def set(self, value: Mapping[str, Any] | None) -> None:
        """Takes up a part, of the kind that its tag names."""
        given = value or {}
        with self.form.quiet():
            self.menu.value = given.get(self.tag, next(iter(self.kinds)))
            self.group.set(given)

    def inner(self, name: str) -> Node | None:
        """The field called ``name`` of the chosen part."""
        return self.group.inner(name)


class Switch(Node):
    """A part, or nothing: a box to tick, under which its fields appear."""

    row: Row

    def __init__(self, form: Form, path: str, schema: Mapping[str, Any], part: Mapping[str, Any]) -> None:
        super().__init__(form, path, schema)
        if self.hint.rare is None:
            self.rare = self.default is None
        self.part = part
        self.box = form.make(W.Checkbox, description=self.label, indent=True, tooltip=self.text)
        self.row = Row(self.box, self.hint.unit, self.text)
        self.inside = W.VBox()
        self.inside.add_class("lkc-inside")
        self.widgets = [self.row.widget, self.inside]
        self._node: Node | None = None
        self.box.observe(self._switched, "value")

    @property
    def node(self) -> Node:
        """The part inside."""
        if self._node is None:
            with self.form.quiet():
                self._node = node_for(self.form, self.path, self.part)
                self._node.set(None)
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

    def inner(self, name: str) -> Node | None:
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
        set_class(self.box, "lkc-hidden", not self.open)


def node_for(form: Form, path: str, schema: Mapping[str, Any]) -> Node:
    """The node that a schema asks for."""
    whole = form.resolve(schema)
    if "const" in whole:
        return Constant(form, path, whole)
    if "properties" in whole:
        return Group(form, path, whole)
    options = [form.resolve(s) for s in whole.get("oneOf", whole.get("anyOf", []))]
    parts = [s for s in options if s.get("type") != "null"]
    if len(parts) == len(options) and tag_of(parts):
        return Choice(form, path, whole, parts)
    if len(parts) == 1 and len(options) == 2 and ("properties" in parts[0] or "oneOf" in parts[0]):
        return Switch(form, path, whole, parts[0])
    return Field(form, path, whole)
