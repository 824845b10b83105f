"""What the live tables have in common: a widget that is told what changed, and in the end gives way to what is kept.

news() ──(what changed)──> page        page ──(what it may ask)──> on_…()
outputs() ──> in the place of the widget, once it has ended and nobody uses it, or it is closed in the page
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from lmkit.errors import LmkitError
from lmkit.table import Written, written
from lmkit.widgets.later import in_background
from lmkit.widgets.monitor import plotly_js

Output = tuple[dict[str, Any], dict[str, Any]]
"""The data of an output, by their type, and its metadata."""


class Live:
    """A table watched and steered from a notebook.

    Args:
        widget: the page's side.
        stay: whether it stays when all has ended, until it is closed in the page.

    Attributes:
        widget: the widget, to be put into another one.
    """

    places: ClassVar[int] = 1
    """How many outputs take its place in the end."""
    asked: ClassVar[tuple[str, ...]] = ("plotly", "hello", "used", "close")
    """What the page may ask; each is a method ``_on_…``."""

    def __init__(self, widget: Any, *, stay: bool = False) -> None:
        self.widget, self.used, self.closed = widget, stay, False
        self._told: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._display_ids: list[str] = []
        self.widget.view_id = self.widget.model_id  # by which the page finds its own output in the notebook
        self.widget.on_msg(self._hear)

    # -- what there is to tell --------------------------------------------------------------------

    def news(self) -> dict[str, Any]:
        """All that the page shows, as plain values; ``rows`` are those of the table."""
        raise NotImplementedError

    def outputs(self) -> list[Output]:
        """What the saved notebook shows, as many as ``places``."""
        raise NotImplementedError

    def running(self) -> bool:
        """Whether anything is still to come."""
        raise NotImplementedError

    def _tell(self, anew: bool = False) -> None:
        with self._lock:
            news = self.news()
            if anew:
                self._told = {}
            changed = {name: value for name, value in news.items() if value != self._told.get(name, ...)}
            rows = self._told.get("rows", [])
            if "rows" in changed and len(rows) == len(news["rows"]):
                changed["rows"] = [r for r, before in zip(news["rows"], rows, strict=True) if r != before]
            self._told = news
            if changed:
                self.widget.send({"type": "news", "anew": anew, **changed})

    # -- what the page asks -----------------------------------------------------------------------

    def _hear(self, _: Any, message: Mapping[str, Any], buffers: Any) -> None:
        kind = message.get("type")
        act = getattr(self, f"_on_{kind}", None) if kind in self.asked else None
        if act is None:
            return
        try:
            act(message)  # without the lock: what ends the work waits for who looks
        except LmkitError as error:
            self._say(str(error), bad=True)

    def _on_plotly(self, _: Mapping[str, Any]) -> None:
        self.widget.send({"type": "plotly"}, [plotly_js()])

    def _on_hello(self, _: Mapping[str, Any]) -> None:
        self._tell(anew=True)
        if self.closed:
            self._replace()

    def _on_used(self, _: Mapping[str, Any]) -> None:
        self.used = True

    def _on_close(self, _: Mapping[str, Any]) -> None:
        self.close()

    def _aside(self, work: Callable[[], Any]) -> None:
        """Does what takes a while, so that the kernel stays free; tells what comes of it."""

        def tried() -> tuple[Any, bool]:
            try:
                return work(), False
            except Exception as error:
                return str(error), True

        in_background(tried, lambda found: self._say(found[0], found[1]) if isinstance(found[0], str) else None)

    def _say(self, text: str, bad: bool = False) -> None:
        self.widget.send({"type": "said", "text": text, "bad": bad})

    # -- the cell's output ------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = self.widget._repr_mimebundle_()
        data, metadata = view if isinstance(view, tuple) else (view, {})
        data = {**(data or {}), "text/plain": repr(self)}
        with self._lock:
            self._display_ids = [secrets.token_hex(8) for _ in range(self.places)]
            display(data, metadata=metadata, raw=True, display_id=self._display_ids[0])
            for place in self._display_ids[1:]:  # for what is kept; in the page they are found by the mark
                display(
                    {"text/plain": ""}, metadata={"lmkit": self.widget.view_id}, raw=True, display_id=place
                )  # fmt: skip
            if not self.running() and not self.used:  # it ended before it was shown
                self.close()

    def close(self) -> None:
        """Puts static outputs in the place of the widget: that is what the saved notebook shows."""
        with self._lock:
            self.closed = True
            self._replace()

    def _replace(self) -> None:
        outputs: Sequence[Output] = self.outputs()
        if self._display_ids:
            from IPython.display import display

            for place, (data, metadata) in zip(self._display_ids, outputs, strict=True):
                display(data, metadata=metadata, raw=True, display_id=place, update=True)
        self.widget.send({"type": "ended", "outputs": [{"data": d, "metadata": m} for d, m in outputs]})


def cell(value: Any) -> dict[str, Any] | None:
    """A cell of a table, for the page: its text, and its number where it is one."""
    if value is None:
        return None
    found: dict[str, Any] = {"text": written(value)}
    if isinstance(value, int | float):
        found["value"] = float(value)
    if isinstance(value, Written) and value.span:
        found |= {"span": value.span, "band": value.band}
    return found
