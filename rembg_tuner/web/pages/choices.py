"""What a visitor's form says, as Settings: within the limits of a hosted page.

A visitor is not the machine's user: no path and no model's name from outside the catalogue gets any
further than this, and sizes, threads and deadlines are capped.
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

# Values by which a knob is refused where focus does not use it; at their defaults they are in
# nobody's way.
_SET_KNOBS: Mapping[str, object] = {"focus_box": "0%,0%,50%,50%", "focus_max_share": 0.5}
Form = Mapping[str, object]  # knob's name -> what its widget holds; memory limits in MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLimits:
    """What a visitor may ask of the machine.

    Attributes:
        upload_bytes: of one picture.
        strip_pixels: of a picture that is decoded in strips.
        whole_pixels: of one that its decoder holds whole (WebP, AVIF, GIF).
        network_size: px; its square is what the network costs.
        threads: of each kind.
        timeout_s: the longest deadline.
        repeat: runs in one turn.
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
    """Look at this machine once, since the page asks for every row that it draws."""
    return read_machine()


def machine_here() -> Machine:
    """Return this machine, with the files of models that are here now."""
    return refresh(_read_machine_once())


def machine_with_providers() -> Machine:
    """Return this machine, with the execution providers that are not here.

    See `execution_providers`.
    """
    return replace(machine_here(), absent_providers=absent_providers(execution_providers()))


@cache
def _shared_providers() -> SharedAnswer[tuple[ProviderState, ...]]:
    """Return the answer that all who ask at once wait for.

    `cache` alone would ask for each of them.
    """
    return SharedAnswer(provider_states, max_age_s=math.inf)


def execution_providers() -> tuple[ProviderState, ...]:
    """Ask ONNX Runtime for its execution providers: once, since it takes half a second."""
    return _shared_providers().ask().result()


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """What a preset needs and this machine does not have.

    Attributes:
        kind: of what is missing.
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
    """Return what settings need that is not on disk, or else what is not in ONNX Runtime.

    ONNX Runtime is asked only where nothing else is missing, since that takes half a second.
    """
    found = _lacking(settings, machine_here())
    if found or settings.provider == "cpu" or not is_honoured("provider", settings.engine):
        return found
    return _lacking(settings, machine_with_providers())


def _lacking(settings: Settings, machine: Machine) -> tuple[Refusal, ...]:
    """Return the refusals for what is missing."""
    return tuple(one for one in check(settings, machine) if one.missing is not None)


def possible_precisions(engines: Sequence[str], machine: Machine) -> list[str]:
    """Return the number formats that some engine computes in here, whether or not there are files for them.

    Args:
        engines: those that are offered.
        machine: this one.
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
    """Give the settings that a preset means on this machine."""
    return requested_settings(find_preset(preset), {}, machine_here())[0]


def form_settings(
    preset: str, form: Form, limits: PageLimits = LIMITS
) -> tuple[Settings, tuple[Message, ...]]:
    """Make the settings of a run from a preset and a form filled in on top of it.

    Args:
        preset: where the form started from.
        form: every knob by name, as its widget holds it; one that the form's engine does not
            honour, or its focus does not use, is not looked at, since the page greys it.
        limits: of the page.

    Returns:
        The settings, and the warnings for the Result.

    Raises:
        SettingsError: with every problem of the form.
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
    """Return the knobs that a form's engine does not have or its focus does not use, each with the reason.

    Args:
        form: engine and focus are read.
    """
    values = {name: form[name] for name in ("engine", "focus") if name in form}
    settings, _, wrong = build_with_defaults({**values, **_SET_KNOBS})
    refusals = check(settings, None, given=KNOBS, wrong=wrong)
    return {one.knob: one for one in reversed(refusals)}


def visitor_settings(
    preset: str, given: dict[str, object], limits: PageLimits = LIMITS
) -> tuple[Settings, tuple[Message, ...]]:
    """Make the settings of a run from a preset and the knobs a visitor gave.

    Raises:
        SettingsError: with every problem of what was given.
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
    """List the knobs that are above what the page allows."""
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
    """Refuse a memory limit above what the host has."""
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
    """Give a form's knobs as settings take them.

    Empty numbers take the knob's meaning of nothing.
    """
    return {name: _read_widget(name, form[name]) for name in KNOBS if name in form}


def _read_widget(name: str, value: object) -> object:
    """Read one widget; what cannot be stays as it is, and Settings says so."""
    if name == "memory_limit_bytes":
        return round(value * MIB) if isinstance(value, int | float) and value else None
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
    """Give settings as a form's widgets hold them."""
    values = settings.to_dict()
    limit = settings.memory_limit_bytes
    values["memory_limit_bytes"] = None if limit is None else round(limit / MIB)
    return values


def max_pixels_of(picture: Path, limits: PageLimits = LIMITS) -> int:
    """Give the page's pixel limit for a picture, by its format, told by its first bytes.

    Raises:
        PictureError: it is no picture that is read; the message names the file, not its place.
    """
    try:
        kind = sniff(picture)
    except PictureError as error:
        raise PictureError(error.message.with_paths({picture: picture.name})) from None
    return limits.whole_pixels if kind.whole_bytes_per_pixel else limits.strip_pixels
