"""What nbval lets pass in the notebooks, and what it would do for each of them anew.

A magic that is not there prints to stderr, and the cells after it go on. Workers in TensorFlow would each wait for an
import of theirs.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from lmkit.executors.shared_forkserver import SharedForkServer

_forkservers: list[SharedForkServer] = []

ALONE = "01-quickstart"
"""A notebook whose workers come from its kernel, as they do for a reader."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Let the kernel that is started here fork its workers in TensorFlow from one server for all notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        if item.path.stem != ALONE:
            if not _forkservers:
                _forkservers.append(SharedForkServer("tensorflow", os.environ))
            for name, value in _forkservers[0].variables.items():
                patch.setenv(name, value)
        yield


def pytest_sessionfinish() -> None:
    """End the server; its workers have ended."""
    while _forkservers:
        _forkservers.pop().close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fails a cell that called a magic which IPython does not know, or called it wrongly."""
    yield
    printed = "".join(out.text for out in item.test_outputs if out.output_type == "stream")  # type: ignore[attr-defined]
    assert "UsageError" not in printed, printed
    assert "not found" not in printed, printed
