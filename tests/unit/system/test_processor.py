"""What the processor computes in 16 bits, from recorded text."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmkit.system import processor

TEXT = "processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nprocessor\t: 1\n"


def test_flags_say_which_types_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor.has_arithmetic.cache_clear()
    file = tmp_path / "cpuinfo"
    file.write_text(TEXT, encoding="ascii")
    monkeypatch.setattr(processor, "CPUINFO", file)
    assert processor.has_arithmetic("bfloat16")
    assert processor.describe_slowness("bfloat16") == ""
    assert "ten times as long" in processor.describe_slowness("float16")
    processor.has_arithmetic.cache_clear()
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "missing")
    assert processor.has_arithmetic("float16") is None
    assert processor.describe_slowness("float16") == ""
    processor.has_arithmetic.cache_clear()
