"""The form is made from a schema: whatever a schema holds shows, and what is typed is what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from experiments import EXPERIMENTS
from narrowing import require_type
from pydantic import Field

from lmkit import ConfigError, Experiment
from lmkit.experiment.paths import paths
from lmkit.specs.base import Spec
from lmkit.widgets import elements as E
from lmkit.widgets.fields import Choice, Hint, Switch
from lmkit.widgets.form import Form, in_fields


class Circle(Spec):
    """A circle."""

    kind: Literal["circle"] = "circle"
    """Round."""
    radius: float = Field(1.0, gt=0)
    """How far it reaches."""


class Polygon(Spec):
    """A polygon."""

    kind: Literal["polygon"] = "polygon"
    """With corners."""
    corners: int = Field(3, ge=3, le=12)
    """How many corners."""


class Frame(Spec):
    """A frame."""

    width: float = Field(2.0, json_schema_extra={"unit": "mm", "label": "border"})
    """Of the border."""


class Picture(Spec):
    """Every kind of field there is."""

    title: str = "blue"
    layers: int = 4
    opacity: float = Field(0.5, ge=0, le=1)
    """Of the whole picture."""
    mode: Literal["grey", "rgb", "cmyk"] = "rgb"
    side: Literal["front", "back"] = "front"
    flipped: bool = False
    limit: int | None = None
    shape: Annotated[Circle | Polygon, Field(discriminator="kind")] = Polygon(corners=5)
    frame: Frame | None = None
    inset: Frame = Frame(width=7.0)
    sizes: tuple[int, ...] = (3, 4)
    tags: tuple[str, ...] = ()
    shade: Literal["light", "dark"] | None = None
    extra: dict[str, int] = {"a": 1}  # noqa: RUF012  (pydantic copies it)


def made(**arguments: Any) -> Form:
    return Form(Picture.model_json_schema(), **arguments)


def texts(widgets: list[E.Element]) -> str:
    """All that is written in a form."""
    found = []
    for widget in widgets:
        found += [str(getattr(widget, name)) for name in ("value", "description") if widget.has_trait(name)]
        found.append(texts(list(getattr(widget, "children", ()))))
    return " ".join(found)


def test_a_form_begins_with_the_defaults_of_the_schema() -> None:
    assert made().value == Picture().model_dump(mode="json")


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "1e-3", "layers": 7, "opacity": 1e-08},
        {"mode": "cmyk", "side": "back", "flipped": True, "shade": "dark"},
        {"limit": 5, "sizes": [], "tags": ["plain", "with, comma", 'with "quotes"', "7"]},
        {"shape": {"kind": "circle", "radius": 0.25}, "frame": {"width": 1.5}, "inset": {"width": -3.0}},
        {"extra": {"b": 2, "c": 3}},
    ],
)
def test_every_kind_of_value_comes_out_as_it_went_in(changes: Mapping[str, Any]) -> None:
    form = made()
    whole = {**form.value, **changes}
    form.value = whole
    assert form.value == whole
    form.value = made().value
    assert form.value == made().value


def test_the_kinds_of_controls_follow_from_the_types() -> None:
    form = made()
    kinds = {
        name: type(form.field(name).control).__name__
        for name in ("title", "layers", "mode", "side", "flipped", "sizes")
    }
    assert kinds == {
        "title": "Text",
        "layers": "Text",
        "mode": "Dropdown",
        "side": "ToggleButtons",
        "flipped": "Checkbox",
        "sizes": "Text",
    }
    assert list(require_type(form["shape"], Choice).menu.options) == ["circle", "polygon"]
    assert form.field("limit").control.placeholder == "off"


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("64, 64", [64, 64]),
        ("64,64,", [64, 64]),
        (" [8] ", [8]),
        ("", []),
        ("64, x", [64, "x"]),
        ("6.5", [6.5]),
    ],
)
def test_lists_are_typed_with_commas(typed: str, read: list[Any]) -> None:
    form = made()
    form.field("sizes").control.value = typed
    assert form.value["sizes"] == read


@pytest.mark.parametrize(("typed", "read"), [("1e-3", 0.001), (".5", 0.5), ("", ""), ("abc", "abc"), ("true", True)])
def test_what_is_no_number_is_passed_on_to_be_refused(typed: str, read: Any) -> None:
    form = made()
    form.field("opacity").control.value = typed
    assert form.value["opacity"] == read


def test_an_optional_field_is_off_while_it_is_empty() -> None:
    form = made()
    form.field("limit").control.value = "12"
    assert form.value["limit"] == 12
    form.field("limit").control.value = " "
    assert form.value["limit"] is None


def test_the_fields_of_a_part_appear_and_vanish_with_its_kind() -> None:
    form = made()
    shape = require_type(form["shape"], Choice)
    assert "corners" in texts(shape.widgets)
    shape.menu.value = "circle"
    assert "corners" not in texts(shape.widgets)
    assert "radius" in texts(shape.widgets)
    assert form.value["shape"] == {"kind": "circle", "radius": 1.0}
    form.field("shape.radius").control.value = "9"
    shape.menu.value = "polygon"
    assert form.value["shape"] == {"kind": "polygon", "corners": 5}
    shape.menu.value = "circle"
    assert form.value["shape"]["radius"] == 9  # what was typed is not lost


def test_an_optional_part_is_switched_on_and_off() -> None:
    form = made()
    frame = require_type(form["frame"], Switch)
    assert "border" not in texts(frame.widgets)
    frame.box.value = True
    assert form.value["frame"] == {"width": 2.0}
    assert "border" in texts(frame.widgets)
    frame.box.value = False
    assert form.value["frame"] is None


def test_documentation_bounds_and_units_are_shown() -> None:
    form = made(hints={"opacity": Hint(unit="of 1")})
    note = form.field("opacity").row.note.value
    assert "Of the whole picture. Must be at least 0, at most 1." in note
    assert "of 1" in note
    assert form.field("opacity").control.tooltip == "Of the whole picture. Must be at least 0, at most 1."
    inset = form.field("inset.width")
    assert inset.control.description == "border"  # the schema may carry its own words
    assert "mm" in inset.row.note.value
    require_type(form["shape"], Choice).menu.value = "circle"
    assert "Round." in require_type(form["shape"], Choice).row.note.value


def test_rare_fields_are_folded_away_until_they_matter() -> None:
    form = made()
    fold = form.root.fold
    assert not fold.is_open
    assert {"limit", "tags", "frame", "shade"} <= set(fold.button.tooltip.removeprefix("Show or hide: ").split(", "))
    assert "title" not in fold.button.tooltip
    form.show_problems(["limit: given 'x', expected a whole number"])
    assert fold.is_open
    form.value = form.value
    assert not fold.is_open
    form.value = {**form.value, "tags": ["a"]}
    assert fold.is_open


def test_problems_are_told_beside_their_field() -> None:
    form = made()
    homeless = form.show_problems(
        [
            "opacity: given 2, expected at most 1",
            "sizes.1: given 'x', expected a whole number",
            "shape.corners: given 1, expected at least 3",
            "shape: no such shape",
            "something else",
            "nowhere: of no field",
        ]
    )
    assert homeless == ["something else", "nowhere: of no field"]
    assert form.field("opacity").row.problem == "given 2, expected at most 1"
    assert form.field("sizes").row.problem == "given 'x', expected a whole number"
    assert form.field("shape.corners").row.problem == "given 1, expected at least 3"
    assert require_type(form["shape"], Choice).row.problem == "no such shape"
    row = form.field("opacity").row
    assert 'role="alert"' in row.note.value
    assert "lkc-bad" in row.widget.classes
    form.show_problems(["sizes: given 1 <b>", "sizes: and more"])
    assert row.problem == ""
    assert "lkc-bad" not in row.widget.classes
    assert "given 1 &lt;b&gt;; and more" in form.field("sizes").row.note.value


def test_only_a_persons_changes_are_reported() -> None:
    calls = []
    form = made(changed=lambda: calls.append(1))
    form.value = {**form.value, "title": "other", "shape": {"kind": "circle", "radius": 2.0}, "frame": {"width": 1.0}}
    require_type(form["shape"], Choice).group  # noqa: B018  (fields that are made when they are needed say nothing either)
    assert calls == []
    form.field("title").control.value = "typed"
    require_type(form["shape"], Choice).menu.value = "polygon"
    require_type(form["frame"], Switch).box.value = False
    assert len(calls) == 3


def test_a_control_of_ones_own_takes_the_place_of_a_text() -> None:
    control = E.Combobox(options=["red", "blue"])
    form = made(controls={"title": control})
    assert form.value["title"] == "blue"
    control.value = "red"
    assert form.value["title"] == "red"
    assert form.field("title").control is control
    form.field("title").row.visible = False
    assert form.value["title"] == "blue"  # what is hidden is at its default


# -- the schema of lmkit itself -------------------------------------------------------------------


@pytest.mark.parametrize("values", EXPERIMENTS)
def test_an_experiment_comes_out_as_it_went_in(values: dict[str, Any]) -> None:
    experiment = Experiment(**values)
    form = Form(Experiment.model_json_schema())
    form.value = experiment.to_dict()
    assert Experiment(**form.value) == experiment
    for path in paths(experiment):
        assert form[path].path == path  # no field is left out


def test_lmkits_own_message_is_told_beside_every_field() -> None:
    form = Form(Experiment.model_json_schema())
    require_type(form["training.early_stopping"], Switch).box.value = True
    numbers = [p for p in paths(Experiment(**form.value)) if p.rsplit(".", 1)[-1] not in ("data", "model", "training")]
    fields = [p for p in numbers if isinstance(getattr(form[p], "control", None), E.Text)]
    names = {
        "name",
        *(f"data.{part}" for part in ("source", "target", "drop", "ids", "categorical", "sheet", "group", "time")),
        "data.missing_values",
    }
    typed = [p for p in fields if p not in names]
    assert len(typed) > 15
    for path in typed:
        before = form.field(path).control.value
        form.field(path).control.value = "nonsense"
        with pytest.raises(ConfigError) as refused:
            Experiment(**form.value)
        assert form.show_problems(refused.value.problems) == [], path
        assert "given 'nonsense', expected" in form.field(path).row.problem
        form.field(path).control.value = before


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (
            "needs the column to predict; use data: {target: …}; columns: a, b",
            "needs the column to predict; set target; columns: a, b",
        ),
        ("use data: {missing: mean} or {drop: [a, b]}", "set missing: mean or drop: a, b"),
        ("given {1: 2}, expected a list", "given {1: 2}, expected a list"),
    ],
)
def test_a_problem_says_which_field_to_set(sentence: str, expected: str) -> None:
    assert in_fields(sentence) == expected
