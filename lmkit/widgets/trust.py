"""Where a widget meets code from elsewhere: what would run, and a button that trusts it."""

from __future__ import annotations

import html
from collections.abc import Callable

from lmkit.custom.trust import find_untrusted, list_code
from lmkit.exceptions import LmkitError
from lmkit.permissions import trust
from lmkit.run.run import Run
from lmkit.widgets import elements as E


class TrustButton:
    """A sentence about code that may not run, and a button that allows it; hidden while there is none.

    Args:
        label: the text of the button.

    Attributes:
        widget: both, for use in a form.
    """

    def __init__(self, label: str = "Trust this run") -> None:
        self.text = E.HTML()
        self.button = E.Button(description=label, tooltip="Allow this code to run on this machine, from now on")
        self.button.on_click(self._click)
        self.widget = E.Row([self.text, self.button], visible=False)
        self.widget.add_class("lkc-trust")
        self._allow: Callable[[], str] = str

    def show(self, text: str, allow: Callable[[], str]) -> None:
        """Show what would run; ``allow`` is called by the button, and returns the sentence that replaces it."""
        self._allow = allow
        self._show_text(text)
        self.button.visible = self.widget.visible = True

    def hide(self) -> None:
        """Hide both."""
        self.widget.visible = False

    def _click(self, _: E.Button) -> None:
        try:
            text = self._allow()
        except LmkitError as error:
            self._show_text(str(error))
            return
        self.button.visible = False
        self._show_text(text)

    def _show_text(self, text: str) -> None:
        self.text.value = f'<span role="status">{html.escape(text)}</span>'


def run_trust_button(run: Run) -> TrustButton | None:
    """Return the button of a run that names code from elsewhere; None of any other, which is not asked about."""
    try:
        refused = find_untrusted(list_code(run.experiment), run.path.parent, run.path)
    except LmkitError:  # damaged, which its display says
        return None
    if not refused:
        return None

    def allow() -> str:
        trust(run)
        return f"{run.name} is trusted on this machine."

    listed = "; ".join(f"{part.path}: {part}" for part in refused)
    button = TrustButton()
    button.show(f"{run.name} names code that you have not run on this machine: {listed}.", allow)
    return button
