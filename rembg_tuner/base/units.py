"""Parse and format sizes and durations; the program itself uses bytes and seconds.

MiB and ms exist only here, in plots and in text.
"""

from __future__ import annotations

import re

MIB = 2**20  # bytes
# Case is ignored: memory is not specified in megabits.
_SUFFIXES = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "K": 2**10,
    "M": 2**20,
    "G": 2**30,
    "T": 2**40,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_NUMBER = r"(\d{1,18}(?:\.\d{1,18})?)"  # bounded, so that no number is read as infinite
_SIZE = re.compile(rf"\s*{_NUMBER}\s*([A-Za-z]*)\s*")
_DURATION = re.compile(rf"\s*{_NUMBER}\s*(ms|s|min)?\s*")


def parse_bytes(text: str) -> int:
    """Parse a size.

    Args:
        text: a number and its unit, in upper or lower case: kB, MB, GB or TB are powers of 1000;
            KiB, MiB, GiB or TiB, and K, M, G or T, are powers of 1024; B or no unit: bytes.

    Returns:
        The size in whole bytes, rounded down.

    Raises:
        ValueError: the text is not such a size.

    >>> parse_bytes("1.5 MiB"), parse_bytes("1.5MB")
    (1572864, 1500000)
    """
    match = _SIZE.fullmatch(text)
    if match is None or match[2].upper() not in _SUFFIXES:
        raise ValueError(
            f"a size is a number of bytes, or one like 520MiB, 2GiB or 545MB, got {text!r}"
        )
    # Imported here: it imports `decimal`, and few processes parse sizes.
    from fractions import Fraction

    return int(Fraction(match[1]) * _SUFFIXES[match[2].upper()])


def parse_seconds(text: str) -> float:
    """Parse a duration, such as 10, 10s, 250ms or 2min.

    Raises:
        ValueError: the text is not a duration.

    >>> parse_seconds("250ms")
    0.25
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"a duration is a number of seconds, or one like 250ms, got {text!r}")
    return float(match[1]) * {"ms": 0.001, "s": 1.0, None: 1.0, "min": 60.0}[match[2]]


def format_bytes(count: int | None) -> str:
    """Return a size as text in MiB, from 10 GiB on in GiB; `unknown` for None.

    >>> format_bytes(243269632), format_bytes(25276973056)
    ('232 MiB', '23.5 GiB')
    """
    if count is None:
        return "unknown"
    mib = count / MIB
    if mib >= 10 * 1024:
        return f"{mib / 1024:,.1f} GiB"
    return f"{mib:.1f} MiB" if mib < 10 else f"{mib:,.0f} MiB"


def format_exact_bytes(count: int) -> str:
    """Return a size as text as `format_bytes` does, and its bytes.

    >>> format_exact_bytes(300_000_000)
    '286 MiB (300,000,000 bytes)'
    """
    return f"{format_bytes(count)} ({count:,} {'byte' if count == 1 else 'bytes'})"


def format_seconds(duration_s: float | None) -> str:
    """Return a duration as text, in ms below a second, else in s; `unknown` for None.

    >>> format_seconds(0.0124), format_seconds(2.345)
    ('12 ms', '2.35 s')
    """
    if duration_s is None:
        return "unknown"
    if duration_s < 0.9995:
        ms = duration_s * 1000
        return f"{ms:.1f} ms" if ms < 9.95 else f"{ms:.0f} ms"
    return f"{duration_s:.2f} s"


def format_guess(duration_s: float) -> str:
    """Return an estimated duration as text: s, from 2 min on min and s, from 2 h on h and min.

    >>> format_guess(0.2), format_guess(36.2), format_guess(171.0), format_guess(7500.0)
    ('1 s', '36 s', '2 min 51 s', '2 h 5 min')
    """
    whole = max(1, round(duration_s))
    if whole < 120:
        return f"{whole} s"
    minutes, seconds = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def format_guess_range(low_s: float, high_s: float) -> str:
    """Return the range of an estimated duration as text, rounded as by `format_rough`.

    >>> format_guess_range(36.2, 171.0), format_guess_range(2.2, 2.4)
    ('35 s to 3 min', '2 s')
    """
    low, high = format_rough(low_s), format_rough(high_s)
    return low if low == high else f"{low} to {high}"


def format_rough(duration_s: float) -> str:
    """Return an estimated duration as rounded text.

    It is rounded to 1 s, from 10 s on to 5 s, from 100 s on to 1 min, from 2 h on to 10 min.

    >>> [format_rough(value) for value in (0.2, 7.4, 33.0, 171.0, 4000.0, 7900.0)]
    ['1 s', '7 s', '35 s', '3 min', '67 min', '2 h 10 min']
    """
    if duration_s < 10:
        return f"{max(1, round(duration_s))} s"
    if duration_s < 100:
        return f"{5 * round(duration_s / 5)} s"
    if duration_s < 7200:
        return f"{round(duration_s / 60)} min"
    hours, minutes = divmod(10 * round(duration_s / 600), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
