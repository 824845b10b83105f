"""Files of arrays that are written piece by piece."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np


def open_array_file(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> BinaryIO:
    """Open an .npy file for sequential writing: the pages of a mapped file would count as memory."""
    import numpy as np

    file = path.open("wb")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file
