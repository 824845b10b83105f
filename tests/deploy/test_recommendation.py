"""What is recommended, of variants whose numbers are known."""

from __future__ import annotations

import pytest

from lmkit.deploy.comparison import Comparison
from lmkit.deploy.measure import Interval, Latency
from lmkit.deploy.recommendation import NoneFits
from lmkit.deploy.variant import Variant
from lmkit.errors import ConfigError


def variant(
    name: str, ms: float, size: int, accuracy: float, ratio: tuple[float, float] | None = None,
    p95: float | None = None, flags: tuple[str, ...] = (),
) -> Variant:  # fmt: skip
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
    ],
)
def test_the_constraint_decides(constraint: str, expected: str) -> None:
    assert ALL.best(constraint).technique == expected


def test_the_reason_says_what_is_gained() -> None:
    told = str(ALL.recommend("fastest within 1 point of accuracy"))
    assert told.startswith("small is the fastest of those within 1 point of accuracy (3 of 4): 500 µs a call, 100 kB")
    assert "2 times as fast as the baseline, 10% of its size" in told


def test_of_those_that_cannot_be_told_apart_the_smallest_is_taken() -> None:
    twins = Comparison(
        [BASE, variant("a", 0.50, 300_000, 0.95, (0.4, 0.6)), variant("b", 0.55, 200_000, 0.95, (0.45, 0.65))]
    )
    assert twins.best("fastest").technique == "b"


def test_where_nothing_is_better_it_says_so() -> None:
    assert "Nothing that was tried is better" in str(Comparison([BASE, variant("x", 3.0, 2_000_000, 0.5)]).recommend())


def test_the_front_is_what_no_other_beats() -> None:
    worse = variant("worse", 0.6, 200_000, 0.94)
    assert [v.technique for v in Comparison([*ALL, worse]).front()] == ["baseline", "fast", "small", "slow"]


def test_what_cannot_be_read_or_kept_is_told() -> None:
    with pytest.raises(ConfigError, match="constraint: given 'prettiest', expected such as 'fastest within 1 point"):
        ALL.best("prettiest")
    with pytest.raises(ConfigError, match="has no 'perplexity', but accuracy"):
        ALL.best("smallest within 5 % of perplexity")
    with pytest.raises(NoneFits, match=r"no variant is under 1 kb; the baseline is 1 ms a call, 1 MB, accuracy 0.95"):
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
