"""Preprocessing of rows that a loader yields ready for the model. It needs NumPy alone, for deployed models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import DataError
from lmkit.preprocessing.table import TablePreprocessing

if TYPE_CHECKING:
    import numpy as np

    from lmkit.specs.signature import Signature


@dataclass(frozen=True)
class LoaderPreprocessing(TablePreprocessing):
    """Shape and classes of rows that a loader yields ready for the model.

    Attributes:
        vocabulary: number of tokens, where rows are tokens; 0: rows are numbers.
    """

    vocabulary: int = 0

    @property
    def signature(self) -> Signature:
        """The inputs and outputs of a model."""
        return super().signature._replace(vocabulary=self.vocabulary)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``preprocessing.json`` of a run."""
        return {"kind": "loader", **super().to_dict()}

    def encode_rows(self, X: Any) -> tuple[np.ndarray, dict[str, list[Any]]]:
        """Return rows as ``apply`` does; they have no categories."""
        return self.apply(X), {}

    def apply(self, X: Any) -> np.ndarray:
        """Return rows (rows, …) as the model takes them: tokens unchanged, numbers flat (rows, features)."""
        import numpy as np

        prepared = to_rows(to_array(X))
        flat = (int(np.prod(self.shape)),)
        if prepared.shape[1:] not in (self.shape, flat):
            raise DataError(f"given rows of shape {prepared.shape}, expected (rows, {', '.join(map(str, self.shape))})")
        return prepared if self.vocabulary else prepared.reshape(len(prepared), *flat)


def to_array(value: Any) -> np.ndarray:
    """Return a tensor of any framework, or any array-like, as an array."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def to_rows(x: np.ndarray) -> np.ndarray:
    """Return rows with at least two axes, and tokens as int64."""
    import numpy as np

    x = x[:, None] if x.ndim == 1 else x
    return x.astype(np.int64) if is_tokens(x) else x


def is_tokens(x: np.ndarray) -> bool:
    """Whether rows (rows, length) are tokens: int32 or int64, unlike the bytes of images."""
    return x.ndim == 2 and x.dtype.kind == "i" and x.dtype.itemsize >= 4
