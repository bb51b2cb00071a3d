"""The axes of the charts: where values are placed, and which ticks are labelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_tuner.tuning.axes import Axis, fit_axis

VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20)


@given(VALUES)
def test_values_lie_within_the_axis_in_their_order(values: list[float]) -> None:
    """Values are placed in order, with space at both ends, also on an axis that points up."""
    for begin, end in ((66.0, 742.0), (390.0, 42.0)):
        axis = fit_axis(values, begin, end, write=str)
        places = [axis.place(value) for value in sorted(values)]
        assert places == sorted(places, reverse=begin > end)
        assert min(begin, end) < min(places) <= max(places) < max(begin, end)


@pytest.mark.parametrize("high", [100.0, 100.2, 110.0, 150.0, 900.0, 40_000.0])
def test_ticks_are_few_and_round(high: float) -> None:
    """Any range has 2 to 12 distinct, sorted ticks, each at the value that its label shows."""
    axis = fit_axis([100.0, high], 0, 1, write=lambda mib: f"{mib:,.0f}", resolution=1.0)
    values = [value for value, _ in axis.ticks]
    assert 2 <= len(values) <= 12
    assert values == sorted(set(values))
    assert [float(label.replace(",", "")) for _, label in axis.ticks] == values
    assert all(axis.low <= value <= axis.high for value in values)


def test_a_wide_range_has_a_logarithmic_scale() -> None:
    """Equal factors have equal lengths on it; a range that begins at 0 stays linear."""
    axis = fit_axis([100, 1000], 0, 1000, write=str)
    assert axis.is_log
    assert axis.place(200) - axis.place(100) == pytest.approx(
        axis.place(800) - axis.place(400), abs=0.02
    )
    assert not fit_axis([0, 1000], 0, 1000, write=str).is_log


def test_an_axis_needs_no_ticks() -> None:
    """An axis that is not fitted is linear from end to end."""
    axis = Axis(low=0, high=4, begin=100, end=0)
    assert [axis.place(value) for value in (0, 1, 4)] == [100, 75, 0]


def test_a_share_is_not_rounded() -> None:
    """The memory curve is drawn in shares of its width and height."""
    assert Axis(low=0, high=3).share(1) == pytest.approx(1 / 3)
