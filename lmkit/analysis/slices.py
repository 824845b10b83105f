"""Slices: values and ranges of a column in which a model errs more, with p-values corrected for their number."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MIN_ROWS = 10
"""Rows of a slice, at least."""

MAX_SHARE = 0.8
"""The largest share of all rows that a slice may have."""

MAX_VALUES = 30
"""Values of a column that are slices of their own, the most frequent first."""

DISTINCT = 10
"""Numbers with at most so many different values are treated as categories."""

RANGES = 4
"""Ranges of the other numbers, with as many rows each."""

MAX_COLUMNS = 200
"""Columns that are looked at, the first."""

SIGNIFICANT = 0.01
"""The corrected p-value below which a slice stands out."""


class Slice(NamedTuple):
    """Rows with a value of a column, or in a range of it.

    Attributes:
        name: such as ``town = 'Uri'`` or ``age from 61 to 80``.
        rows: number of rows.
        errors: number of wrong rows; of numbers the sum of the absolute errors.
        rate: the share of wrong rows; of numbers the mean absolute error.
        residual: of numbers the mean of predicted minus true value; None for classes.
        p: the p-value of the slice alone.
        corrected: the p-value corrected for the number of slices (Holm, 1979).
    """

    name: str
    rows: int
    errors: float
    rate: float
    residual: float | None
    p: float
    corrected: float

    @property
    def stands_out(self) -> bool:
        """Whether errors are more frequent, larger or more to one side than chance explains."""
        return self.corrected < SIGNIFICANT


def find_slices(frame: pd.DataFrame, wrong: np.ndarray) -> list[Slice]:
    """Return the slices of classified rows, the smallest p-value first.

    The p-value is exact: the probability that as many wrong rows fall into a slice of its size where all rows are alike
    (hypergeometric, one-sided).

    Args:
        frame: (rows, columns), the features.
        wrong: (rows,), whether each is predicted wrongly.
    """
    from scipy.stats import hypergeom

    masks = list(_masks(frame))
    total, errors = len(wrong), int(wrong.sum())
    counts = [(int(mask.sum()), int(wrong[mask].sum())) for _, mask in masks]
    p = [float(v) for v in hypergeom.sf([bad - 1 for _, bad in counts], total, errors, [rows for rows, _ in counts])]
    return _correct(
        [Slice(m[0], n, bad, bad / n, None, v, 1.0) for m, (n, bad), v in zip(masks, counts, p, strict=True)]
    )


def find_residual_slices(frame: pd.DataFrame, residuals: np.ndarray) -> list[Slice]:
    """Return the slices of rows with a predicted number, the smallest p-value first.

    The p-value is twice the smaller of two (Bonferroni): that the residuals of a slice have another mean than those of
    the other rows (Welch's test), and that their sizes are larger (Mann and Whitney's test, one-sided).

    Args:
        frame: (rows, columns), the features.
        residuals: (rows,), predicted minus true values.
    """
    from scipy.stats import mannwhitneyu, ttest_ind

    slices = []
    sizes = abs(residuals)
    for name, mask in _masks(frame):
        if not residuals.std():
            break
        shifted = float(ttest_ind(residuals[mask], residuals[~mask], equal_var=False).pvalue)
        larger = float(mannwhitneyu(sizes[mask], sizes[~mask], alternative="greater").pvalue)
        candidates = [value for value in (shifted, larger) if value == value]
        p = min(1.0, 2 * min(candidates, default=1.0))
        rows = int(mask.sum())
        mean = float(residuals[mask].mean())
        slices.append(Slice(name, rows, float(sizes[mask].sum()), float(sizes[mask].mean()), mean, p, 1.0))
    return _correct(slices)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected so that any false alarm is as rare as their level says (Holm, 1979).

    >>> import numpy as np
    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    import numpy as np

    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected


def _correct(slices: list[Slice]) -> list[Slice]:
    import numpy as np

    corrected = holm(np.array([s.p for s in slices]))
    done = [s._replace(corrected=float(p)) for s, p in zip(slices, corrected, strict=True)]
    return sorted(done, key=lambda s: (s.p, -s.rate))


def _masks(frame: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the rows (rows,) of each slice that is neither too small nor nearly everything."""
    for name in list(frame.columns)[:MAX_COLUMNS]:
        for text, mask in _column_masks(frame[name]):
            if MIN_ROWS <= mask.sum() <= MAX_SHARE * len(mask):
                yield f"{name} {text}", mask


def _column_masks(column: pd.Series[Any]) -> Iterator[tuple[str, np.ndarray]]:
    import numpy as np
    import pandas as pd

    gaps = column.isna().to_numpy()
    yield "is missing", gaps
    present = column[~gaps]
    if not pd.api.types.is_numeric_dtype(column) or present.nunique() <= DISTINCT:
        for value in present.value_counts().index[:MAX_VALUES]:
            shown = f"{value:g}" if isinstance(value, float) else repr(str(value)) if isinstance(value, str) else value
            yield f"= {shown}", (column == value).to_numpy(dtype=bool, na_value=False)
        return
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    edges = np.unique(np.quantile(values[~gaps], np.linspace(0, 1, RANGES + 1)))
    for low, high in pairwise(edges):
        is_last = high == edges[-1]
        inside = (values >= low) & ((values <= high) if is_last else (values < high))
        yield f"from {low:.4g} to {high:.4g}", inside
