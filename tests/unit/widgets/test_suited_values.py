"""In the form, choosing a model or data brings the defaults that ``lk.train`` would take for the same choice."""

from __future__ import annotations

import pytest

from lmkit import Experiment
from lmkit.specs.models import PRESETS
from lmkit.widgets.configurator import Configurator, configure


@pytest.fixture(scope="module")
def form() -> Configurator:
    return configure(Experiment())


def select_source(form: Configurator, source: str) -> None:
    form._source.menu.value = source


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_of_the_form_is_the_experiment_that_the_preset_trains(form: Configurator, preset: str) -> None:
    form._preset.menu.value = preset
    assert form.problems == ()
    assert form.experiment == Experiment(model=preset)


def test_a_source_of_the_form_is_the_experiment_that_the_source_trains(form: Configurator) -> None:
    for source in ("python_docs", "wine", "diabetes", "python_docs"):
        form.show(Experiment())
        select_source(form, source)
        assert form.experiment == Experiment(data=source)


def test_what_the_user_has_set_stays(form: Configurator) -> None:
    form.show(Experiment(data="digits", model="mlp:small", training={"epochs": 7, "optimizer": "sgd"}))
    form._preset.menu.value = "transformer:patches"
    assert form.experiment == Experiment(
        data="digits", model="transformer:patches", training={"epochs": 7, "optimizer": "sgd"}
    )
    form._preset.menu.value = "transformer:nano"
    select_source(form, "python_docs")
    assert form.experiment == Experiment(
        data="python_docs", model="transformer:nano", training={"epochs": 7, "optimizer": "sgd"}
    )


def test_a_pair_that_does_not_fit_does_not_lose_the_defaults(form: Configurator) -> None:
    form.show(Experiment(data="wine"))
    form._preset.menu.value = "transformer:nano"  # wine stays, as it is not the default of the earlier model
    assert "model.family" in form.problems[0]
    select_source(form, "python_docs")
    assert form.experiment == Experiment(model="transformer:nano")


def test_early_stopping_follows_the_validation_part(form: Configurator) -> None:
    form.show(Experiment(data="wine"))
    form.form.field("data.validation").control.value = "0"
    assert form.experiment == Experiment(data={"source": "wine", "validation": 0})
    form.form.field("data.validation").control.value = "0.2"
    assert form.experiment == Experiment(data="wine")
