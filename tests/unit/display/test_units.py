"""Durations, sizes and counts as text: rounded before the unit is chosen."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lmkit.display.units import (
    estimate_remaining,
    format_bytes,
    format_count,
    format_duration,
    format_flops,
    format_latency,
)


@pytest.mark.parametrize(
    ("format_value", "value", "text"),
    [
        (format_duration, 0, "0.0 s"),
        (format_duration, 9.94, "9.9 s"),
        (format_duration, 9.99, "10 s"),
        (format_duration, 59.4, "59 s"),
        (format_duration, 59.9, "1 min 00 s"),
        (format_duration, 130, "2 min 10 s"),
        (format_duration, 3599.9, "1 h 00 min"),
        (format_duration, 7300, "2 h 01 min"),
        (format_latency, 0, "0 µs"),
        (format_latency, 0.0009996, "1 ms"),
        (format_latency, 59.94, "59.9 s"),
        (format_latency, 59.96, "1 min 00 s"),
        (format_bytes, 0, "0 B"),
        (format_bytes, 999, "999 B"),
        (format_bytes, 38_465, "38.5 kB"),
        (format_bytes, 999_499, "999 kB"),
        (format_bytes, 999_500, "1 MB"),
        (format_bytes, 5.25e15, "5,250 TB"),
        (format_count, 999_999, "999,999"),
        (format_count, 999_499_999, "999 million"),
        (format_count, 3e15, "3,000 trillion"),
        (format_flops, 999.6, "1 kFLOP"),
        (format_flops, 12, "12 FLOP"),
        (format_flops, 3.2e24, "3,200 ZFLOP"),
    ],
)
def test_a_value_is_rounded_before_its_unit_is_chosen(
    format_value: Callable[[float], str], value: float, text: str
) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize("format_value", [format_latency, format_bytes, format_count, format_flops])
def test_no_text_has_an_exponent_or_a_fourth_digit_before_a_point(format_value: Callable[[float], str]) -> None:
    for exponent in range(16):
        for digits in (1, 9.994, 9.996, 9.9994, 9.9996, 9.99996):
            text = format_value(digits * 10**exponent)
            assert not re.search(r"e[+-]|\d{4}", text), text


def test_time_remains_for_as_many_jobs_as_there_are_workers() -> None:
    assert estimate_remaining([], 3, 2) is None
    assert estimate_remaining([3.0], 1, 8) == 3.0
