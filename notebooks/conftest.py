"""What nbval lets pass in the notebooks: a magic that is not there prints to stderr, and the cells after it go on."""

from __future__ import annotations

from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fails a cell that called a magic which IPython does not know, or called it wrongly."""
    yield
    printed = "".join(out.text for out in item.test_outputs if out.output_type == "stream")  # type: ignore[attr-defined]
    assert "UsageError" not in printed and "not found" not in printed, printed
