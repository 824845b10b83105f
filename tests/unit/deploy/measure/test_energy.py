"""Energy by the system's counters, of which there is a made-up tree here."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lmkit.deploy.measure.energy import Meter, joules


def _zone(root: Path, folder: str, name: str, energy: int, most: int = 1_000_000_000) -> Path:
    place = root / folder
    place.mkdir(parents=True)
    for file, value in (("name", name), ("energy_uj", energy), ("max_energy_range_uj", most)):
        (place / file).write_text(f"{value}\n")
    return place / "energy_uj"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    _zone(tmp_path, "intel-rapl:0", "package-0", 100)
    _zone(tmp_path, "intel-rapl:1", "package-1", 200)
    _zone(tmp_path, "intel-rapl:0:0", "core", 50)  # counted in package-0
    _zone(tmp_path, "intel-rapl:2", "psys", 400)  # counts both packages again
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def test_each_processor_counts_once(tree: Path) -> None:
    assert Meter(tree).read() == [100, 200]


def test_a_machine_without_counters_or_without_the_right_to_read_them_has_none(tree: Path, tmp_path: Path) -> None:
    assert Meter(tmp_path / "nothing").read() is None
    (tree / "intel-rapl:1" / "energy_uj").unlink()
    (tree / "intel-rapl:1" / "energy_uj").mkdir()  # an OSError even for root
    assert Meter(tree).read() is None
    assert joules(lambda: None, Meter(tree)) is None


def test_a_counter_that_began_anew_went_on(tree: Path) -> None:
    assert Meter(tree).between([999_999_999, 0], [1_999_999, 0]) == pytest.approx(2.0)


def test_a_call_is_what_it_takes_above_rest(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that takes 10 W at rest and 3 joules more a call, on a clock of its own."""
    now = [0.0]
    counter = tree / "intel-rapl:0" / "energy_uj"

    def passes(seconds: float, extra: float = 0.0) -> None:
        now[0] += seconds
        counter.write_text(str(int(counter.read_text()) + round(1e6 * (10 * seconds + extra))))

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", passes)
    assert joules(lambda: passes(0.1, 3.0), Meter(tree)) == pytest.approx(3.0)
    assert joules(lambda: passes(0.1, -0.5), Meter(tree)) == 0.0
