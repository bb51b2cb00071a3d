"""`bench`: ours against stock rembg."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.bench.contest import cold_starts, contest, entrants_here
from rembg_tuner.bench.pictures import P12, P48, P1080, STORED_OTHERWISE
from rembg_tuner.bench.preset_measurements import measure_presets, write_presets
from rembg_tuner.bench.report import format_report, make_report
from rembg_tuner.cache import replacing
from rembg_tuner.capabilities import look_at_this_machine
from rembg_tuner.cli.console import emit, emit_json, log
from rembg_tuner.errors import SettingsError
from rembg_tuner.measurement import distinct, is_busy
from rembg_tuner.settings import installed_engines

if TYPE_CHECKING:
    import argparse

_COLD_ROUNDS = 5
_LARGE_ROUNDS = 3  # stock takes 8 s a picture at 48 MP


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the table, and keep the JSON."""
    missing = [engine for engine in ("rembg", "openvino") if engine not in installed_engines()]
    if missing:
        raise SettingsError(
            [
                f"bench compares engines that are not installed: {', '.join(missing)}; pip install 'rembg-tuner[rembg,openvino]'"
            ]
        )
    if arguments.presets:
        path = write_presets(measure_presets(rounds=max(arguments.rounds, 3), tell=log))
        emit(f"{path}: measured")
        return 0
    rounds = min(arguments.rounds, 3) if arguments.quick else arguments.rounds
    entrants = entrants_here(look_at_this_machine())
    for name, reason in entrants.left_out.items():
        log(f"left out: {name}: {reason}")
    everyone = entrants.present
    small = [P1080] if arguments.quick else [P1080, P12]
    bouts = contest(everyone, small, rounds=rounds, tell=log)
    cold = None
    if not arguments.quick:
        bouts += contest(everyone, [P1080, P48], rounds=min(rounds, _LARGE_ROUNDS), tell=log)[
            len(everyone) :
        ]
        for picture in STORED_OTHERWISE:
            bouts += contest(everyone[-1:], [picture], rounds=min(rounds, _LARGE_ROUNDS), tell=log)
        cold = cold_starts(everyone, P1080, rounds=_COLD_ROUNDS, tell=log)
    report = make_report(bouts, cold, entrants.left_out)
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    table = format_report(report)
    for path, text in (
        (folder / f"bench-{report.date}.json", json.dumps(report.to_dict(), indent=1) + "\n"),
        (folder / f"bench-{report.date}.md", table + "\n"),
    ):
        with replacing(path) as file:
            file.write(text.encode())
    if arguments.json:
        emit_json(report.to_dict())
    else:
        emit(*table.splitlines())
    for text in distinct(text for row in report.rows for text in row.warnings if is_busy([text])):
        log(f"warning: {text}")
    return 0
