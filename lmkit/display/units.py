"""Quantities as text: durations, sizes, counts, operations.

A value is rounded to the digits that are shown before its unit is chosen, so that 999,600 bytes are "1 MB".
"""

from __future__ import annotations

from collections.abc import Sequence


def format_duration(seconds: float) -> str:
    """Format a duration that a person waits for.

    >>> [format_duration(seconds) for seconds in (0.42, 42, 130, 7300)]
    ['0.4 s', '42 s', '2 min 10 s', '2 h 01 min']
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def format_number(value: float, digits: int = 4, *, sign: bool = False) -> str:
    """Format a number with significant digits, and thousands separated below a billion rather than with an exponent.

    >>> format_number(526712), format_number(1 / 3), format_number(-3790.4, 3, sign=True), format_number(1.2e-7)
    ('526,700', '0.3333', '-3,790', '1.2e-07')
    """
    text = f"{value:{'+' * sign}.{digits}g}"
    return f"{float(text):{'+' * sign},.0f}" if "e+" in text and abs(value) < 1e9 else text


def format_latency(seconds: float) -> str:
    """Format the duration of a step or a call, with three digits; as ``format_duration`` from a minute on.

    >>> [format_latency(seconds) for seconds in (0.000147, 0.0123, 0.9996, 42.4, 750)]
    ['147 µs', '12.3 ms', '1 s', '42.4 s', '12 min 30 s']
    """
    return _scale(seconds * 1e6, ("µs", "ms", "s"), " ") if seconds < 59.95 else format_duration(seconds)


def format_bytes(size: float) -> str:
    """Format a number of bytes with three digits, in powers of a thousand as makers of devices count.

    >>> format_bytes(512), format_bytes(999_600), format_bytes(80e9)
    ('512 B', '1 MB', '80 GB')
    """
    return _scale(size, ("B", "kB", "MB", "GB", "TB"), " ")


def format_count(count: float, units: Sequence[str] = ("million", "billion", "trillion")) -> str:
    """Format a number of things: exact up to a million, with three digits in ``units`` of a thousand each above.

    >>> format_count(4160), format_count(13_860_000), format_count(999_600_000)
    ('4,160', '13.9 million', '1 billion')
    """
    return f"{count:,.0f}" if count < 1e6 else _scale(count / 1e6, units, " ")


def format_flops(operations: float) -> str:
    """Format a number of floating-point operations.

    >>> format_flops(0), format_flops(999_600), format_flops(3e21)
    ('–', '1 MFLOP', '3 ZFLOP')
    """
    return _scale(operations, [f" {prefix}FLOP" for prefix in ("", *"kMGTPEZ")]) if operations else "–"


def estimate_remaining(durations: Sequence[float], remaining: int, workers: int) -> float | None:
    """Return the seconds until ``remaining`` jobs are done if each takes the mean of ``durations``; None without any.

    >>> estimate_remaining([2.0, 4.0], 4, workers=2)
    6.0
    """
    if not durations:
        return None
    return sum(durations) / len(durations) * remaining / max(1, min(workers, remaining))


def _scale(value: float, units: Sequence[str], separator: str = "") -> str:
    """Format ``value`` with three digits in the unit that leaves fewer than four before the point."""
    for unit in units[:-1]:
        if value < 999.5:
            return f"{value:.3g}{separator}{unit}"
        value /= 1000
    number = f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"
    return f"{number}{separator}{units[-1]}"
