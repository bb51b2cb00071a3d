"""`presets`: what there is, and what was measured of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.cli.console import emit, emit_json
from rembg_tuner.host import read_host
from rembg_tuner.presets import (
    DEFAULT_PRESET,
    measured_elsewhere_text,
    measured_on_text,
    read_presets,
    small_subject_of,
)

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Print the presets."""
    presets = read_presets()
    if arguments.json:
        emit_json({name: preset.to_dict() for name, preset in presets.items()})
        return 0
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
                f"    {words['picture']}: median {words['latency_p50_s']} s (n = {words['n']}), peak {words['peak_rss_mib']} MiB; {measured_on_text(words)}, {words['date']}"
            )
            if (small := small_subject_of(words)) is not None:
                emit(
                    f"    small subject ({small.share:.0%} of the picture): median {small.time_s} s, {small.passes} network runs"
                )
            if (elsewhere := measured_elsewhere_text(preset, host)) is not None:
                emit(f"    {elsewhere}")
    return 0
