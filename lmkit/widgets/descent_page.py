"""The scripts of the player of gradient descent, and a page that holds them."""

from __future__ import annotations

import html
import json
from typing import Any

from lmkit.widgets.style import css, script

SCRIPTS, SHEETS = ("surfaces", "descent_drawing", "descent"), ("live", "descent")
"""The scripts and the style sheets of the player."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ max-width: 1200px; margin: 24px auto; padding: 0 12px; background: #fff; }}
{css}</style>
<body data-jp-theme-light="true"><div id="player"></div>
<script type="module">
{script}
const settings = {settings}
player.render({{model: {{get: (name) => ({{settings}})[name]}}, el: document.getElementById("player")}})
</script></body></html>
"""


def player_page(settings: dict[str, Any], title: str) -> str:
    """Return a page that plays without a kernel and without a network."""
    return PAGE.format(
        title=html.escape(title),
        css=css(*SHEETS),
        script=script(*SCRIPTS),
        settings=json.dumps(settings).replace("<", "\\u003c"),
    )
