"""Trials: settings with their figures, read and written as JSON, and their labels."""

from __future__ import annotations

import json
import reprlib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, Parameter, Quoted, Term, join_parts, plural
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.models.spec import name_of
from rembg_tuner.settings.building import build_settings
from rembg_tuner.settings.results import message_to_dict, read_message
from rembg_tuner.settings.settings import KNOBS, Settings, Value, is_honoured, type_of
from rembg_tuner.tuning.stats import UNSTABLE_SPREAD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MIN_FIGURE, _MAX_FIGURE = 1e-9, 2.0**60  # measured figures are between these, or 0


_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureTrial:
    """The figures of one picture in a trial.

    Attributes:
        input: path of the picture.
        times_s: total_s of the timed runs in order, without the warm-up.
        mae: mean absolute difference from the matte of the reference, 0 to 1; None: there is no
            reference.
        iou: IoU of the foregrounds at 0.5, 0 to 1; None as above.
        boundary_f: F-measure of the boundaries, 0 to 1; None as above.
        has_foreground: False: the reference has no clear foreground, so the picture is left out of
            the averages.
        thumbnail: path of a thumbnail of the cut-out; None: there is none.
        small_matte: the matte at most 32 px a side, as written by `SmallMatte.to_text`; None: the
            trial was written by an older version.
    """

    input: str
    times_s: tuple[float, ...]
    mae: float | None = None
    iou: float | None = None
    boundary_f: float | None = None
    has_foreground: bool = True
    thumbnail: str | None = None
    small_matte: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One setting with its figures or its failure.

    Attributes:
        number: number of the trial in the order of running, from 0.
        settings: the requested settings.
        effective: the values reported by the engine.
        time_s: median over all timed runs of the mean over pictures, seconds.
        time_low_s: minimum.
        time_high_s: maximum.
        spread: standard deviation as a share of the mean; None: there is only one run.
        n: timed runs of each picture, of all workers together.
        workers_s: median of each worker's runs in order; empty: there is one worker, whose median
            is time_s.
        peak_bytes: peak of the setting: the highest of load and all runs, the warm-up included,
            over all workers.
        load_s: time to load the model once.
        agreement: mean IoU with the reference over pictures that have a foreground; None: there is
            no reference.
        boundary_f: mean F-measure of the boundaries over the same pictures.
        mae: mean absolute difference over the same pictures.
        pictures: the figures of each picture.
        warnings: the warnings of all runs.
        failure: why there are no figures; None: there are figures.
        failure_kind: a `FailureKind`; empty: it did not fail.
        date: date of the last measurement, ISO, UTC; empty: the trial was written by an older
            version.
        was_measured_before: whether it was copied from this machine's store.
    """

    number: int
    settings: Settings
    effective: dict[str, Value] = field(default_factory=dict)
    time_s: float | None = None
    time_low_s: float | None = None
    time_high_s: float | None = None
    spread: float | None = None
    n: int = 0
    workers_s: tuple[float, ...] = ()
    peak_bytes: int | None = None
    load_s: float | None = None
    agreement: float | None = None
    boundary_f: float | None = None
    mae: float | None = None
    pictures: tuple[PictureTrial, ...] = ()
    warnings: tuple[Message, ...] = ()
    failure: Message | None = None
    failure_kind: str = ""
    date: str = ""
    was_measured_before: bool = False

    @property
    def is_measured(self) -> bool:
        """Whether time and peak are known."""
        return self.failure is None and self.time_s is not None and self.peak_bytes is not None

    @property
    def may_be_unstable(self) -> bool:
        """Whether the standard deviation reaches 10 % of the mean."""
        return self.spread is not None and self.spread >= UNSTABLE_SPREAD

    @property
    def worker_times_s(self) -> tuple[float, ...]:
        """The time in each worker, seconds; empty: the trial was not measured."""
        return self.workers_s or (() if self.time_s is None else (self.time_s,))

    def costs(self) -> tuple[float, float, float]:
        """Return the costs to minimize: peak (bytes), time (s), 1 - agreement.

        The last one is 0 without a reference.

        Raises:
            ValueError: the trial was not measured.
        """
        if self.time_s is None or self.peak_bytes is None or self.failure is not None:
            raise ValueError("a trial that was not measured has no costs")
        return (
            float(self.peak_bytes),
            self.time_s,
            1.0 - (1.0 if self.agreement is None else self.agreement),
        )

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name for JSON for other programs: messages by code, in English."""
        return self._to_dict(message_to_dict)

    def to_kept(self) -> dict[str, object]:
        """Return the fields by name for JSON that `read_trial` reads: messages with parameters."""
        return self._to_dict(lambda message: message.to_json())

    def _to_dict(self, write: Callable[[Message], object]) -> dict[str, object]:
        """Return the fields by name, with messages converted by a function."""
        return {
            **asdict(self),
            "settings": self.settings.to_dict(),
            "warnings": [write(one) for one in self.warnings],
            "failure": None if self.failure is None else write(self.failure),
        }

    def public(self) -> Trial:
        """Return the trial for visitors of a page: file names and messages without folders."""
        pictures = tuple(
            replace(
                one,
                input=Path(one.input).name,
                thumbnail=None if one.thumbnail is None else Path(one.thumbnail).name,
            )
            for one in self.pictures
        )
        return replace(
            self,
            pictures=pictures,
            warnings=tuple(one.public() for one in self.warnings),
            failure=None if self.failure is None else self.failure.public(),
        )


def read_trial(content: object) -> Trial:
    """Build a trial from the result of `to_dict` or `to_kept`, also of older versions.

    Messages may be plain text.

    Raises:
        SettingsError: the content is not a trial, or of another version; lists every problem.
    """
    if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
        raise SettingsError([_not_a_trial(content)])
    pictures = content.get("pictures", ())
    if not isinstance(pictures, list | tuple):
        raise SettingsError([_invalid("pictures", pictures)])
    settings = build_settings(content["settings"])
    parts = [_build(PictureTrial, one) for one in pictures]
    said = {
        name: _read_messages(content[name]) for name in ("warnings", "failure") if name in content
    }
    trial = _build(Trial, {**content, **said, "settings": settings, "pictures": parts})
    if trial.is_measured and 0 in (trial.peak_bytes, *trial.worker_times_s, trial.time_s):
        raise SettingsError([Message("a trial's time_s and peak_bytes cannot be 0")])
    shares = (trial.agreement, trial.boundary_f, trial.mae)
    if any(share is not None and share > 1 for share in shares):
        raise SettingsError(
            [Message("a trial's agreement, boundary_f and mae cannot be more than 1")]
        )
    return trial


def _read_messages(content: object) -> object:
    """Return stored messages; other content is returned unchanged, and refused by `_fits`."""
    if isinstance(content, list | tuple):
        return [_read_messages(one) for one in content]
    try:
        return read_message(content) if content else None
    except ValueError:
        return content


def _build(kind: type[_Read], content: object) -> _Read:
    """Build a dataclass from its fields in JSON.

    Raises:
        SettingsError: a field is missing, unknown or invalid.
    """
    if not isinstance(content, dict):
        raise SettingsError([_not_a_trial(content)])
    types = {
        item.name: str(item.type)
        for item in fields(kind)  # type: ignore[arg-type]  # both are dataclasses
    }
    problems = [
        _invalid(name, value)
        for name, value in content.items()
        if not _fits(types.get(name, ""), value)
    ]
    if problems:
        raise SettingsError(problems)
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in content.items()})
    except TypeError as error:  # a field of another version
        raise SettingsError(
            [
                Message(
                    "a trial of another version cannot be read: {error}", error=Quoted(str(error))
                )
            ]
        ) from error


def _not_a_trial(content: object) -> Message:
    """Return the message that some content is not a trial."""
    return Message("{content} is not a trial", content=reprlib.repr(content))


def _invalid(name: str, value: object) -> Message:
    """Return the message that a field of a trial has an invalid value."""
    return Message("a trial's {field} cannot be {value}", field=name, value=reprlib.repr(value))


def _fits(declared: str, value: object) -> bool:
    """Return whether a value is valid for a declared type; unlisted types accept any value."""
    kind, is_optional, _ = declared.partition(" |")  # "| None"
    fits = _FITS.get(kind)
    return fits is None or (value is None and bool(is_optional)) or fits(value)


def _is_figure(value: object) -> bool:
    """Return whether a value can be a measured figure: a finite number, not negative."""
    return (
        type(value) in (int, float)
        and 0 <= cast("float", value) < _MAX_FIGURE
        and (value == 0 or cast("float", value) >= _MIN_FIGURE)
    )


def _is_list(value: object, fits: Callable[[object], bool]) -> bool:
    """Return whether a value is a list or tuple of valid items."""
    return isinstance(value, list | tuple) and all(fits(one) for one in value)


# By the type in the declaration.
_FITS: dict[str, Callable[[object], bool]] = {
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int and 0 <= value < _MAX_FIGURE,
    "float": _is_figure,
    "str": lambda value: isinstance(value, str),
    "dict[str, Value]": lambda value: isinstance(value, dict),
    "tuple[float, ...]": lambda value: _is_list(value, _is_figure),
    "Message": lambda value: isinstance(value, Message),
    "tuple[Message, ...]": lambda value: _is_list(value, lambda one: isinstance(one, Message)),
}


def settings_key(settings: Settings) -> str:
    """Return settings as one line of JSON; equal settings have equal keys."""
    return json.dumps(settings.to_dict(), sort_keys=True)


def figures_of(trial: Trial) -> Message:
    """Return the figures of a measured trial: `161 MiB, 88 ms, agreement 0.986`."""
    peak, time = format_bytes(trial.peak_bytes), format_seconds(trial.time_s)
    if trial.agreement is None:
        return Message("{figures}", figures=join_parts([peak, time]))
    return Message(
        "{peak}, {time}, agreement {agreement:.3f}",
        peak=peak,
        time=time,
        agreement=trial.agreement,
    )


def differing_knobs(trials: Sequence[Settings]) -> tuple[str, ...]:
    """Return the names of the knobs in which settings differ, in the order of the knobs."""
    dicts = [settings.to_dict() for settings in trials]
    return tuple(name for name in KNOBS if len({json.dumps(one[name]) for one in dicts}) > 1)


def label_of(settings: Settings, names: Sequence[str]) -> Message:
    """Return a label of the given knobs that the engine supports: `openvino · int8 · 256 px`."""
    words = [_word(name, settings) for name in names if is_honoured(name, settings.engine)]
    return Message("{setting}", setting=join_parts(words or [settings.engine], " · "))


def _word(name: str, settings: Settings) -> Parameter:
    """Return the value of one knob in words."""
    value = settings.to_dict()[name]
    if name in _WORDS:
        return _WORDS[name](value)
    if isinstance(value, str):
        return Term(value, "choice") if KNOBS[name].choices else name_of(value)
    words = plain_name(name)
    if isinstance(value, bool):
        return Term(words if value else f"no {words}", "switched")
    if not isinstance(value, int | float):
        return f"{words} {value}"
    if not KNOBS[name].unit:
        return Message("{knob} {value}", knob=Term(words, "plain knob"), value=value)
    unit = Term(KNOBS[name].unit, "unit")
    return Message("{knob} {value} {unit}", knob=Term(words, "plain knob"), value=value, unit=unit)


def plain_name(name: str) -> str:
    """Return a knob's name as words: `batch size`."""
    return name.replace("_", " ")


def _threads(count: int) -> Message:
    """Return a number of threads in words."""
    return plural("1 thread", "{n} threads", n=count) if count else Message("all threads")


def _limit(size: int | None) -> Message:
    """Return a memory limit in words."""
    return Message("memory limit {size:bytes}", size=size) if size else Message("no memory limit")


_WORDS: dict[str, Callable[[Any], Parameter]] = {
    "focus": lambda how: Message("focus {how}", how=Term(how, "choice")),
    "focus_box": lambda box: (
        Message("focus box {box}", box=box) if box else Message("no focus box")
    ),
    "network_size": lambda side: Message("{side} px", side=side) if side else Message("own size"),
    "max_side": lambda side: (
        Message("at most {side} px", side=side) if side else Message("whole picture")
    ),
    "intra_op_threads": _threads,
    "timeout_s": lambda duration_s: Message("timeout {duration:g} s", duration=duration_s),
    "memory_limit_bytes": _limit,
}


# Knobs whose label contains their number.
NUMBERED = tuple(name for name in KNOBS if type_of(name) in (int, float) and name not in _WORDS)
