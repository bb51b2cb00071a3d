"""`export`: what runs a preset, or what a sweep recommends, elsewhere."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.cache import replacing
from rembg_tuner.capabilities import look_at_this_machine
from rembg_tuner.cli.cut import DONE
from rembg_tuner.errors import OutputError, SettingsError
from rembg_tuner.export import Measured, export
from rembg_tuner.host import read_host
from rembg_tuner.presets import find_preset, resolve
from rembg_tuner.recommend import Budgets, recommend
from rembg_tuner.sweep.summary import read_summary
from rembg_tuner.units import MIB

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.presets import Preset
    from rembg_tuner.settings import Settings
    from rembg_tuner.trials import Trial


def run(arguments: argparse.Namespace) -> int:
    """Write it; notes go to stderr."""
    source = Path(arguments.preset)
    settings, measured, name = _of_sweep(source) if source.is_dir() else _of_preset(arguments.preset)  # fmt: skip
    made = export(settings, arguments.to, measured=measured, name=name)
    if arguments.output is None:
        sys.stdout.write(made.text)
    else:
        target = Path(arguments.output)
        target = target / made.file_name if target.is_dir() else target
        try:
            with replacing(target) as file:
                file.write(made.text.encode())
        except OSError as error:
            raise OutputError(f"{target} cannot be written: {error.strerror}") from error
        print(f"{target}", file=sys.stderr)
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
    return DONE


def _of_preset(name: str) -> tuple[Settings, Measured | None, str]:
    """Take a preset, with what presets.yaml says was measured of it."""
    preset = find_preset(name)
    settings, warnings = resolve(preset, {}, look_at_this_machine())
    for warning in warnings:
        print(f"note: {warning}", file=sys.stderr)
    return settings, measured_of_preset(preset), name


def measured_of_preset(preset: Preset) -> Measured | None:
    """Give a preset's figures; None: it has none."""
    found = preset.measured
    if found is None:
        return None
    return Measured(
        peak_bytes=int(float(str(found["peak_rss_mib"])) * MIB),
        time_s=float(str(found["latency_p50_s"])),
        n=int(str(found["n"])),
        date=str(found["date"]),
        cpu=str(found["cpu"]),
        cores=int(str(found["cores"])),
    )


def _of_sweep(folder: Path) -> tuple[Settings, Measured | None, str]:
    """Take what a sweep recommends without further budgets."""
    chosen = recommend(read_summary(folder), Budgets()).chosen
    if chosen is None:
        raise SettingsError([f"nothing was measured in {folder}; sweep first"])
    return chosen.settings, measured_of_trial(chosen), "tuned"


def measured_of_trial(trial: Trial) -> Measured:
    """Give a measured trial's figures, as of today and this machine."""
    host = read_host()
    assert trial.peak_bytes is not None  # it is measured
    assert trial.time_s is not None
    return Measured(
        peak_bytes=trial.peak_bytes,
        time_s=trial.time_s,
        n=trial.n,
        date=datetime.now(UTC).date().isoformat(),
        cpu=host.cpu,
        cores=host.usable_cpus,
    )
