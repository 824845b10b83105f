"""Checks over evidence written by hand: what each says, what it keeps to itself, and what is folded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.data.profile import Column, Profile, Reference
from lmkit.doctor.checks import CHECKS
from lmkit.doctor.diagnosis import Diagnosis
from lmkit.doctor.evidence import Evidence
from lmkit.doctor.examine import examine
from lmkit.doctor.finding import Finding
from lmkit.runfolder.readings import LayerReading, OutputReading, Reading, WeightReading
from lmkit.runfolder.status import Status

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 100)


def healthy(**changes: Any) -> Evidence:
    """A run that learned: a classification into four classes."""
    losses = 1.4 * 0.97 ** np.arange(100)
    readings = [
        Reading(
            step=step,
            rows=64,
            loss=float(1.4 * 0.97**step),
            layers=tuple(
                LayerReading(name=f"dense_{i}", units=32, low=0.0, high=3.0, spread=1.0, silent=0.0, saturated=0.0)
                for i in (1, 2)
            ),
            weights=tuple(
                WeightReading(
                    name=f"dense_{i}.kernel", size=1024, axes=2, norm=8.0, gradient=1.0, zeros=0.1, update=0.003
                )
                for i in range(3)
            ),
            outputs=OutputReading(
                low=-3.0, high=3.0, row_spread=1.0, sum_low=-2, sum_high=2, top_class=0, top_share=0.3
            ),
            mixed=1e-7,
            curvature=0.7,
            dealt=0.4,
        )
        for step in STEPS
    ]
    epochs = [
        {
            "epoch": e,
            "step": 10 * e,
            "loss": 1.4 * 0.74**e,
            "val_loss": 0.1 + 0.74**e,
            "accuracy": 0.9,
            "val_accuracy": 0.9,
        }
        for e in range(1, 31)
    ]
    values: dict[str, Any] = {
        "experiment": lk.Experiment(model={"hidden": [32, 32]}, training={"optimizer": {"name": "adam", "lr": 1e-3}}),
        "status": Status(state="completed", epoch=30),
        "epochs": epochs,
        "losses": losses,
        "rates": np.full(100, 1e-3),
        "gradient_norms": np.full(100, np.nan),
        "readings": readings,
        "profile": Profile(
            task="multiclass",
            rows={"training": 600, "validation": 200, "test": 200},
            features=16,
            has_rows=True,
            chance_loss=float(np.log(4)),
            chance_score=0.25,
            class_shares=(0.25,) * 4,
            largest=Column(name="a", mean=0.0, spread=1.0),
            smallest=Column(name="b", mean=0.0, spread=1.0),
            duplicates=0.0,
            disagreement=0.02,
            shift=0.1,
            shifted="a",
            score_rows=200,
            references={
                "constant": Reference(score=0.25),
                "linear": Reference(score=0.8),
                "forest": Reference(score=0.9),
            },
        ),
    }
    return Evidence(**(values | changes))


def with_readings(evidence: Evidence, **changes: Any) -> list[Reading]:
    return [replace(reading, **changes) for reading in evidence.readings]


def stuck() -> Evidence:
    """A run that learned nothing."""
    chance = float(np.log(4))
    evidence = healthy(losses=np.full(100, chance))
    evidence.readings = with_readings(evidence, loss=chance)
    for epoch in evidence.epochs:
        epoch |= {"loss": chance, "val_loss": chance, "accuracy": 0.25, "val_accuracy": 0.25}
    return evidence


def named(evidence: Evidence) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(evidence)}


def test_a_healthy_run_has_no_finding() -> None:
    assert examine(healthy()) == []


@pytest.mark.parametrize(
    ("check", "changes"),
    [("rows-mixed", {"mixed": 0.7}), ("no-bend", {"curvature": 1e-6}), ("dealt-targets", {"dealt": 1e-7})],
)
def test_arithmetic_settles(check: str, changes: dict[str, float]) -> None:
    evidence = healthy()
    evidence.readings = with_readings(evidence, **changes)
    (finding,) = examine(evidence)
    assert (finding.check, finding.confidence) == (check, "sure")
    assert next(iter(finding.evidence.values())) == pytest.approx(next(iter(changes.values())))


def test_outputs_of_a_softmax_that_are_taken_for_logits() -> None:
    evidence = stuck()
    custom = lk.Experiment(model={"family": "own", "builder": "somewhere:build"})
    evidence.experiment = custom
    outputs = OutputReading(low=0.01, high=0.9, row_spread=0.1, sum_low=1.0, sum_high=1.0, top_class=0, top_share=0.3)
    evidence.readings = with_readings(evidence, outputs=outputs)
    first = examine(evidence)[0]
    assert (first.check, first.confidence) == ("squashed-twice", "sure")
    assert "at-chance" in {c.check for c in first.consequences}
    evidence.output_kind = "probabilities"
    assert "squashed-twice" not in named(evidence)


def test_weights_without_gradient_are_named() -> None:
    evidence = stuck()
    weights = evidence.readings[0].weights
    cut = tuple(replace(w, is_connected=i > 0, gradient=None if i == 0 else 1.0) for i, w in enumerate(weights))
    evidence.readings = with_readings(evidence, weights=cut)
    assert "dense_0.kernel" in named(evidence)["no-gradient"].what


@pytest.mark.parametrize(("update", "check"), [(2e-5, "rate-low"), (3e-3, None)])
def test_a_rate_is_too_low_where_weights_hardly_move_and_nothing_is_learned(update: float, check: str | None) -> None:
    evidence = stuck()
    weights = tuple(replace(w, update=update) for w in evidence.readings[0].weights)
    evidence.readings = with_readings(evidence, weights=weights)
    findings = named(evidence)
    assert ("rate-low" in findings) is (check is not None)
    if check:
        assert findings[check].change["training.optimizer.lr"] == pytest.approx(0.03)


def test_a_rate_is_too_high_where_steps_are_as_large_as_the_weights_and_the_loss_rises() -> None:
    evidence = stuck()
    weights = tuple(replace(w, update=0.8) for w in evidence.readings[0].weights)
    evidence.readings = [replace(r, weights=weights, loss=r.loss if r.step == 0 else 9.0) for r in evidence.readings]
    first = examine(evidence)[0]
    assert (first.check, first.confidence) == ("rate-high", "sure")
    assert first.change["training.optimizer.lr"] < 1e-4
    assert first.chart is not None
    assert first.chart.limit == 0.5


@pytest.mark.parametrize(("ratio", "confidence"), [(1e-3, "sure"), (1e-2, "likely"), (0.2, None)])
def test_vanishing_gradients_by_their_ratio(ratio: float, confidence: str | None) -> None:
    evidence = stuck()
    weights = tuple(replace(w, gradient=ratio if i == 0 else 1.0) for i, w in enumerate(evidence.readings[0].weights))
    evidence.readings = with_readings(evidence, weights=weights)
    finding = named(evidence).get("vanishing")
    assert (finding and finding.confidence) == confidence


def test_dead_units_are_a_consequence_of_unscaled_inputs() -> None:
    evidence = stuck()
    dead = tuple(replace(layer, silent=0.9) for layer in evidence.readings[0].layers)
    evidence.readings = [evidence.readings[0], *(replace(r, layers=dead) for r in evidence.readings[1:])]
    assert named(evidence)["dead-units"].confidence == "sure"
    evidence.profile = replace(evidence.profile, largest=Column(name="area", mean=0.0, spread=1e4))
    findings = named(evidence)
    assert "dead-units" not in findings
    assert "dead-units" in {c.check for c in findings["unscaled-inputs"].consequences}
    assert findings["unscaled-inputs"].change == {"data.scale": "standard"}


def test_saturation_that_does_no_harm_is_a_hint() -> None:
    evidence = healthy()
    layers = tuple(replace(layer, saturated=0.99) for layer in evidence.readings[0].layers)
    evidence.readings = with_readings(evidence, layers=layers)
    assert named(evidence)["saturated"].confidence == "hint"


def test_a_loss_that_falls_while_predictions_get_worse_has_the_wrong_sign() -> None:
    evidence = stuck()
    evidence.readings = [replace(r, loss=-float(r.step)) for r in evidence.readings]
    for epoch in evidence.epochs:
        epoch["accuracy"] = 0.02
    assert examine(evidence)[0].check == "wrong-sign"


def test_a_loss_without_number_that_did_not_grow_is_no_matter_of_the_rate() -> None:
    evidence = healthy(status=Status(state="failed", cause="diverged"), losses=np.append(np.full(20, 1.3), np.nan))
    finding = named(evidence)["nan"]
    assert "rate" not in finding.change
    grown = healthy(status=Status(state="failed", cause="diverged"), losses=np.append(10.0 ** np.arange(20), np.nan))
    assert set(named(grown)) == {"rate-high"}
    assert named(grown)["rate-high"].evidence["largest loss ÷ first loss"] > 1e18


def test_overfitting_is_told_from_an_end_too_early() -> None:
    evidence = healthy()
    for i, epoch in enumerate(evidence.epochs):
        epoch["val_loss"] = 0.5 + 0.05 * i
        epoch["val_accuracy"] = 0.8
    findings = named(evidence)
    assert findings["overfit"].confidence == "sure"
    assert findings["overfit"].change == {}  # it ends with its best weights already
    evidence.experiment = evidence.experiment.override({"training.early_stopping": None})
    assert named(evidence)["overfit"].change == {"training.early_stopping": {"patience": 5}}


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("label-noise", {"disagreement": 0.3, "references": {}}),
        ("leakage", {"revealing": ("price",)}),
        ("leakage", {"shared": {"validation": 0.9}}),
        ("constant-inputs", {"constant": 16, "recurrence": 600.0, "shared": {"validation": 1.0}}),
        ("row-number", {"row_numbers": ("id",)}),
        ("imbalance", {"class_shares": (0.4, 0.3, 0.28, 0.02)}),
        ("validation-small", {"rows": {"training": 60, "validation": 7, "test": 7}}),
        ("parts-differ", {"shift": 2.0}),
        ("duplicates", {"duplicates": 0.7}),
        ("unscaled-target", {"target": Column(name="", mean=1e6, spread=1e6)}),
    ],
)
def test_the_data(check: str, changes: dict[str, Any]) -> None:
    evidence = healthy()
    evidence.profile = replace(evidence.profile, **changes)
    assert list(named(evidence)) == [check]


@pytest.mark.parametrize(
    "changes",
    [{"revealing": ("x",), "features": 1}, {"shared": {"validation": 0.9}, "recurrence": 150.0}],
    ids=["the only feature", "columns of few values"],
)
def test_what_cannot_be_left_out_is_no_leakage(changes: dict[str, Any]) -> None:
    evidence = healthy()
    evidence.profile = replace(evidence.profile, **changes)
    assert examine(evidence) == []


def test_the_best_of_many_epochs_at_chance_is_above_it() -> None:
    evidence = healthy()
    chance = {"constant": Reference(score=0.25), "linear": Reference(score=0.26), "forest": Reference(score=0.27)}
    evidence.profile = replace(evidence.profile, references=chance)
    for i, epoch in enumerate(evidence.epochs):
        epoch["val_accuracy"] = 0.34 if i == 7 else 0.25
    assert named(evidence)["no-signal"].confidence == "sure"


def test_a_validation_part_that_contradicts_training_is_named() -> None:
    evidence = healthy()
    for epoch in evidence.epochs:
        epoch["val_accuracy"] = 0.02
    assert named(evidence)["parts-differ"].confidence == "sure"


def test_a_class_is_rare_where_only_its_rank_is_learned() -> None:
    evidence = healthy()
    outputs = OutputReading(low=-3, high=1, row_spread=1, top_class=0, top_share=1.0, class_share=0.86)
    evidence.readings = with_readings(evidence, outputs=outputs)
    evidence.profile = replace(evidence.profile, class_shares=(0.86, 0.14), chance_score=0.86)
    for epoch in evidence.epochs:
        epoch |= {"accuracy": 0.86, "val_accuracy": 0.86, "val_auc": 0.8}
    assert next(iter(named(evidence))) == "imbalance"
    for epoch in evidence.epochs:
        epoch["val_auc"] = 0.5
    assert "imbalance" not in named(evidence)


def test_a_weak_model_whose_loss_falls_in_a_straight_line_ended_early() -> None:
    evidence = healthy()
    for i, epoch in enumerate(evidence.epochs):
        epoch |= {"val_loss": 1.4 - 0.01 * i, "accuracy": 0.45, "val_accuracy": 0.45}
    findings = named(evidence)
    assert findings["unfinished"].confidence == "likely"
    assert "underfit" not in findings


def test_a_softmax_of_one_output_is_named() -> None:
    evidence = healthy(experiment=lk.Experiment(model={"family": "own", "builder": "m:M", "outputs": "logits"}))
    outputs = OutputReading(low=1.0, high=1.0, row_spread=0.0, sum_low=1.0, sum_high=1.0)
    evidence.readings = with_readings(evidence, outputs=outputs)
    assert "always 1" in named(evidence)["squashed-twice"].what


def test_means_of_few_long_rows_differ_by_chance() -> None:
    evidence = healthy()
    evidence.profile = replace(evidence.profile, features=800_000, shift=0.7)
    assert examine(evidence) == []
    evidence.profile = replace(evidence.profile, shift=1.0)
    assert named(evidence)["parts-differ"].confidence == "likely"
    evidence.profile = replace(evidence.profile, shift=2.0)
    assert named(evidence)["parts-differ"].confidence == "sure"


def test_changes_are_changes_of_an_experiment() -> None:
    evidence = stuck()
    evidence.experiment = evidence.experiment.override({"data.scale": "none"})
    evidence.profile = replace(evidence.profile, largest=Column(name="area", mean=0.0, spread=1e4))
    for finding in examine(evidence):
        for inner in (finding, *finding.consequences):
            assert evidence.experiment.override(inner.change) != evidence.experiment or not inner.change


def test_at_most_three_findings_are_told_at_length() -> None:
    findings = [Finding(check=f"c{i}", what=f"what {i}", evidence={"e": 0.5}, confidence="sure") for i in range(5)]
    diagnosis = Diagnosis("run", findings, ["<remark>"])
    assert str(diagnosis).count("evidence:") == 3
    page = diagnosis._repr_html_()
    assert page.count("border-left") == 3
    assert "&lt;remark&gt;" in page
    assert diagnosis.headline == "sure: what 0 (and 4 more)"


def test_every_check_is_registered_with_what_it_explains() -> None:
    checks = dict(CHECKS.items())
    assert len(checks) >= 30
    unknown = {name for c in checks.values() for name in c.explains} - set(checks)
    assert unknown == set()


def test_frozen_weights_are_named_where_the_model_is_weak() -> None:
    evidence = stuck()
    first = replace(evidence.readings[0], frozen=("body.weight",), frozen_share=0.9)
    evidence.readings = [first, *evidence.readings[1:]]
    finding = named(evidence)["frozen-weights"]
    assert finding.confidence == "sure"
    assert "body.weight are frozen, 90%" in finding.what
    evidence.readings = [replace(first, frozen_share=0.1), *evidence.readings[1:]]
    assert "frozen-weights" not in named(evidence)


def test_a_weight_without_gradient_is_cut_off_or_never_used() -> None:
    evidence = healthy()
    weights = evidence.readings[0].weights
    cut = tuple(replace(w, is_connected=i > 0, is_used=i > 0) for i, w in enumerate(weights))
    evidence.readings = with_readings(evidence, weights=cut)
    findings = named(evidence)
    assert "dense_0.kernel are never used" in findings["unused-weights"].what
    assert "no-gradient" not in findings


@pytest.mark.parametrize(
    ("share", "seconds", "confidence"), [(0.9, 0.1, "sure"), (0.6, 0.1, "likely"), (0.9, 1e-3, None)]
)
def test_waiting_for_data_is_named_where_it_is_long(share: float, seconds: float, confidence: str | None) -> None:
    evidence = healthy()
    evidence.readings = with_readings(evidence, waiting=share, waiting_seconds=seconds)
    finding = named(evidence).get("data-bound")
    assert (finding.confidence if finding else None) == confidence


def test_classes_and_categories_that_training_never_saw() -> None:
    evidence = healthy()
    evidence.profile = replace(evidence.profile, unseen_classes={"test": 0.05})
    assert named(evidence)["unseen"].confidence == "sure"
    evidence.profile = replace(evidence.profile, unseen_classes={}, unseen_values={"validation": 0.01})
    assert "unseen" not in named(evidence)


def test_a_loss_that_falls_without_end_has_the_wrong_sign() -> None:
    evidence = healthy()
    evidence.status = replace(evidence.status, state="failed", cause="diverged")
    evidence.losses = np.array([-1.0, -10.0, -1e6, np.nan])
    assert "falls without end" in named(evidence)["wrong-sign"].what


def test_a_gradient_that_vanishes_over_tokens_is_named_where_only_training_rows_are_learned() -> None:
    evidence = stuck()
    evidence.readings = with_readings(evidence, places=tuple(np.geomspace(1e-9, 1.0, 12)))
    assert "vanishing-in-time" in named(evidence)


def test_the_profile_counts_what_training_never_saw() -> None:
    from lmkit.data.profile import _unseen_share

    X = np.array([[0.3, 1, 0], [0.1, 0, 1], [0.2, 0, 0]])
    assert _unseen_share(X, ["x", "c=a", "c=b"], {"c": {"known": ["a", "b"]}}) == pytest.approx(1 / 3)
