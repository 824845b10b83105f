"""Rows that come as a model takes them: with NumPy alone, so that a deployed model needs nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lmkit.data import preprocessing
from lmkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from lmkit.specs.signature import Signature


@dataclass(frozen=True)
class Preprocessing(preprocessing.Preprocessing):
    """What is known of rows that come as the model takes them.

    Attributes:
        vocabulary: rows are numbers of tokens, below this; 0: they are numbers.
    """

    vocabulary: int = 0

    @property
    def signature(self) -> Signature:
        """What a model takes and gives."""
        return super().signature._replace(vocabulary=self.vocabulary)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the run's folder."""
        return {"kind": "loader", **asdict(self)}

    def apply(self, X: Any) -> np.ndarray:
        """Rows (rows, …) → rows as the model takes them: tokens as they are, numbers flat."""
        import numpy as np

        prepared = rows(array(X))
        flat = (int(np.prod(self.shape)),)
        if prepared.shape[1:] not in (self.shape, flat):
            raise DataError(f"given rows of shape {prepared.shape}, expected (rows, {', '.join(map(str, self.shape))})")
        return prepared if self.vocabulary else prepared.reshape(len(prepared), *flat)


def array(value: Any) -> np.ndarray:
    """A tensor of any framework, or what NumPy takes, as an array."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def rows(x: np.ndarray) -> np.ndarray:
    """Rows as they came, one number in each as a column."""
    import numpy as np

    x = x[:, None] if x.ndim == 1 else x
    return x.astype(np.int64) if tokens(x) else x


def tokens(x: np.ndarray) -> bool:
    """Whether rows (rows, length) are numbers of tokens: int32 or int64, not the bytes of pictures."""
    return x.ndim == 2 and x.dtype.kind == "i" and x.dtype.itemsize >= 4
