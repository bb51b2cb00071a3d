"""Mattes of at most 32 px per side for records: creating, writing, reading, comparing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips

from rembg_tuner.base.small_matte import SmallMatte, read_small_matte
from rembg_tuner.imaging.comparisons import shrink
from rembg_tuner.runtime.picture_processes import Comparer


def matte_of(*levels: int) -> SmallMatte:
    """Create a matte of one row."""
    return SmallMatte(width=len(levels), height=1, levels=bytes(levels))


def test_a_small_matte_is_read_as_it_was_written() -> None:
    """The text has no spaces, so YAML does not wrap it."""
    matte = matte_of(0, 3, 200, 255)
    assert read_small_matte(matte.to_text()) == matte
    assert " " not in matte.to_text()


@pytest.mark.parametrize(
    "text",
    ["", "2x1", "2x1:", "2x1:AAAA", "99x99:eJwDAAAAAAE=", "axb:eJwDAAAAAAE=", "0x0:eJwDAAAAAAE="],
)
def test_another_text_is_refused(text: str) -> None:
    """Invalid text raises an error."""
    with pytest.raises(ValueError, match="a small matte cannot be"):
        read_small_matte(text)


def test_a_text_that_unpacks_to_much_is_refused() -> None:
    """Decompression stops at the size of the matte."""
    bomb = SmallMatte(width=32, height=32, levels=bytes(2**20)).to_text()
    assert read_small_matte(bomb).levels == bytes(32 * 32)  # the rest stays compressed


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (matte_of(255, 0), matte_of(255, 0), 1.0),
        (matte_of(255, 0), matte_of(0, 255), 0.0),
        (matte_of(255, 255), matte_of(255, 0), 0.5),
        (matte_of(0, 0), matte_of(0, 0), 1.0),
        (matte_of(0, 0), matte_of(20, 20), 1.0),  # less than one cell in total counts as empty
    ],
)
def test_overlap(one: SmallMatte, other: SmallMatte, overlap: float) -> None:
    """The overlap is the intersection over union of opacities, and it is symmetric."""
    assert one.overlap(other) == other.overlap(one) == overlap


def test_mattes_of_two_sizes_are_not_compared() -> None:
    """Mattes of different sizes belong to different pictures, so comparing them is an error."""
    with pytest.raises(ValueError, match="2 x 1 and 1 x 1"):
        matte_of(0, 0).overlap(matte_of(0))


def test_a_matte_is_averaged_over_cells() -> None:
    """The longest side is 32 px, and a smaller matte keeps its size."""
    large = np.zeros((64, 128), np.float32)
    large[:, :64] = 1
    small = shrink(large)
    assert (small.width, small.height) == (32, 16)
    assert small.levels == (b"\xff" * 16 + b"\0" * 16) * 16
    assert shrink(np.full((2, 3), 0.5, np.float32)) == SmallMatte(
        width=3, height=2, levels=b"\x80" * 6
    )
    assert sum(shrink(np.full((333, 77), 0.2, np.float32)).levels) == 51 * 32 * 7


def test_the_comparing_process_makes_it(tmp_path: Path, comparer: Comparer) -> None:
    """It is computed from a cut-out's alpha, with or without a reference."""
    path = tmp_path / "cutout.png"
    alpha = pyvips.Image.black(100, 50).draw_rect(255, 0, 0, 50, 50, fill=True)
    pyvips.Image.black(100, 50, bands=3).bandjoin(alpha).copy(interpretation="srgb").write_to_file(
        str(path)
    )
    alone, same = comparer.compare(str(path), None), comparer.compare(str(path), str(path))
    assert alone.small_matte == same.small_matte is not None
    matte = read_small_matte(str(alone.small_matte))
    assert (matte.width, matte.height) == (32, 16)
    assert matte.levels[:15] == b"\xff" * 15
    assert matte.levels[17:32] == bytes(15)
