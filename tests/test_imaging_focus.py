"""The rule that chooses the focus box; each step is tested with handmade mattes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rembg_tuner.base.boxes import Area, Box
from rembg_tuner.imaging.components import components_of, enclosed
from rembg_tuner.imaging.focus import find_subject, look_again, look_at_box
from rembg_tuner.imaging.matte import MaskRows, PictureMatte, PlacedMatte, scale_to_matte

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from rembg_tuner.imaging.matte import Channel, Mask

PICTURE = Box(0, 0, 640, 320)
SIDE = 64  # of the simulated network


def _answer(
    *subjects: tuple[float, float, float, float], box: Box = PICTURE, value: float = 1.0
) -> Channel:
    """Return the network's answer for a box that contains bright rectangles, in px."""
    raw = np.zeros((SIDE, SIDE), np.float32)
    for left, top, right, bottom in subjects:
        x0, x1 = ((x - box.left) / box.width * SIDE for x in (left, right))
        y0, y1 = ((y - box.top) / box.height * SIDE for y in (top, bottom))
        raw[max(0, round(y0)) : max(0, round(y1)), max(0, round(x0)) : max(0, round(x1))] = value
    return raw


class _Network:
    """A fake network that returns given answers and records the boxes."""

    def __init__(self, *answers: Callable[[Box], Channel]) -> None:
        """Create a network that returns these answers in turn."""
        self._answers = list(answers)
        self.boxes: list[Box] = []

    def __call__(self, box: Box) -> Channel:
        """Return the next answer for a box."""
        self.boxes.append(box)
        return self._answers.pop(0)(box)


def _mask(matte: PictureMatte, width: int = 640, height: int = 320) -> Mask:
    """Compute a whole mask."""
    return np.asarray(matte.mask(width, height).rows(0, height))


def _sees(
    *subjects: tuple[float, float, float, float], value: float = 1.0
) -> Callable[[Box], Channel]:
    """Return an answer that contains these rectangles."""
    return lambda box: _answer(*subjects, box=box, value=value)


def _never(_box: Box) -> Channel:
    """Fail, since no second run is expected."""
    raise AssertionError


SMALL = (200, 100, 280, 180)  # 80 x 80 px of 640 x 320: with a margin of 10 % a share of 0.045
LARGE = (100, 50, 500, 250)


@pytest.mark.parametrize(
    ("first", "max_share", "groups"),
    [
        pytest.param(_answer(LARGE), 0.20, 1, id="share-above-the-cap"),
        pytest.param(_answer(SMALL), 0.04, 1, id="cap-below-a-small-share"),
        pytest.param(_answer(SMALL, value=0.4), 0.20, 0, id="nothing-above-half"),
        pytest.param(np.zeros((SIDE, SIDE), np.float32), 0.20, 0, id="nothing-at-all"),
        pytest.param(
            _answer(*((x, 20, x + 40, 60) for x in range(0, 640, 120))), 0.20, 6, id="six-groups"
        ),
    ],
)
def test_the_first_look_stays_as_it_is(first: Channel, max_share: float, groups: int) -> None:
    """Without a second run the mask equals that of the first matte exactly."""
    focused = look_again(first, PICTURE, max_share=max_share, look=_never)
    plain = MaskRows(scale_to_matte(first), width=640, height=320).rows(0, 320)
    assert np.array_equal(_mask(focused.matte), plain)
    assert focused.passes == 1
    assert len(focused.subject.groups) == groups


def test_a_second_look_that_finds_nothing_keeps_the_first() -> None:
    """A raw maximum below 0.5 would be stretched noise, so the first matte is kept exactly."""
    first = _answer(SMALL)
    network = _Network(_sees(SMALL, value=0.49))
    focused = look_again(first, PICTURE, max_share=0.20, look=network)
    assert focused.decisions == ("faint",)
    assert focused.passes == 2
    assert np.array_equal(_mask(focused.matte), _mask(PictureMatte.of(first)))


def test_a_second_look_that_agrees_is_taken() -> None:
    """The network runs on the box with a margin of 20 % on each edge.

    Its matte is used in the box, and the mask is 0 outside.
    """
    first = _answer(SMALL, (600, 300, 610, 305))  # and a speck of 0.5 % of its area
    network = _Network(_sees(SMALL))
    focused = look_again(first, PICTURE, max_share=0.20, look=network)
    assert network.boxes == [Box(184, 84, 112, 112)]
    assert focused.decisions == ("second",)
    assert focused.passes == 2
    assert focused.subject.box == Box(192, 92, 96, 96)
    assert focused.subject.share == pytest.approx(96 * 96 / (640 * 320))
    mask = _mask(focused.matte)
    assert mask[140, 240] == 255
    mask[84:196, 184:296] = 0
    assert not mask.any()


@pytest.mark.parametrize(
    ("second", "decision"),
    [
        pytest.param([(200, 100, 280, 176)], "second", id="loses-4-percent"),
        pytest.param([(200, 100, 280, 170)], "differs", id="loses-12-percent"),
        pytest.param([SMALL, (184, 110, 190, 150)], "second", id="gains-4-percent"),
        pytest.param([SMALL, (184, 90, 194, 190)], "differs", id="gains-16-percent"),
        pytest.param(
            [
                (200, 100, 280, 115),
                (200, 135, 280, 180),
                (200, 100, 215, 180),
                (265, 100, 280, 180),
            ],
            "second",
            id="opens-a-hole-of-16-percent",
        ),
        pytest.param(
            [
                (200, 100, 280, 105),
                (200, 175, 280, 180),
                (200, 100, 205, 180),
                (275, 100, 280, 180),
            ],
            "differs",
            id="opens-a-hole-of-76-percent",
        ),
        pytest.param(
            [(200 + x, 100, 208 + x, 180) for x in range(0, 80, 10)], "second", id="opens-thin-gaps"
        ),
    ],
)
def test_a_second_look_may_not_differ_by_a_large_part(
    second: list[tuple[float, float, float, float]], decision: str
) -> None:
    """A part of more than 5 % lost or gained, or a hole of more than 30 %, rejects the second run.

    The mask then equals that of the first matte exactly.
    """
    first = _answer(SMALL)
    focused = look_again(first, PICTURE, max_share=0.20, look=_Network(_sees(*second)))
    assert focused.decisions == (decision,)
    assert focused.passes == 2
    is_first = np.array_equal(_mask(focused.matte), _mask(PictureMatte.of(first)))
    assert is_first == (decision == "differs")


def test_subjects_apart_are_looked_at_alone() -> None:
    """Subjects more than 6 % of the long side apart get their own boxes, joined by the maximum."""
    left, right = (40, 40, 120, 120), (400, 200, 460, 260)
    network = _Network(_sees(left), _sees(right))
    focused = look_again(_answer(left, right), PICTURE, max_share=0.20, look=network)
    assert network.boxes == [Box(24, 24, 112, 112), Box(388, 188, 84, 84)]
    assert focused.decisions == ("second", "second")
    assert focused.passes == 3
    assert focused.subject.box == Box(32, 32, 434, 234)
    assert focused.subject.share == pytest.approx((96 * 96 + 72 * 72) / (640 * 320))
    mask = _mask(focused.matte)
    assert mask[80, 80] == mask[230, 430] == 255
    assert mask[80, 430] == 0


def test_one_of_two_subjects_keeps_the_first_look() -> None:
    """The share limit and the raw maximum are checked for each subject."""
    small, large = (40, 40, 120, 120), (300, 20, 620, 300)
    network = _Network(_sees(small))
    focused = look_again(_answer(small, large), PICTURE, max_share=0.20, look=network)
    assert focused.decisions == ("too_large", "second")
    mask = _mask(focused.matte)
    assert mask[80, 80] == mask[160, 450] == 255
    faint = _Network(_sees(small, value=0.1))
    focused = look_again(_answer(small, large), PICTURE, max_share=0.20, look=faint)
    assert focused.decisions == ("too_large", "faint")
    assert np.array_equal(_mask(focused.matte), _mask(PictureMatte.of(_answer(small, large))))


def test_subjects_close_together_are_one() -> None:
    """Components at most 6 % of the long side apart share a box, transitively."""
    parts = [(100, 100, 140, 140), (170, 100, 210, 140), (240, 100, 280, 140)]
    assert find_subject(_answer(*parts), PICTURE).groups == (Box(100, 100, 180, 40),)


def test_a_box_by_hand_needs_no_first_look() -> None:
    """The second matte replaces the box, and the mask is 0 outside."""
    box = Box(300, 100, 100, 100)
    focused = look_at_box(_answer((0, 0, 640, 320), box=box) * 0.9, box, PICTURE)
    assert focused.passes == 1
    assert focused.subject.box == box
    assert focused.subject.share == pytest.approx(10_000 / (640 * 320))
    mask = _mask(focused.matte)
    mask[100:200, 300:400] = 0
    assert not mask.any()


def _slow_components(binary: npt.NDArray[np.bool_]) -> list[tuple[int, int, int, int, int]]:
    """Find components by flood fill, pixel by pixel."""
    left, found = {(int(y), int(x)) for y, x in np.argwhere(binary)}, []
    while left:
        grown = waiting = {left.pop()}
        while waiting:
            waiting = {
                (y + dy, x + dx) for y, x in waiting for dy in (-1, 0, 1) for dx in (-1, 0, 1)
            } & left
            left -= waiting
            grown = grown | waiting
        ys, xs = [y for y, _ in grown], [x for _, x in grown]
        found.append((len(grown), min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    return sorted(found)


@settings(deadline=None, max_examples=80)
@given(w=st.integers(1, 30), h=st.integers(1, 30), share=st.floats(0, 1), seed=st.integers(0, 999))
@example(w=1, h=1, share=1.0, seed=0)
def test_components_are_a_floods(w: int, h: int, share: float, seed: int) -> None:
    """The area and box of every component equal those of a flood fill."""
    binary = np.random.default_rng(seed).random((h, w)) < share
    found = [(c.area, c.left, c.top, c.right, c.bottom) for c in components_of(binary)]
    assert sorted(found) == _slow_components(binary)
    assert [area for area, *_ in found] == sorted((area for area, *_ in found), reverse=True)


def test_a_hole_is_what_does_not_reach_the_border() -> None:
    """A component is enclosed if no pixel is in the first or last row or column."""
    rows = ["#....", "..##.", "..##.", ".#..."]
    binary = np.array([[pixel == "#" for pixel in row] for row in rows])
    assert not enclosed(binary).any()  # it reaches the last row through a corner
    binary[3, 1] = False
    assert np.argwhere(enclosed(binary)).tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    assert not enclosed(np.zeros((3, 3), bool)).any()


_SHARES = st.floats(0, 1).map(lambda x: round(x, 3))


@st.composite
def _areas(draw: st.DrawFn) -> Area:
    """Return a matte of a part of the picture."""
    left, top = draw(_SHARES) * 0.9, draw(_SHARES) * 0.9
    return Area(
        left,
        top,
        left + (1 - left) * max(0.05, draw(_SHARES)),
        top + (1 - top) * max(0.05, draw(_SHARES)),
    )


@settings(deadline=None, max_examples=80)
@given(
    areas=st.lists(_areas(), min_size=3, max_size=3),
    width=st.integers(1, 200),
    height=st.integers(1, 120),
    rows=st.data(),
)
def test_rows_of_joined_mattes_do_not_depend_on_where_the_reader_cuts(
    areas: list[Area], width: int, height: int, rows: st.DataObject
) -> None:
    """Any range of rows equals those rows of the whole mask.

    A matte counts only within its part.
    """
    rng = np.random.default_rng(5)
    placed = [PlacedMatte(matte=rng.random((16, 16), np.float32), spans=a, within=a) for a in areas]
    matte = PictureMatte(tuple(placed))
    mask = matte.mask(width, height)
    top = rows.draw(st.integers(0, height - 1))
    bottom = rows.draw(st.integers(top + 1, height))
    whole = mask.rows(0, height)
    assert whole.shape == (height, width)
    assert np.array_equal(mask.rows(top, bottom), whole[top:bottom])
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    is_covered = np.zeros((height, width), bool)
    for a in areas:
        is_covered |= ((a.top <= y) & (y < a.bottom))[:, None] & ((a.left <= x) & (x < a.right))
    assert not whole[~is_covered].any()
    masks = [PictureMatte((one,)).mask(width, height).rows(0, height) for one in placed]
    assert np.array_equal(whole, np.maximum.reduce(masks))


def test_a_placed_matte_has_no_seam_with_itself() -> None:
    """Half of a matte, placed where it belongs, gives half of the whole matte's mask."""
    matte = np.random.default_rng(1).random((32, 32), np.float32)
    matte[:, 9:23] = 0.5  # so that the cut has the same neighbours on both sides
    half = PlacedMatte(matte=matte[:, :16], spans=Area(0, 0, 0.5, 1), within=Area(0, 0, 0.5, 1))
    whole = PictureMatte.of(matte).mask(640, 480).rows(0, 480)
    placed = PictureMatte((half,)).mask(640, 480).rows(0, 480)
    assert np.array_equal(placed[:, :320], whole[:, :320])
    assert not placed[:, 320:].any()


def test_a_matte_is_read_as_it_was_saved(tmp_path: Path) -> None:
    """The preview and the cut-out use the same mask."""
    first = _answer((200, 100, 280, 140), (500, 100, 600, 140))
    network = _Network(*[_sees((200, 100, 280, 140), (500, 100, 600, 140))] * 2)
    matte = look_again(first, PICTURE, max_share=0.20, look=network).matte
    assert len(matte.subjects) == 2
    matte.save(tmp_path / "matte.npy")
    assert np.array_equal(
        _mask(PictureMatte.load(tmp_path / "matte.npy"), 99, 70), _mask(matte, 99, 70)
    )


def test_a_large_box_lies_where_a_jpegs_decoder_can_cut_it_out() -> None:
    """The edges are multiples of 8 px or the picture's; a small box is unchanged."""
    picture = Box(0, 0, 6403, 3205)
    first = _answer((2000, 1000, 3203, 2001), box=picture)
    network = _Network(lambda box: _answer((2000, 1000, 3203, 2001), box=box))
    focused = look_again(first, picture, max_share=0.20, look=network)
    (box,) = network.boxes
    assert focused.decisions == ("second",)
    assert [edge % 8 for edge in (box.left, box.top, box.right, box.bottom)] == [0, 0, 0, 0]
    assert box == find_subject(first, picture).groups[0].grown(0.2, picture).aligned(8, picture)
