"""The source of plotly.js, sent to a page once."""

from __future__ import annotations

import gzip
import importlib.resources

_plotly: list[bytes] = []


def plotly_js() -> bytes:
    """Return the gzipped JavaScript of the installed plotly."""
    if not _plotly:
        bundle = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
        _plotly.append(gzip.compress(bundle.read_bytes(), 6))
    return _plotly[0]
