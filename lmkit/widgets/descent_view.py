"""The widget of the player of gradient descent."""

from __future__ import annotations

import anywidget
import traitlets

from lmkit.widgets.descent_page import SCRIPTS, SHEETS
from lmkit.widgets.style import css, script


class DescentView(anywidget.AnyWidget):
    """A player that computes everything in the page; the kernel only sends the settings it begins with."""

    _esm = script(*SCRIPTS)
    _css = css(*SHEETS)

    settings = traitlets.Dict().tag(sync=True)
    view_id = traitlets.Unicode().tag(sync=True)
