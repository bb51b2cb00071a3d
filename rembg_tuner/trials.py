"""Trials: one Settings each, measured in a worker of its own on one or more pictures; and their front."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from rembg_tuner.settings import KNOBS, Settings, Value, build_settings, is_honoured
from rembg_tuner.stats import UNSTABLE_SPREAD

if TYPE_CHECKING:
    from collections.abc import Sequence

MORE_WORD = " · "


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureTrial:
    """What one picture gave in a trial.

    Attributes:
        input: the picture's path.
        times_s: total_s of the timed runs, in the order they were run; the warm-up is left out.
        mae: mean absolute difference from the reference's matte, 0 to 1; None: there is no reference.
        iou: of the foregrounds at 0.5, 0 to 1; None as above.
        boundary_f: F-measure of the boundaries, 0 to 1; None as above.
        has_foreground: False: the reference has no clear foreground, so that the picture is left out
            of the averages.
        thumbnail: path of a small picture of the cut-out; None: there is none.
    """

    input: str
    times_s: tuple[float, ...]
    mae: float | None = None
    iou: float | None = None
    boundary_f: float | None = None
    has_foreground: bool = True
    thumbnail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One setting measured, or why it could not be.

    Attributes:
        number: its place in the order in which trials were run, from 0.
        settings: what was asked.
        effective: what the engine says it did.
        time_s: the median over all timed runs of the mean over pictures, seconds.
        time_low_s: the fastest.
        time_high_s: the slowest.
        spread: standard deviation as a share of the mean; None: one run only.
        n: timed runs of each picture.
        peak_bytes: peak of the setting: the highest of load and all runs, the warm-up too.
        load_s: the model's loading, once.
        agreement: mean IoU with the reference over pictures that have a foreground; None: no reference.
        boundary_f: the same of the boundaries' F-measure.
        mae: the same of the mean absolute difference.
        pictures: each picture's part.
        warnings: what the runs said.
        failure: why there are no figures, as a sentence; empty: there are.
        failure_kind: as `measurement.FailureKind`; empty: it did not fail.
        was_measured_before: taken from what was measured on this machine before.
    """

    number: int
    settings: Settings
    effective: dict[str, Value] = field(default_factory=dict)
    time_s: float | None = None
    time_low_s: float | None = None
    time_high_s: float | None = None
    spread: float | None = None
    n: int = 0
    peak_bytes: int | None = None
    load_s: float | None = None
    agreement: float | None = None
    boundary_f: float | None = None
    mae: float | None = None
    pictures: tuple[PictureTrial, ...] = ()
    warnings: tuple[str, ...] = ()
    failure: str = ""
    failure_kind: str = ""
    was_measured_before: bool = False

    @property
    def is_measured(self) -> bool:
        """Whether time and peak are known."""
        return not self.failure and self.time_s is not None and self.peak_bytes is not None

    @property
    def may_be_unstable(self) -> bool:
        """Whether the standard deviation reaches 10 % of the mean."""
        return self.spread is not None and self.spread >= UNSTABLE_SPREAD

    def costs(self) -> tuple[float, float, float]:
        """Give what is to be small: peak (bytes), time (s), 1 - agreement (0 where there is none).

        Raises:
            ValueError: it was not measured.
        """
        if self.time_s is None or self.peak_bytes is None or self.failure:
            raise ValueError("a trial that was not measured has no costs")
        return float(self.peak_bytes), self.time_s, 1.0 - (1.0 if self.agreement is None else self.agreement)  # fmt: skip

    def to_dict(self) -> dict[str, object]:
        """Give the fields by name, ready for JSON."""
        return {**asdict(self), "settings": self.settings.to_dict()}


def read_trial(content: dict[str, object]) -> Trial:
    """Read what `to_dict` gave.

    Raises:
        ValueError, TypeError, KeyError: it is none of ours, or of another version.
    """
    fields = dict(content)
    fields["settings"] = build_settings(fields["settings"])  # type: ignore[arg-type]  # checked there
    pictures = fields.pop("pictures")
    assert isinstance(pictures, (list, tuple))
    fields["pictures"] = tuple(
        PictureTrial(**{**one, "times_s": tuple(one["times_s"])}) for one in pictures
    )
    fields["warnings"] = tuple(fields.get("warnings") or ())  # type: ignore[arg-type]  # a list of sentences
    return Trial(**fields)  # type: ignore[arg-type]  # fields by name


def settings_key(settings: Settings) -> str:
    """Write settings as one line of JSON: equal settings, equal keys."""
    return json.dumps(settings.to_dict(), sort_keys=True)


def differences(trials: Sequence[Settings]) -> tuple[str, ...]:
    """Name the knobs in which settings differ from each other, in the knobs' order."""
    dicts = [settings.to_dict() for settings in trials]
    return tuple(name for name in KNOBS if len({json.dumps(one[name]) for one in dicts}) > 1)


def label_of(settings: Settings, names: Sequence[str]) -> str:
    """Tell a setting by some of its knobs, those that its engine has: `openvino · int8 · 256 px`."""
    words = [_word(name, settings) for name in names if is_honoured(name, settings.engine)]
    return MORE_WORD.join(words) or settings.engine


def _word(name: str, settings: Settings) -> str:
    """Tell one knob's value."""
    value = settings.to_dict()[name]
    if isinstance(value, str):
        return value
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    if name == "network_size":
        return f"{value} px" if value else "own size"
    if name == "max_side":
        return f"at most {value} px" if value else "whole picture"
    if name == "intra_op_threads":
        counted = "1 thread" if value == 1 else f"{value} threads"
        return counted if value else "all threads"
    unit = KNOBS[name].unit
    return f"{words} {value}{f' {unit}' if unit else ''}"
