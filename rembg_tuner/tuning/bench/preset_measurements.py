"""Measure every preset that can run here, and write the figures to presets.yaml."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.errors import EngineError, SettingsError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message, render
from rembg_tuner.base.small_matte import read_small_matte
from rembg_tuner.base.yaml_files import format_mapping
from rembg_tuner.runtime.comparer import Comparer
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.presets import presets_path, read_presets
from rembg_tuner.settings.records import RecordedPicture
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.results import Failure, Result
from rembg_tuner.tuning.bench.pictures import P1080, P1080_SMALL
from rembg_tuner.tuning.bench.report import measured_of
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.presets import Preset
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.bench.pictures import BenchPicture

_PICTURE = f"{P1080.name} JPEG to PNG"


def measure_presets(*, rounds: int, tell: Callable[[str], None]) -> dict[str, Preset]:
    """Measure each preset in a worker of its own, a warm-up and `rounds` runs.

    Where the network may run again for a small subject, a picture with one is measured too.
    A preset that cannot run here as it stands keeps no figures, and says why.
    """
    measured: dict[str, Preset] = {}
    machine = read_machine()
    for name, preset in read_presets().items():
        tell(f"preset {name}")
        measured[name] = _measure(preset, machine, rounds)
    return measured


def _measure(preset: Preset, machine: Machine, rounds: int) -> Preset:
    """Measure one preset."""
    try:
        settings, warnings = requested_settings(preset, {}, machine)
    except SettingsError as error:
        return _unmeasured(preset, str(error))
    if warnings:
        return _unmeasured(preset, str(warnings[0]))
    usual, small = P1080.make(), P1080_SMALL.make()
    pictures: list[RecordedPicture] = []
    with (
        tempfile.TemporaryDirectory(prefix="rembg-tuner-bench-") as folder,
        Runner() as runner,
        Comparer() as comparer,
    ):
        output = Path(folder) / "out.png"
        # The very first start compiles; what is kept of it makes every later one smaller and
        # faster.
        runner.run(Job(input=str(usual), output=str(output)), settings)
        runner.close()
        try:
            results = _runs(runner, usual, output, settings, rounds)
            pictures.append(_recorded(P1080, output, comparer))
            looks = (
                _runs(runner, small, output, settings, rounds) if _may_look_again(settings) else []
            )
            if looks:
                pictures.append(_recorded(P1080_SMALL, output, comparer))
        except EngineError as error:
            return _unmeasured(preset, _for_everyone(error.message))
    measured = measured_of(results, _PICTURE)
    if settings.precision == "auto":
        measured["precision"] = results[-1].effective["precision"]
    if looks:
        measured |= _small_subject(results, looks)
    measured["pictures"] = [picture.to_dict() for picture in pictures]
    return replace(preset, measured=measured, why_not_measured=None)


def _recorded(picture: BenchPicture, cutout: Path, comparer: Comparer) -> RecordedPicture:
    """Return what a record keeps of a picture's cut-out.

    Raises:
        OutputError: it does not read.
    """
    matte = comparer.compare(str(cutout), None).small_matte
    return RecordedPicture(name=picture.name, sha256=None, matte=read_small_matte(str(matte)))


def _unmeasured(preset: Preset, reason: str) -> Preset:
    """Return a preset without figures; a reason that it has already, which may say more, stays."""
    return replace(preset, measured=None, why_not_measured=preset.why_not_measured or reason)


def _may_look_again(settings: Settings) -> bool:
    """Return whether how often the network runs depends on the picture."""
    return settings.to_dict().get("focus") == "auto"


def _runs(
    runner: Runner, picture: Path, output: Path, settings: Settings, rounds: int
) -> list[Result]:
    """Run a picture once for warming up and `rounds` times more.

    Raises:
        EngineError: a run failed.
    """
    results: list[Result] = []
    for _ in range(1 + rounds):
        result = runner.run(Job(input=str(picture), output=str(output)), settings)
        if isinstance(result, Failure):
            raise EngineError(result.message)
        results.append(result)
    return results


def _small_subject(usual: list[Result], looks: list[Result]) -> dict[str, object]:
    """Return what a picture with a small subject takes beside the usual one.

    The peak is of both.
    """
    measured = measured_of([*usual, *looks], _PICTURE)
    first, second = (dict[str, Any](runs[-1].effective)["focus"] for runs in (usual, looks))
    times = measured_of(looks, _PICTURE)
    return {
        "peak_rss_mib": measured["peak_rss_mib"],
        "passes": first["passes"],
        "small_subject": {
            "share": round(second["share"], 2),
            "passes": second["passes"],
            "latency_p50_s": times["latency_p50_s"],
            "latency_max_s": times["latency_max_s"],
        },
    }


def _for_everyone(message: Message) -> str:
    """Write a reason that is committed: without the paths of this machine."""
    if message.code == "model_absent":
        return str(Message("model {model} is not on disk", model=message["model"]))
    return render(message, is_public=True)


def write_presets(presets: dict[str, Preset]) -> Path:
    """Write presets.yaml anew, its opening comment kept."""
    path = presets_path()
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    body = "\n".join(format_mapping({name: preset.to_dict()}) for name, preset in presets.items())
    with replacing(path) as file:
        file.write(("\n".join(head) + "\n\n" + body).encode())
    return path
