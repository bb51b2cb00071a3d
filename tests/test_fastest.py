"""The choice of the fastest number format from given times, without a measurement."""

from __future__ import annotations

import pytest

from rembg_tuner.settings.precision import fastest_format, stable_times

ORDER = ("int8", "bf16", "fp32")


@pytest.mark.parametrize(
    ("times_s", "chosen"),
    [
        ({"int8": 1.0, "bf16": 2.0, "fp32": 3.0}, "int8"),
        ({"int8": 3.0, "bf16": 2.0, "fp32": 1.0}, "fp32"),
        ({"int8": 1.09, "bf16": 1.0, "fp32": 3.0}, "int8"),  # within the margin the order decides
        ({"int8": 1.11, "bf16": 1.0, "fp32": 3.0}, "bf16"),
        ({"int8": 1.11, "bf16": 1.05, "fp32": 1.0}, "bf16"),
        ({"int8": 1.0, "bf16": 2.0, "fp32": 3.0, "fp16": 0.1}, "int8"),  # one that is no candidate
        ({"int8": 1.0, "fp32": 3.0}, None),  # a candidate was not timed
        ({}, None),
    ],
)
def test_the_fastest_by_a_margin(times_s: dict[str, float], chosen: str | None) -> None:
    """A format replaces a preferred one only if it is faster by the margin."""
    assert fastest_format(ORDER, times_s) == chosen


def test_one_candidate_and_none() -> None:
    """A single candidate is the fastest; without candidates there is none."""
    assert fastest_format(["fp32"], {"fp32": 1.0}) == "fp32"
    assert fastest_format([], {"fp32": 1.0}) is None


def test_noise_does_not_change_the_choice() -> None:
    """If the shares differ by less than the margin, the first times are kept."""
    first, second = {"int8": 1.09, "fp32": 1.0}, {"int8": 1.12, "fp32": 1.0}
    assert fastest_format(("int8", "fp32"), first) != fastest_format(("int8", "fp32"), second)
    assert stable_times(first, second) == first
    assert stable_times(second, first) == second


def test_a_slower_machine_is_no_other_choice() -> None:
    """Shares are compared, since load of another program slows all formats."""
    assert stable_times({"int8": 1.0, "fp32": 2.0}, {"int8": 2.0, "fp32": 4.1}) == {
        "int8": 1.0,
        "fp32": 2.0,
    }


@pytest.mark.parametrize("before", [{}, {"fp32": 1.0}, {"int8": 1.0, "fp32": 3.0}])
def test_what_changed_is_remembered(before: dict[str, float]) -> None:
    """Times with other formats or another ranking replace the old ones."""
    now = {"int8": 1.0, "fp32": 2.0}
    assert stable_times(before, now) == now
