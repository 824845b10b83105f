"""What nbval lets pass in the notebooks, and what it would do for each of them anew.

A magic that is not there prints to stderr, and the cells after it go on. The workers of each notebook would wait for an
import of their framework.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from lmkit.executors.shared_forkserver import SharedForkServer

_forkservers: dict[str, SharedForkServer] = {}

ALONE = "01-quickstart"
"""A notebook whose workers come from its kernel, as they do for a reader."""

IN_TENSORFLOW = ("03-language", "04-images", "05-graphs", "06-own-model")
"""Notebooks that train in TensorFlow too, whose import takes longest."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Let the kernel that is started here fork its workers from a server that all notebooks share."""
    with pytest.MonkeyPatch.context() as patch:
        if item.path.stem != ALONE:
            framework = "tensorflow" if item.path.stem in IN_TENSORFLOW else "torch"
            if framework not in _forkservers:
                _forkservers[framework] = SharedForkServer(framework, os.environ)
            for name, value in _forkservers[framework].variables.items():
                patch.setenv(name, value)
        yield


def pytest_sessionfinish() -> None:
    """End the servers; their workers have ended."""
    while _forkservers:
        _forkservers.popitem()[1].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fails a cell that called a magic which IPython does not know, or called it wrongly."""
    yield
    printed = "".join(out.text for out in item.test_outputs if out.output_type == "stream")  # type: ignore[attr-defined]
    assert "UsageError" not in printed, printed
    assert "not found" not in printed, printed
