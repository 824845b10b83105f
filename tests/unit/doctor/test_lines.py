"""Lines of code of functions without a file, found in what is stored of their source."""

from __future__ import annotations

import pytest

from lmkit.backends.trace import Line
from lmkit.doctor.lines import describe_line

SOURCES = """# model.builder: kept:Net-0123
class Other:
    def forward(self, x):
        return x


class Net:
    @decorated
    def forward(self, x):
        h = x + 1
        return h.log()


# training.loss: kept:loss-4567
def loss(z, y):
    return (z - y).sqrt()
"""


@pytest.mark.parametrize(
    ("function", "offset", "text"),
    [
        ("Net.forward", 3, "Net.forward: return h.log()"),
        ("Other.forward", 1, "Other.forward: return x"),
        ("make.<locals>.Net.forward", 2, "make.<locals>.Net.forward: h = x + 1"),
        ("loss", 1, "loss: return (z - y).sqrt()"),
        ("absent", 1, "absent, line 40"),
    ],
)
def test_a_line_without_a_file_is_found_by_its_function(function: str, offset: int, text: str) -> None:
    assert describe_line(Line("<dynamic-code>", 40, function, offset), SOURCES) == text


def test_a_line_of_a_file_is_named_by_it() -> None:
    assert describe_line(Line(__file__, 1, "f", 0)).startswith("test_lines.py:1: ")
    assert describe_line(None) == ""
