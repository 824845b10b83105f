"""A diagnosis makes the experiment that it advises."""

from __future__ import annotations

import pytest

import lmkit as lk
from lmkit.doctor.diagnosis import Diagnosis
from lmkit.doctor.finding import Finding

EXPERIMENT = lk.Experiment(data="wine", name="first").override({"lr": 10.0})


def finding(check: str, confidence: str = "sure", **change: object) -> Finding:
    return Finding(check=check, what="", evidence={}, confidence=confidence, change=change)


def diagnosis(*findings: Finding) -> Diagnosis:
    return Diagnosis("run", findings, (), EXPERIMENT)


def test_without_names_all_that_is_sure_or_likely_is_applied_and_the_stronger_one_wins() -> None:
    changed = diagnosis(
        finding("a", **{"training.optimizer.lr": 0.1}),
        finding("b", "likely", **{"training.optimizer.lr": 0.2, "data.scale": "none"}),
        finding("c", "hint", **{"data.batch_size": 7}),
    ).apply()
    assert changed == EXPERIMENT.override({"lr": 0.1, "data.scale": "none"})
    assert changed.name == "first"


def test_the_changes_of_named_checks_alone_are_applied() -> None:
    both = diagnosis(finding("a", **{"lr": 0.1}), finding("c", "hint", **{"data.batch_size": 7}))
    assert both.apply("c") == EXPERIMENT.override({"data.batch_size": 7})
    assert both.apply("c", "a") == EXPERIMENT.override({"data.batch_size": 7, "lr": 0.1})
    assert both.findings[0].apply(lk.Experiment(data="digits")) == lk.Experiment(data="digits").override({"lr": 0.1})


@pytest.mark.parametrize(
    ("findings", "checks", "message"),
    [
        ([finding("a", lr=0.1)], ["b"], "given 'b', expected one with a finding; findings: a"),
        ([], ["b"], "there are no findings"),
        ([finding("a")], ["a"], "no finding of a about run has a change"),
        ([finding("a", "hint", lr=0.1)], [], "no finding about run has a change"),
    ],
)
def test_what_cannot_be_applied_is_an_error(findings: list[Finding], checks: list[str], message: str) -> None:
    with pytest.raises(lk.ConfigError, match=message):
        diagnosis(*findings).apply(*checks)
