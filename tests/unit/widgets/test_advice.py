"""The form shows hints before training, and applies them."""

from __future__ import annotations

import lmkit as lk
from lmkit.doctor.finding import Finding
from lmkit.widgets.advice import Advice
from lmkit.widgets.configurator import Configurator


def test_a_hint_is_shown_and_applied() -> None:
    form = Configurator(lk.Experiment(data={"source": "wine", "scale": "none"}, name="mine"))
    assert list(form._advice.buttons) == ["unscaled-inputs"]
    assert form.problems == ()
    form._advice.buttons["unscaled-inputs"].click()
    assert form.experiment == lk.Experiment(data="wine", name="mine")
    assert form._advice.widget.children == ()


def test_hints_follow_the_fields_and_wait_for_valid_ones() -> None:
    form = Configurator(lk.Experiment(data="wine"))
    rate = form.form.field("training.optimizer.lr").control
    rate.value = "50"
    assert list(form._advice.buttons) == ["rate-unusual"]
    rate.value = "-1"
    assert form.problems
    assert form._advice.widget.children == ()
    rate.value = "0.001"
    assert form._advice.widget.children == ()


def test_what_the_preview_warns_of_is_not_said_twice() -> None:
    warned = Finding(check="imbalance", what="rare", evidence={}, confidence="likely", advice="judge by AUC")
    change = Finding(check="leakage", what="<y>", evidence={}, confidence="sure", change={"data.drop": ["y"]})
    advice = Advice(lambda _: None)
    advice.show([warned, change])
    (row,) = advice.widget.children
    assert "&lt;y&gt;" in row.children[0].value
    assert list(advice.buttons) == ["leakage"]
