"""A fork server whose framework uses a device forks no worker."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lmkit.executors.forkserver import check_unused


def set_backend(monkeypatch: pytest.MonkeyPatch, *, initialized: bool) -> None:
    module: Any = ModuleType("lmkit.backends.torch")
    module.backend = SimpleNamespace(is_initialized=lambda: initialized)
    monkeypatch.setitem(sys.modules, "lmkit.backends.torch", module)


def test_no_device_is_in_use_before_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    set_backend(monkeypatch, initialized=False)
    check_unused("torch")
    set_backend(monkeypatch, initialized=True)
    with pytest.raises(AssertionError, match="torch uses a device in the fork server"):
        check_unused("torch")


def test_a_framework_that_could_not_be_imported_is_the_workers_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lmkit.backends.torch", raising=False)
    check_unused("torch")
