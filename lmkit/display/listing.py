"""Listings: data frames that a notebook shows as ``Table``, whose names stay on one line.

This module imports pandas, so it is imported where a listing is made.
"""

from __future__ import annotations

import pandas as pd

from lmkit.display.table import Table

MAX_ROWS = 60
"""Rows that are shown, the first of them; pandas' own default."""

HIDDEN = "path"
"""A column that is not shown: a name is what one types."""


class Listing(pd.DataFrame):
    """A data frame that displays itself as a table; what is computed from it is a plain data frame."""

    def _repr_html_(self) -> str:
        columns = [name for name in self.columns if name != HIDDEN]
        shown = self[columns].head(MAX_ROWS).astype(object)
        rows = shown.where(shown.notna(), None).to_numpy().tolist()
        title = f"{len(rows)} of {len(self)} rows" if len(rows) < len(self) else ""
        return Table(title, tuple(map(str, columns)), tuple(map(tuple, rows))).html
