"""The finders' buttons in the form; what they find is written here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.finders import learning_rate, micro_batch
from lmkit.finders.learning_rate import read_curve
from lmkit.widgets import finders


def test_a_button_finds_a_rate_and_another_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def find(experiment: lk.Experiment, **options: Any) -> Any:
        options["progress"]("step 10 of 120")
        seen.update(options, text=buttons.output.value, busy=buttons.rate.disabled, cancel=buttons.cancel.visible)
        rates = np.geomspace(1e-6, 10, 60)
        return read_curve(experiment, rates, 2 - 1 / (1 + np.exp(-4 * (np.log10(rates) + 3))))

    monkeypatch.setattr(learning_rate, "find_learning_rate", find)
    applied: list[lk.Experiment] = []
    buttons = finders.FinderButtons(lk.Experiment, applied.append, None)
    buttons.rate.click()
    assert "step 10 of 120" in seen["text"]
    assert (seen["busy"], seen["cancel"]) == (True, True)
    assert (buttons.rate.disabled, buttons.cancel.visible) == (False, False)
    assert "data:image/png;base64," in buttons.output.value
    assert buttons.use.description.startswith("Use α = ")
    buttons.use.click()
    assert f"Use α = {applied[0].training.optimizer.lr:.2g}" == buttons.use.description


def test_an_invalid_form_and_a_failure_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no <memory>")

    monkeypatch.setattr(micro_batch, "find_micro_batch", fail)
    invalid = finders.FinderButtons(lambda: None, lambda _: None, None)
    invalid.rate.click()
    assert "invalid" in invalid.output.value
    buttons = finders.FinderButtons(lk.Experiment, lambda _: None, None)
    buttons.micro.click()
    assert "no &lt;memory&gt;" in buttons.output.value
    assert not buttons.use.visible
