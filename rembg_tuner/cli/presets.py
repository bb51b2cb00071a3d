"""`presets`: list the presets and their measured figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.units import format_bytes
from rembg_tuner.cli.console import emit, emit_json
from rembg_tuner.cli.exits import DONE
from rembg_tuner.cli.flags import add_json
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.runtime.timings import find_figures
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.presets import DEFAULT_PRESET, read_presets
from rembg_tuner.settings.records import measured_elsewhere_text, measured_on_text, small_subject_of
from rembg_tuner.settings.requested import requested_settings

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.runtime.timings import PresetFigures
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.presets import Preset


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `presets`."""
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the presets."""
    presets = read_presets()
    machine = read_machine()
    here = {name: _figures(preset, machine) for name, preset in presets.items()}
    if arguments.json:
        emit_json(
            {
                name: {**preset.to_dict(), "measured_here": _to_dict(here[name])}
                for name, preset in presets.items()
            }
        )
        return DONE
    host = read_host()
    for name, preset in presets.items():
        emit(f"{name}{' (default)' if name == DEFAULT_PRESET else ''}: {preset.purpose}")
        knobs = ", ".join(f"{knob} {value}" for knob, value in preset.values.items())
        emit(f"    {knobs}")
        if preset.measured is None:
            emit(f"    not measured: {preset.why_not_measured}")
        else:
            words = preset.measured
            emit(
                f"    {words['picture']}: median {words['latency_p50_s']} s (n = {words['n']}),"
                f" peak {words['peak_rss_mib']} MiB; {measured_on_text(words)}, {words['date']}"
            )
            if (small := small_subject_of(words)) is not None:
                emit(
                    f"    small subject ({small.share:.0%} of the picture): median {small.time_s}"
                    f" s, {small.passes} network runs"
                )
            if (elsewhere := measured_elsewhere_text(preset, host)) is not None:
                emit(f"    {elsewhere}")
        if (figures := here[name]) is not None:
            emit(*_lines(figures))
    return DONE


def _figures(preset: Preset, machine: Machine) -> PresetFigures | None:
    """Return a preset's figures on this machine; None: not measured here, or it cannot run."""
    try:
        settings, _ = requested_settings(preset, {}, machine)
    except SettingsError:
        return None
    return find_figures(settings, machine)


def _to_dict(figures: PresetFigures | None) -> dict[str, object] | None:
    """Return figures by name, ready for JSON; None: there are no figures."""
    return None if figures is None else figures.to_dict()


def _lines(figures: PresetFigures) -> list[str]:
    """Return the lines of a preset's figures on this machine."""
    pictures = "1080p JPEG to PNG" if figures.is_of_bench else "own pictures"
    lines = [
        f"    on this machine, {pictures}: median {figures.time_s:.3f} s (n = {figures.n}), peak"
        f" {format_bytes(figures.peak_bytes)}; {figures.date}"
    ]
    if figures.small_time_s is not None:
        lines.append(f"    on this machine, small subject: median {figures.small_time_s:.3f} s")
    return lines
