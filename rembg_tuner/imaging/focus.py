"""Focus: if the subject is small, run the network again on its part of the picture.

A subject that fills 5 % of a picture covers about 70 px of a network's input of 320 px. This module
contains the rule that selects the boxes for a second look (another run of the network), and decides
whether to use its answer. It is independent of engines and does not read pictures: it yields boxes,
and receives the network's answers.

A second look is sharper, but it can lose a part of the subject or fill a hole. For example, a
plant's pot may no longer belong to the subject. The first look is coarse but covers the whole
picture, so it determines the subject. The second look is used only if the two do not differ by a
large connected part. The thresholds were selected on the tuning scenes of `benchmarks/edges`, and
evaluated on other scenes (docs/focus.md).
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

# The look used for a subject, and the reason. The first look: its box is too large a share of the
# picture ("too_large"), the second look found nothing ("faint"), or the second differs from it by a
# large part ("differs"). Or the second look.
Decision = Literal["too_large", "faint", "differs", "second"]

_FOREGROUND = 0.5  # matte value: more likely foreground than not
_SURE = 0.9  # matte value: definitely foreground
_NOT = 0.1  # matte value: definitely background
_MIN_COMPONENT = 0.02  # as a share of the largest component's area; smaller ones are noise
_GROUP_GAP = 0.06  # as a share of the picture's long side; components further apart are separate
_MAX_GROUPS = 4
_SHARE_MARGIN = (
    0.10  # as a share of the box's sides, on each edge; used for the share of the picture
)
_LOOK_MARGIN = 0.20  # likewise; used for the second look
_ALIGNMENT = 8  # px, the largest factor by which a JPEG's decoder shrinks
_ALIGNED_SIDE = 192  # px; a smaller box is not shrunk
# Maximum size of one connected part in which the second look differs, as a share of the pixels
# above 0.5 in the first look:
_MAX_LOST = 0.05  # definitely subject in the first, background in the second
_MAX_OPENED = 0.30  # likewise, a hole in the second: the first fills handles, spokes and slats
_MAX_GAINED = 0.05  # definitely background in the first, subject in the second


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The location of the subject according to a matte of the whole picture.

    Attributes:
        groups: the box of each group of components, without a margin; empty: no pixel above 0.5.
        box: around all groups, each with a margin of 10 %; None: no pixel above 0.5.
        share: sum of the groups' boxes with that margin, as a share of the picture, at most 1;
            None: no pixel above 0.5.
    """

    groups: tuple[Box, ...]
    box: Box | None
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Focused:
    """The result of all looks at a picture.

    Attributes:
        matte: of the whole picture.
        passes: how often the network ran; 1: the first look only.
        subject: the location of the subject in the first look.
        decisions: one for each group of components; empty if the first look shows no groups or too
            many.
    """

    matte: PictureMatte
    passes: int
    subject: Subject
    decisions: tuple[Decision, ...]

    def to_dict(self) -> dict[str, int | float | list[int] | None]:
        """Return the fields for a Result: passes, box and share.

        `box` is left, top, width and height in px; `share` is of the picture, 0 to 1.
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
    """Return the box of whole pixels around a part of the picture, given as shares of its sides."""
    x0, y0 = int(left * picture.width), int(top * picture.height)
    x1, y1 = int(np.ceil(right * picture.width)), int(np.ceil(bottom * picture.height))
    return Box(x0, y0, min(x1, picture.width) - x0, min(y1, picture.height) - y0)


def _grouped(boxes: list[Box], gap: float) -> list[Box]:
    """Join boxes that are at most `gap` px apart, until all remaining boxes are further apart."""
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
    """Yield the boxes for second looks, and receive the network's answer for each by `send`.

    A generator, so the looks at several pictures can share one run of the network.

    Args:
        first: float32 (h, w), the raw foreground of the whole picture.
        picture: the whole picture's box, upright, px.
        max_share: subjects whose box is a larger share of the picture get no second look.

    Yields:
        The box for the next look.

    Returns:
        The matte, and the decisions.
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
    """Yield the box of one subject; return the look to use and the decision."""
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
    """Align a large box, so a decoder that shrinks by 8 can crop it exactly."""
    is_large = min(box.width, box.height) >= _ALIGNED_SIDE
    return box.aligned(_ALIGNMENT, picture) if is_large else box


def _placed(answer: Channel, box: Box, picture: Box) -> PlacedMatte:
    """Place the network's answer for a box in the picture; 0 outside the box."""
    area = box.area_in(picture)
    return PlacedMatte(matte=scale_to_matte(answer), spans=area, within=area)


def _differs(first: Matte, second: PlacedMatte) -> bool:
    """Return whether a second look loses or gains a large connected part of the subject.

    Only the box of the second look is compared.
    """
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
    """Return the number of pixels of the largest connected part; 0: no pixel is marked."""
    found = components_of(marked)
    return found[0].area if found else 0


def _part_of(matte: Matte, part: Area, *, width: int, height: int) -> Matte:
    """Enlarge a part of a matte to a size.

    Args:
        matte: float32 (h, w) in [0, 1], of the whole picture.
        part: of the picture.
        width: of the result, px.
        height: of the result, px.

    Returns:
        float32 (height, width); slightly below 0 and above 1 beside hard edges.
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
    """Apply the whole rule to one picture.

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
    """Return the matte of a single look at the whole picture, and locate the subject."""
    return Focused(
        matte=PictureMatte.of(scale_to_matte(first)),
        passes=1,
        subject=find_subject(first, picture),
        decisions=(),
    )


def look_at_box(answer: Channel, box: Box, picture: Box) -> Focused:
    """Return the matte of a single look at a given box; 0 outside it."""
    return Focused(
        matte=PictureMatte((_placed(answer, box, picture),)),
        passes=1,
        subject=Subject(groups=(box,), box=box, share=box.pixels / picture.pixels),
        decisions=(),
    )
