"""Convert the form of a visitor to Settings, within the limits of a hosted page.

Visitors are not trusted as users of the machine are: paths and models outside the catalogue are
refused, and sizes, threads and timeouts are limited.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

from rembg_tuner.base.errors import PictureError, SettingsError
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.base.units import MIB
from rembg_tuner.imaging.formats import sniff
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.runtime.diagnosis import absent_providers, provider_states
from rembg_tuner.runtime.this_machine import read_machine, refresh
from rembg_tuner.settings.building import build_with_defaults
from rembg_tuner.settings.check import check
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.presets import find_preset
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.settings import KNOBS, Settings, is_honoured, is_optional, type_of
from rembg_tuner.web.pages.shared_answer import SharedAnswer

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.runtime.diagnosis import ProviderState
    from rembg_tuner.settings.check import Refusal
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Value

# Values other than the default, which `check` refuses where focus does not use the knob.
_SET_KNOBS: Mapping[str, object] = {"focus_box": "0%,0%,50%,50%", "focus_max_share": 0.5}
Form = Mapping[str, object]  # name of a knob -> value of its widget; memory limits in MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLimits:
    """The limits for visitors.

    Attributes:
        upload_bytes: maximum size of one picture.
        strip_pixels: maximum for a picture that is decoded in strips.
        whole_pixels: maximum for a picture that is decoded as a whole (WebP, AVIF, GIF).
        network_size: maximum, px; the cost of a run grows with its square.
        threads: maximum of each kind.
        timeout_s: maximum timeout of a run.
        repeat: number of runs for Repeat.
    """

    upload_bytes: int = 64 * MIB
    strip_pixels: int = 100_000_000
    whole_pixels: int = 40_000_000
    network_size: int = 1024
    threads: int = 16
    timeout_s: float = 60.0
    repeat: int = 5


LIMITS = PageLimits()


@cache
def _read_machine_once() -> Machine:
    """Read this machine once, since the page needs it for every row that it draws."""
    return read_machine()


def machine_here() -> Machine:
    """Return this machine, with the model files that exist now."""
    return refresh(_read_machine_once())


def machine_with_providers() -> Machine:
    """Return this machine, with a list of the execution providers that ONNX Runtime lacks."""
    return replace(machine_here(), absent_providers=absent_providers(execution_providers()))


@cache
def _shared_providers() -> SharedAnswer[tuple[ProviderState, ...]]:
    """Return the answer that concurrent callers share; `cache` alone would not combine them."""
    return SharedAnswer(provider_states, max_age_s=math.inf)


def execution_providers() -> tuple[ProviderState, ...]:
    """Return the execution providers of ONNX Runtime; read once, since that takes 0.5 s."""
    return _shared_providers().ask().result()


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """What a preset needs and this machine does not have.

    Attributes:
        kind: what is missing.
        text: why the preset cannot run, and how to get what is missing; one sentence.
    """

    kind: Literal["model", "provider"]
    text: Message


def absence_of(preset: str) -> Absence | None:
    """Return what a preset needs and this machine does not have; None: it can run.

    Raises:
        PresetError: there is no such preset.
    """
    for one in missing_of(preset_settings(preset)):
        if one.missing is not None:
            text = Message(
                "preset {preset} cannot run here: {reason}",
                code="preset_absent",
                preset=Term(preset, "preset"),
                reason=one.reason,
            )
            return Absence(kind=one.missing, text=text)
    return None


def missing_of(settings: Settings) -> tuple[Refusal, ...]:
    """Return what settings need that is missing on disk, else what is missing in ONNX Runtime.

    ONNX Runtime is queried only if nothing else is missing, since that takes 0.5 s.
    """
    found = _lacking(settings, machine_here())
    if found or settings.provider == "cpu" or not is_honoured("provider", settings.engine):
        return found
    return _lacking(settings, machine_with_providers())


def _lacking(settings: Settings, machine: Machine) -> tuple[Refusal, ...]:
    """Return the refusals for what is missing."""
    return tuple(one for one in check(settings, machine) if one.missing is not None)


def possible_precisions(engines: Sequence[str], machine: Machine) -> list[str]:
    """Return the number formats that an engine supports on this machine, installed or not.

    Args:
        engines: the engines that are offered.
        machine: this machine.
    """

    def is_possible(precision: str, engine: str) -> bool:
        settings, _, _ = build_with_defaults({"engine": engine, "precision": precision})
        refusals = check(settings, machine)
        return all(one.knob != "precision" or one.missing == "model" for one in refusals)

    able = [
        one
        for one in KNOBS["precision"].choices
        if any(is_possible(one, engine) for engine in engines)
    ]
    return [one for one in able if one != "auto"]


def preset_settings(preset: str) -> Settings:
    """Return the settings of a preset on this machine."""
    return requested_settings(find_preset(preset), {}, machine_here())[0]


def form_settings(
    preset: str, form: Form, limits: PageLimits = LIMITS
) -> tuple[Settings, tuple[Message, ...]]:
    """Return the settings of a run from a preset and a form that started from it.

    Args:
        preset: the preset that filled the form.
        form: the value of each knob's widget by name; knobs that engine or focus do not use are
            ignored, since the page disables them.
        limits: the limits of the page.

    Returns:
        The settings, and warnings for the Result.

    Raises:
        SettingsError: the form has problems; the error lists all of them.
        PresetError: there is no such preset.
    """
    start = preset_settings(preset).to_dict()
    read = parse_form(form)
    grey = greyed_knobs({**start, **read})
    given = {
        name: value for name, value in read.items() if value != start[name] and name not in grey
    }
    return visitor_settings(preset, given, limits)


def greyed_knobs(form: Form) -> dict[str, Refusal]:
    """Return the knobs that a form's engine or focus does not use, with the reasons.

    Args:
        form: only engine and focus are read.
    """
    values = {name: form[name] for name in ("engine", "focus") if name in form}
    settings, _, wrong = build_with_defaults({**values, **_SET_KNOBS})
    refusals = check(settings, None, given=KNOBS, wrong=wrong)
    return {one.knob: one for one in reversed(refusals)}


def visitor_settings(
    preset: str, given: dict[str, object], limits: PageLimits = LIMITS
) -> tuple[Settings, tuple[Message, ...]]:
    """Return the settings of a run from a preset and the knobs that a visitor changed.

    Raises:
        SettingsError: given knobs have problems; the error lists all of them.
        PresetError: there is no such preset.
    """
    found = find_preset(preset)
    model = given.get("model")
    if model is not None and not (isinstance(model, str) and model in read_catalogue()):
        raise SettingsError(
            [
                Message(
                    "model must be one of {known} on this page, got {value}",
                    known=join_parts(read_catalogue()),
                    value=f"{model!r:.80}",
                )
            ]
        )
    settings, warnings = requested_settings(found, given, machine_here())
    problems = [*_cap_problems(settings, limits), *_memory_problems(settings)]
    if problems:
        raise SettingsError(problems)
    return settings, warnings


def _cap_problems(settings: Settings, limits: PageLimits) -> list[Message]:
    """Return a problem for each knob that is above the limits of the page."""
    caps = {
        "network_size": limits.network_size,
        "intra_op_threads": limits.threads,
        "inter_op_threads": limits.threads,
        "timeout_s": limits.timeout_s,
    }
    return [
        Message(
            "{knob} must be at most {max:g} {unit} on this page, got {value:g}",
            knob=Term(name, "knob"),
            max=cap,
            unit=KNOBS[name].unit,
            value=getattr(settings, name),
        )
        for name, cap in caps.items()
        if getattr(settings, name) > cap
    ]


def _memory_problems(settings: Settings) -> list[Message]:
    """Return a problem if the memory limit is above the memory of the host."""
    most = read_host().usable_memory_bytes
    asked = settings.memory_limit_bytes
    if asked is None or most is None or asked <= most:
        return []
    return [
        Message(
            "memory_limit_bytes must be at most {max:bytes}, the memory of this machine, got"
            " {value:bytes}",
            max=most,
            value=asked,
        )
    ]


def parse_form(form: Form) -> dict[str, object]:
    """Convert the values of a form's widgets to the values of settings.

    An empty number becomes None or 0, whichever the knob uses for it.
    """
    values = {name: _parse_value(name, form[name]) for name in KNOBS if name in form}
    if "memory_limit_bytes" in values:
        limit_mib = values["memory_limit_bytes"]
        is_set = isinstance(limit_mib, int | float)
        values["memory_limit_bytes"] = round(limit_mib * MIB) if is_set else None  # type: ignore[operator]
    return values


def _parse_value(name: str, value: object) -> object:
    """Convert the value of a widget; an invalid value is unchanged, and Settings refuses it."""
    kind = type_of(name)
    if is_optional(name) and not value:
        return None
    if value is None:
        return 0 if kind is int else value
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is float and type(value) is int:
        return float(value)
    return value


def fill_form(settings: Settings) -> dict[str, Value]:
    """Convert settings to the values of a form's widgets."""
    values = settings.to_dict()
    limit = settings.memory_limit_bytes
    values["memory_limit_bytes"] = None if limit is None else round(limit / MIB)
    return values


def max_pixels_of(picture: Path, limits: PageLimits = LIMITS) -> int:
    """Return the pixel limit of the page for a picture, by the format of its first bytes.

    Raises:
        PictureError: the format is not supported. The message has the file's name, not its path.
    """
    try:
        kind = sniff(picture)
    except PictureError as error:
        raise PictureError(error.message.with_paths({picture: picture.name})) from None
    return limits.whole_pixels if kind.whole_bytes_per_pixel else limits.strip_pixels
