"""Short exports: rembg's own command, an env file, and a preset for presets.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.base.units import MIB
from rembg_tuner.base.yaml_files import format_mapping
from rembg_tuner.export.values import limit_notes, make_export
from rembg_tuner.models.catalogue import read_catalogue

if TYPE_CHECKING:
    from rembg_tuner.export.values import Export, ExportRequest, Measured
    from rembg_tuner.settings.settings import Settings

# Not reported as unsupported: the command sets the model and the threads, and other notes are about
# the engine and the limits.
_REPORTED_OTHERWISE = {"model", "intra_op_threads", "engine", "timeout_s", "memory_limit_bytes"}


def write_rembg(request: ExportRequest) -> Export:
    """Write the command of rembg itself.

    Raises:
        SettingsError: the model is a file, and the command accepts names only.
    """
    settings = request.settings
    if settings.model not in read_catalogue():
        raise SettingsError(
            Message(
                "rembg's command accepts model names only, got the file {model}; use --to python",
                model=Path(settings.model),
            )
        )
    notes: list[Message] = []
    if not settings.engine_spec.is_stock:
        notes.append(
            Message(
                "rembg runs its own pipeline with ONNX Runtime, not engine {engine}: the measured"
                " figures do not apply to it",
                engine=settings.engine,
            )
        )
    changed = settings.changed().items()
    if lost := [f"{name} {value}" for name, value in changed if name not in _REPORTED_OTHERWISE]:
        notes.append(Message("rembg's command does not support {lost}", lost=join_parts(lost)))
    threads = f"OMP_NUM_THREADS={settings.intra_op_threads} " if settings.intra_op_threads else ""
    text = (
        f"#!/bin/sh\nORT_DISABLE_TELEMETRY=1 {threads}rembg i -m {settings.model} in.jpg out.png\n"
    )
    return make_export("rembg", text, *notes, *limit_notes(settings))


def write_env(request: ExportRequest) -> Export:
    """Write an env file for rembg tuner and for rembg."""
    settings = request.settings
    threads = (
        "# For rembg: it uses this as ONNX Runtime's intra-op and inter-op threads\n"
        f"OMP_NUM_THREADS={settings.intra_op_threads}\n"
        if settings.intra_op_threads
        else ""
    )
    text = (
        "# For rembg tuner: the presets file that `export --to preset` writes, with this setting\n"
        f"REMBG_TUNER_PRESETS=presets.yaml\n{threads}"
        "# ONNX Runtime sends telemetry unless it is turned off\n"
        "ORT_DISABLE_TELEMETRY=1\n"
    )
    lost = [
        Term(name, "knob")
        for name in settings.changed()
        if name not in ("intra_op_threads", "model", "engine")
    ]
    note = (
        Message("no environment variable sets {lost}; the preset does", lost=join_parts(lost))
        if lost
        else Message("the preset contains the setting")
    )
    return make_export("env", text, note)


def write_preset(request: ExportRequest) -> Export:
    """Write an entry for presets.yaml."""
    text = format_mapping({request.name: preset_entry(request.settings, request.measured)})
    note = Message("append it to presets.yaml, or name the file in REMBG_TUNER_PRESETS")
    model = request.settings.model
    return make_export("preset", text, note, files=() if model in read_catalogue() else (model,))


def preset_entry(settings: Settings, measured: Measured | None) -> dict[str, object]:
    """Return a preset's entry in presets.yaml."""
    entry: dict[str, object] = {
        "for": "found by rembg tuner",
        "settings": {
            "model": settings.model,
            "engine": settings.engine,
            **settings.changed(),
        },
        "measured": None if measured is None else _record_of(settings, measured),
    }
    if measured is None:
        entry["why_not_measured"] = "exported before it was measured"
    return entry


def _record_of(settings: Settings, measured: Measured) -> dict[str, object]:
    """Return the measured figures in the form of a preset's record."""
    record: dict[str, object] = {
        "date": measured.date,
        "cpu": measured.cpu,
        "cores": measured.cores,
        "picture": measured.picture,
        "n": measured.n,
        "latency_p50_s": round(measured.time_s, 4),
        "peak_rss_mib": round(measured.peak_bytes / MIB),
        "engine": measured.engine or settings.engine,
    }
    if measured.cpu_formats is not None:
        record["cpu_formats"] = list(measured.cpu_formats)
    if settings.precision == "auto" and measured.precision:
        record["precision"] = measured.precision
    if measured.pictures:
        record["pictures"] = [picture.to_dict() for picture in measured.pictures]
    return record
