"""SIGTERM does what Ctrl-C does, and the exit status tells them apart."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lmkit.commands import cli
from lmkit.commands.signals import termination


@contextmanager
def handler(number: signal.Signals, action: Any) -> Iterator[None]:
    """Handle a signal in the block, and as before after it."""
    before = signal.signal(number, action)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_is_a_keyboard_interrupt_with_its_own_status(number: signal.Signals) -> None:
    with handler(number, signal.SIG_DFL):  # nohup ignores SIGHUP for all that it starts
        with pytest.raises(KeyboardInterrupt), termination() as signals:
            signal.raise_signal(number)
        assert signals is not None
        assert signals.status(1) == 128 + number
        assert signal.getsignal(number) is signal.SIG_DFL


def test_a_handler_of_ctrl_c_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    with handler(signal.SIGINT, lambda number, _: calls.append(number)), termination() as signals:
        signal.raise_signal(signal.SIGTERM)
    assert signals is not None
    assert (calls, signals.status(0)) == ([signal.SIGINT], 143)


def test_ctrl_c_that_was_handled_is_seen_as_well() -> None:
    with handler(signal.SIGINT, lambda *_: None), termination() as signals:
        signal.raise_signal(signal.SIGINT)
    assert signals is not None
    assert signals.status(1) == 130


def test_nohup_stays() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with termination() as signals:
            signal.raise_signal(signal.SIGHUP)
        assert signals is not None
        assert signals.status(0) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_ended_says_so_in_json(
    number: signal.Signals, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "templates", lambda _: signal.raise_signal(number))
    assert cli.main(["templates", "--json"]) == status
    assert json.loads(capsys.readouterr().out)["state"] == "interrupted"
