"""Kernels and workers that are forked for all notebooks of a module, as for the trials of a sweep.

Otherwise each execution starts its own servers. ``test_kernel_server`` compares forked kernels to started ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lmkit.batch.warm_servers import in_use, prepare


@pytest.fixture(scope="module")
def kernels() -> Iterator[None]:
    """Forks the kernels of notebooks that need little."""
    with in_use():
        prepare({})
        yield


@pytest.fixture(scope="module")
def experiment_kernels() -> Iterator[None]:
    """Forks the kernels of notebooks that draw and train, and their workers in PyTorch."""
    with in_use():
        prepare({}, "torch")
        yield
