"""Planted faults, and runs in which nothing is wrong; each fault names the checks that are right about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.benchmarks import doctor_data as D
from tests.benchmarks.doctor_models import loss, model, recurrent, token_recurrence


@dataclass(frozen=True)
class Case:
    """An experiment.

    Attributes:
        name: of the case.
        right: the checks of which one is right about it; none for a healthy run.
        settings: of the experiment. A source of data is a function of the seed; a model or a loss may be a function of
            the framework's name.
        address: of the public report that it is modelled on; none for the others.
        cause: that people found there.
    """

    name: str
    right: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    address: str = ""
    cause: str = ""


def adam(lr: float) -> dict[str, Any]:
    return {"name": "adam", "lr": lr}


def sgd(lr: float) -> dict[str, Any]:
    return {"name": "sgd", "lr": lr}


def decay(value: float) -> dict[str, Any]:
    return {"name": "adamw", "lr": 1e-3, "weight_decay": value}


def steps(every: int, factor: float) -> dict[str, Any]:
    return {"name": "step", "every": every, "factor": factor}


def mlp(*hidden: int, **options: Any) -> dict[str, Any]:
    return {"hidden": list(hidden), **options}


def case(name: str, *right: str, data: Any = D.digits, model: Any = None, batch: int = 32, **training: Any) -> Case:
    """Return a case.

    Args:
        name: of it.
        right: checks of which one is right about it.
        data: a function of the seed, or the name of a source.
        model: its specification, or a function of the framework's name.
        batch: rows of a step.
        training: settings of the training; ``options`` are those of the data.
    """
    spec = {"epochs": 20, "optimizer": adam(1e-3), **training}
    options = spec.pop("options", {})
    return Case(name, right, {"data": data, "batch": batch, "options": options, "model": model or mlp(64, 64)} | spec)


def momentum(lr: float) -> dict[str, Any]:
    return sgd(lr) | {"momentum": 0.9}


def gcn(*hidden: int, **options: Any) -> dict[str, Any]:
    return {"family": "gcn", "hidden": list(hidden), **options}


def cnn(*channels: int, **options: Any) -> dict[str, Any]:
    return {"family": "cnn", "channels": list(channels), **options}


TINY: dict[str, Any] = {"family": "transformer", "depth": 1, "width": 32, "heads": 2}
PATCHES: dict[str, Any] = {**TINY, "patch": 2}
SLOWLY: dict[str, Any] = {"epochs": 60, "optimizer": adam(0.01)}
UNSCALED: dict[str, Any] = {"scale": "none"}
BY_DAY: dict[str, Any] = {"target": "target", "time": "day", "drop": ["day"]}

FAULTS = [
    case("rate too high", "rate-high", optimizer=sgd(50.0)),
    case("rate too high, diverges", "rate-high", data=D.regression, optimizer=sgd(2.0)),
    case("rate too low", "rate-low", optimizer=sgd(1e-5)),
    case("rate too low, adam", "rate-low", data=D.cancer, optimizer=adam(1e-7)),
    case("schedule dies", "schedule-ends", optimizer=sgd(0.01), schedule=steps(1, 0.1)),
    case("schedule dies, clouds", "schedule-ends", data=D.clouds, optimizer=sgd(0.003), schedule=steps(2, 0.03)),
    case("clip far too low", "clip-low", optimizer=sgd(0.05), clip_norm=0.001),
    case("clip far too low, cancer", "clip-low", data=D.cancer, optimizer=sgd(0.05), clip_norm=1e-4),
    case(
        "vanishing",
        "vanishing",
        data=D.cancer,
        model=mlp(*[10] * 6, activation="sigmoid"),
        optimizer=sgd(0.05),
        epochs=40,
    ),
    case("vanishing, digits", "vanishing", model=mlp(*[32] * 8, activation="sigmoid"), optimizer=sgd(0.1)),
    case(
        "vanishing in time",
        "vanishing-in-time",
        data=D.memory,
        model=recurrent(0.3, "tanh"),
        optimizer=adam(0.003),
        epochs=10,
    ),
    case(
        "vanishing in time, tokens",
        "vanishing-in-time",
        data=D.tokens,
        model=token_recurrence(0.3),
        optimizer=adam(0.003),
        epochs=10,
    ),
    case("exploding recurrence", "exploding", data=D.sequences, model=recurrent(2.5), epochs=5),
    case("exploding start", "exploding", data=D.clouds, model=model("exploding"), epochs=5),
    case("exploding start, deep", "exploding", data=D.digits, model=model("deep exploding"), epochs=5),
    case("dead units", "dead-units", "rate-high", data=D.clouds, model=mlp(32, 32, 32), optimizer=adam(0.5)),
    case("dead units, digits", "dead-units", "rate-high", model=mlp(64, 64, 64), optimizer=adam(0.3)),
    case(
        "saturated",
        "saturated",
        "unscaled-inputs",
        data=D.times(D.circles, 1000),
        model=mlp(32, 32, activation="tanh"),
        optimizer=sgd(0.01),
        epochs=10,
        options=UNSCALED,
    ),
    case("saturated start", "saturated", data=D.clouds, model=model("saturated"), optimizer=sgd(0.003), epochs=10),
    case("unscaled columns", "unscaled-inputs", data=D.unscaled, optimizer=sgd(0.01), options=UNSCALED),
    case("unscaled columns, wine", "unscaled-inputs", data=D.wine, optimizer=sgd(0.01), options=UNSCALED),
    case("unscaled target", "unscaled-target", data=D.far_target, options={"scale_target": False}),
    case("unscaled target, 150", "unscaled-target", data=D.regression, options={"scale_target": False}),
    case("softmax twice", "squashed-twice", model=model("softmax")),
    case("sigmoid twice", "squashed-twice", data=D.cancer, model=model("sigmoid")),
    case("sigmoid on numbers", "bounded-output", data=D.regression, model=model("sigmoid")),
    case("relu on numbers", "bounded-output", data=D.regression, model=model("relu")),
    case("permuted labels", "no-signal", data=D.permuted, epochs=60),
    case("unrelated labels", "no-signal", data=D.unrelated, epochs=60),
    case("wrong labels", "label-noise", data=D.mislabeled(D.digits, 0.35)),
    case("wrong labels, clouds", "label-noise", data=D.mislabeled(D.clouds, 0.3)),
    case("rare positives", "imbalance", data=D.rare),
    case("rare classes", "imbalance", data=partial(D.rare, share=0.02, classes=3)),
    case("target as a column", "leakage", data=D.leaking),
    case("target as a column, numbers", "leakage", data=D.leaking_number),
    case("repeated rows", "leakage", "duplicates", data=D.repeated(D.wine, 4)),
    case("repeated rows, cancer", "leakage", "duplicates", data=D.repeated(D.cancer, 3)),
    case("more columns than rows", "overfit", data=D.wide, epochs=150, optimizer=adam(0.003)),
    case(
        "learned by heart",
        "overfit",
        data=partial(D.wide, rows=240, columns=40),
        model=mlp(128, 128),
        epochs=150,
        optimizer=adam(0.003),
    ),
    case("circles with a line", "underfit", data=D.circles, model=mlp()),
    case("checkers with a line", "underfit", data=D.checkers, model=mlp()),
    case("two linear layers", "no-bend", data=D.circles, model=model("linear")),
    case("two linear layers, checkers", "no-bend", data=D.checkers, model=model("linear")),
    case("three epochs", "unfinished", epochs=3, optimizer=sgd(0.05)),
    case("three epochs, clouds", "unfinished", "few-steps", data=D.clouds, epochs=3, optimizer=adam(5e-4)),
    case("one batch", "few-steps", data=partial(D.digits, rows=400), batch=1000, epochs=10, optimizer=sgd(0.01)),
    case("one batch, cancer", "few-steps", data=D.cancer, batch=1000, epochs=10, optimizer=sgd(0.01)),
    case("tiny validation", "validation-small", data=D.wine, options={"validation": 0.04}),
    case(
        "tiny validation, clouds",
        "validation-small",
        data=partial(D.clouds, rows=90),
        options={"validation": 0.08},
        epochs=60,
    ),
    case("detached body", "no-gradient", model=model("detached")),
    case("detached body, circles", "no-gradient", data=D.circles, model=model("detached")),
    case("unused layer", "unused-weights", model=model("unused")),
    case("unused layer, cancer", "unused-weights", data=D.cancer, model=model("unused")),
    case("frozen body", "frozen-weights", data=D.checkers, model=model("frozen zeros")),
    case("frozen body, digits", "frozen-weights", model=model("frozen zeros"), optimizer=sgd(0.01)),
    case("rows mixed", "rows-mixed", model=model("mixing")),
    case("rows centred", "rows-mixed", data=D.cancer, model=model("centred")),
    case(
        "batch norm over two",
        "batch-norm-small",
        data=partial(D.digits, rows=600),
        model=model("norm"),
        batch=2,
        epochs=5,
    ),
    case("batch norm over two, clouds", "batch-norm-small", data=D.clouds, model=model("norm"), batch=2, epochs=5),
    case("all weights 0", "zero-start", model=model("zeros")),
    case("all weights 0, clouds", "zero-start", data=D.clouds, model=model("zeros")),
    case(
        "naive log",
        "nan",
        "unscaled-inputs",
        data=D.times(D.clouds, 300),
        model=model("plain"),
        loss=loss("naive"),
        options=UNSCALED,
        epochs=5,
    ),
    case("root of a negative", "nan", data=D.regression, model=model("plain"), loss=loss("root"), epochs=60),
    case("negated loss", "wrong-sign", model=model("plain"), loss=loss("negated"), epochs=4, optimizer=sgd(0.03)),
    case(
        "negated loss, clouds",
        "wrong-sign",
        data=D.clouds,
        model=model("plain"),
        loss=loss("negated"),
        epochs=6,
        optimizer=sgd(0.03),
    ),
    case("broadcast loss", "dealt-targets", data=D.regression, model=model("plain"), loss=loss("broadcast")),
    case("broadcast loss, mae", "dealt-targets", data=D.regression, model=model("plain"), loss=loss("broadcast mae")),
    case("dropout .95", "dropout-strong", model=mlp(64, 64, dropout=0.95)),
    case("dropout .97 in an own model", "dropout-strong", model=model("dropout")),
    case("weight decay 30", "decay-strong", optimizer=decay(30.0)),
    case("weight decay 50, tanh", "decay-strong", model=mlp(64, 64, activation="tanh"), optimizer=decay(50.0)),
    case("validation from elsewhere", "parts-differ", data=D.drifting, options=BY_DAY),
    case("validation after a change", "parts-differ", data=D.changed, options=BY_DAY),
    case("class never seen", "unseen", data=D.late_classes, options=BY_DAY),
    case("words never seen", "unseen", data=D.late_colours, options=BY_DAY),
    case("slow loader", "data-bound", data=D.slow_batches(0.03), epochs=4, optimizer=adam(0.003)),
    case("slow loader, clouds", "data-bound", data=D.slow_batches(0.02, D.clouds), epochs=4, optimizer=adam(0.003)),
]
"""The planted faults."""

HEALTHY = [
    case("digits"),
    case("digits, sgd", optimizer=sgd(0.1)),
    case("digits, wide", model=mlp(256, 256)),
    case("digits, tanh", model=mlp(64, 64, activation="tanh")),
    case("digits, dropout", model=mlp(128, 128, dropout=0.3), epochs=40),
    case("digits, cnn", data="digits", model="cnn", epochs=8),
    case("digits, residual", model=mlp(64, 64, 64, 64, residual=True)),
    case("digits, own", model=model("plain")),
    case("digits, batch norm", model=model("norm")),
    case("digits, cosine", schedule="cosine", optimizer=sgd(0.1)),
    case("digits, clipped", optimizer=sgd(0.1), clip_norm=1.0),
    case("digits, steps", schedule=steps(8, 0.3), optimizer=sgd(0.1)),
    case("digits, decay", optimizer=decay(0.01)),
    case("digits, batch 8", batch=8, epochs=8),
    case("digits, rarely mislabeled", data=D.mislabeled(D.digits, 0.03)),
    case("digits, loader", data=D.slow_batches(0.0), epochs=15, optimizer=adam(0.003)),
    case("wine", data="wine", epochs=40),
    case("cancer", data="breast_cancer"),
    case("cancer, sigmoid", data="breast_cancer", model=mlp(16, activation="sigmoid"), epochs=60, optimizer=adam(0.01)),
    case("cancer, own", data=D.cancer, model=model("plain")),
    case("diabetes", data=D.regression, model=mlp(32), epochs=40),
    case("diabetes, linear", data=D.regression, model=mlp(), epochs=40, optimizer=adam(0.01)),
    case("diabetes, own loss", data=D.regression, model=model("plain"), loss=loss("squares"), epochs=30),
    case("clouds", data=D.clouds, optimizer=adam(0.003)),
    case("clouds, frozen body", data=D.clouds, model=model("frozen"), optimizer=adam(0.01), epochs=40),
    case("a steady table", data=D.steady, options=BY_DAY),
    case("circles", data=D.circles, optimizer=adam(0.01)),
    case("checkers", data=D.checkers, optimizer=adam(0.01), epochs=40),
    case("moons", data=D.moons, optimizer=adam(0.01), epochs=40),
    case("one in ten positive", data=partial(D.rare, share=0.1), optimizer=adam(0.003), epochs=40),
    case("sequences", data=D.sequences, model=recurrent(1.0), optimizer=adam(0.003), epochs=20),
    case("last place", data=D.recent, model=recurrent(0.6, "tanh"), optimizer=adam(0.01), epochs=15),
    case("last token", data=partial(D.tokens, place=29), model=token_recurrence(0.6), optimizer=adam(0.01), epochs=15),
    case("karate club", data="karate_club", model="gcn", epochs=60, optimizer=adam(0.01)),
    case("karate club, attention", data="karate_club", model=gcn(16, weighting="attention"), **SLOWLY),
    case("karate club, two layers", data="karate_club", model=gcn(16, 16, residual=True), **SLOWLY),
    case("iris", data=D.iris, model=mlp(16), optimizer=adam(0.01), epochs=60),
    case("iris, momentum", data=D.iris, model=mlp(16, 16), optimizer=momentum(0.02), epochs=60),
    case("wine, decay", data="wine", optimizer=decay(0.1), epochs=40),
    case("wine, layer norm", data="wine", model=mlp(32, 32, normalization="layer"), epochs=40),
    case("cancer, dropout", data="breast_cancer", model=mlp(64, 64, dropout=0.2), optimizer=decay(0.01)),
    case("diabetes, tanh", data="diabetes", model=mlp(16, activation="tanh"), epochs=40),
    case("friedman", data=D.friedman, optimizer=adam(0.003), epochs=40),
    case("friedman, gelu", data=D.friedman, model=mlp(64, 64, activation="gelu"), optimizer=adam(0.003), epochs=40),
    case("a plane", data=D.plane, model=mlp(), optimizer=adam(0.03), epochs=40),
    case("swiss roll", data=D.roll, model=mlp(64, 64), optimizer=adam(0.01), epochs=60),
    case("shells", data=D.shells, model=mlp(64, 64), optimizer=adam(0.01), epochs=40),
    case("one in five positive", data=partial(D.rare, share=0.2), optimizer=adam(0.003), epochs=40),
    case("a table with words", data=D.colours, options=BY_DAY, optimizer=adam(0.003), epochs=30),
    case("digits, gelu", model=mlp(64, 64, activation="gelu")),
    case("digits, Nesterov", optimizer=momentum(0.05) | {"nesterov": True}),
    case("digits, from 0 to 1", data="digits", model=mlp(64, 64), options={"scale": "minmax"}),
    case("digits, batch 128", batch=128, epochs=40, optimizer=adam(0.003)),
    case("digits, deep cnn", data="digits", model=cnn(16, 32, residual=True, normalization="group"), epochs=8),
    case("digits, mean of a cnn", data="digits", model=cnn(32, 64, gather="average"), epochs=20, optimizer=adam(0.005)),
    case("digits, patches", data="digits", model=PATCHES, epochs=15, optimizer=adam(0.003)),
    case("bars", data=D.bars, model=cnn(8), epochs=10, optimizer=adam(0.003)),
    case("sequences, cnn", data=D.bumps, model=cnn(8, 16, kernel=5), epochs=15, optimizer=adam(0.003)),
    case("sequences, transformer", data=D.bumps, model=TINY, epochs=15, optimizer=adam(0.003)),
    case(
        "a text", data=D.text, model=TINY, epochs=6, batch=16, optimizer=adam(0.003), options={"text": {"length": 32}}
    ),
]
"""Runs in which nothing is wrong."""
