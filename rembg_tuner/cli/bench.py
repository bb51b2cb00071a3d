"""`bench`: compare this program with stock rembg."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.cli.console import emit, emit_json, log, write_files
from rembg_tuner.cli.flags import add_count, add_json
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.settings import installed_engines
from rembg_tuner.tuning.bench.contest import cold_starts, contest
from rembg_tuner.tuning.bench.contestants import (
    FASTEST,
    engines_compared,
    entrants_here,
    with_the_release_before,
)
from rembg_tuner.tuning.bench.pictures import P12, P48, P1080, STORED_OTHERWISE
from rembg_tuner.tuning.bench.release_before import ReleaseBefore
from rembg_tuner.tuning.bench.report import format_report, make_report

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.tuning.bench.contest import Bout, ColdStarts
    from rembg_tuner.tuning.bench.contestants import Contestant
    from rembg_tuner.tuning.bench.report import BenchReport

_LARGE_ROUNDS = 5  # stock takes 8 s per picture at 48 MP
_STORED_ROUNDS = 3
_HELD_TO = "AVX2"
_HOLDING = "ONEDNN_MAX_CPU_ISA"  # read by OpenVINO's CPU plugin in the workers, which inherit it


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `bench`."""
    parser.description = (
        "Measure stock rembg and ours in turn (A B A B) at 1080p, 12 and 48 MP. Takes about ten"
        " minutes; needs a quiet machine."
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="benchmarks/results",
        help="where the JSON goes; default: benchmarks/results",
    )
    add_count(
        parser, "--rounds", 7, "warm runs of each setting on each picture, at 48 MP at most 5; "
    )
    parser.add_argument(
        "--before",
        metavar="DIR",
        help="a checkout of an earlier release with its own .venv, measured in turn with this one",
    )
    parser.add_argument(
        "--avx2",
        action="store_true",
        help=(
            "restrict OpenVINO to AVX2, for figures near those of a CPU without VNNI, bf16 and AMX;"
            " stock's ONNX Runtime cannot be restricted"
        ),
    )
    parser.add_argument("--quick", action="store_true", help="1080p only, three rounds")
    add_json(parser, "print the JSON document too")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the table, and write the JSON document."""
    missing = [engine for engine in engines_compared() if engine not in installed_engines()]
    if missing:
        raise SettingsError(
            [
                Message(
                    "bench compares engines that are not installed: {missing}; pip install"
                    " 'rembg-tuner[rembg,openvino]'",
                    missing=join_parts(missing),
                )
            ]
        )
    if arguments.avx2:
        _hold_to_avx2()
    report = _measure(arguments)
    table = _keep(report, Path(arguments.output))
    if arguments.json:
        emit_json(report.to_dict())
    else:
        emit(*table.splitlines())
    for text in report.busy:
        log(f"warning: {text}")
    return 0


def _hold_to_avx2() -> None:
    """Restrict OpenVINO to AVX2 in all child processes.

    Raises:
        SettingsError: this CPU does not support AVX2.
    """
    if "avx2" not in read_host().features:
        raise SettingsError(
            [Message("--avx2 holds OpenVINO to AVX2, which this CPU does not have; leave it out")]
        )
    os.environ[_HOLDING] = _HELD_TO


def _measure(arguments: argparse.Namespace) -> BenchReport:
    """Run the contests, and return their report."""
    held_to = _HELD_TO if arguments.avx2 else None
    entrants = entrants_here(read_machine(), held_to=held_to)
    for name, reason in entrants.left_out.items():
        log(f"left out: {name}: {reason}")
    with ExitStack() as stack:
        before = None
        everyone = entrants.present
        if arguments.before:
            cache = stack.enter_context(tempfile.TemporaryDirectory(prefix="rembg-tuner-bench-"))
            before = stack.enter_context(ReleaseBefore(Path(arguments.before), Path(cache)))
            everyone = with_the_release_before(everyone)
        bouts, cold = _contests(everyone, arguments, before)
        return make_report(
            bouts,
            cold,
            entrants.left_out,
            held_to=held_to,
            before=before.release if before else None,
        )


def _contests(
    everyone: list[Contestant], arguments: argparse.Namespace, before: ReleaseBefore | None
) -> tuple[list[Bout], ColdStarts | None]:
    """Run warm pictures and cold starts; with --quick only warm pictures at 1080p."""
    if arguments.quick:
        plan = [(P1080, min(arguments.rounds, 3))]
        return contest(everyone, plan, log=log, before=before), None
    rounds = arguments.rounds
    plan = [(P1080, rounds), (P12, rounds), (P48, min(rounds, _LARGE_ROUNDS))]
    bouts = contest(everyone, plan, log=log, before=before)
    stored = [one for one in everyone if one.name == FASTEST] or everyone[-1:]
    for picture in STORED_OTHERWISE:
        bouts += contest(stored, [(picture, min(rounds, _STORED_ROUNDS))], log=log, before=before)
    return bouts, cold_starts(everyone, P1080, rounds=rounds, log=log, before=before)


def _keep(report: BenchReport, folder: Path) -> str:
    """Write the report as JSON and as a Markdown table; return the table."""
    document = report.to_dict()
    table = format_report(document)
    name = f"{'avx2-' if report.held_to else ''}bench-{report.date}"
    texts = {f"{name}.json": json.dumps(document, indent=1) + "\n", f"{name}.md": table + "\n"}
    write_files(folder, texts)
    return table
