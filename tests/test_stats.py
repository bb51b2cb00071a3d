"""Summaries of measurements compared with small tables and slow implementations."""

from __future__ import annotations

import math
import random
import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import settings as given_with
from hypothesis import strategies as st

from rembg_tuner.tuning.stats import MIN_P95_RUNS, repeatability_of, summarise

DURATIONS = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60)


def test_a_hand_made_table_is_summarised() -> None:
    """The summary of four numbers equals values that are computed by hand."""
    summary = summarise([4.0, 1.0, 3.0, 2.0])
    assert (summary.n, summary.low, summary.high) == (4, 1.0, 4.0)
    assert summary.median == 2.5
    assert summary.mean == 2.5
    assert summary.standard_deviation == pytest.approx(math.sqrt(5 / 3))
    assert summary.p95 is None


def test_one_number_has_no_spread() -> None:
    """A single measurement is its own median and is not unstable."""
    summary = summarise([0.4])
    assert (summary.n, summary.median, summary.low, summary.high) == (1, 0.4, 0.4, 0.4)
    assert summary.standard_deviation == 0.0
    assert summary.is_unstable() is False


def test_nothing_measured_is_an_error() -> None:
    """A summary of no numbers raises an error."""
    with pytest.raises(ValueError, match=r"^nothing was measured"):
        summarise([])


@pytest.mark.parametrize(
    ("n", "p95"),
    [
        pytest.param(1, None, id="one"),
        pytest.param(19, None, id="one-too-few"),
        pytest.param(20, 19.0, id="just-enough"),
        pytest.param(40, 38.0, id="forty"),
        pytest.param(41, 39.0, id="rank-rounded-up"),
        pytest.param(100, 95.0, id="hundred"),
    ],
)
def test_p95_is_given_from_20_measurements_on(n: int, p95: float | None) -> None:
    """It is the smallest number that 95 % of 1..n do not exceed; below 20 it is None."""
    assert MIN_P95_RUNS == 20
    assert summarise([float(number) for number in range(n, 0, -1)]).p95 == p95


@pytest.mark.parametrize("n", [20, 60, 180, 999, 1000, 4000])
def test_p95_covers_95_percent_and_no_smaller_number_does(n: int) -> None:
    """The p95 is the nearest rank, checked with exact arithmetic."""
    values = [float(number) for number in range(n)]
    p95 = summarise(values).p95
    assert p95 is not None
    assert Fraction(sum(value <= p95 for value in values), n) >= Fraction(95, 100)
    assert Fraction(sum(value < p95 for value in values), n) < Fraction(95, 100)


@given_with(deadline=None)
@given(DURATIONS)
def test_the_numbers_stand_in_order(values: list[float]) -> None:
    """Low, median and high are ordered, p95 is one of the values, and the spread is at least 0."""
    summary = summarise(values)
    assert summary.n == len(values)
    assert min(values) == summary.low <= summary.median <= summary.high == max(values)
    assert summary.low * (1 - 1e-9) <= summary.mean <= summary.high * (1 + 1e-9)
    assert summary.standard_deviation >= 0
    if summary.p95 is not None:
        assert summary.p95 in values
        assert summary.median <= summary.p95


@given_with(deadline=None)
@given(DURATIONS)
def test_order_changes_nothing(values: list[float]) -> None:
    """The order of measurements does not change the summary, and the input is not modified."""
    backwards = values[::-1]
    assert summarise(backwards) == summarise(values)
    assert backwards == values[::-1]


@given_with(deadline=None)
@given(DURATIONS, st.integers(-8, 8))
def test_another_unit_scales_the_summary(values: list[float], exponent: int) -> None:
    """Every number of the summary scales with the values, and stability does not change."""
    factor = 2.0**exponent
    one, other = summarise(values), summarise([value * factor for value in values])
    assert other.median == one.median * factor
    assert other.standard_deviation == pytest.approx(one.standard_deviation * factor)
    assert other.p95 == (None if one.p95 is None else one.p95 * factor)
    assert other.is_unstable() == one.is_unstable()


@pytest.mark.parametrize(
    ("values", "unstable"),
    [
        pytest.param([1.0, 1.0, 1.0], False, id="equal"),
        pytest.param([0.95, 1.0, 1.05], False, id="five-percent"),
        pytest.param([0.89, 1.0, 1.11], True, id="eleven-percent"),
        pytest.param([-0.89, -1.0, -1.11], True, id="negative-mean"),
    ],
)
def test_a_spread_of_a_tenth_of_the_mean_is_unstable(values: list[float], unstable: bool) -> None:
    """The standard deviation is compared with 10 % of the mean, as in pyperf."""
    assert summarise(values).is_unstable() is unstable


@pytest.mark.parametrize(
    ("settings", "workers"),
    [
        pytest.param(4, 2, id="four-in-two"),
        pytest.param(1, 5, id="one-in-five"),
        pytest.param(2, 2, id="two-in-two"),
        pytest.param(12, 3, id="degrees-between-those-of-the-table"),
    ],
)
def test_one_more_worker_is_in_the_range_nineteen_times_of_twenty(
    settings: int, workers: int
) -> None:
    """Simulated workers, each with a random factor, are inside the range in 95 % of cases."""
    chance = random.Random(0)
    inside, turns = 0, 4000
    for _ in range(turns):
        speeds = [chance.uniform(0.05, 2.0) for _ in range(settings)]
        measured = [
            [speed * math.exp(chance.gauss(0, 0.2)) for _ in range(workers)] for speed in speeds
        ]
        found = repeatability_of(measured)
        assert found is not None
        low, high = found.expected(measured[0])
        inside += low <= speeds[0] * math.exp(chance.gauss(0, 0.2)) <= high
    assert 0.94 <= inside / turns <= 0.97  # between two rows of the table, the wider range is used


@given(st.lists(st.lists(st.floats(0.01, 100), min_size=2, max_size=4), min_size=2, max_size=5))
def test_repeatability_is_the_pooled_deviation_of_logarithms(measured: list[list[float]]) -> None:
    """Variances are weighted by their degrees of freedom, and lone workers add nothing."""
    found = repeatability_of([*measured, [3.0]])
    assert found is not None
    degrees = [len(one) - 1 for one in measured]
    variances = [statistics.variance([math.log(value) for value in one]) for one in measured]
    pooled = sum(d * v for d, v in zip(degrees, variances, strict=True)) / sum(degrees)
    assert found.degrees == sum(degrees)
    assert found.deviation == pytest.approx(math.sqrt(pooled), abs=1e-9)
    low, high = found.expected(measured[0])
    assert low <= statistics.geometric_mean(measured[0]) * (1 + 1e-9)
    assert high >= statistics.geometric_mean(measured[0]) * (1 - 1e-9)


def test_a_single_pair_tells_no_range() -> None:
    """A single pair would have a range of a factor of five, so there is none."""
    assert repeatability_of([[0.1, 0.11], [0.2]]) is None
    assert repeatability_of([[0.1], [0.2], [0.3]]) is None
