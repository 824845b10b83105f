"""The elements of a form: text boxes, menus, buttons, HTML, and boxes of these, all displayed by one widget.

    elements ──(changed properties)──> form.js          form.js ──(inputs, clicks)──> elements

An element has the traits of its namesake in ipywidgets. There every control is a model with a layout and a style, each
of which is a message to the page and an object in it: a form of 250 controls and texts takes a second to appear.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, ClassVar

import anywidget
import traitlets as T

from lmkit.widgets.style import css, script

_ids = itertools.count()


class Element(T.HasTraits):
    """A part of a form; its traits with the tag ``sync`` are its properties in the page.

    Attributes:
        id: identifies it in messages.
        view: the widget that displays it; None before it is displayed.
        classes: its CSS classes.
        visible: whether it is displayed.
    """

    kind: ClassVar[str]
    """Its constructor in the page."""

    classes: Any = T.Tuple().tag(sync=True)
    visible: Any = T.Bool(True).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        self.id = str(next(_ids))
        self.view: FormView | None = None
        super().__init__(**traits)

    def add_class(self, name: str) -> None:
        """Add a CSS class."""
        if name not in self.classes:
            self.classes = (*self.classes, name)

    def remove_class(self, name: str) -> None:
        """Remove a CSS class."""
        self.classes = tuple(c for c in self.classes if c != name)

    def properties(self) -> dict[str, Any]:
        """Return its properties as plain values."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in _synced(type(self))}}

    def set_input(self, value: Any) -> None:
        """Take a value that was entered in the page."""
        self.value = value

    def walk(self) -> Iterator[Element]:
        """Yield the element and all elements in it."""
        yield self

    @T.observe(T.All)
    def _notify_view(self, _: Any) -> None:
        if self.view is not None:
            self.view.schedule()


@cache
def _synced(cls: type[Element]) -> tuple[str, ...]:
    """Return the names of the properties of a class of elements."""
    return tuple(cls.class_trait_names(sync=True))


class HTML(Element):
    """A piece of HTML."""

    kind = "html"
    value: Any = T.Unicode().tag(sync=True)

    def __init__(self, value: str = "", **traits: Any) -> None:
        super().__init__(value=value, **traits)


class Box(Element):
    """Elements below each other."""

    kind = "box"
    children: Any = T.Tuple()

    def __init__(self, children: Sequence[Element] = (), **traits: Any) -> None:
        super().__init__(children=tuple(children), **traits)

    def properties(self) -> dict[str, Any]:
        """Return its properties with the identifiers of its children."""
        return {**super().properties(), "children": [child.id for child in self.children]}

    def walk(self) -> Iterator[Element]:
        """Yield the box and all elements in it."""
        yield self
        for child in self.children:
            yield from child.walk()


class Row(Box):
    """Elements next to each other."""

    kind = "row"


class Tabs(Box):
    """Elements of which one is displayed, selected by its title; the page selects without the kernel."""

    kind = "tabs"
    titles: Any = T.Tuple().tag(sync=True)
    tooltips: Any = T.Tuple().tag(sync=True)


class Control(Element):
    """An element with a label and a tooltip."""

    description: Any = T.Unicode().tag(sync=True)
    tooltip: Any = T.Unicode().tag(sync=True)
    disabled: Any = T.Bool(False).tag(sync=True)


class Text(Control):
    """A text box."""

    kind = "text"
    value: Any = T.Unicode().tag(sync=True)
    placeholder: Any = T.Unicode().tag(sync=True)

    def __init__(self, value: str = "", **traits: Any) -> None:
        super().__init__(value=value, **traits)


class Combobox(Text):
    """A text box that suggests values."""

    options: Any = T.Tuple().tag(sync=True)


class Checkbox(Control):
    """A box that is checked or not."""

    kind = "checkbox"
    value: Any = T.Bool(False).tag(sync=True)


class Dropdown(Control):
    """A menu of options, each a string, or a pair of its label and its value; one is always selected."""

    kind = "dropdown"
    options: Any = T.Tuple()
    value: Any = T.Any()

    def __init__(self, options: Sequence[Any] = (), **traits: Any) -> None:
        super().__init__(**traits)
        self.options = tuple(options)

    @property
    def pairs(self) -> list[tuple[str, Any]]:
        """The labels and values of the options."""
        return [option if isinstance(option, tuple) else (str(option), option) for option in self.options]

    @property
    def index(self) -> int | None:
        """The position of the selected option; None without options."""
        values = [value for _, value in self.pairs]
        return values.index(self.value) if self.value in values else None

    @property
    def label(self) -> str:
        """The label of the selected option."""
        return "" if self.index is None else self.pairs[self.index][0]

    def properties(self) -> dict[str, Any]:
        """Return its properties with the labels of the options and the index of the selected one."""
        return {**super().properties(), "labels": [label for label, _ in self.pairs], "value": self.index}

    def set_input(self, value: Any) -> None:
        """Select the option at an index."""
        self.value = self.pairs[value][1]

    @T.validate("value")
    def _check_option(self, proposal: Any) -> Any:
        if self.options and proposal["value"] not in [value for _, value in self.pairs]:
            labels = ", ".join(label for label, _ in self.pairs)
            raise T.TraitError(f"given {proposal['value']!r}, expected one of {labels}")
        return proposal["value"]

    @T.observe("options")
    def _select_first(self, _: Any) -> None:
        if self.index is None and self.options:
            self.value = self.pairs[0][1]


class ToggleButtons(Dropdown):
    """Options as buttons next to each other."""

    kind = "buttons"


class ToggleButton(Control):
    """A button that stays pressed."""

    kind = "toggle"
    value: Any = T.Bool(False).tag(sync=True)


class Button(Control):
    """A button."""

    kind = "button"

    def __init__(self, **traits: Any) -> None:
        self._handlers: list[Callable[[Any], Any]] = []
        super().__init__(**traits)

    def on_click(self, handler: Callable[[Any], Any]) -> None:
        """Call ``handler`` with the button at each click."""
        self._handlers.append(handler)

    def click(self) -> None:
        """Do what a click does."""
        for handler in self._handlers:
            handler(self)


class FormView(anywidget.AnyWidget):
    """The widget that displays an element with all elements in it.

    Args:
        root: the element.
        label: what it is, for screen readers.

    Attributes:
        is_displayed: whether a page has displayed it.
    """

    _esm = script("form")
    _css = css("form", "configurator")

    elements = T.Dict().tag(sync=True)
    """The properties of the elements when the widget was made, by identifier; the page is sent what has changed."""
    root_id = T.Unicode().tag(sync=True)
    label = T.Unicode().tag(sync=True)

    def __init__(self, root: Element, label: str) -> None:
        self._root, self._scheduled, self.is_displayed = root, False, False
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._sent = self._state()
        super().__init__(elements=self._sent, root_id=root.id, label=label)
        self.on_msg(self._handle_message)

    def _state(self) -> dict[str, dict[str, Any]]:
        state = {}
        for element in self._root.walk():
            element.view = self
            state[element.id] = element.properties()
        return state

    def schedule(self) -> None:
        """Send changes to the page once the current code has run; without an event loop there is no page."""
        if self._loop and not self._scheduled and not self._loop.is_closed():
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._send_changes)

    def _send_changes(self, since: dict[str, dict[str, Any]] | None = None, answered: bool = False) -> None:
        """Send the properties that differ from those sent before, or from ``since``.

        Args:
            since: the state of a page that has just been loaded.
            answered: whether an input of the page has been handled; it waits for that to send the next.
        """
        self._scheduled = False
        before, state = self._sent if since is None else since, self._state()
        changes = {
            identifier: {name: value for name, value in properties.items() if value != before[identifier].get(name)}
            if identifier in before
            else properties
            for identifier, properties in state.items()
            if properties != before.get(identifier)
        }
        self._sent = {
            **self._sent,
            **state,
        }  # of the elements that are not displayed now, the page keeps the last state
        if changes or answered:
            self.send({"type": "update", "elements": changes, "answered": answered})

    def _handle_message(self, _: Any, message: dict[str, Any], *_buffers: Any) -> None:
        if message.get("type") == "ready":
            self.is_displayed = True
            self._send_changes(since=self.elements)
            return
        elements = {element.id: element for element in self._root.walk()}
        try:
            for identifier, value in message.get("values", {}).items():
                if identifier in elements:  # else it has been removed meanwhile
                    elements[identifier].set_input(value)
            button = elements.get(message.get("click", ""))
            if isinstance(button, Button) and not button.disabled:
                button.click()
        finally:
            self._send_changes(answered=True)
