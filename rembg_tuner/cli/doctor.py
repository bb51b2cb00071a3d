"""`doctor`: what this machine has, what is installed, and what is missing with the line that gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.cli.console import emit, emit_json
from rembg_tuner.diagnosis import diagnose
from rembg_tuner.units import format_bytes

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.diagnosis import Diagnosis


def run(arguments: argparse.Namespace) -> int:
    """Print the diagnosis."""
    diagnosis = diagnose()
    if arguments.json:
        emit_json(diagnosis.to_dict())
    else:
        emit(*_lines(diagnosis))
    return 0


_ROWS = {"peaks": "peaks", "measured_trials": "trials", "timings": "timings"}


def _measured(found: Diagnosis) -> str:
    """Say where measurements are kept, how many there are, and how they are forgotten."""
    if found.measured is None:
        return f"{found.measurements} cannot be read"
    rows = ", ".join(f"{found.measured[table]} {word}" for table, word in _ROWS.items())
    return f"{rows} in {found.measurements}; deleting this file forgets them"


def _lines(found: Diagnosis) -> list[str]:
    """Lay the diagnosis out in lines."""
    quota = "no quota" if found.quota_cpus is None else f"a quota of {found.quota_cpus:g}"
    limit = (
        "no limit"
        if found.memory_limit_bytes is None
        else f"a limit of {format_bytes(found.memory_limit_bytes)}"
        + (f" of cgroup {found.memory_cgroup}" if found.memory_cgroup else "")
    )
    space = found.address_space_limit_bytes
    spaces = [] if space is None else [f"space     each process may use {format_bytes(space)} of address space (ulimit -v); what does not load here may load without the limit"]  # fmt: skip
    lines = [
        f"CPU       {found.cpu}: {found.usable_cpus} usable ({found.affinity_cpus} by affinity, {quota}), load {found.load_average if found.load_average is not None else 'unknown'}",
        f"features  {', '.join(found.features) or 'none that matter here'}",
        f"memory    {format_bytes(found.total_memory_bytes)}, {format_bytes(found.available_memory_bytes)} available, {limit}",
        *spaces,
        f"peaks     {found.peak_source}",
        f"Python    {found.python}, libvips {found.libvips}; PNG is compressed by {found.deflate}",
        f"cache     {found.cache}" + (f" ({found.cache_warning})" if found.cache_warning else ""),
        f"measured  {_measured(found)}",
        "engines",
    ]
    for engine in found.engines:
        state = (
            f"{engine.version} · {engine.detail}"
            if engine.version
            else f"not installed · {engine.detail}"
        )
        lines.append(f"  {engine.name:12} {state}")
    lines.append("execution providers of ONNX Runtime")
    lines += [
        f"  {provider.name:12} {'present' if provider.is_present else f'absent · {provider.detail}'}"
        for provider in found.providers
    ]
    lines.append("models")
    width = max(len(model.name) for model in found.models)
    lines += [
        f"  {model.name:{width}} {model.path or f'not on disk · {model.detail}'}"
        for model in found.models
    ]
    return lines
