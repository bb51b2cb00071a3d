"""Front, hypervolume and recommendation, tested by laws and by small examples."""

from __future__ import annotations

import itertools
import json
import random
import re
from dataclasses import replace
from typing import Any

import pytest
from hypervolume import hypervolume
from hypothesis import given
from hypothesis import strategies as st
from made_trials import make_trial

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.budgets import Budgets, read_budgets
from rembg_tuner.tuning.recommend import dominates, front_of, recommend
from rembg_tuner.tuning.trials import Trial, label_of, read_trial

COORDINATE = st.integers(0, 6).map(float)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), max_size=12)


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float, float]]) -> None:
    """No point on the front is dominated, and every other point is."""
    front = set(front_of(points))
    for i, point in enumerate(points):
        assert (i in front) == (not any(dominates(other, point) for other in points))


@given(POINTS)
def test_hypervolume_counts_the_cells(points: list[tuple[float, float, float]]) -> None:
    """On integers, the hypervolume is the number of unit cells that some point dominates."""
    corner = 7
    cells = sum(
        any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points)
        for cell in itertools.product(range(corner), repeat=3)
    )
    assert hypervolume(points, (corner,) * 3) == pytest.approx(cells)


@given(POINTS, st.randoms(use_true_random=False))
def test_hypervolume_is_the_fronts_in_any_order(
    points: list[tuple[float, float, float]], chance: random.Random
) -> None:
    """Dominated points and the order do not matter, and an added point never reduces the volume."""
    corner = (7.0,) * 3
    whole = hypervolume(points, corner)
    assert hypervolume([points[i] for i in front_of(points)], corner) == pytest.approx(whole)
    shuffled = list(points)
    chance.shuffle(shuffled)
    assert hypervolume(shuffled, corner) == pytest.approx(whole)
    assert hypervolume(points[:-1], corner) <= whole + 1e-9


def test_the_cheapest_that_looks_right_is_taken() -> None:
    """The setting with the least memory times time among those with enough agreement is chosen."""
    trials = [
        make_trial(0, 100, 0.05, 0.90),  # cheapest, but the agreement is too low
        make_trial(1, 150, 0.10, 0.985),
        make_trial(2, 300, 0.09, 0.999),
    ]
    found = recommend(trials, Budgets())
    assert found.fits
    assert found.chosen is trials[1]
    assert found.runner_up is trials[2]
    assert "150 MiB, 100 ms, agreement 0.985" in str(found.why)
    assert str(found.why).endswith(
        "2 of the 3 measured settings keep the budgets (agreement at least 0.970); of these it has"
        " the least memory times time; that is 56% of the product of the costliest setting"
    )


def test_nearly_equal_ones_are_told_apart_by_agreement() -> None:
    """A few per cent of time are noise, and a higher agreement is not."""
    trials = [make_trial(0, 147, 0.069, 0.971), make_trial(1, 150, 0.069, 0.990)]
    found = recommend(trials, Budgets())
    assert found.chosen is trials[1]
    assert "of those within 5% of the least memory times time, it has the highest agreement" in str(
        found.why
    )


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        (Budgets(max_memory_bytes=120 * MIB, min_agreement=0.8), 0),
        (Budgets(max_time_s=0.06, min_agreement=0.8), 2),
        (Budgets(min_agreement=0.99), 2),
        (Budgets(models=frozenset({"u2netp"}), min_agreement=0.99), 2),
    ],
)
def test_budgets_are_kept(budgets: Budgets, expected: int) -> None:
    """Each budget alone changes the choice."""
    trials = [
        make_trial(0, 100, 0.10, 0.85),
        make_trial(1, 130, 0.07, 0.95),
        make_trial(2, 400, 0.05, 0.999),
    ]
    chosen = recommend(trials, budgets).chosen
    assert chosen is not None
    assert chosen.number == expected
    assert budgets.fits(chosen)
    assert budgets.misses(chosen) == []


def test_where_nothing_fits_the_nearest_says_what_it_misses() -> None:
    """The nearest setting is reported with each missed budget and its amount."""
    trials = [make_trial(0, 200, 0.2, 0.99), make_trial(1, 110, 0.2, 0.99)]
    found = recommend(trials, Budgets(max_memory_bytes=100 * MIB))
    assert not found.fits
    assert found.chosen is None
    assert found.nearest is trials[1]
    assert tuple(map(str, found.misses)) == ("peak 110 MiB of 100 MiB allowed",)
    assert (
        str(found.why)
        == "none of the 2 measured settings keeps the budgets (agreement at least 0.970, peak"
        " at most 100 MiB); the nearest is 96 px: 110 MiB, 200 ms, agreement 0.990; it misses peak 110 MiB"
        " of 100 MiB allowed"
    )


@pytest.mark.parametrize(
    ("trials", "budgets", "nearest"),
    [
        pytest.param(
            # 20 % over in memory and in time, against 30 % over in memory alone: the largest share
            # decides.
            [make_trial(0, 120, 0.12, 0.99), make_trial(1, 130, 0.05, 0.99)],
            Budgets(max_memory_bytes=100 * MIB, max_time_s=0.1),
            0,
            id="largest-share",
        ),
        pytest.param(
            # The allowed disagreement is 0.03: 0.94 exceeds it by 100 %, so 90 % more memory is
            # nearer.
            [make_trial(0, 50, 0.05, 0.94), make_trial(1, 190, 0.2, 0.99)],
            Budgets(max_memory_bytes=100 * MIB),
            1,
            id="agreement-in-shares-of-what-is-allowed",
        ),
        pytest.param(
            [make_trial(0, 50, 0.05, 0.96), make_trial(1, 190, 0.2, 0.99)],
            Budgets(max_memory_bytes=100 * MIB),
            0,
            id="agreement-a-third-over",
        ),
        pytest.param(
            [make_trial(0, 50, 0.05, 0.50), make_trial(1, 190, 0.2, 0.9999)],
            Budgets(min_agreement=1),
            1,
            id="only-1-will-do",
        ),
        pytest.param(
            [make_trial(0, 50, 0.05, 0.9999), make_trial(1, 990, 2.0, 1.0)],
            Budgets(min_agreement=1, max_time_s=0.1),
            1,
            id="only-1-will-do-and-time",
        ),
        pytest.param(
            [make_trial(0, 50, 0.05, None), make_trial(1, 190, 0.2, 0.2)],
            Budgets(),
            1,
            id="unknown-agreement-is-0",
        ),
        pytest.param(
            [make_trial(0, 120, 0.9, 0.99), make_trial(1, 120, 0.05, 0.99)],
            Budgets(max_memory_bytes=100 * MIB),
            1,
            id="equal-shares-the-cheaper",
        ),
    ],
)
def test_the_nearest_misses_by_the_smallest_largest_share(
    trials: list[Trial], budgets: Budgets, nearest: int
) -> None:
    """The shares are peak / max - 1, time / max - 1 and (1 - agreement) / (1 - min) - 1."""
    found = recommend(trials, budgets)
    assert found.chosen is None
    assert found.nearest is trials[nearest]


def test_where_nothing_was_measured_nothing_is_near() -> None:
    """Without trials, or with failed trials only, there is no nearest setting."""
    failed = Trial(
        number=0, settings=Settings(), failure=Message("it crashed"), failure_kind="crash"
    )
    for trials, said in (([], "nothing was measured"), ([failed], "every trial failed")):
        found = recommend(trials, Budgets())
        assert (found.chosen, found.nearest, found.misses) == (None, None, ())
        assert said in str(found.why)


def test_without_budgets_everything_fits() -> None:
    """A trial with an unknown agreement fits too."""
    trials = [make_trial(0, 100, 0.1, None), make_trial(1, 90, 0.1, 0.1)]
    found = recommend(trials, Budgets(min_agreement=None))
    assert found.chosen is trials[1]
    assert "2 of the 2 measured settings keep the budgets (any memory, time and agreement)" in str(
        found.why
    )


def test_a_hair_over_a_budget_is_told_exactly() -> None:
    """Values that round to the same number are written in full, not as "300 MiB of 300 MiB"."""
    trial = replace(make_trial(0, 300, 0.1, 0.9699), peak_bytes=300 * MIB + 1)
    budgets = Budgets(max_memory_bytes=300 * MIB)
    assert [str(one) for one in budgets.misses(trial)] == [
        "peak 314,572,801 bytes of 314,572,800 bytes allowed",
        "agreement 0.9699, at least 0.97 wanted",
    ]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_memory_bytes": 0}, "max_memory_bytes must be more than 0, or any, got 0"),
        ({"max_time_s": -1.0}, "max_time_s must be more than 0, or any, got -1.0"),
        ({"max_time_s": float("nan")}, "max_time_s must be more than 0, or any, got nan"),
        ({"min_agreement": 1.5}, "min_agreement must be from 0 to 1, or any, got 1.5"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(values: dict[str, Any], said: str) -> None:
    """A budget of zero and a share outside 0 to 1 are rejected."""
    with pytest.raises(SettingsError, match=re.escape(said)):
        Budgets(**values)


def test_budgets_read_back() -> None:
    """Budgets survive a JSON round trip, including unlimited ones."""
    for budgets in (
        Budgets(),
        Budgets(min_agreement=None),
        Budgets(max_memory_bytes=1, max_time_s=0.5, min_agreement=1, models=frozenset({"u2netp"})),
    ):
        assert read_budgets(json.loads(json.dumps(budgets.to_dict()))) == budgets


def test_what_failed_or_has_the_wrong_licence_is_never_recommended() -> None:
    """Only a measured setting with an allowed model is recommended."""
    failed = Trial(
        number=0, settings=Settings(), failure=Message("it crashed"), failure_kind="crash"
    )
    assert recommend([failed], Budgets()).chosen is None
    barred = make_trial(1, 100, 0.1, 1.0, model="bria-rmbg")
    found = recommend([barred], Budgets(models=frozenset({"u2netp"})))
    assert found.chosen is None
    assert "licence" in str(found.why)


def test_steps_tell_what_more_or_less_would_buy() -> None:
    """Each step is the next trial on the front in a direction, with its figures, listed once."""
    trials = [
        make_trial(0, 140, 0.11, 0.980),
        make_trial(1, 150, 0.08, 0.985),
        make_trial(2, 200, 0.07, 0.999),
    ]
    found = recommend(trials, Budgets())
    assert found.chosen is trials[1]
    told = {step.trial: str(step.text) for step in found.steps}
    assert set(told) == {0, 2}
    assert told[2].startswith("more memory: ")
    assert told[2].endswith("takes 200 MiB (+33%), 70 ms (-12%), agreement 0.999 (+0.014)")


def test_a_step_keeps_the_other_budgets_and_is_no_chance() -> None:
    """A step breaks no other budget and differs by more than the spread of a few runs."""
    trials = [
        make_trial(0, 150, 0.100, 0.985),
        make_trial(1, 153, 0.099, 0.985),  # 2 % more memory, 1 % less time: noise
        make_trial(2, 200, 0.070, 0.940),  # faster, but the agreement is too low
        make_trial(3, 320, 0.060, 0.990),  # faster, but over the memory budget
        make_trial(4, 290, 0.080, 0.990),
    ]
    budgets = Budgets(max_memory_bytes=300 * MIB)
    found = recommend(trials, budgets)
    assert found.chosen is trials[0]
    told = {step.trial: (step.budget, step.direction) for step in found.steps}
    assert told == {4: ("memory", "more"), 2: ("agreement", "less")}


def test_of_steps_as_far_the_cheapest_is_told() -> None:
    """A step that saves little memory and takes much more time is not suggested."""
    trials = [
        make_trial(0, 200, 0.325, 0.980),
        make_trial(1, 239, 0.699, 1.000),
        make_trial(2, 240, 0.474, 1.000),
    ]
    found = recommend(trials, Budgets())
    assert found.chosen is trials[0]
    assert {step.trial for step in found.steps} == {2}


def test_an_agreement_that_nobody_knows_meets_no_least_one() -> None:
    """An unknown agreement, as of a reference without foreground, fits only a minimum of 0."""
    trials = [make_trial(0, 150, 0.1, None)]
    found = recommend(trials, Budgets())
    assert not found.fits
    assert "the reference shows no clear foreground" in str(found.why)
    assert recommend(trials, Budgets(min_agreement=0.0)).fits


def test_a_trial_reads_back_and_is_named_by_what_differs() -> None:
    """A trial survives a JSON round trip, and its label omits knobs that the engine lacks."""
    trial = make_trial(3, 100, 0.1, 0.9, cpu_mem_arena=False, intra_op_threads=1)
    assert read_trial(trial.to_dict()) == trial
    names = ("engine", "cpu_mem_arena", "intra_op_threads", "network_size")
    assert (
        str(label_of(trial.settings, names)) == "onnxruntime · no cpu mem arena · 1 thread · 160 px"
    )
    assert str(label_of(Settings(engine="openvino"), names)) == "openvino · all threads · own size"
