"""The plot: first its layout, then the drawing."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_trials import make_trial

from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.plot import HEIGHT, WIDTH, draw_plot, lay_out_plot
from rembg_tuner.tuning.trials import Trial

ANY = Budgets(min_agreement=None)
COSTS = st.lists(
    st.tuples(st.floats(20, 6000), st.floats(0.01, 20), st.one_of(st.none(), st.floats(0, 1))),
    min_size=1,
    max_size=20,
)


def trials_of(costs: list[tuple[float, float, float | None]]) -> list[Trial]:
    """Create trials from costs."""
    return [
        make_trial(i, mib, time_s, agreement) for i, (mib, time_s, agreement) in enumerate(costs)
    ]


@given(COSTS)
def test_places_follow_figures(costs: list[tuple[float, float, float | None]]) -> None:
    """More memory is further right, more time further up, in the frame; the SVG is valid XML."""
    info = lay_out_plot(trials_of(costs), ANY, chosen=None)
    for a in info.points:
        assert 0 < a.x < WIDTH
        assert 0 < a.y < HEIGHT
        assert a.high_y <= a.y <= a.low_y
        for b in info.points:
            if int(costs[a.trial][0] * MIB) <= int(costs[b.trial][0] * MIB):
                assert a.x <= b.x
            if costs[a.trial][1] <= costs[b.trial][1]:
                assert a.y >= b.y
    root = ET.fromstring(draw_plot(info, is_standalone=True))
    drawn = [one.get("data-trial") for one in root.iter() if one.get("data-trial")]
    assert sorted(map(int, filter(None, drawn))) == list(range(len(costs)))


def test_front_shapes_budgets_and_choice() -> None:
    """An example has the expected shapes, front, budgets, choice and legend."""
    trials = trials_of([(100, 0.1, 0.99), (200, 0.05, 0.96), (300, 0.2, 0.9), (150, 0.08, 0.5)])
    budgets = Budgets(max_memory_bytes=250 * MIB, max_time_s=0.15, min_agreement=0.95)
    info = lay_out_plot(trials, budgets, chosen=1)
    assert [point.shape for point in info.points] == ["circle", "triangle", "square", "cross"]
    assert [point.is_on_front for point in info.points] == [True, True, False, True]
    assert [point.is_within for point in info.points] == [True, True, False, False]
    assert [point.is_chosen for point in info.points] == [False, True, False, False]
    assert info.memory_budget is not None
    assert info.points[1].x < info.memory_budget.place < info.points[2].x
    assert info.time_budget is not None
    assert info.points[2].y < info.time_budget.place < info.points[0].y
    assert [text for text, _ in info.legend] == ["≥ 0.98", "≥ 0.95", "≥ 0.85", "< 0.85"]
    drawn = draw_plot(info)
    assert drawn.count('rt-pale" data-trial') == 2
    assert drawn.count('class="rt-ring"') == 1


def test_the_front_goes_from_the_top_to_the_right_edge() -> None:
    """The front is a step function: its time stays constant until the next point."""
    trials = trials_of([(100, 0.1, 0.99), (200, 0.05, 0.96), (300, 0.2, 0.9)])
    info = lay_out_plot(trials, ANY, chosen=None)
    first, second = info.points[0], info.points[1]
    path = list(info.front)
    assert path[0][0] == first.x
    assert path[1:4] == [(first.x, first.y), (second.x, first.y), (second.x, second.y)]
    assert path[4:] == [(WIDTH - 18, second.y)]


def test_what_looks_wrong_makes_no_front() -> None:
    """A trial below the required agreement is excluded from the front.

    A single trial has a front too.
    """
    trials = trials_of([(100, 0.05, 0.5), (200, 0.1, 0.99)])
    info = lay_out_plot(trials, Budgets(min_agreement=0.97), chosen=None)
    assert info.front[1] == (info.points[1].x, info.points[1].y)
    assert lay_out_plot(trials, Budgets(min_agreement=1.0), chosen=None).front == ()


def test_nothing_measured_is_said() -> None:
    """Without measurements, the plot shows the caller's text, escaped."""
    failed = Trial(number=0, settings=Settings(), failure=Message("no"), failure_kind="crash")
    info = lay_out_plot([failed], ANY, chosen=None)
    assert "&lt;none&gt;" in draw_plot(info, words={"none": "<none>"})


@pytest.mark.parametrize(
    ("mib", "time_s", "told"),
    [
        (900, 9.0, ("budget 900 MiB →", "budget 9.00 s ↑")),
        (20, 0.01, ("budget 20 MiB ←", "budget 10 ms ↓")),
    ],
)
def test_a_budget_beyond_an_axis_is_told_at_its_end(
    mib: int, time_s: float, told: tuple[str, str]
) -> None:
    """The budget is shown at the end of the axis, with its value and an arrow."""
    trials = trials_of([(100, 0.1, 0.99), (110, 0.12, 0.99)])
    budgets = Budgets(max_memory_bytes=mib * MIB, max_time_s=time_s)
    info = lay_out_plot(trials, budgets, chosen=None)
    assert info.memory_budget is not None
    assert (
        info.memory_budget.place in {info.memory.begin, info.memory.end} if info.memory else False
    )
    drawn = draw_plot(info)
    assert all(text in drawn for text in told)


def test_a_shape_is_of_the_agreement_as_it_is_written() -> None:
    """An agreement that is displayed as 0.980 has the shape of 0.98 and above."""
    info = lay_out_plot(trials_of([(100, 0.1, 0.97999), (100, 0.1, 0.9794)]), ANY, chosen=None)
    assert [point.shape for point in info.points] == ["circle", "triangle"]
