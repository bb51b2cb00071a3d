"""The benchmark benchmarks/edges: matte errors with known values, and reproducible scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import pyvips
from PIL import Image
from test_engines import opened

from benchmarks.edges import metrics, scenes
from benchmarks.edges.drawing import Canvas, Paint, blur
from rembg_tuner.base.boxes import Box
from rembg_tuner.imaging.focus import look_again
from rembg_tuner.imaging.network_input import normalise
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.settings.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from rembg_tuner.imaging.matte import Channel


def _square(size: int = 20, *, low: int = 5, high: int = 15, value: float = 1.0) -> metrics.Matte:
    """Return a matte with a square of one opacity on 0."""
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
    """A second opaque island of 9 pixels is not connected, so its whole alpha counts."""
    with_island = _square()
    with_island[0:3, 0:3] = 1
    assert metrics.connectivity_error(with_island, _square()) == pytest.approx(0.009)


def test_a_connected_fringe_below_theta_costs_no_connectivity() -> None:
    """A fringe of 0.1 beside the square is less than theta away, so it counts as connected."""
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
    """The scenes that choose thresholds share nothing with the scenes that score them."""
    tuning, held_out = scenes.plan("tuning"), scenes.plan("held-out")
    for part in ("subjects", "background", "seed"):
        assert not {getattr(s, part) for s in tuning} & {getattr(s, part) for s in held_out}
    names = {name for s in tuning for name in s.subjects}
    assert not names & {name for s in held_out for name in s.subjects}
    assert {s.kind for s in tuning} == {s.kind for s in held_out}


def test_a_scene_is_always_the_same() -> None:
    """A scene depends only on its seed, and its box fills the share of its class."""
    scene = next(s for s in scenes.plan("held-out") if s.kind == "10 %" and s.place == "centre")
    (picture, alpha), (again, _) = scene.make(), scene.make()
    assert np.array_equal(picture, again)
    rows, columns = np.flatnonzero(alpha.max(axis=1)), np.flatnonzero(alpha.max(axis=0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    assert box / alpha.size == pytest.approx(0.10, abs=0.01)


def _thin_legged() -> tuple[npt.NDArray[np.uint8], metrics.Matte]:
    """Draw an insect out of focus before a wall, and its alpha; its box is 5 % of the picture."""
    canvas = Canvas(width=640, height=480, rng=np.random.default_rng(0))
    paint = Paint(colour=(0.25, 0.31, 0.27), light=0, grain=0)

    def at(x: float, y: float) -> tuple[float, float]:
        return (372 + 150 * x) / 640, (122 + 118 * y) / 480

    for side in (-1, 1):
        for reach, y, end in ((0.35, 0.4, 0.02), (0.44, 0.5, 0.5), (0.38, 0.58, 0.98)):
            joint = at(0.5 + side * reach * 0.7, (y + end) / 2 - 0.1)
            leg = [at(0.5, y), joint, at(0.5 + side * reach * 1.13, end)]
            canvas.line(leg, paint, width=3.5 / 640)
    for y, wide, high in ((0.68, 0.106, 0.16), (0.47, 0.074, 0.085), (0.33, 0.064, 0.074)):
        canvas.ellipse((*at(0.5 - wide, y - high), *at(0.5 + wide, y + high)), paint)
    alpha = blur(canvas.alpha, 3)
    wall = np.linspace((0.73, 0.87, 0.73), (0.55, 0.64, 0.62), 306)
    floor = np.linspace((0.30, 0.25, 0.30), (0.64, 0.65, 0.65), 174)
    behind = np.concatenate([wall, floor])[:, None]
    picture = alpha[..., None] * np.asarray(paint.colour) + (1 - alpha[..., None]) * behind
    picture += np.random.default_rng(1).normal(0, 0.01, picture.shape)
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8), alpha


def test_a_thin_legged_subject_outlasts_a_second_look_that_finds_nothing(own_cache: Path) -> None:
    """u2netp finds the insect in the whole picture, not in its box, so the first matte stays."""
    picture, alpha = _thin_legged()
    whole = Box(0, 0, 640, 480)
    model = find_model("u2netp")
    engine = opened(Settings(engine="onnxruntime"), model, own_cache)
    strongest = []

    def look(box: Box) -> Channel:
        part = picture[box.top : box.bottom, box.left : box.right]
        small = np.asarray(Image.fromarray(part).resize((320, 320), Image.Resampling.LANCZOS))
        image = pyvips.Image.new_from_array(small)
        raw: Channel = engine.predict(normalise(image, side=320, mean=model.mean, std=model.std))[
            0, 0
        ]
        strongest.append(float(raw.max()))
        return raw

    first = look(whole)
    focused = look_again(first, whole, max_share=0.20, look=look)
    assert strongest[0] > 0.9
    assert strongest[1] < 0.5
    assert focused.decisions == ("faint",)
    mask = focused.matte.mask(640, 480).rows(0, 480).astype(np.float32) / np.float32(255)
    assert metrics.intersection_over_union(mask, alpha) > 0.3
