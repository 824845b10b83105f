"""What is recommended, of variants whose numbers are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lmkit.deploy.compare.comparison import Comparison
from lmkit.deploy.compare.recommendation import NoneFits
from lmkit.deploy.measure.statistics import Interval, Latency
from lmkit.deploy.variant import Variant
from lmkit.exceptions import ConfigError


def variant(
    name: str,
    ms: float,
    size: int,
    accuracy: float,
    ratio: tuple[float, float] | None = None,
    p95: float | None = None,
    flags: tuple[str, ...] = (),
) -> Variant:
    low, high = ratio or (ms - 0.01, ms + 0.01)
    timed = Latency(1, Interval(ms / 1e3, 0, 1), p95, Interval(ms, low, high), Interval(1, 0.98, 1.02), 100)
    return Variant(
        "r", name, "convert", "measured", size_bytes=size, latency=(timed,), metrics={"accuracy": accuracy}, flags=flags
    )


BASE = variant("baseline", 1.0, 1_000_000, 0.95)
FAST = variant("fast", 0.2, 2_000_000, 0.90)
SMALL = variant("small", 0.5, 100_000, 0.945, p95=0.004)
SLOW = variant("slow", 2.0, 90_000, 0.97)
WRONG = variant("wrong", 0.1, 1_000, 0.95, flags=("no operation runs in int8",))
ALL = Comparison([BASE, FAST, SMALL, SLOW, WRONG])


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("fastest", "fast"),
        ("fastest within 1 point of accuracy", "small"),
        ("fastest within 10 % of accuracy", "fast"),
        ("smallest", "slow"),
        ("smallest within 1 point of accuracy", "slow"),
        ("most accurate", "slow"),
        ("most accurate under 1.5 ms", "baseline"),
        ("under 5 ms p95", "small"),
        ("under 0.5 MB and under 1 ms", "small"),
        ("Fastest, within 5 points of accuracy", "fast"),
        ("fastest within 1 point and under 1 MB", "small"),
        ("within 1 point under 1 MB", "small"),
        ("under 1 MB within 1 point, smallest", "slow"),
        ("within 0.06 of accuracy", "fast"),
        ("within 0.01 of the baseline's accuracy and at most 95 kB", "slow"),
        ("", "small"),
    ],
)
def test_the_constraint_decides(constraint: str, expected: str) -> None:
    assert ALL.best(constraint).technique == expected


def test_the_reason_says_what_is_gained() -> None:
    told = str(ALL.recommend("fastest within 1 point of accuracy"))
    assert told.startswith("small is the fastest of those within 1 point of accuracy (3 of 4): 500 µs per call, 100 kB")
    assert "2 times as fast as the baseline, 10% of its size" in told


def test_of_those_that_cannot_be_told_apart_the_smallest_is_taken() -> None:
    twins = Comparison(
        [BASE, variant("a", 0.50, 300_000, 0.95, (0.4, 0.6)), variant("b", 0.55, 200_000, 0.95, (0.45, 0.65))]
    )
    assert twins.best("fastest").technique == "b"


def test_where_nothing_is_better_it_says_so() -> None:
    assert "No variant is better" in str(Comparison([BASE, variant("x", 3.0, 2_000_000, 0.5)]).recommend())


def test_the_front_is_what_no_other_beats() -> None:
    worse = variant("worse", 0.6, 200_000, 0.94)
    assert [v.technique for v in Comparison([*ALL, worse]).front()] == ["baseline", "fast", "small", "slow"]


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({"loss": 0.2, "accuracy": 0.9}, "within 1 point of accuracy"),
        ({"loss": 3.0, "mae": 40.0, "r2": 0.4}, "within 1 point of r2"),
        ({"loss": 3.0, "mae": 40.0}, "within 1 % of mae"),
        ({"loss": 1.2, "perplexity": 3.3, "bits_per_byte": 1.7}, "within 1 % of perplexity"),
        ({"loss": 1.2}, "within 1 % of loss"),
    ],
)
def test_the_default_follows_the_main_metric(metrics: dict[str, float], text: str) -> None:
    base = replace(BASE, metrics=metrics)
    worse = replace(
        FAST,
        metrics={
            name: 0.5 * value if name == "accuracy" else -9e9 if name == "r2" else 1.5 * value
            for name, value in metrics.items()
        },
    )
    alike = replace(SMALL, metrics=metrics)
    recommended = Comparison([base, worse, alike]).recommend()
    assert recommended.variant is alike
    assert f"small is the fastest of those {text} (2 of 3)" in str(recommended)


def test_without_test_rows_the_default_is_the_fastest() -> None:
    bare = Comparison([replace(v, metrics={}) for v in (BASE, FAST)])
    assert bare.best().technique == "fast"
    with pytest.raises(ConfigError, match="the baseline has no metric, without test rows"):
        bare.best("within 1 point")


def test_memory_and_size_are_two_limits() -> None:
    small, large = replace(SMALL, peak_bytes=3_000_000), replace(FAST, peak_bytes=1_000_000)
    both = Comparison([replace(BASE, peak_bytes=9_000_000), small, large])
    assert both.best("under 1 MB").technique == "small"
    assert both.best("under 2 MB of memory").technique == "fast"


def test_of_a_metric_of_unknown_direction_any_difference_counts() -> None:
    base = replace(BASE, metrics={"off_by": 100.0})
    higher, lower = (replace(FAST, metrics={"off_by": value}) for value in (120.0, 80.0))
    alike = replace(SMALL, metrics={"off_by": 101.0})
    assert Comparison([base, higher, lower, alike]).best("within 5 of off_by") is alike


def with_difference(variant: Variant, low: float, high: float) -> Variant:
    difference = variant.metrics["accuracy"] - 0.95
    return replace(variant, rows=360, differences={"accuracy": Interval(difference, low, high)})


@pytest.mark.parametrize(
    ("constraint", "variant", "sentence"),
    [
        (
            "fastest within 1 point",
            with_difference(SMALL, -0.021, 0.011),
            "Whether it is within 1 point of accuracy cannot be told on 360 rows: -0.5 points [-2.1, +1.1].",
        ),
        (
            "fastest within 3 points",
            with_difference(SMALL, -0.021, 0.011),
            "No difference in accuracy on 360 rows: -0.5 points [-2.1, +1.1].",
        ),
        (
            "most accurate",
            with_difference(SLOW, -0.01, 0.05),
            "Whether its accuracy is better than the baseline's cannot be told on 360 rows: +2 points [-1, +5].",
        ),
        ("smallest", with_difference(SLOW, 0.01, 0.03), "Its accuracy differs by +2 points [+1, +3]."),
    ],
)
def test_the_reason_says_what_the_rows_can_tell(constraint: str, variant: Variant, sentence: str) -> None:
    assert str(Comparison([BASE, variant]).recommend(constraint)).endswith(f" {sentence}")


@pytest.mark.parametrize(
    ("constraint", "first_line"),
    [
        ("prettiest", "constraint: given 'prettiest', but 'prettiest' cannot be read"),
        ("fastest near 1 point", "constraint: given 'fastest near 1 point', but 'near 1 point' cannot be read"),
        ("fastest within a point", "constraint: given 'fastest within a point', but 'within a point' cannot be read"),
        ("within 1 pointless", "constraint: given 'within 1 pointless', but 'pointless' cannot be read"),
        ("under 3 parsecs", "constraint: given 'under 3 parsecs', but 'under 3 parsecs' cannot be read"),
        ("fastest smallest", "constraint: given 'fastest smallest', but there are 2 aims, fastest and smallest"),
        (
            "smallest within 5 % of perplexity",
            "constraint: given 'smallest within 5 % of perplexity', but the baseline has no 'perplexity'; "
            "it has accuracy",
        ),
        (
            "within 1 point of acuracy",
            "constraint: given 'within 1 point of acuracy', but the baseline has no 'acuracy'; "
            "did you mean 'accuracy'? It has accuracy",
        ),
    ],
)
def test_what_is_no_constraint_gets_the_grammar(constraint: str, first_line: str) -> None:
    with pytest.raises(ConfigError) as error:
        ALL.best(constraint)
    lines = str(error.value).splitlines()
    assert lines[0] == first_line
    assert "such as 'fastest within 1 point', 'smallest'" in lines[-1]
    assert any(line.startswith("  within 0.02 [of METRIC]") for line in lines)


def test_a_limit_that_none_meets_names_the_baseline() -> None:
    with pytest.raises(NoneFits, match=r"no variant is under 1 kB; the baseline is 1 ms per call, 1 MB, accuracy 0.95"):
        ALL.best("under 1 kB")


def test_a_variant_is_called_after_what_tells_its_run_from_the_others() -> None:
    from lmkit.deploy.variant import labels

    def called(*runs: tuple[str, str]) -> list[str]:
        return list(labels([Variant(name, "onnx", "convert", framework=of) for name, of in runs]).values())

    assert called(("20260101-000000-a-b-1a2b3c", "torch")) == ["onnx"]
    first, second = "20260101-000000-a-b-1a2b3c", "20260101-000001-a-b-4d5e6f"
    assert called((first, "torch"), (second, "tensorflow")) == ["torch/onnx", "tensorflow/onnx"]
    assert called((first, "torch"), ("20260101-000001-a-c-4d5e6f", "torch")) == ["a-b/onnx", "a-c/onnx"]
    assert called((first, "torch"), (second, "torch")) == ["1a2b3c/onnx", "4d5e6f/onnx"]
