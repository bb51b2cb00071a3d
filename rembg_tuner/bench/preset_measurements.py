"""Measure every preset that can run here, and write the figures to presets.yaml."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.bench.pictures import P1080
from rembg_tuner.bench.report import measured_of
from rembg_tuner.cache import replacing
from rembg_tuner.capabilities import look_at_this_machine
from rembg_tuner.errors import SettingsError
from rembg_tuner.measurement import Failure, Result
from rembg_tuner.pipeline import Job
from rembg_tuner.presets import presets_path, read_presets, resolve
from rembg_tuner.running.runner import Runner
from rembg_tuner.yaml_files import format_mapping

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.presets import Capabilities, Preset

_PICTURE = f"{P1080.name} JPEG to PNG"


def measure_presets(*, rounds: int, tell: Callable[[str], None]) -> dict[str, Preset]:
    """Measure each preset in a worker of its own, a warm-up and `rounds` runs.

    A preset that cannot run as it stands keeps no figures, and says why.
    """
    measured: dict[str, Preset] = {}
    able = look_at_this_machine()
    picture = P1080.make()
    for name, preset in read_presets().items():
        tell(f"preset {name}")
        measured[name] = _measure(preset, able, picture, rounds)
    return measured


def _measure(preset: Preset, able: Capabilities, picture: Path, rounds: int) -> Preset:
    """Measure one preset."""
    try:
        settings, warnings = resolve(preset, {}, able)
    except SettingsError as error:
        return replace(preset, measured=None, why_not_measured=str(error))
    if warnings:
        return replace(preset, measured=None, why_not_measured=warnings[0])
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="rembg-tuner-bench-") as folder, Runner() as runner:
        # The very first start compiles; what is kept of it makes every later one smaller and faster.
        runner.run(Job(input=str(picture), output=str(Path(folder) / "out.png")), settings)
        runner.close()
        for _ in range(1 + rounds):
            result = runner.run(
                Job(input=str(picture), output=str(Path(folder) / "out.png")), settings
            )
            if isinstance(result, Failure):
                return replace(
                    preset, measured=None, why_not_measured=_without_paths(result.message)
                )
            results.append(result)
    measured = measured_of(results, _PICTURE)
    if settings.precision == "auto":
        measured["precision"] = results[-1].effective["precision"]
    return replace(preset, measured=measured, why_not_measured=None)


def _without_paths(message: str) -> str:
    """Leave the paths of this machine out of a reason that is committed."""
    return message.split(";")[0]


def write_presets(presets: dict[str, Preset]) -> Path:
    """Write presets.yaml anew, its opening comment kept."""
    path = presets_path()
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    body = "\n".join(format_mapping({name: preset.to_dict()}) for name, preset in presets.items())
    with replacing(path) as file:
        file.write(("\n".join(head) + "\n\n" + body).encode())
    return path
