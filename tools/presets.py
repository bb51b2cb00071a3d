"""Measure every preset that can run here, and write the figures to presets.yaml.

Run `python -m tools.presets [--rounds N]` on an idle machine; `verify` compares the figures later.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.errors import EngineError, SettingsError, TunerError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message, render
from rembg_tuner.base.small_matte import read_small_matte
from rembg_tuner.base.units import MIB
from rembg_tuner.base.yaml_files import format_mapping
from rembg_tuner.runtime.picture_processes import Comparer
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.presets import presets_path, read_presets
from rembg_tuner.settings.records import RecordedPicture
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.results import Failure, Result, setting_peak_bytes
from rembg_tuner.tuning.bench.pictures import P1080, P1080_SMALL
from rembg_tuner.tuning.stats import summarise
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.presets import Preset
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.bench.pictures import BenchPicture

_PICTURE = f"{P1080.name} JPEG to PNG"


def main() -> int:
    """Measure the presets, and write presets.yaml."""
    parser = argparse.ArgumentParser(
        prog="tools.presets", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--rounds", type=int, default=7, metavar="N", help="timed runs, at least 3; default: 7"
    )
    rounds = max(parser.parse_args().rounds, 3)
    try:
        path = write_presets(measure_presets(rounds=rounds))
    except TunerError as error:
        print(f"tools.presets: {error}", file=sys.stderr)
        return 1
    print(f"{path}: measured")
    return 0


def measure_presets(*, rounds: int) -> dict[str, Preset]:
    """Measure each preset in a new worker: a warm-up and `rounds` runs.

    If the network may run again for a small subject, a picture with one is measured too. A preset
    that cannot run here unchanged has a reason instead of figures.
    """
    measured: dict[str, Preset] = {}
    machine = read_machine()
    for name, preset in read_presets().items():
        print(f"preset {name}", file=sys.stderr)
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
        # The first start compiles; the cached model makes all later starts faster.
        runner.run(Job(input=str(usual), output=str(output)), settings)
        runner.close()
        try:
            results = _runs(runner, usual, output, settings, rounds)
            pictures.append(_recorded(P1080, output, comparer))
            small_runs = (
                _runs(runner, small, output, settings, rounds) if settings.focus == "auto" else []
            )
            if small_runs:
                pictures.append(_recorded(P1080_SMALL, output, comparer))
        except EngineError as error:
            return _unmeasured(preset, _public_reason(error.message))
    measured = measured_of(results, _PICTURE)
    if settings.precision == "auto":
        measured["precision"] = results[-1].effective["precision"]
    if small_runs:
        measured |= _small_subject(results, small_runs)
    measured["pictures"] = [picture.to_dict() for picture in pictures]
    return replace(preset, measured=measured, why_not_measured=None)


def _recorded(picture: BenchPicture, cutout: Path, comparer: Comparer) -> RecordedPicture:
    """Return the record of a picture's cut-out.

    Raises:
        OutputError: the cut-out cannot be read.
    """
    matte = comparer.compare(str(cutout), None).small_matte
    return RecordedPicture(name=picture.name, sha256=None, matte=read_small_matte(str(matte)))


def _unmeasured(preset: Preset, reason: str) -> Preset:
    """Return a preset without figures; an earlier reason is kept, since it may be more specific."""
    return replace(preset, measured=None, why_not_measured=preset.why_not_measured or reason)


def _runs(
    runner: Runner, picture: Path, output: Path, settings: Settings, rounds: int
) -> list[Result]:
    """Run a picture once as a warm-up, and `rounds` more times.

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


def _small_subject(usual: list[Result], small: list[Result]) -> dict[str, object]:
    """Return the figures of a picture with a small subject; the peak is of both pictures."""
    measured = measured_of([*usual, *small], _PICTURE)
    first, second = (dict[str, Any](runs[-1].effective)["focus"] for runs in (usual, small))
    times = measured_of(small, _PICTURE)
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


def _public_reason(message: Message) -> str:
    """Return a reason without paths of this machine, so that it can be committed."""
    if message.code == "model_absent":
        return str(Message("model {model} is not on disk", model=message["model"]))
    return render(message, is_public=True)


def write_presets(presets: dict[str, Preset]) -> Path:
    """Write presets.yaml, and keep the comment at its top."""
    path = presets_path()
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    body = "\n".join(format_mapping({name: preset.to_dict()}) for name, preset in presets.items())
    with replacing(path) as file:
        file.write(("\n".join(head) + "\n\n" + body).encode())
    return path


def measured_of(results: list[Result], picture: str) -> dict[str, object]:
    """Return the figures of a measured setting for presets.yaml.

    Args:
        results: the runs of one worker; the first is cold.
        picture: the name of the picture.
    """
    warm = summarise([run.total_s for run in results[1:]])
    peak = setting_peak_bytes(results)
    last = results[-1]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": last.environment.cpu,
        "cores": last.environment.cores,
        "cpu_formats": list(read_host().fast_formats),
        "picture": picture,
        "n": warm.n,
        "latency_p50_s": round(warm.median, 3),
        "latency_max_s": round(warm.high, 3),
        "peak_rss_mib": round(peak / MIB) if peak else None,
        "engine": (
            f"{last.effective['engine']}"
            f" {last.environment.versions.get(str(last.effective['engine']), '')}".strip()
        ),
    }


if __name__ == "__main__":
    sys.exit(main())
