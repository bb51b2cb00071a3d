"""Presets: named settings with what was measured of them; and how settings are made of one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.conflicts import FOCUS_USES, focus_problem
from rembg_tuner.errors import PresetError, SettingsError
from rembg_tuner.host import formats_text
from rembg_tuner.settings import (
    ENGINES,
    KNOBS,
    MODEL_ALIASES,
    PRECISIONS,
    Settings,
    best_installed_engine,
    build_settings,
    default_of,
    is_honoured,
    unhonoured_text,
)
from rembg_tuner.yaml_files import YamlFileError, read_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_tuner.host import Host, Int8Kind

DEFAULT_PRESET = "balanced"
MORE_PRESETS_VARIABLE = "REMBG_TUNER_PRESETS"  # a file of one's own, as `export --to preset` writes
_KEYS = {"for", "settings", "measured", "why_not_measured"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Named settings.

    Attributes:
        name: as it stands in presets.yaml.
        purpose: what it is for, one sentence.
        values: the knobs it sets; the others take their defaults.
        measured: what was measured of it, where and when; None: nothing. `precision` is there where the
            settings say auto: the number format that it ran in. Where the network runs again for a small
            subject, `passes` is how often it ran, and `small_subject` what such a picture took.
        why_not_measured: the reason, where nothing was.
    """

    name: str
    purpose: str
    values: dict[str, object]
    measured: dict[str, object] | None
    why_not_measured: str | None

    def to_dict(self) -> dict[str, object]:
        """Give the preset as it stands in presets.yaml."""
        content: dict[str, object] = {
            "for": self.purpose,
            "settings": dict(self.values),
            "measured": self.measured,
        }
        return content if self.measured else {**content, "why_not_measured": self.why_not_measured}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What this machine can do, as far as a preset's knobs ask.

    Attributes:
        engines: those installed, best first.
        precisions: the number formats that the engines compute in on this CPU.
        int8_models: the models whose int8 form is on disk, each with the engine: `u2netp openvino`.
        large_models: the models whose network takes 1024 px or more; focus is not measured with them.
        int8_kind: how the CPU computes int8, for which agreement with fp32 is recorded.
    """

    engines: tuple[str, ...]
    precisions: frozenset[str]
    int8_models: frozenset[str] = frozenset()
    large_models: frozenset[str] = frozenset()
    int8_kind: Int8Kind = "vnni"


def measured_on_text(measured: Mapping[str, object]) -> str:
    """Name the kind of CPU that a preset's figures were measured on.

    >>> measured_on_text({"cpu": "AMD EPYC", "cores": 2, "cpu_formats": ["bf16", "VNNI"]})
    'AMD EPYC, 2 cores with bf16 and VNNI'
    """
    cpu, cores, formats = measured["cpu"], measured["cores"], measured.get("cpu_formats")
    if not isinstance(formats, list):
        return f"{cpu}, {cores} cores"
    return f"{cpu}, {cores} cores {formats_text(formats)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallSubject:
    """What a preset took on a picture whose subject is small.

    Attributes:
        share: of the picture, of the subject's box.
        passes: how often the network ran.
        time_s: median of the warm runs.
    """

    share: float
    passes: int
    time_s: float


def small_subject_of(measured: Mapping[str, object]) -> SmallSubject | None:
    """Read what a preset took on a small subject; None: the network always runs once.

    >>> small_subject_of({"small_subject": {"share": 0.16, "passes": 3, "latency_p50_s": 0.2}}).passes
    3
    """
    found = measured.get("small_subject")
    if not isinstance(found, dict):
        return None
    return SmallSubject(
        share=float(found["share"]),
        passes=int(found["passes"]),
        time_s=float(found["latency_p50_s"]),
    )


def measured_elsewhere_text(preset: Preset, host: Host) -> str | None:
    """Return a note if a preset's figures were measured on another kind of CPU, else None.

    A kind is the CPU's name, how many this process may use, and the number formats that the CPU has
    instructions for, where they were recorded.
    """
    if preset.measured is None:
        return None
    here = {"cpu": host.cpu, "cores": host.usable_cpus, "cpu_formats": list(host.fast_formats)}
    if here == {name: preset.measured.get(name, here["cpu_formats"]) for name in here}:
        return None
    return f"measured on {measured_on_text(preset.measured)}, not on this CPU, which is {measured_on_text(here)}: time and memory differ here"


def presets_path() -> Path:
    """Find presets.yaml: beside the package in a checkout, in it when installed."""
    package = Path(__file__).parent
    beside = package.parent / "presets.yaml"
    return beside if beside.is_file() else package / "presets.yaml"


@cache
def read_presets(path: Path | None = None) -> dict[str, Preset]:
    """Read presets by name, in the file's order.

    Args:
        path: another file; None: presets.yaml, and after it the file that REMBG_TUNER_PRESETS names, whose
            presets take the place of those of the same name.

    Raises:
        PresetError: the file does not read, or one of its presets cannot be.
    """
    if path is None:
        more = os.environ.get(MORE_PRESETS_VARIABLE)
        return {**_read_file(presets_path()), **(_read_file(Path(more)) if more else {})}
    return _read_file(path)


def _read_file(path: Path) -> dict[str, Preset]:
    """Read one file of presets."""
    try:
        content = read_mapping(path)
    except (YamlFileError, OSError) as error:
        raise PresetError(f"the presets do not read: {error}") from error
    return {
        name: _read_preset(f"{path.name}: preset {name!r}", name, entry)
        for name, entry in content.items()
    }


def _read_preset(where: str, name: str, entry: object) -> Preset:
    """Check one preset."""
    if not isinstance(entry, dict) or not {"for", "settings", "measured"} <= entry.keys() <= _KEYS:
        raise PresetError(
            f"{where}: its keys must be for, settings, measured, and why_not_measured where measured is null"
        )
    values, measured, reason = entry["settings"], entry["measured"], entry.get("why_not_measured")
    if not isinstance(values, dict):
        raise PresetError(f"{where}: settings must be a mapping, got {values!r}")
    if (measured is None) == (reason is None):
        raise PresetError(f"{where}: give what was measured, or null and why_not_measured")
    try:
        build_settings(values)
    except SettingsError as error:
        raise PresetError(f"{where}: {error}") from error
    return Preset(
        name=name,
        purpose=str(entry["for"]),
        values=values,
        measured=measured,
        why_not_measured=reason,
    )


def find_preset(name: str) -> Preset:
    """Find a preset by name.

    Raises:
        PresetError: there is none of that name.
    """
    presets = read_presets()
    if name not in presets:
        raise PresetError(f"there is no preset {name!r:.80}; the presets are {', '.join(presets)}")
    return presets[name]


def resolve(
    preset: Preset | None, given: dict[str, object], able: Capabilities
) -> tuple[Settings, tuple[str, ...]]:
    """Make the settings of a run from a preset and what was given by flag or form.

    What was given and cannot be honoured is an error; what only the preset says and this machine or
    the engine cannot do is left out, with a warning.

    Args:
        preset: where the knobs start from; None: their own defaults.
        given: knobs that the user set.
        able: what this machine can do.

    Returns:
        The settings, and the warnings for the Result.

    Raises:
        SettingsError: with every problem of what was given.
    """
    values = dict(preset.values) if preset else {}
    warnings: list[str] = []
    engine, engine_warnings = _choose_engine(values.get("engine"), given.get("engine"), able)
    warnings += engine_warnings
    model = given.get("model", values.get("model"))
    if isinstance(model, str) and model in MODEL_ALIASES:
        warnings.append(f"model {model} is understood as {MODEL_ALIASES[model]}")
    refused = [name for name in given if name in KNOBS and not is_honoured(name, engine)]
    if refused:
        raise SettingsError([unhonoured_text(name, engine) for name in refused])
    if (reason := unnative_text(given.get("precision"), engine, able)) is not None:
        raise SettingsError(
            [f"precision {given['precision']} cannot be had: {reason}; choose precision fp32"]
        )
    for name in [name for name in values if name not in given and name != "engine"]:
        reason = _why_dropped(name, {**values, **given}, engine, able)
        if reason is not None:
            default = default_of(name)
            warnings.append(
                f"{name} {_text(values[name])} of preset {preset.name if preset else ''} is left out, {name} {_text(default)} is used: {reason}"
            )
            del values[name]
    return build_settings({**values, **given, "engine": engine}), tuple(warnings)


def _choose_engine(wanted: object, given: object, able: Capabilities) -> tuple[str, list[str]]:
    """Choose the engine: the given one, the preset's if it is installed, else the best that is."""
    if given is not None:
        if given in ENGINES and given not in able.engines:
            raise SettingsError(
                [
                    f"engine {given} is not installed; {install_text(str(given))}, or choose engine {', '.join(able.engines)}"
                ]
            )
        return str(given), []
    if wanted is None:
        return best_installed_engine(), []
    if wanted in able.engines:
        return str(wanted), []
    best = best_installed_engine()
    return best, [
        f"engine {wanted} of the preset is not installed, engine {best} is used; {install_text(str(wanted))}"
    ]


def install_text(engine: str) -> str:
    """Say how to install an engine."""
    if engine == "onnxruntime":
        return "pip install onnxruntime"
    if engine == "ncnn":  # pnnx asks for PyTorch, and needs none of it to convert an ONNX file
        return "pip install 'rembg-tuner[ncnn]' && pip install --no-deps pnnx"
    return f"pip install 'rembg-tuner[{engine}]'"


def unnative_text(precision: object, engine: str, able: Capabilities) -> str | None:
    """Return why a precision cannot be had with an engine on this CPU, or None if it can.

    bf16 and fp16 need a CPU that has them: the engines refuse or replace them elsewhere. int8 runs on every
    CPU; how fast it is there is a measurement, not a CPU flag.
    """
    if precision not in ("bf16", "fp16", "int8") or engine == "rembg":
        return None
    if (reason := foreign_text(precision, engine)) is not None:
        return reason
    # ncnn only stores its numbers in bf16, which any CPU can; ONNX Runtime's fp16 is the GPU's, with TensorRT.
    if (engine, precision) in (("ncnn", "bf16"), ("onnxruntime", "fp16")):
        return None
    if precision == "int8" or precision in able.precisions:
        return None
    return f"this CPU has no native {precision}, and it is offered only on CPUs that have it"


def foreign_text(precision: object, engine: str) -> str | None:
    """Say that an engine has no such precision, on any CPU; None: it has."""
    own = PRECISIONS.get(engine)
    if own is None or precision in own:
        return None
    return f"engine {engine} has no precision {precision}, it has {', '.join(own)}"


def _why_dropped(
    name: str, values: dict[str, object], engine: str, able: Capabilities
) -> str | None:
    """Tell why a preset's knob is left out here; None: it is not."""
    if not is_honoured(name, engine):
        return f"engine {engine} has no such knob"
    if name in FOCUS_USES:
        is_given = values[name] != default_of(name)
        return focus_problem(name, str(values.get("focus", default_of("focus"))), is_given=is_given)
    model = values.get("model", default_of("model"))
    if name == "focus" and model in able.large_models:
        return f"it is not measured with networks as large as model {model}'s; give focus by hand to try it"
    return _why_no_precision(values, engine, able) if name == "precision" else None


def _why_no_precision(values: dict[str, object], engine: str, able: Capabilities) -> str | None:
    """Tell why a preset's precision is left out here; None: it is not."""
    precision, model = values["precision"], values.get("model", default_of("model"))
    if (reason := foreign_text(precision, engine)) is not None:
        return reason
    if precision == "int8" and f"{model} {engine}" not in able.int8_models:
        return f"model {model} has no int8 form for engine {engine} on disk"
    return unnative_text(precision, engine, able)


def _text(value: object) -> str:
    """Write a knob's value as a person would."""
    return (
        {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    )
