"""The experiments of the doctor's benchmark are well-formed; nothing is trained."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from lmkit.doctor import examine  # noqa: F401 (registers the checks)
from lmkit.doctor.checks import CHECKS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(ROOT)
    before = set(sys.modules)
    from tests.benchmarks import doctor_cases, doctor_public

    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "tests":
            monkeypatch.delitem(sys.modules, name)
    return doctor_cases, doctor_public


def test_the_cases_are_well_formed(cases: tuple[ModuleType, ModuleType]) -> None:
    planted, public = cases
    assert (len(planted.FAULTS), len(planted.HEALTHY), len(public.PUBLIC)) == (77, 60, 30)
    every = [*planted.FAULTS, *planted.HEALTHY, *public.PUBLIC]
    assert len({case.name for case in every}) == len(every)
    assert {name for case in every for name in case.right} <= {name for name, _ in CHECKS.items()}
    assert all(case.right for case in [*planted.FAULTS, *public.PUBLIC])
    assert not any(case.right for case in planted.HEALTHY)
    assert all(case.address.startswith("https://") and case.cause for case in public.PUBLIC)
