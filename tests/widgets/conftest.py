"""What a front end would be shown."""

from __future__ import annotations

from typing import Any

import pytest
from IPython import get_ipython
from IPython.testing.globalipapp import start_ipython

import lmkit as lk


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is displayed, as the messages that a front end would get."""
    shell = start_ipython() or get_ipython()  # there is one a process
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(shell.display_pub, "publish", lambda **message: found.append(message))
    lk.teach_ipython()
    return found
