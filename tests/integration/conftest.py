"""What tests of this tier have besides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lmkit.training import readings

READERS = ("doctor", "test_readings.py")
"""The folder and the file whose tests need the doctor's readings."""


@pytest.fixture(scope="module", autouse=True)
def without_readings(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs are not read for the doctor: of a short run in TensorFlow, tracing that takes as long as the training."""
    with pytest.MonkeyPatch.context() as patch:
        if not set(READERS) & set(request.path.parts):
            patch.setattr(readings, "probe_rows", lambda *_: np.zeros(0, np.int64))
        yield
