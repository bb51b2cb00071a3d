"""`doctor`: print the machine, the installed packages, and how to install missing ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_bytes
from rembg_tuner.cli.console import emit, emit_json, log
from rembg_tuner.cli.exits import DONE, FAILED
from rembg_tuner.cli.flags import add_json
from rembg_tuner.models.spec import name_of
from rembg_tuner.runtime.diagnosis import diagnose
from rembg_tuner.runtime.meter import OwnLoad, busy_warning
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.tuning.format_timing import format_states, time_formats
from rembg_tuner.tuning.measure import DirectTrialRunner

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.runtime.diagnosis import Diagnosis
    from rembg_tuner.tuning.format_timing import FormatState


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `doctor`."""
    parser.add_argument(
        "--time",
        nargs="?",
        const="",
        metavar="MODEL",
        help=(
            "time the number formats of a model here, for precision auto; default: of those on"
            " disk; some seconds each for u2netp"
        ),
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the diagnosis; with --time, time the number formats first."""
    models = [arguments.time] if arguments.time else []
    is_timed = arguments.time is None or _time(models)
    diagnosis = diagnose()
    states = format_states(read_machine(), models)
    if arguments.json:
        emit_json({**diagnosis.to_dict(), "formats": [state.to_dict() for state in states]})
    else:
        emit(*_lines(diagnosis, _format_lines(states)))
    return DONE if is_timed else FAILED


def _time(models: list[str]) -> bool:
    """Time the number formats of models.

    Args:
        models: names of models; empty: those on disk.

    Returns:
        Whether all formats were timed; failures are logged.

    Raises:
        ModelError: a model is unknown, or not on disk.
        SettingsError: a model has no formats to time.
    """
    machine, runner, is_done = read_machine(), DirectTrialRunner("ignored"), True
    states = format_states(machine, models)
    if models and not states:
        machine.find(models[0], None)
        raise SettingsError(
            [
                Message(
                    "model {model} has nothing to time: no other number format's agreement with"
                    " fp32 is known; models agreement {model} --pictures DIR measures that",
                    code="nothing_to_time",
                    model=name_of(models[0]),
                )
            ]
        )
    if (busy := busy_warning(OwnLoad())) is not None:
        log(f"rembg-tuner: the number formats were not timed: {busy}")
        return False
    for state in states:
        with tempfile.TemporaryDirectory(prefix="rembg-tuner-time-") as folder:
            try:
                time_formats(
                    state, machine, runner, Path(folder), lambda step: log(f"timing {step}")
                )
            except OutputError as error:
                log(f"rembg-tuner: {state.settings.model} in {state.settings.engine}: {error}")
                is_done = False
    return is_done


def _format_lines(states: list[FormatState]) -> list[str]:
    """Return the lines about the choices of `precision auto`."""
    if not states:
        return []
    hint = "" if all(state.formats.is_timed for state in states) else "; doctor --time times them"
    lines = [f"number formats{hint}"]
    return lines + [
        f"  {state.settings.model} in {state.settings.engine}: {state.text}" for state in states
    ]


_ROWS = {"peaks": "peaks", "measured_trials": "trials", "timings": "timings"}


def _measured(found: Diagnosis) -> str:
    """Return the path of the measurements, their number, and how to delete them."""
    if found.measured is None:
        return f"{found.measurements} cannot be read"
    rows = ", ".join(f"{found.measured[table]} {word}" for table, word in _ROWS.items())
    return f"{rows} in {found.measurements}; deleting this file forgets them"


def _lines(found: Diagnosis, formats: list[str]) -> list[str]:
    """Return the lines of the diagnosis, including those of the number formats."""
    width = max(len(model.name) for model in found.models)
    return [
        *_machine_lines(found),
        "engines",
        *(
            f"  {one.name:12} {one.version or 'not installed'} · {one.detail}"
            for one in found.engines
        ),
        "execution providers of ONNX Runtime",
        *(
            f"  {one.name:12} {'present' if one.is_present else f'absent · {one.detail}'}"
            for one in found.providers
        ),
        *formats,
        "models",
        *(
            f"  {one.name:{width}} {one.path or f'not on disk · {one.detail}'}"
            for one in found.models
        ),
    ]


def _machine_lines(found: Diagnosis) -> list[str]:
    """Return the lines about the machine and the measurements."""
    quota = "no quota" if found.quota_cpus is None else f"a quota of {found.quota_cpus:g}"
    load = "unknown" if found.load_average is None else found.load_average
    limit = "no limit"
    if found.memory_limit_bytes is not None:
        cgroup = f" of cgroup {found.memory_cgroup}" if found.memory_cgroup else ""
        limit = f"a limit of {format_bytes(found.memory_limit_bytes)}{cgroup}"
    lines = [
        f"CPU       {found.cpu}: {found.usable_cpus} usable ({found.affinity_cpus} by affinity,"
        f" {quota}), load {load}",
        f"features  {', '.join(found.features) or 'none that matter here'}",
        f"memory    {format_bytes(found.total_memory_bytes)},"
        f" {format_bytes(found.available_memory_bytes)} available, {limit}",
    ]
    if (space := found.address_space_limit_bytes) is not None:
        lines.append(
            f"space     each process may use {format_bytes(space)} of address space (ulimit -v);"
            " what does not load here may load without the limit"
        )
    return [
        *lines,
        f"peaks     {found.peak_source}",
        f"Python    {found.python}, libvips {found.libvips}; PNG is compressed by {found.deflate}",
        f"cache     {found.cache}" + (f" ({found.cache_warning})" if found.cache_warning else ""),
        f"measured  {_measured(found)}",
    ]
