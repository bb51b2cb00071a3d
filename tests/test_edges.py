"""benchmarks/edges: matte errors of known values, and scenes that are always the same."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.edges import metrics, scenes


def _square(size: int = 20, *, low: int = 5, high: int = 15, value: float = 1.0) -> metrics.Matte:
    """Make a square of one opacity on nothing."""
    matte = np.zeros((size, size), np.float32)
    matte[low:high, low:high] = value
    return matte


def test_equal_mattes_have_no_error() -> None:
    """Every error of a matte against itself is 0, and its IoU is 1."""
    errors = metrics.all_errors(_square(), _square())
    assert errors == {"sad": 0, "mse": 0, "gradient": 0, "connectivity": 0, "iou": 1}


def test_sad_and_mse_are_sums_over_the_picture() -> None:
    """A 10 x 10 square at opacity 0.25 instead of 1 is off by 0.75 on 100 of 400 pixels."""
    errors = metrics.all_errors(_square(value=0.25), _square())
    assert errors["sad"] == pytest.approx(0.075)
    assert errors["mse"] == pytest.approx(0.75**2 * 100 / 400)


def test_the_gradient_of_a_step_is_the_gaussian() -> None:
    """A vertical edge against nothing sums the squares of a Gaussian of 1.4 px on each row."""
    edge = np.zeros((40, 60), np.float32)
    edge[:, 30:] = 1
    # The integral of the squared Gaussian is 1 / (2 sigma sqrt(pi)).
    expected = 40 / (2 * metrics.GRADIENT_SIGMA_PX * np.sqrt(np.pi)) / 1000
    found = metrics.gradient_error(edge, np.zeros_like(edge))
    assert found == pytest.approx(expected, rel=0.03)  # the Gaussian is sampled


def test_an_island_costs_connectivity() -> None:
    """A second opaque island of 9 pixels is not connected to the common region: its whole alpha counts."""
    with_island = _square()
    with_island[0:3, 0:3] = 1
    assert metrics.connectivity_error(with_island, _square()) == pytest.approx(0.009)


def test_a_connected_fringe_below_theta_costs_no_connectivity() -> None:
    """A fringe of 0.1 beside the square is less than theta away from it, so it counts as connected."""
    fringed = _square()
    fringed[4, 5:15] = 0.1
    assert metrics.connectivity_error(fringed, _square()) == 0


def test_the_overlap_counts_pixels() -> None:
    """Two squares of 100 pixels that share 50 have an IoU of 1 / 3; two empty mattes have 1."""
    shifted = np.roll(_square(), 5, axis=1)
    assert metrics.intersection_over_union(shifted, _square()) == pytest.approx(1 / 3)
    nothing = np.zeros((4, 4), np.float32)
    assert metrics.intersection_over_union(nothing, nothing) == 1


def test_mattes_of_two_shapes_are_refused() -> None:
    """The message names both shapes."""
    with pytest.raises(ValueError, match=r"got \(20, 20\) and \(10, 10\)"):
        metrics.sad(_square(), np.zeros((10, 10), np.float32))


def test_the_sets_share_no_subject_and_no_seed() -> None:
    """What thresholds are chosen on is not what they are scored on."""
    tuning, held_out = scenes.plan("tuning"), scenes.plan("held-out")
    for part in ("subjects", "background", "seed"):
        assert not {getattr(s, part) for s in tuning} & {getattr(s, part) for s in held_out}
    names = {name for s in tuning for name in s.subjects}
    assert not names & {name for s in held_out for name in s.subjects}
    assert {s.kind for s in tuning} == {s.kind for s in held_out}


def test_a_scene_is_always_the_same() -> None:
    """Its seed decides everything random in it, and its box fills the share that its class says."""
    scene = next(s for s in scenes.plan("held-out") if s.kind == "10 %" and s.place == "centre")
    (picture, alpha), (again, _) = scene.make(), scene.make()
    assert np.array_equal(picture, again)
    rows, columns = np.flatnonzero(alpha.max(axis=1)), np.flatnonzero(alpha.max(axis=0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    assert box / alpha.size == pytest.approx(0.10, abs=0.01)
