"""Texts inside an ONNX file: characters become the bytes of UTF-8, which are the tokens of a model.

ONNX itself cannot take a text apart: ``com.microsoft.Tokenizer`` of ONNX Runtime splits it into characters, and
``ai.onnx.ml.LabelEncoder`` numbers them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmkit.preprocessing.text import CHARACTERS

if TYPE_CHECKING:
    from lmkit.deploy.bundle.raw_text import Nodes

DOMAINS = {"com.microsoft": 1, "ai.onnx.ml": 3}
"""Domain of operations → version."""

REPLACEMENT = 0xFFFD
"""The code of a character that the file has no number for."""


def read_tokens(nodes: Nodes, texts: str, length: int, separator: int) -> str:
    """Return the tokens (rows, length) of texts (rows, 1): their first bytes, and the separator after the last one.

    Args:
        nodes: of the graph.
        texts: the texts (rows, 1).
        length: tokens per row.
        separator: the token after the end of a text.
    """
    import numpy as np

    octets, has = (nodes.add("Reshape", v, np.array([0, -1])) for v in _octets(nodes, _codes(nodes, texts)))
    valid = nodes.whole(has)
    place = nodes.add("Sub", nodes.add("CumSum", valid, np.int64(1)), _whole(1))
    fits = nodes.add("And", has, nodes.add("Less", place, _whole(length)))
    place = nodes.add("Where", fits, place, _whole(length))
    rows = nodes.add("Slice", nodes.add("Shape", texts), np.array([0]), np.array([1]))
    size = nodes.add("Concat", rows, np.array([length + 1]), axis=0)
    row = nodes.add("Expand", _whole(separator), size)
    row = nodes.add("ScatterElements", row, place, octets, axis=1)
    return nodes.add("Slice", row, np.array([0]), np.array([length]), np.array([1]))


def _codes(nodes: Nodes, texts: str) -> str:
    """Return the Unicode code (rows, 1, characters) of each character, -1 after the last one."""
    import numpy as np

    characters = [chr(code) for start, end in CHARACTERS for code in range(start, end)]
    options: dict[str, Any] = {"mark": 0, "mincharnum": 1, "pad_value": "", "separators": [""]}
    split = nodes.add("Tokenizer", texts, domain="com.microsoft", **options)
    codes = nodes.add(
        "LabelEncoder",
        split,
        domain="ai.onnx.ml",
        keys_strings=["", *characters],
        values_int64s=[-1, *map(ord, characters)],
        default_int64=REPLACEMENT,
    )
    # a last place, so that there is one where all texts are empty
    return nodes.add("Pad", codes, np.array([0, 0, 0, 0, 0, 1]), np.int64(-1))


def _octets(nodes: Nodes, codes: str) -> tuple[str, str]:
    """Return the bytes of UTF-8 (…, characters, 4) of codes (…, characters), and which of the four there are."""
    import numpy as np

    codes = nodes.add("Unsqueeze", codes, np.array([-1]))
    size = nodes.add("Sub", codes, codes)
    for first in (0, 0x80, 0x800, 0x10000):  # the first code of one, two, three and four bytes
        size = nodes.add("Add", size, nodes.whole(nodes.add("GreaterOrEqual", codes, _whole(first))))
    pieces = []
    for i in range(4):
        # byte i has the bits of the code after the following size − 1 − i bytes, of six bits each
        after = nodes.add("Max", nodes.add("Sub", size, _whole(i + 1)), _whole(0))
        divisor = nodes.whole(nodes.add("Pow", np.array([64.0]), nodes.real(after)))
        bits = nodes.add("Div", codes, divisor)
        if i:
            pieces.append(nodes.add("Add", nodes.add("Mod", bits, _whole(64)), _whole(0x80)))
        else:
            lead = nodes.add("Gather", np.array([0, 0, 0xC0, 0xE0, 0xF0]), size)
            pieces.append(nodes.add("Add", bits, lead))
    return nodes.add("Concat", *pieces, axis=-1), nodes.add("Less", np.arange(4), size)


def _whole(value: int) -> Any:
    import numpy as np

    return np.array([value], dtype=np.int64)
