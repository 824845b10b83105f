"""What lmkit's defaults reach beside scikit-learn's: ``python tests/benchmarks/defaults.py [--data digits wine]``.

What is compared: the score (accuracy, or R² of a regression) on the test part of what ``lk.train`` trains when nothing
but the data is named, in both frameworks, and of ``MLPClassifier`` or ``MLPRegressor`` with all their defaults. All get
the rows that lmkit prepared, features and target scaled, of the same split. scikit-learn's defaults have no use for a
validation part: it is trained on the training part alone ("scikit-learn"), and once more with the rows of both, a third
more ("+ validation"). A seed decides split, first weights and order.

The twelve data sets: the four tables that lmkit bundles; four that Plotly and scikit-learn ship (iris, tips, gapminder,
carshare); and four that are generated, for packages ship no larger ones: ``classes`` and ``friedman`` by
scikit-learn, and two that resemble well-known sets in what makes them hard, ``diamonds`` (a price over four orders of
magnitude, sizes with outliers 40 deviations away, three categories) and ``bikes`` (skewed hourly counts, numbers that
are periods).

With ``--initializers`` instead: the accuracy of a 30-128-128-5 network on 20,000 rows after six epochs of Adam, with
each initializer. ``--set PATH=VALUE`` changes what lmkit trains.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import plotly.data
from sklearn.datasets import load_iris, make_classification, make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor

import lmkit as lk
from lmkit.data.preparation import prepare
from lmkit.specs.data import BUNDLED
from lmkit.specs.plain import parse_value

FRAMEWORKS = ("torch", "tensorflow")

SKLEARN = {"scikit-learn": 1, "+ validation": 2}
"""Name of a training of scikit-learn's → the parts of the data that it gets."""


def iris() -> pd.DataFrame:
    """Three kinds of iris: 150 rows, 4 numbers."""
    frame = load_iris(as_frame=True).frame
    return frame.assign(target=frame["target"].map(dict(enumerate(("setosa", "versicolor", "virginica")))))


def tips() -> pd.DataFrame:
    """The tip for a meal: 244 rows, 2 numbers, 4 categories."""
    return plotly.data.tips().rename(columns={"tip": "target"})


def gapminder() -> pd.DataFrame:
    """The life expectancy in a country: 1,704 rows, 3 numbers, two of them with heavy tails, and the continent."""
    frame = plotly.data.gapminder().rename(columns={"lifeExp": "target"})
    return frame[["continent", "year", "pop", "gdpPercap", "target"]]


def carshare() -> pd.DataFrame:
    """The use of shared cars at a place in Montreal: 249 rows, 3 numbers."""
    return plotly.data.carshare().rename(columns={"car_hours": "target"})


def classes(rows: int = 6_000) -> pd.DataFrame:
    """Five classes of clusters in 30 dimensions, scaled."""
    X, y = make_classification(rows, 30, n_informative=20, n_redundant=5, n_classes=5, random_state=7)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return pd.DataFrame(X).rename(columns=str).assign(target=np.array(list("abcde"))[y])


def friedman() -> pd.DataFrame:
    """Friedman's first function, with noise, of 5 of 10 numbers: 2,000 rows."""
    X, y = make_friedman1(2_000, noise=1.0, random_state=7)
    return pd.DataFrame(X).rename(columns=str).assign(target=y)


def diamonds() -> pd.DataFrame:
    """Prices with heavy tails of 8,000 stones: 6 numbers, of which three have outliers, and 3 ordered categories."""
    draw, rows = np.random.default_rng(7), 8_000
    carat = np.clip(draw.lognormal(-0.4, 0.55, rows), 0.2, 5).round(2)
    depth, table = draw.normal(61.7, 1.4, rows).round(1), draw.normal(57.5, 2.2, rows).round(0)
    cut, color, clarity = (draw.integers(n, size=rows) for n in (5, 7, 8))
    side = 6.4 * np.cbrt(carat) * (1 + 0.005 * draw.standard_normal((3, rows)))
    side[2] *= 0.62
    wrong = draw.choice(rows, 12, replace=False)
    side[1, wrong[:4]], side[2, wrong[4:6]], side[:, wrong[6:]] = (58.9, 31.8, 8.09, 31.8), 31.8, 0.0
    log_price = 8.3 + 1.75 * np.log(carat) + 0.03 * cut - 0.09 * color + 0.13 * clarity
    price = np.exp(log_price + 0.1 * draw.standard_normal(rows)).clip(300, 60_000).round()
    names = [
        np.array([f"{kind}{i}" for i in range(8)])[v] for kind, v in zip("cuy", (cut, color, clarity), strict=True)
    ]
    columns = {"carat": carat, "cut": names[0], "color": names[1], "clarity": names[2], "depth": depth, "table": table}
    return pd.DataFrame({**columns, **dict(zip("xyz", side.round(2), strict=True)), "target": price + 0.5})


def bikes() -> pd.DataFrame:
    """Bicycles rented in an hour: 8,000 rows, 9 numbers, of which three are periods, and the weather."""
    draw, rows = np.random.default_rng(7), 8_000
    hour, weekday, month = (draw.integers(n, size=rows) for n in (24, 7, 12))
    works = (weekday < 5) & (draw.random(rows) > 0.03)
    warmth = 0.5 - 0.35 * np.cos(2 * np.pi * (month + 0.5) / 12) - 0.05 * np.cos(2 * np.pi * (hour - 3) / 24)
    warmth = np.clip(warmth + 0.08 * draw.standard_normal(rows), 0.02, 1)
    humidity, wind = draw.beta(5, 3, rows), draw.gamma(3, 0.06, rows)
    weather = draw.choice(3, rows, p=[0.66, 0.26, 0.08])
    commute = np.exp(-(((hour - 8) / 1.3) ** 2)) + 1.2 * np.exp(-(((hour - 17.5) / 1.8) ** 2))
    leisure = 0.8 * np.exp(-(((hour - 14) / 4) ** 2))
    day = 0.03 + np.where(works, commute + 0.3 * leisure, leisure)
    rate = 420 * day * (0.25 + warmth) * np.array([1, 0.85, 0.5])[weather] * (1.2 - 0.5 * humidity)
    frame = {"hour": hour, "weekday": weekday, "month": month, "holiday": (~works & (weekday < 5)).astype(int)}
    frame |= {"working": works.astype(int), "temperature": warmth, "feels": warmth + 0.02 * draw.standard_normal(rows)}
    frame |= {"humidity": humidity, "wind": wind, "weather": np.array(["clear", "cloudy", "rain"])[weather]}
    return pd.DataFrame({**frame, "target": draw.negative_binomial(12, 12 / (12 + rate)) + 0.0})


MADE: dict[str, Callable[[], pd.DataFrame]] = {
    f.__name__: f for f in (iris, tips, gapminder, carshare, classes, friedman, diamonds, bikes)
}

SETS = (*(name for name, bundled in BUNDLED.items() if not bundled.edges), *MADE)


def arguments_of(name: str) -> dict[str, Any]:
    """The arguments of ``lk.train`` that name the data."""
    if name not in MADE:
        return {"data": name}
    frame = MADE[name]()
    numeric = frame["target"].dtype.kind in "if"
    return {"data": frame, "target": "target", **({"task": "regression"} if numeric else {})}


def score_lmkit(name: str, framework: str, seed: int, changes: Mapping[str, Any], runs: str) -> tuple[float, lk.Run]:
    """The score of what lmkit trains, on the test part; NaN if training failed."""
    run = lk.train(
        **arguments_of(name), framework=framework, seed=seed, threads=1, inline=True, runs=runs, **dict(changes)
    )
    metrics = run.status.metrics or {}
    return float(metrics.get("accuracy", metrics.get("r2", np.nan))), run


def score_sklearn(run: lk.Run, runs: str, parts: int) -> float:
    """The score of scikit-learn's network with its defaults, on the first ``parts`` parts that ``run`` was given."""
    spec = run.experiment
    data = prepare(spec.data, spec.seed, "float32", runs)
    used = [data.training, data.validation][:parts]
    X = np.concatenate([part.X for part in used])
    y = np.concatenate([part.y for part in used]).reshape(len(X))
    is_regression = data.preprocessing.task == "regression"
    model = (MLPRegressor if is_regression else MLPClassifier)(random_state=spec.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted = model.fit(X, y).predict(data.test.X)
    return float((r2_score if is_regression else accuracy_score)(data.test.y.reshape(len(predicted)), predicted))


def compare(names: list[str], frameworks: list[str], seeds: int, changes: Mapping[str, Any], sklearn: bool) -> None:
    """Print a row per data set: the mean over the seeds, each score, and the seconds of a training."""
    columns = [*SKLEARN, *frameworks] if sklearn else frameworks
    print(f"{'data':14}{'of':>4}", *(f"{who:>31}" for who in columns), flush=True)
    for name in names:
        scores: dict[str, list[float]] = {who: [] for who in columns}
        seconds = dict.fromkeys(columns, 0.0)
        history: Any = None
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as runs:
                for who in reversed(columns):
                    begin = time.process_time()
                    if who in FRAMEWORKS:
                        score, run = score_lmkit(name, who, seed, changes, runs)
                        history = run.history
                    else:
                        score = score_sklearn(run, runs, SKLEARN[who])
                    scores[who].append(score)
                    seconds[who] += (time.process_time() - begin) / seeds
        texts = []
        for who in columns:
            each = " ".join(f"{v:.3f}".replace("0.", ".") for v in scores[who])
            texts.append(f"{np.mean(scores[who]):.4f} ({each}) {seconds[who]:.1f} s".rjust(31))
        print(
            f"{name:14}{'acc' if 'accuracy' in history else 'r²':>4}",
            *texts,
            f"{len(history):4} epochs",
            flush=True,
        )


def compare_initializers(frameworks: list[str], seeds: int) -> None:
    """Print the accuracy with each initializer after six epochs."""
    frame = classes(25_000)
    print(f"{'initializer':14}", *(f"{who:>30}" for who in frameworks))
    for initializer in ("pytorch", "glorot", "lecun", "he"):
        columns = []
        for framework in frameworks:
            scores = []
            for seed in range(seeds):
                with tempfile.TemporaryDirectory() as runs:
                    run = lk.train(
                        {
                            "framework": framework,
                            "seed": seed,
                            "model": {"family": "mlp", "hidden": [128, 128], "initializer": initializer},
                            "training": {"epochs": 6, "optimizer": "adam", "threads": 1, "early_stopping": None},
                        },
                        data={"training": frame[:20_000], "test": frame[20_000:]},
                        target="target",
                        validation=0,
                        batch_size=64,
                        inline=True,
                        runs=runs,
                    )
                    scores.append(float((run.status.metrics or {})["accuracy"]))
            each = " ".join(f"{v:.3f}".replace("0.", ".") for v in scores)
            columns.append(f"{np.mean(scores):.4f} ({each})".rjust(30))
        print(f"{initializer:14}", *columns, flush=True)


def main() -> None:
    """Parse the arguments and print a table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS), metavar="NAME")
    parser.add_argument("--framework", nargs="+", choices=FRAMEWORKS, default=list(FRAMEWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="+", default=[], metavar="PATH=VALUE", help="what lmkit trains instead")
    parser.add_argument("--no-sklearn", action="store_true", help="leave out scikit-learn")
    parser.add_argument("--initializers", action="store_true", help="compare initializers instead")
    args = parser.parse_args()
    if args.initializers:
        compare_initializers(args.framework, args.seeds)
        return
    changes = {path: parse_value(value) for path, _, value in (text.partition("=") for text in args.set)}
    compare(args.data, args.framework, args.seeds, changes, not args.no_sklearn)


if __name__ == "__main__":
    main()
