"""`verify`: measure a saved preset again, and compare it with its record."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PresetError
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.cli.console import emit, emit_json, log
from rembg_tuner.cli.exits import DONE, FAILED
from rembg_tuner.cli.flags import (
    add_count,
    add_json,
    explained,
    find_and_log,
    read_overlap,
    read_share,
)
from rembg_tuner.runtime.picture_processes import Comparer
from rembg_tuner.settings.presets import read_presets
from rembg_tuner.settings.records import measured_on_text
from rembg_tuner.tuning.measure import DirectTrialRunner
from rembg_tuner.tuning.record_check import Ranges
from rembg_tuner.tuning.stats import VERIFY_ROUNDS
from rembg_tuner.tuning.verification import VerificationRequest, verify

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.settings.presets import Preset
    from rembg_tuner.tuning.record_check import Check
    from rembg_tuner.tuning.verification import Verification

_WORDS = {
    "settings": "settings",
    "precision": "precision",
    "time": "time",
    "time_small_subject": "time, small subject",
    "peak": "peak",
    "matte": "matte",
}
_STATES = {"inside": "inside", "outside": "OUTSIDE", "not_compared": "not compared"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `verify`."""
    parser.description = (
        "Measure a saved preset again in a new worker, after a warm-up, and compare time, peak and"
        " matte with its record: after an upgrade of an engine, or on another machine. Exits with 1"
        " if one of them is outside its range."
    )
    parser.add_argument(
        "preset",
        metavar="PRESET|FILE",
        help="a preset's name, or a file of presets as export --to preset writes it",
    )
    parser.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help=(
            "the pictures that it was measured on, or their folder; default: those beside FILE; the"
            " presets of presets.yaml need none"
        ),
    )
    add_count(parser, "--rounds", VERIFY_ROUNDS, "timed runs of each picture, after a warm-up; ")
    parser.add_argument(
        "--time-range",
        type=explained(read_share),
        metavar="PERCENT",
        help=(
            "how much slower than recorded a run may be; if given, time is compared on another kind"
            " of CPU too; default: 25%%"
        ),
    )
    parser.add_argument(
        "--peak-range",
        type=explained(read_share),
        metavar="PERCENT",
        help="the same for the peak; default: 10%%",
    )
    parser.add_argument(
        "--matte-range",
        type=explained(read_overlap),
        default=0.99,
        metavar="IOU",
        help="minimum overlap of each matte with the recorded one, 0 to 1; default: %(default)s",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Verify each preset; return 1 if a figure is outside its range."""
    presets = _presets(arguments.preset)
    request = _request(arguments)
    runner, found = DirectTrialRunner("ignored"), []
    for preset in presets:
        log(f"preset {preset.name}: measured again")
        with (
            tempfile.TemporaryDirectory(prefix="rembg-tuner-verify-") as folder,
            Comparer() as comparer,
        ):
            one = verify(preset, request, Path(folder), runner, comparer)
        found.append(one)
        if not arguments.json:
            emit(*_describe(one))
    if arguments.json:
        emit_json(
            {
                "is_inside": all(one.is_inside for one in found),
                "verified": [_to_dict(one) for one in found],
            }
        )
    return DONE if all(one.is_inside for one in found) else FAILED


def _request(arguments: argparse.Namespace) -> VerificationRequest:
    """Return the request for the arguments."""
    time, peak, defaults = arguments.time_range, arguments.peak_range, Ranges()
    file = Path(arguments.preset)
    images = find_and_log(arguments.images).images if arguments.images else []
    return VerificationRequest(
        pictures=tuple(Path(name) for name in images),
        beside=file.parent if file.is_file() else None,
        rounds=arguments.rounds,
        ranges=Ranges(
            time=defaults.time if time is None else time,
            peak=defaults.peak if peak is None else peak,
            matte=arguments.matte_range,
            is_time_given=time is not None,
            is_peak_given=peak is not None,
        ),
    )


def _presets(name: str) -> list[Preset]:
    """Return a preset by its name, or all presets of a file.

    Raises:
        PresetError: the preset is unknown, or the file cannot be read.
    """
    known = read_presets()
    if name in known:
        return [known[name]]
    path = Path(name)
    if path.is_file():
        return list(read_presets(path).values())
    raise PresetError(
        Message(
            "{name!r} is not a preset or a file of presets, as export --to preset writes it; the"
            " presets are {presets}",
            code="unknown_preset",
            name=name,
            presets=join_parts(known),
        )
    )


def _describe(found: Verification) -> list[str]:
    """Return the lines that describe a verification."""
    record, measured = found.record, found.preset.measured or {}
    width = max(len("warning"), *(len(_WORDS[check.what]) for check in found.checks))
    lines = [
        (
            f"{found.preset.name}: {'inside' if found.is_inside else 'OUTSIDE'} the range of its"
            " record"
        ),
        (
            f"  {'record':{width}}  {record.date}, {measured_on_text(measured)}; {record.picture},"
            f" n = {record.n}; {record.engine}"
        ),
        f"  {'now':{width}}  {found.engine}, n = {found.trial.n}",
    ]
    lines += [f"  {_WORDS[check.what]:{width}}  {_check_text(check)}" for check in found.checks]
    lines += [f"  {'warning':{width}}  {warning}" for warning in found.trial.warnings]
    return lines


def _check_text(check: Check) -> str:
    """Return one comparison as text."""
    note = "" if check.note is None else f": {check.note}"
    state = f"{_STATES[check.state]}{note}"
    if check.measured is None or isinstance(check.measured, str) or check.recorded is None:
        return state
    if check.what == "matte":
        return (
            f"{check.picture}: overlap {check.measured:.4f} with the recorded one, at least"
            f" {check.limit:g}: {state}"
        )
    write = format_bytes if check.what == "peak" else format_seconds
    # Figures in bytes are integers.
    now, then = write(check.measured), write(check.recorded)  # type: ignore[arg-type]
    limit = "" if check.limit is None else f", at most {write(check.limit)}"  # type: ignore[arg-type]
    return f"{now}, recorded {then}{limit}: {state}"


def _to_dict(found: Verification) -> dict[str, object]:
    """Return a verification by name, ready for JSON."""
    record = found.record
    return {
        "preset": found.preset.name,
        "is_inside": found.is_inside,
        "checks": [check.to_dict() for check in found.checks],
        "ranges": {
            "time": found.ranges.time,
            "peak": found.ranges.peak,
            "matte": found.ranges.matte,
        },
        "record": {
            "date": record.date,
            "picture": record.picture,
            "n": record.n,
            "engine": record.engine,
        },
        "engine": found.engine,
        "elsewhere": None if found.elsewhere is None else str(found.elsewhere),
        "trial": found.trial.to_dict(),
    }
