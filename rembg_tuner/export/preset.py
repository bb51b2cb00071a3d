"""A preset for presets.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.base.yaml_files import format_mapping
from rembg_tuner.export.values import make_export
from rembg_tuner.models.catalogue import read_catalogue

if TYPE_CHECKING:
    from rembg_tuner.export.values import Export, ExportRequest, Measured
    from rembg_tuner.settings.settings import Settings


def preset_entry(wanted_settings: Settings, measured: Measured | None) -> dict[str, object]:
    """Give a preset as it stands in presets.yaml."""
    figures: dict[str, object] | None = None
    if measured is not None:
        figures = {
            "date": measured.date,
            "cpu": measured.cpu,
            "cores": measured.cores,
            "picture": measured.picture,
            "n": measured.n,
            "latency_p50_s": round(measured.time_s, 4),
            "peak_rss_mib": round(measured.peak_bytes / MIB),
            "engine": measured.engine or wanted_settings.engine,
        }
        if measured.cpu_formats is not None:
            figures["cpu_formats"] = list(measured.cpu_formats)
        if wanted_settings.precision == "auto" and measured.precision:
            figures["precision"] = measured.precision
        if measured.pictures:
            figures["pictures"] = [picture.to_dict() for picture in measured.pictures]
    values = {
        "model": wanted_settings.model,
        "engine": wanted_settings.engine,
        **wanted_settings.changed(),
    }
    entry: dict[str, object] = {
        "for": "found by rembg tuner",
        "settings": values,
        "measured": figures,
    }
    if figures is None:
        entry["why_not_measured"] = "exported before it was measured"
    return entry


def write_preset(request: ExportRequest) -> Export:
    """Write an entry for presets.yaml."""
    text = format_mapping({request.name: preset_entry(request.settings, request.measured)})
    note = Message("append it to presets.yaml, or name the file in REMBG_TUNER_PRESETS")
    model = request.settings.model
    return make_export("preset", text, note, files=() if model in read_catalogue() else (model,))
