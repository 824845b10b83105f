"""The nodes of a form: each stands for a part of the schema and the elements that display it.

string, number, array   a text box, parsed as YAML                       Field
enum, boolean           a dropdown or two buttons; a checkbox            Field
object                  its fields, rare ones folded                     Group
oneOf objects           a dropdown, and the fields of the selected one   Choice
object or null          a checkbox that shows its fields                 Switch
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from lmkit.widgets import elements as E
from lmkit.widgets.rows import Fold, ProblemDisplay, Row, more_options
from lmkit.widgets.schema import UNSET, codec, documentation, tag_of

BUTTONS = 2
"""Maximum number of options shown as buttons; more become a dropdown."""


class Hint(NamedTuple):
    """Display settings of a field that the schema does not hold, unless it has keys of these names.

    Attributes:
        unit: the unit of its numbers.
        label: the label, instead of the field's name.
        empty: the text of an empty optional field.
        rare: whether the field is folded; None: optional fields and empty lists are.
        names: option of a choice → its displayed name, where they differ.
    """

    unit: str = ""
    label: str = ""
    empty: str = "off"
    rare: bool | None = None
    names: Mapping[str, str] = {}


class FormContext(Protocol):
    """The part of a form that its nodes use."""

    controls: dict[str, Any]

    def hint(self, path: str, schema: Mapping[str, Any]) -> Hint:
        """The hint of the field at ``path``."""

    def resolve(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``schema`` with its reference replaced."""

    def quiet(self) -> AbstractContextManager[None]:
        """Suppress change notifications."""

    def changed(self, _: Any = None) -> None:
        """Report a change by the user."""


class Node:
    """A node of the form.

    Attributes:
        path: the path in the schema, such as ``training.optimizer.lr``.
        label: the displayed name.
        default: the default value.
        rare: whether the node is folded.
        row: displays its problems.
        widgets: the widgets that display it.
    """

    row: ProblemDisplay | None = None

    def __init__(self, form: FormContext, path: str, schema: Mapping[str, Any]) -> None:
        self.form, self.path = form, path
        self.hint = form.hint(path, schema)
        self.label = self.hint.label or path.rsplit(".", 1)[-1].replace("_", " ")
        self.text = str(schema.get("description", ""))
        self.default = schema.get("default")
        self.rare = bool(self.hint.rare)
        self.widgets: list[E.Element] = []

    def get(self) -> Any:
        """Return the plain value."""
        raise NotImplementedError

    def set(self, value: Any) -> None:
        """Set a plain value."""
        raise NotImplementedError

    def inner(self, name: str) -> Node | None:
        """Return the child node called ``name``, None if it does not exist."""
        del name  # a node without children
        return None


class Constant(Node):
    """A constant of a part, such as its tag; not displayed."""

    def __init__(self, form: FormContext, path: str, schema: Mapping[str, Any]) -> None:
        super().__init__(form, path, schema)
        self.default = schema["const"]

    def get(self) -> Any:
        """Return the constant."""
        return self.default

    def set(self, value: Any) -> None:
        """Ignore the value: a constant does not change."""


class Field(Node):
    """A value: text, a number, a list, a choice, true or false."""

    row: Row

    def __init__(self, form: FormContext, path: str, schema: Mapping[str, Any]) -> None:
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
            return E.Checkbox(description=self.label)
        if "enum" not in schema:
            return E.Text(description=self.label, placeholder=self.hint.empty if self.optional else "")
        options = [*([(self.hint.empty, UNSET)] if self.optional else []), *((str(v), v) for v in schema["enum"])]
        if len(options) > BUTTONS:
            return E.Dropdown(options, description=self.label)
        return E.ToggleButtons(options, description=self.label)

    def get(self) -> Any:
        """Return the value; the default while the field is hidden."""
        return self.read(self.control.value) if self.row.visible else self.default

    def set(self, value: Any) -> None:
        """Set a plain value; a string that is not an option is added to the options."""
        options = getattr(self.control, "options", ())
        if isinstance(self.control, E.Dropdown) and isinstance(value, str) and (value, value) not in options:
            self.control.options = [*options, (value, value)]
        self.control.value = self.write(value)


class Group(Node):
    """A part of the schema: its fields in a column, the rare ones folded."""

    def __init__(self, form: FormContext, path: str, schema: Mapping[str, Any]) -> None:
        super().__init__(form, path, schema)
        self.nodes = {name: node_for(form, f"{path}.{name}".strip("."), s) for name, s in schema["properties"].items()}
        rare = [n for n in self.nodes.values() if n.rare]
        names = [n.label for n in rare]
        tooltip = f"Show or hide: {', '.join(names)}"
        self.fold = Fold([w for n in rare for w in n.widgets], more_options(names), "Fewer options", tooltip)
        common = [w for n in self.nodes.values() if not n.rare for w in n.widgets]
        self.widgets = [*common, *(self.fold.widgets if rare else [])]

    def get(self) -> dict[str, Any]:
        """Return the values of its fields."""
        return {name: node.get() for name, node in self.nodes.items()}

    def set(self, value: Mapping[str, Any] | None) -> None:
        """Set the values of a mapping; missing fields are set to their defaults."""
        values = value or {}
        for name, node in self.nodes.items():
            node.set(values.get(name, node.default))
        self.fold.is_open = any(n.rare and n.get() != n.default for n in self.nodes.values())

    def inner(self, name: str) -> Node | None:
        """Return the field called ``name``."""
        return self.nodes.get(name)


class Choice(Node):
    """One of several parts: a dropdown, and the fields of the selected part, created when first needed."""

    row: Row

    def __init__(
        self, form: FormContext, path: str, schema: Mapping[str, Any], members: Sequence[Mapping[str, Any]]
    ) -> None:
        super().__init__(form, path, schema)
        self.tag = tag_of(members)
        self.kinds = {m["properties"][self.tag]["const"]: m for m in members}
        self.groups: dict[str, Group] = {}
        names = self.hint.names
        options = (
            [(names.get(kind, kind), kind) for kind in self.kinds]
            if names.keys() & self.kinds.keys()
            else list(self.kinds)
        )
        self.menu = E.Dropdown(options, description=self.label)
        self.row = Row(self.menu, self.hint.unit)
        self.inside = E.Box()
        self.inside.add_class("lkc-inside")
        self.widgets = [self.row.widget, self.inside]
        self.menu.observe(self._kind_selected, "value")
        self._kind_selected()

    @property
    def group(self) -> Group:
        """The fields of the selected part."""
        kind = self.menu.value
        if kind not in self.groups:
            with self.form.quiet():
                self.groups[kind] = Group(self.form, self.path, self.kinds[kind])
                self.groups[kind].set(None)
        return self.groups[kind]

    def _kind_selected(self, _: Any = None) -> None:
        self.inside.children = self.group.widgets
        about = self.kinds[self.menu.value]["properties"][self.tag].get("description", "")
        self.menu.tooltip = self.row.text = f"{self.text} {self.menu.label}: {about}".strip()
        self.form.changed()

    def get(self) -> dict[str, Any]:
        """Return the values of the selected part's fields."""
        return self.group.get()

    def set(self, value: Mapping[str, Any] | None) -> None:
        """Set a part, selected by its tag."""
        values = value or {}
        with self.form.quiet():
            self.menu.value = values.get(self.tag, next(iter(self.kinds)))
            self.group.set(values)

    def inner(self, name: str) -> Node | None:
        """Return the field called ``name`` of the selected part."""
        return self.group.inner(name)


class Switch(Node):
    """An optional part: a checkbox that shows its fields."""

    row: Row

    def __init__(self, form: FormContext, path: str, schema: Mapping[str, Any], part: Mapping[str, Any]) -> None:
        super().__init__(form, path, schema)
        if self.hint.rare is None:
            self.rare = self.default is None
        self.part = part
        self.box = E.Checkbox(description=self.label, tooltip=self.text)
        self.row = Row(self.box, self.hint.unit, self.text)
        self.inside = E.Box()
        self.inside.add_class("lkc-inside")
        self.widgets = [self.row.widget, self.inside]
        self._node: Node | None = None
        self.box.observe(self._switched, "value")

    @property
    def node(self) -> Node:
        """The node of the part."""
        if self._node is None:
            with self.form.quiet():
                self._node = node_for(self.form, self.path, self.part)
                self._node.set(None)
        return self._node

    def _switched(self, _: Any = None) -> None:
        self.inside.children = self.node.widgets if self.box.value else []
        self.form.changed()

    def get(self) -> Any:
        """Return the values of its fields, or None."""
        return self.node.get() if self.box.value else None

    def set(self, value: Mapping[str, Any] | None) -> None:
        """Set a part, or None."""
        with self.form.quiet():
            if value is not None:
                self.node.set(value)
            self.box.value = value is not None

    def inner(self, name: str) -> Node | None:
        """Return the field called ``name`` of the part."""
        return self.node.inner(name)


def node_for(form: FormContext, path: str, schema: Mapping[str, Any]) -> Node:
    """Return the node for a schema."""
    resolved = form.resolve(schema)
    if "const" in resolved:
        return Constant(form, path, resolved)
    if "properties" in resolved:
        return Group(form, path, resolved)
    options = [form.resolve(s) for s in resolved.get("oneOf", resolved.get("anyOf", []))]
    parts = [s for s in options if s.get("type") != "null"]
    if len(parts) == len(options) and tag_of(parts):
        return Choice(form, path, resolved, parts)
    if len(parts) == 1 and len(options) == 2 and ("properties" in parts[0] or "oneOf" in parts[0]):
        return Switch(form, path, resolved, parts[0])
    return Field(form, path, resolved)
