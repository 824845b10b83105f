"""The base of the live tables: a widget that receives changes, and static outputs that replace it at the end.

state() ──(changes)──> page        page ──(messages)──> _on_…()
outputs() ──> replace the widget at the end, unless it is in use, or when it is closed in the page
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from lmkit.display.table import FormattedNumber, format_cell
from lmkit.exceptions import LmkitError
from lmkit.widgets.debounce import in_background
from lmkit.widgets.output import Output, display_with_placeholders, replace_outputs
from lmkit.widgets.plotly_js import plotly_js


class Live:
    """A live table in a notebook.

    Args:
        widget: the widget.
        stay: keep the widget after the end, until it is closed in the page.

    Attributes:
        widget: the widget, for use in other widgets.
    """

    n_outputs: ClassVar[int] = 1
    """Number of static outputs that replace the widget."""
    messages: ClassVar[tuple[str, ...]] = ("plotly", "ready", "keep", "close")
    """Message types of the page; each is handled by a method ``_on_…``."""

    def __init__(self, widget: Any, *, stay: bool = False) -> None:
        self.widget, self.keep, self.closed = widget, stay, False
        self._sent: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._display_ids: list[str] = []
        self.widget.view_id = self.widget.model_id  # the page finds its output in the notebook by it
        self.widget.on_msg(self._handle_message)

    # -- kernel to page ---------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The content of the page as plain values; ``rows`` are the rows of the table."""
        raise NotImplementedError

    def outputs(self) -> list[Output]:
        """The static outputs for the saved notebook, ``n_outputs`` of them."""
        raise NotImplementedError

    def running(self) -> bool:
        """Whether the work is still running."""
        raise NotImplementedError

    def _send_changes(self, reset: bool = False) -> None:
        with self._lock:
            state = self.state()
            if reset:
                self._sent = {}
            changes = {name: value for name, value in state.items() if value != self._sent.get(name, ...)}
            rows = self._sent.get("rows", [])
            if "rows" in changes and len(rows) == len(state["rows"]):
                changes["rows"] = [r for r, before in zip(state["rows"], rows, strict=True) if r != before]
            self._sent = state
            if changes:
                self.widget.send({"type": "update", "reset": reset, **changes})

    # -- page to kernel ---------------------------------------------------------------------------

    def _handle_message(self, _: Any, message: Mapping[str, Any], *_buffers: Any) -> None:
        kind = message.get("type")
        handler = getattr(self, f"_on_{kind}", None) if kind in self.messages else None
        if handler is None:
            return
        try:
            handler(message)  # without the lock: stopping the work waits for poll()
        except (LmkitError, OSError) as error:  # such as a deleted folder, or a full disk
            self._show_message(str(error), is_error=True)

    def _on_plotly(self, _: Mapping[str, Any]) -> None:
        self.widget.send({"type": "plotly"}, [plotly_js()])

    def _on_ready(self, _: Mapping[str, Any]) -> None:
        self._send_changes(reset=True)
        if self.closed:
            self._replace()

    def _on_keep(self, _: Mapping[str, Any]) -> None:
        self.keep = True

    def _on_close(self, _: Mapping[str, Any]) -> None:
        self.close()

    def _run_in_background(self, work: Callable[[], Any]) -> None:
        """Run slow work in the background, and show its message or error."""

        def attempt() -> tuple[Any, bool]:
            try:
                return work(), False
            except Exception as error:
                return str(error), True

        in_background(attempt, lambda result: self._show_message(*result) if isinstance(result[0], str) else None)

    def _show_message(self, text: str, is_error: bool = False) -> None:
        self.widget.send({"type": "message", "text": text, "is_error": is_error})

    # -- the cell's output ------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        with self._lock:
            self._display_ids = display_with_placeholders(self.widget, repr(self), self.n_outputs)
            if not self.running() and not self.keep:  # it ended before it was displayed
                self.close()

    def close(self) -> None:
        """Replace the widget with static outputs, for the saved notebook."""
        with self._lock:
            self.closed = True
            self._replace()

    def _replace(self) -> None:
        self.widget.send({"type": "ended", "outputs": replace_outputs(self._display_ids, self.outputs())})


def cell(value: Any) -> dict[str, Any] | None:
    """A cell of a table for the page: its text, and its value if it is a number."""
    if value is None:
        return None
    content: dict[str, Any] = {"text": format_cell(value)}
    if isinstance(value, int | float):
        content["value"] = float(value)
    if isinstance(value, FormattedNumber) and value.span:
        content |= {"span": value.span, "band": value.band}
    return content
