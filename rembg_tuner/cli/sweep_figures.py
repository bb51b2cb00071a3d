"""What a sweep's trials say of presets: their figures on this machine."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import ModelError, SettingsError
from rembg_tuner.cli.console import log
from rembg_tuner.runtime.preset_figures import PresetFigures, note_figures
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.asked import asked_settings
from rembg_tuner.settings.presets import read_presets
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.results import is_busy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.trials import Trial


def keep_presets_figures(trials: Sequence[Trial]) -> None:
    """Keep what the presets among a sweep's settings took as this machine's figures.

    Not what ran under load.

    What cannot be kept is said.
    """
    machine, keys = read_machine(), set()
    for preset in read_presets().values():
        with contextlib.suppress(SettingsError, ModelError, OSError):  # it cannot run here
            keys.add(_identity(asked_settings(preset, {}, machine)[0], machine))
    for trial in trials:
        if (
            trial.time_s is None
            or trial.peak_bytes is None
            or not trial.is_measured
            or trial.was_measured_before
            or is_busy(trial.warnings)
        ):
            continue
        figures = PresetFigures(
            time_s=trial.time_s,
            low_s=trial.time_low_s or trial.time_s,
            high_s=trial.time_high_s or trial.time_s,
            small_time_s=None,
            peak_bytes=trial.peak_bytes,
            n=trial.n,
            is_of_bench=False,
        )
        try:
            if _identity(trial.settings, machine) in keys:
                note_figures(trial.settings, machine, figures)
        except (ModelError, OSError, sqlite3.Error) as error:
            log(f"the figures of trial {trial.number} are not kept as its preset's: {error}")


def _identity(settings: Settings, machine: Machine) -> tuple[str, int]:
    """Return what makes two settings one.

    Raises:
        ModelError, OSError: the model's file is not there.
    """
    return resolve(settings, machine).measurement_key, settings.max_side
