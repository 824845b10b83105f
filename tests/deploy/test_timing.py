"""Intervals over rounds and over processes, held to data that is made up, whose truth is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from lmkit.deploy.measure import timing
from lmkit.deploy.measure.baselines import Baselines
from lmkit.deploy.measure.timing import Spread, bootstrap, log_ratios, measure_latency, standard_error, widened_interval
from lmkit.system.rpc import MeasurementFailed


def test_the_interval_of_a_median_covers_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    covered = [
        interval.low <= 0 <= interval.high
        for interval in (bootstrap(draw.normal(size=25), seed=i, draws=400) for i in range(300))
    ]
    assert 0.9 <= np.mean(covered) <= 0.99


def test_it_follows_the_seed() -> None:
    values = np.random.default_rng(1).lognormal(size=15)
    assert bootstrap(values, 3) == bootstrap(values, 3)
    assert bootstrap(values, 3).value == np.median(values)


def test_the_error_of_a_median_is_that_of_the_medians_of_many_samples() -> None:
    draw = np.random.default_rng(2)
    samples = draw.normal(0, 0.02, (400, 25))
    assert np.mean([standard_error(s) for s in samples]) == pytest.approx(np.median(samples, axis=1).std(), rel=0.1)


@pytest.mark.parametrize("deviation", [0.0, 0.012, 0.03])
def test_processes_that_differ_are_no_difference(deviation: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Baseline against baseline, each process with an effect of its own: at least 19 of 20 intervals hold 1.0."""
    monkeypatch.setattr(timing, "DRAWS", 500)
    draw = np.random.default_rng(3)
    held, alone = [], []
    for series in range(10):
        spread, processes = Spread(), draw.normal(0, deviation, 21)
        for one, other in pairwise(processes):
            rounds = other - one + draw.normal(0, 0.015, 20)
            spread.add(float(np.exp(np.median(rounds))))
            found = widened_interval(rounds, spread, 2, series)
            held.append(found.low <= 1 <= found.high)
            own = bootstrap(rounds, draws=300)
            alone.append(own.low <= 0 <= own.high)
    assert np.mean(held) >= 0.95
    if deviation:
        assert np.mean(alone) < 0.7  # what rounds alone would make one believe


def test_a_variant_is_held_to_both_processes_of_the_baseline() -> None:
    np.testing.assert_allclose(log_ratios(np.array([[2.0, 1.0, 4.0], [1.0, 1.0, 1.0]])), [0.0, 0.0], atol=1e-12)


class Fake:
    """A process whose calls all take the same time, but for noise."""

    def __init__(self, seconds: float, seed: int = 0, fails: bool = False) -> None:
        self.seconds, self.draw, self.fails = seconds, np.random.default_rng(seed), fails
        self.asked: list[str] = []
        self.over = self.closed = False

    def ask(self, do: str, **order: float) -> dict[str, list[float]]:
        self.asked.append(do)
        if self.fails:
            raise MeasurementFailed("it has ended")
        return {"seconds": list(self.seconds * np.exp(self.draw.normal(0, 0.003, 5)))}

    def kill(self) -> None:
        self.over = True

    def close(self) -> None:
        self.closed = True


def test_rounds_end_once_the_ratio_is_known_well() -> None:
    variant = Fake(0.5e-3, 1)
    found = measure_latency(variant, Fake(1e-3, 2), Fake(1e-3, 3), 8, Spread(), rounds=45)  # type: ignore[arg-type]
    assert found.rounds == timing.MIN_ROUNDS
    assert len(variant.asked) == timing.MIN_ROUNDS + 1  # and once to warm up
    assert found.ratio.value == pytest.approx(0.5, rel=0.01)
    assert found.ratio.low < 0.5 < found.ratio.high
    assert found.control.low < 1 < found.control.high
    assert found.rows_per_second == pytest.approx(8 / 0.5e-3, rel=0.01)


def test_the_95th_percentile_is_told_of_enough_calls_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(rounds: int) -> float | None:
        return measure_latency(Fake(1e-3), Fake(1e-3), Fake(1e-3), 1, Spread(), rounds=rounds).p95  # type: ignore[arg-type]

    assert timed(4) is None
    monkeypatch.setattr(timing, "MIN_ROUNDS", 100)
    assert timed(40) == pytest.approx(1e-3 * np.exp(1.645 * 0.003), rel=0.002)


@pytest.fixture
def started() -> list[Fake]:
    return []


def test_the_control_of_one_variant_is_the_baseline_of_the_next(started: list[Fake]) -> None:
    def start() -> Fake:
        started.append(Fake(1e-3))
        return started[-1]

    with Baselines(start) as baselines:  # type: ignore[arg-type]
        first = baselines.pair()
        assert baselines.pair() == first  # what failed is not measured, and takes none
        baselines.turn()
        second = baselines.pair()
        assert second[0] is first[1]
        assert [f.closed for f in started] == [True, False, False]
        second[0].kill()
        assert baselines.pair() == (second[1], started[3])  # one that ended is replaced
    assert all(f.closed for f in started)
    assert all(f.asked == ["load"] for f in started)


def test_a_baseline_that_cannot_be_loaded_says_why() -> None:
    with Baselines(lambda: Fake(1, fails=True)) as baselines, pytest.raises(MeasurementFailed):  # type: ignore[arg-type,return-value]
        baselines.pair()
