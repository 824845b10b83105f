"""What a front end would be shown."""

from __future__ import annotations

from typing import Any

import pytest

import lmkit as lk
from lmkit.widgets.watcher import watcher


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread polls the monitors; the test itself does."""

    monkeypatch.setattr(watcher, "add", lambda _: None)


@pytest.fixture
def global_shell() -> Any:
    """The IPython of this process."""
    from IPython import get_ipython
    from IPython.testing.globalipapp import start_ipython

    return start_ipython() or get_ipython()  # there is one a process


@pytest.fixture
def outputs(global_shell: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is displayed, as the messages that a front end would get."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(global_shell.display_pub, "publish", lambda **message: messages.append(message))
    lk.teach_ipython()
    return messages
