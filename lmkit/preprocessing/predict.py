"""What ``predict`` does with rows unlike those of training: one policy, for runs and bundles. It needs NumPy alone.

=================================  =============================================================================
given                              answer
=================================  =============================================================================
a missing number                   filled as in training (``data.missing``); else an error that names the column
an infinite number                 an error that names the column
a missing category                 the category "(missing)" where training has it, or the fill value; else unseen
an unseen category                 none of the categories (zeros), with an ``UnseenCategory`` warning that counts
a value that cannot be parsed      an error that names the column and the value
no rows                            no predictions: (0,)
an iterator of rows                its rows
outputs that are not finite        an error that counts the rows: no class or probability follows from them
=================================  =============================================================================
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import DataError
from lmkit.specs.outputs import check_row_count

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from lmkit.preprocessing.table import TablePreprocessing


class UnseenCategory(UserWarning):
    """Rows to predict have categories that the training part did not have."""


def prepare_rows(preprocessing: TablePreprocessing, X: Any) -> np.ndarray:
    """Return rows to predict as the model takes them, by the policy of this module.

    Raises:
        DataError: the rows do not fit, or hold numbers that are missing or infinite.
    """
    import numpy as np

    if hasattr(X, "__iter__") and not hasattr(X, "__len__"):
        X = list(X)
    if hasattr(X, "__len__") and not isinstance(X, str) and not len(X):
        return np.empty((0, *preprocessing.signature.shape))
    rows, unseen = preprocessing.encode_rows(X)
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise DataError(_describe_gaps(preprocessing, rows))
    for name, values in unseen.items():
        warnings.warn(
            f"column {name!r} has {len(values):,} of {len(rows):,} values that training did not have, first "
            f"{str(values[0])[:80]!r}; they count as none of its categories",
            UnseenCategory,
            stacklevel=5,
        )
    return rows


def compute_outputs(
    predict: Callable[[np.ndarray], np.ndarray], preprocessing: TablePreprocessing, X: Any, precision: str
) -> np.ndarray:
    """Return the outputs (rows, outputs) of a model for rows to predict, by the policy of this module.

    Args:
        predict: returns the outputs of prepared rows.
        preprocessing: of the run.
        X: the rows.
        precision: the type of prepared numbers; tokens keep theirs.

    Raises:
        DataError: the rows do not fit, or no prediction follows from them.
    """
    import numpy as np

    rows = prepare_rows(preprocessing, X)
    if not len(rows):
        return np.empty((0, preprocessing.outputs))
    return check_outputs(
        check_row_count(predict(rows.astype(precision) if rows.dtype.kind == "f" else rows), len(rows))
    )


def check_outputs(logits: np.ndarray) -> np.ndarray:
    """Return the outputs (rows, outputs) of a model; check that they are finite.

    Raises:
        DataError: those of some rows are not, so that nothing follows from them.
    """
    import numpy as np

    lowest = np.isneginf(logits) & (logits.shape[-1] > 1)  # a class with a probability of 0
    finite = (np.isfinite(logits) | lowest).all(axis=tuple(range(1, logits.ndim)))
    if not finite.all():
        rows = np.flatnonzero(~finite)
        raise DataError(
            f"the outputs of the model are not finite for {len(rows):,} of {len(logits):,} rows, first row {rows[0]}: "
            "they are no prediction; look at the numbers of this row, or at the weights of the model"
        )
    return logits


def _describe_gaps(preprocessing: TablePreprocessing, rows: np.ndarray) -> str:
    """Return which columns have numbers that are not finite."""
    import numpy as np

    flat = rows.reshape(len(rows), -1)
    counts = (~np.isfinite(flat)).sum(axis=0)
    names = list(getattr(preprocessing, "numbers", None) or {})
    bad = np.flatnonzero(counts)
    if len(names) <= bad[0]:
        return f"the rows have {int(counts.sum()):,} missing or infinite numbers, expected finite numbers"
    listed = ", ".join(f"{names[i]!r} has {counts[i]:,}" for i in bad[:5] if i < len(names))
    return f"infinite numbers: column {listed} of {len(rows):,} rows; expected finite numbers"
