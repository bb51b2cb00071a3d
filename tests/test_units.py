"""Sizes and durations: parsing and formatting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as given_with
from hypothesis import strategies as st

from rembg_tuner.base.units import MIB, format_bytes, format_seconds, parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("0", 0, id="nothing"),
        pytest.param("1024", 1024, id="bare"),
        pytest.param("7B", 7, id="bytes"),
        pytest.param("3KiB", 3072, id="kib"),
        pytest.param("520MiB", 545_259_520, id="mib"),
        pytest.param("2GiB", 2_147_483_648, id="gib"),
        pytest.param("1.5 MiB", 1_572_864, id="fraction-and-space"),
        pytest.param(" 4 g ", 4 * 2**30, id="lower-case-letter"),
        pytest.param("5k", 5120, id="k"),
        pytest.param("5M", 5 * MIB, id="m"),
        pytest.param("300MB", 300_000_000, id="mb"),
        pytest.param("300M", 314_572_800, id="300m"),
        pytest.param("300MiB", 314_572_800, id="300mib"),
        pytest.param("1.5 mb", 1_500_000, id="mb-fraction-lower-case"),
        pytest.param("64kB", 64_000, id="kb"),
        pytest.param("64K", 65_536, id="64k"),
        pytest.param("2GB", 2_000_000_000, id="gb"),
        pytest.param("0.1G", 107_374_182, id="g-fraction"),
        pytest.param("1T", 2**40, id="t"),
        pytest.param("1TB", 10**12, id="tb"),
        pytest.param("9007199254740993", 2**53 + 1, id="no-float"),
        pytest.param("0.3B", 0, id="less-than-a-byte"),
    ],
)
def test_a_size_is_read_as_it_is_meant(text: str, count: int) -> None:
    """A size is a number with a binary or decimal unit, or bare bytes."""
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("MiB", id="no-number"),
        pytest.param("-1", id="negative"),
        pytest.param("1e3", id="exponent"),
        pytest.param("5MBit", id="bits"),
        pytest.param("5 MM", id="two-letters"),
        pytest.param("1.MiB", id="bare-point"),
        pytest.param("1 2", id="two-numbers"),
        pytest.param("inf", id="infinite"),
        pytest.param("9" * 400, id="400-digits"),
        pytest.param("9" * 400 + "GiB", id="400-digits-gib"),
    ],
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    """The error has the text and two valid examples, and nothing overflows."""
    with pytest.raises(ValueError, match=r"^a size is a number of bytes, or one like") as caught:
        parse_bytes(text)
    assert str(caught.value).endswith(f"got {text!r}")


@given_with(deadline=None)
@given(st.integers(0, 2**50))
def test_a_number_of_bytes_is_read_exactly(count: int) -> None:
    """Up to the highest memory limit, no byte is lost."""
    assert parse_bytes(str(count)) == count


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        pytest.param("10", 10.0, id="bare"),
        pytest.param("10s", 10.0, id="seconds"),
        pytest.param("250ms", 0.25, id="ms"),
        pytest.param("2min", 120.0, id="minutes"),
        pytest.param(" 1.5 s ", 1.5, id="spaces"),
    ],
)
def test_a_duration_is_read_as_it_is_meant(text: str, duration_s: float) -> None:
    """A duration is bare seconds, or a number with ms, s or min."""
    assert parse_seconds(text) == pytest.approx(duration_s)


@pytest.mark.parametrize("text", ["", "s", "-1", "3h", "1m", "nan", "inf", "9" * 400])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    """The error has the text and a valid example, and no text becomes infinite."""
    with pytest.raises(ValueError, match=r"^a duration is a number of seconds") as caught:
        parse_seconds(text)
    assert str(caught.value).endswith(f"got {text!r}")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        pytest.param(None, "unknown", id="unknown"),
        pytest.param(0, "0.0 MiB", id="nothing"),
        pytest.param(MIB + MIB // 2, "1.5 MiB", id="small-with-a-tenth"),
        pytest.param(10 * MIB, "10 MiB", id="ten"),
        pytest.param(232 * MIB, "232 MiB", id="hundreds"),
        pytest.param(9_000 * MIB, "9,000 MiB", id="thousands"),
        pytest.param(24_000 * MIB, "23.4 GiB", id="a-machine"),
    ],
)
def test_a_size_is_told_in_mib(count: int | None, text: str) -> None:
    """Sizes are in MiB with a tenth below ten, in GiB from ten GiB on, or unknown."""
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        pytest.param(None, "unknown", id="unknown"),
        pytest.param(0.0, "0.0 ms", id="nothing"),
        pytest.param(0.0012, "1.2 ms", id="small-with-a-tenth"),
        pytest.param(0.00996, "10 ms", id="rounds-to-ten"),
        pytest.param(0.412, "412 ms", id="ms"),
        pytest.param(0.9994, "999 ms", id="just-below-a-second"),
        pytest.param(0.9996, "1.00 s", id="rounds-to-a-second"),
        pytest.param(2.345, "2.35 s", id="seconds"),
        pytest.param(75.0, "75.00 s", id="more-than-a-minute"),
    ],
)
def test_a_duration_is_told_in_ms_or_seconds(duration_s: float | None, text: str) -> None:
    """Durations are in ms below a second, else in seconds; rounding never produces 1000 ms."""
    assert format_seconds(duration_s) == text


@given_with(deadline=None)
@given(st.floats(0, 86400))
def test_what_is_told_of_a_duration_reads_back_within_its_rounding(duration_s: float) -> None:
    """Parsing a formatted duration returns the duration, to the digits shown."""
    read = parse_seconds(format_seconds(duration_s))
    assert read == pytest.approx(duration_s, rel=0.051, abs=0.000051)


@given_with(deadline=None)
@given(st.integers(0, 2**50))
def test_what_is_told_of_a_size_reads_back_within_its_rounding(count: int) -> None:
    """Parsing a formatted size returns the size, to the digits shown."""
    read = parse_bytes(format_bytes(count).replace(",", ""))
    assert read == pytest.approx(count, rel=0.051, abs=0.051 * MIB)
