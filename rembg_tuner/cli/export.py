"""`export`: what runs a preset, or what a sweep recommends, elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.cache import open_cache, replacing
from rembg_tuner.capabilities import look_at_this_machine
from rembg_tuner.cli.chosen import chosen_budgets, given_budgets
from rembg_tuner.cli.cut import DONE
from rembg_tuner.errors import OutputError, PresetError, SettingsError
from rembg_tuner.export.targets import export
from rembg_tuner.export.values import Measured, measured_of_trial
from rembg_tuner.precision import choose_precision
from rembg_tuner.presets import find_preset, resolve
from rembg_tuner.recommend import recommend
from rembg_tuner.settings import build_settings
from rembg_tuner.sweep.summary import read_summary
from rembg_tuner.units import MIB

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rembg_tuner.presets import Capabilities, Preset
    from rembg_tuner.settings import Settings


def run(arguments: argparse.Namespace) -> int:
    """Write it; notes go to stderr."""
    source = Path(arguments.preset)
    settings, measured, name = _of_sweep(source, arguments) if source.is_dir() else _of_preset(arguments)  # fmt: skip
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
    _say(made.notes)
    return DONE


def _say(notes: Sequence[str]) -> None:
    """Print notes aside."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _of_preset(arguments: argparse.Namespace) -> tuple[Settings, Measured | None, str]:
    """Take a preset, with what presets.yaml says was measured of it where that holds here.

    Raises:
        PresetError: there is none of that name.
        SettingsError: budgets were given, which a preset does not have.
    """
    try:
        preset = find_preset(arguments.preset)
    except PresetError as error:
        raise PresetError(f"{error}; or name a sweep's folder, of which there is none called {arguments.preset!r}") from error  # fmt: skip
    if flags := given_budgets(arguments):
        raise SettingsError([f"budgets ({', '.join(flags)}) are for a sweep's folder, and {preset.name} is a preset"])  # fmt: skip
    able = look_at_this_machine()
    settings, warnings = resolve(preset, {}, able)
    _say(warnings)
    measured = measured_of_preset(preset)
    if measured is not None and (reason := _why_another(preset, settings, measured, able)):
        _say([f"what was measured of preset {preset.name} does not hold here: {reason}"])
        measured = None
    return settings, measured, preset.name


def _why_another(
    preset: Preset, settings: Settings, measured: Measured, able: Capabilities
) -> str | None:
    """Say why a preset's settings are not those that were measured; None: they are."""
    if settings != build_settings(preset.values):
        return "its settings are others on this machine"
    if settings.precision != "auto":
        return None
    here = choose_precision(settings, able, open_cache()[0])[0].precision
    then = measured.precision or "not told"
    return None if here == then else f"precision auto is {here} on this machine, and was {then} there"  # fmt: skip


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
        picture=str(found["picture"]),
        precision=str(found.get("precision", "")),
    )


def _of_sweep(folder: Path, arguments: argparse.Namespace) -> tuple[Settings, Measured | None, str]:
    """Take what a sweep chose, or what is chosen anew under budgets that were given.

    Raises:
        SettingsError: the folder is no sweep's, or nothing can be chosen.
    """
    summary = read_summary(folder)
    if given_budgets(arguments):
        budgets = chosen_budgets(arguments, summary.budgets)
        chosen = recommend(summary.trials, budgets).chosen
    else:
        budgets = summary.budgets
        chosen = next((one for one in summary.trials if one.number == summary.chosen and one.is_measured), None)  # fmt: skip
    if chosen is None:
        raise SettingsError([f"nothing can be chosen of the sweep in {folder} under its budgets ({budgets.text()}); name others, or sweep more"])  # fmt: skip
    if missed := budgets.misses(chosen):
        _say([f"none of the sweep's settings fits; the nearest is exported, which misses {' and '.join(missed)}"])  # fmt: skip
    return chosen.settings, measured_of_trial(chosen, summary.environment), "tuned"
