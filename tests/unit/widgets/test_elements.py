"""The elements of a form: what the page is sent, and what it sends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import traitlets as T

from lmkit.widgets import elements as E


class Page:
    """A page that displays a view: the properties of its elements, as form.js keeps them."""

    def __init__(self, view: E.FormView) -> None:
        self.view, self.answers, self.sent = view, 0, 0
        self.shown = {identifier: dict(properties) for identifier, properties in view.elements.items()}
        view.send = self.receive  # type: ignore[method-assign]

    def receive(self, message: dict[str, Any], *_: Any) -> None:
        self.answers += message["answered"]
        self.sent = len(message["elements"])
        for identifier, changed in message["elements"].items():
            self.shown.setdefault(identifier, {}).update(changed)

    def ask(self, **message: Any) -> None:
        self.view._handle_message(None, message, [])


def test_only_what_changed_is_sent_and_a_new_page_catches_up() -> None:
    text, other, menu = E.Text("a", description="name"), E.Text("b"), E.Dropdown([("one", 1), ("two", 2)])
    box = E.Box([text, menu])
    view = E.FormView(box, "form")
    page = Page(view)
    page.ask(type="input", values={text.id: "typed", menu.id: 1})
    assert (text.value, menu.value, menu.label) == ("typed", 2, "two")
    assert (page.answers, page.sent) == (1, 2)
    box.children = (other, menu)
    menu.options = ["x", ("two", 2), "z"]
    page.ask(type="input", values={text.id: "not displayed any more", other.id: "b"})
    assert text.value == "typed"
    assert page.shown[box.id]["children"] == [other.id, menu.id]
    assert page.shown[other.id] == other.properties()
    assert page.shown[menu.id]["labels"] == ["x", "two", "z"]
    page.ask(type="input", values={})
    assert (page.answers, page.sent) == (3, 0)
    reloaded = Page(view)  # it begins with what the widget was made with
    reloaded.ask(type="ready")
    assert {i: reloaded.shown[i] for i in (box.id, other.id, menu.id)} == {
        e.id: e.properties() for e in (box, other, menu)
    }


def test_a_click_comes_after_what_was_typed_and_not_to_a_disabled_button() -> None:
    text, button = E.Text(), E.Button(description="Save")
    seen: list[str] = []
    button.on_click(lambda _: seen.append(text.value))
    page = Page(E.FormView(E.Row([text, button]), "form"))
    page.ask(type="click", click=button.id, values={text.id: "all of it"})
    button.disabled = True
    page.ask(type="click", click=button.id, values={})
    assert seen == ["all of it"]
    assert page.shown[button.id]["disabled"] is True


def test_changes_by_code_are_sent_once_it_has_run() -> None:
    async def change() -> Page:
        text = E.Text()
        page = Page(E.FormView(text, "form"))
        for n in range(5):
            text.value = str(n)
        assert page.shown[text.id]["value"] == ""
        await asyncio.sleep(0)
        assert page.shown[text.id]["value"] == "4"
        return page

    asyncio.run(change())


def test_a_menu_has_one_of_its_options() -> None:
    menu = E.Dropdown(["a", "b"])
    assert (menu.value, menu.index) == ("a", 0)
    with pytest.raises(T.TraitError, match="given 'c', expected one of a, b"):
        menu.value = "c"
    menu.value = "b"
    menu.options = ["c", "b"]
    assert (menu.value, menu.index) == ("b", 1)
    menu.options = ["c"]
    assert menu.value == "c"
