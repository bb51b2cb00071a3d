"""Focus: where the subject is small, the network looks again at its part of the picture.

A subject that fills 5 % of a picture is seen by a network of 320 px in some 70 px. This module
holds the rule that decides where to look again and which answers to believe. It knows no engine and
reads no picture: it asks for looks at boxes, and takes what the network answered.

A second look is sharper, but it can lose a part of the subject, or fill a hole: near by, a pot is
no part of its plant. The first look is coarse but sees the whole, so it decides what there is: the
second is taken only where the two differ by no large connected part. The thresholds were chosen on
the tuning scenes of `benchmarks/edges`, and scored on others (docs/focus.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rembg_tuner.base.boxes import Area, Box
from rembg_tuner.imaging.components import components_of, enclosed
from rembg_tuner.imaging.lanczos import lanczos_kernel
from rembg_tuner.imaging.matte import MIN_FOREGROUND, PictureMatte, PlacedMatte, scale_to_matte

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rembg_tuner.imaging.components import Binary
    from rembg_tuner.imaging.matte import Channel, Matte

# Why a subject's matte is what it is: the first look, since its box is too large a share of the
# picture, since the second look found nothing, or since the second differs from it by a large part;
# or the second look.
Decision = Literal["too_large", "faint", "differs", "second"]

_FOREGROUND = 0.5  # of a matte: more likely foreground than not
_SURE = 0.9  # of a matte: surely foreground
_NOT = 0.1  # of a matte: surely background
_MIN_COMPONENT = 0.02  # of the largest component's area: smaller ones are noise
_GROUP_GAP = 0.06  # of the picture's long side: components further apart are subjects of their own
_MAX_GROUPS = 4
_SHARE_MARGIN = (
    0.10  # of the box's sides, on each edge: for the share that is compared with the cap
)
_LOOK_MARGIN = 0.20  # the same: what the second look sees
_ALIGNMENT = 8  # px: how far a JPEG's decoder shrinks
_ALIGNED_SIDE = 192  # px: a smaller box is not shrunk
# Of the pixels above 0.5 in the first look, what one connected part may be at which the second
# differs:
_MAX_LOST = 0.05  # surely subject in the first, background in the second
_MAX_OPENED = 0.30  # likewise, but a hole in the second: the first fills handles, spokes and slats
_MAX_GAINED = 0.05  # surely background in the first, subject in the second


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a matte of the whole picture says of where the subject is.

    Attributes:
        groups: the box of each group of components, without a margin; empty: nothing above 0.5.
        box: around all of them, each with a margin of 10 %; None: nothing above 0.5.
        share: of the picture's pixels, the groups' boxes with that margin, summed up; None
            likewise.
    """

    groups: tuple[Box, ...]
    box: Box | None
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Focused:
    """What came of the looks at a picture.

    Attributes:
        matte: of the whole picture.
        passes: how often the network ran; 1: the first look alone.
        subject: where the subject is, as the first look says.
        decisions: one for each group of components; none where the first look shows no or too many
            groups.
    """

    matte: PictureMatte
    passes: int
    subject: Subject
    decisions: tuple[Decision, ...]

    def to_dict(self) -> dict[str, int | float | list[int] | None]:
        """Return what a Result tells of it.

        Passes, box (left, top, width, height in px) and share.
        """
        box, share = self.subject.box, self.subject.share
        return {
            "passes": self.passes,
            "box": None if box is None else box.to_list(),
            "share": None if share is None else round(share, 4),
        }


def find_subject(first: Channel, picture: Box) -> Subject:
    """Find the subject's boxes in the network's answer for a whole picture.

    Args:
        first: float32 (h, w), the raw foreground.
        picture: the whole picture's box.
    """
    if float(first.max()) <= MIN_FOREGROUND:
        return Subject(groups=(), box=None, share=None)
    found = components_of(scale_to_matte(first) > _FOREGROUND)
    h, w = first.shape
    boxes = [
        _box_between(one.left / w, one.top / h, one.right / w, one.bottom / h, picture)
        for one in found
        if one.area >= _MIN_COMPONENT * found[0].area
    ]
    groups = _grouped(boxes, _GROUP_GAP * max(picture.width, picture.height))
    wide = [box.grown(_SHARE_MARGIN, picture) for box in groups]
    around = wide[0]
    for box in wide[1:]:
        around = around.joined(box)
    share = sum(box.pixels for box in wide) / picture.pixels
    return Subject(groups=tuple(groups), box=around, share=min(1.0, share))


def _box_between(left: float, top: float, right: float, bottom: float, picture: Box) -> Box:
    """Return the box of whole pixels around a part of the picture, given in shares of its sides."""
    x0, y0 = int(left * picture.width), int(top * picture.height)
    x1, y1 = int(np.ceil(right * picture.width)), int(np.ceil(bottom * picture.height))
    return Box(x0, y0, min(x1, picture.width) - x0, min(y1, picture.height) - y0)


def _grouped(boxes: list[Box], gap: float) -> list[Box]:
    """Join boxes that are at most `gap` px apart, until all that are left are further apart."""
    groups: list[Box] = []
    for box in boxes:
        joined = box
        while near := [other for other in groups if other.distance(joined) <= gap]:
            groups = [other for other in groups if other not in near]
            for other in near:
                joined = joined.joined(other)
        groups.append(joined)
    return groups


def looks(first: Channel, picture: Box, max_share: float) -> Generator[Box, Channel, Focused]:
    """Decide where to look again, step by step: yield a box, be sent the network's answer for it.

    A generator, so that the looks at several pictures can be run through the network together.

    Args:
        first: float32 (h, w), the raw foreground of the whole picture.
        picture: the whole picture's box, upright, px.
        max_share: a subject whose box is a larger share of the picture is not looked at again.

    Yields:
        The part of the picture to look at.

    Returns:
        The matte, and how it came about.
    """
    subject = find_subject(first, picture)
    matte = scale_to_matte(first)
    whole = PictureMatte.of(matte)
    if not 1 <= len(subject.groups) <= _MAX_GROUPS:
        return Focused(matte=whole, passes=1, subject=subject, decisions=())
    subjects, decisions, passes = [], [], 1
    for group in subject.groups:
        placed, decision = yield from _look_at(matte, group, picture, max_share)
        subjects.append(placed)
        decisions.append(decision)
        passes += decision != "too_large"
    has_second = "second" in decisions
    return Focused(
        matte=PictureMatte(tuple(subjects)) if has_second else whole,
        passes=passes,
        subject=subject,
        decisions=tuple(decisions),
    )


def _look_at(
    matte: Matte, group: Box, picture: Box, max_share: float
) -> Generator[Box, Channel, tuple[PlacedMatte, Decision]]:
    """Look again at one subject; return the look to believe, and why."""
    near = _readable(group.grown(_LOOK_MARGIN, picture), picture)
    first = PlacedMatte(matte=matte, within=near.area_in(picture))
    if group.grown(_SHARE_MARGIN, picture).pixels > max_share * picture.pixels:
        return first, "too_large"
    answer = yield near
    if float(answer.max()) < MIN_FOREGROUND:
        return first, "faint"
    second = _placed(answer, near, picture)
    return (first, "differs") if _differs(matte, second) else (second, "second")


def _readable(box: Box, picture: Box) -> Box:
    """Grow a large box to where a decoder that shrinks eight times can cut it out exactly."""
    is_large = min(box.width, box.height) >= _ALIGNED_SIDE
    return box.aligned(_ALIGNMENT, picture) if is_large else box


def _placed(answer: Channel, box: Box, picture: Box) -> PlacedMatte:
    """Put the network's answer for a box to its place; 0 outside."""
    area = box.area_in(picture)
    return PlacedMatte(matte=scale_to_matte(answer), spans=area, within=area)


def _differs(first: Matte, second: PlacedMatte) -> bool:
    """Return whether a second look loses or gains a large connected part of what the first saw in its box."""
    h, w = second.matte.shape
    before = _part_of(first, second.spans, width=w, height=h)
    is_now = second.matte > _FOREGROUND
    is_hole = enclosed(~is_now)
    is_lost, is_gained = (before > _SURE) & ~is_now, (before < _NOT) & is_now
    seen = int(np.count_nonzero(before > _FOREGROUND))
    limits = (
        (is_lost & ~is_hole, _MAX_LOST),
        (is_lost & is_hole, _MAX_OPENED),
        (is_gained, _MAX_GAINED),
    )
    return any(_largest(part) > limit * seen for part, limit in limits)


def _largest(marked: Binary) -> int:
    """Return the number of pixels of the largest connected part; 0: none is marked."""
    found = components_of(marked)
    return found[0].area if found else 0


def _part_of(matte: Matte, part: Area, *, width: int, height: int) -> Matte:
    """Enlarge a part of a matte to a size.

    Args:
        matte: float32 (h, w) in [0, 1], over the whole picture.
        part: of the picture.
        width: of the result, px.
        height: of the result, px.

    Returns:
        float32 (height, width); a little below 0 and above 1 beside hard edges.
    """
    h, w = matte.shape
    across, down = part.right - part.left, part.bottom - part.top
    columns = lanczos_kernel(w, width / across, 0, width, origin=-part.left * width / across)
    lines = lanczos_kernel(h, height / down, 0, height, origin=-part.top * height / down)
    wide = matte[:, columns.first : columns.last] @ columns.weights.T
    enlarged: Matte = lines.weights @ wide[lines.first : lines.last]
    return enlarged


def look_again(
    first: Channel, picture: Box, *, max_share: float, look: Callable[[Box], Channel]
) -> Focused:
    """Run the whole rule on one picture.

    Args:
        first: float32 (h, w), the raw foreground of the whole picture.
        picture: the whole picture's box, upright, px.
        max_share: see `looks`.
        look: runs the network on a box, stretched to its square; returns the raw foreground,
            float32 (h, w).
    """
    steps = looks(first, picture, max_share)
    try:
        box = next(steps)
        while True:
            box = steps.send(look(box))
    except StopIteration as end:
        focused: Focused = end.value
        return focused


def look_once(first: Channel, picture: Box) -> Focused:
    """Make the matte of the one look at the whole picture, and find where the subject is."""
    return Focused(
        matte=PictureMatte.of(scale_to_matte(first)),
        passes=1,
        subject=find_subject(first, picture),
        decisions=(),
    )


def look_at_box(answer: Channel, box: Box, picture: Box) -> Focused:
    """Make the matte of one look at a box that was given, 0 outside it."""
    return Focused(
        matte=PictureMatte((_placed(answer, box, picture),)),
        passes=1,
        subject=Subject(groups=(box,), box=box, share=box.pixels / picture.pixels),
        decisions=(),
    )
