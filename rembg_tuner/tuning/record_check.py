"""Compare measured figures with the record of a preset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rembg_tuner.base.messages import Message
from rembg_tuner.settings.results import message_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rembg_tuner.base.small_matte import SmallMatte
    from rembg_tuner.settings.records import Record

State = Literal["inside", "outside", "not_compared"]
What = Literal["settings", "precision", "time", "time_small_subject", "peak", "matte"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """The allowed differences between figures and their record.

    Attributes:
        time: share of the recorded time by which a run may be slower.
        peak: share of the recorded peak by which the peak may be higher.
        matte: minimum overlap of each picture's matte with the recorded one, 0 to 1.
        is_time_given, is_peak_given: whether the user requested the comparison also for another
            kind of CPU.
    """

    time: float = 0.25
    peak: float = 0.10
    matte: float = 0.99
    is_time_given: bool = False
    is_peak_given: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure and its record.

    Attributes:
        what: the name of the figure.
        state: inside or outside the range, or not compared.
        recorded: seconds, bytes, an overlap of 1, or a word; None: not recorded.
        measured: the current value in the same unit; None: not measured.
        limit: maximum (time, peak) or minimum (matte) of the range; None: there is no limit.
        picture: name of the picture of a matte; empty: the figure is of all pictures.
        note: why it was not compared, or the difference.
    """

    what: What
    state: State
    recorded: float | str | None = None
    measured: float | str | None = None
    limit: float | None = None
    picture: str = ""
    note: Message | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name for JSON."""
        return {
            "what": self.what,
            "picture": self.picture or None,
            "recorded": self.recorded,
            "measured": self.measured,
            "limit": self.limit,
            "state": self.state,
            "note": None if self.note is None else message_to_dict(self.note),
        }

    def not_compared(self, note: Message) -> Check:
        """Return the check without its comparison."""
        return replace(self, limit=None, state="not_compared", note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredFigures:
    """The current figures, in the fields of a record.

    Attributes:
        mattes: of the recorded pictures, in order.
        left_out: values of the preset that are not possible on this machine.
        is_disturbed: whether other work ran at the same time, which invalidates a longer time.
    """

    time_s: float
    small_time_s: float | None
    peak_bytes: int
    precision: str
    mattes: tuple[SmallMatte, ...] = ()
    left_out: tuple[Message, ...] = ()
    is_disturbed: bool = False


def compare_with_record(
    record: Record, found: MeasuredFigures, ranges: Ranges, *, elsewhere: Message | None
) -> tuple[Check, ...]:
    """Compare figures with their record.

    Args:
        record: the record of a preset.
        found: the current figures.
        ranges: the allowed differences.
        elsewhere: a text that the record is of another kind of CPU, so that time and peak are only
            compared if the user requested it; None: it is of this kind.
    """
    return (
        *(Check(what="settings", state="outside", note=one) for one in found.left_out),
        *_precision_checks(record, found, elsewhere),
        *_time_checks(record, found, ranges, elsewhere),
        _check_maximum(
            "peak",
            record.peak_bytes,
            found.peak_bytes,
            ranges.peak,
            None if ranges.is_peak_given else elsewhere,
        ),
        *_matte_checks(record, found, ranges.matte),
    )


def _precision_checks(
    record: Record, found: MeasuredFigures, elsewhere: Message | None
) -> Iterator[Check]:
    """Compare the precision that `auto` chose."""
    if record.precision in ("", found.precision):
        return
    yield Check(
        what="precision",
        state="outside" if elsewhere is None else "not_compared",
        recorded=record.precision,
        measured=found.precision,
        note=Message(
            "precision auto is {now} here, and was {then} in the record",
            code="auto_differs",
            now=found.precision,
            then=record.precision,
        ),
    )


def _time_checks(
    record: Record, found: MeasuredFigures, ranges: Ranges, elsewhere: Message | None
) -> Iterator[Check]:
    """Compare the times; a longer time does not count if other work ran at the same time."""
    times: tuple[tuple[What, float | None, float | None], ...] = (
        ("time", record.time_s, found.time_s),
        ("time_small_subject", record.small_time_s, found.small_time_s),
    )
    for what, then, now in times:
        if then is not None and now is not None:
            note = None if ranges.is_time_given else elsewhere
            check = _check_maximum(what, then, now, ranges.time, note)
            if found.is_disturbed and check.state == "outside":
                check = check.not_compared(
                    Message(
                        "the machine was busy with other work, so a longer time means nothing; run"
                        " again when it is idle",
                        code="time_disturbed",
                    )
                )
            yield check
    if record.small_time_s is not None and found.small_time_s is None:
        yield Check(
            what="time_small_subject",
            state="not_compared",
            recorded=record.small_time_s,
            note=Message(
                "the time of a small subject is only compared for the two pictures of the bench",
                code="small_subject_not_compared",
            ),
        )


def _check_maximum(
    what: What, recorded: float, measured: float, share: float, elsewhere: Message | None
) -> Check:
    """Compare a figure that may exceed its record by a share."""
    limit = recorded * (1 + share)
    check = Check(
        what=what,
        state="inside" if measured <= limit else "outside",
        recorded=recorded,
        measured=measured,
        limit=limit,
    )
    return check if elsewhere is None else check.not_compared(elsewhere)


def _matte_checks(record: Record, found: MeasuredFigures, minimum: float) -> Iterator[Check]:
    """Compare the matte of each picture with the recorded one."""
    if not record.pictures:
        yield Check(
            what="matte",
            state="not_compared",
            note=Message(
                "the record has no mattes: an older version wrote it",
                code="record_without_mattes",
            ),
        )
    for then, now in zip(record.pictures, found.mattes, strict=True):
        is_same_size = (then.matte.width, then.matte.height) == (now.width, now.height)
        overlap = then.matte.overlap(now) if is_same_size else 0.0
        yield Check(
            what="matte",
            state="inside" if overlap >= minimum else "outside",
            recorded=1.0,
            measured=overlap,
            limit=minimum,
            picture=then.name,
        )
