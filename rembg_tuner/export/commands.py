"""rembg's own command, and an env file; what they cannot carry is said beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.export.values import kept_notes, make_export
from rembg_tuner.models.catalogue import read_catalogue

if TYPE_CHECKING:
    from rembg_tuner.export.values import Export, ExportRequest

# Not told as lost: the command carries the model, and the threads by the variable that its session
# reads; notes of their own tell of the engine and of the limits.
_TOLD_OTHERWISE = {"model", "intra_op_threads", "engine", "timeout_s", "memory_limit_bytes"}


def write_rembg(request: ExportRequest) -> Export:
    """Write the command of rembg itself.

    Raises:
        SettingsError: the model is a file, and the command takes names.
    """
    settings = request.settings
    words = ["rembg", "i", "-m", settings.model, "in.jpg", "out.png"]
    threads = f"OMP_NUM_THREADS={settings.intra_op_threads} " if settings.intra_op_threads else ""
    changed = settings.changed()
    lost = [f"{name} {value}" for name, value in changed.items() if name not in _TOLD_OTHERWISE]
    notes: list[Message] = []
    if not settings.engine_spec.is_stock:
        notes.append(
            Message(
                "rembg runs ONNX Runtime in its own pipeline, not engine {engine}: what was"
                " measured does not hold for it",
                engine=settings.engine,
            )
        )
    if lost:
        notes.append(Message("rembg's command cannot carry {lost}", lost=join_parts(lost)))
    notes += kept_notes(settings)
    if settings.model not in read_catalogue():
        raise SettingsError(
            [
                Message(
                    "rembg's command takes models by name, and {model} is a file; use --to python",
                    model=Path(settings.model),
                )
            ]
        )
    variables = f"ORT_DISABLE_TELEMETRY=1 {threads}"
    return make_export("rembg", f"#!/bin/sh\n{variables}{' '.join(words)}\n", *notes)


def write_env(request: ExportRequest) -> Export:
    """Write an env file for rembg tuner, and for rembg."""
    settings = request.settings
    lines = [
        (
            "# For rembg tuner: the presets file that `export --to preset` writes, with this"
            " setting in it"
        ),
        "REMBG_TUNER_PRESETS=presets.yaml",
    ]
    if settings.intra_op_threads:
        lines += [
            "# For rembg: it gives this to ONNX Runtime as intra-op and inter-op threads",
            f"OMP_NUM_THREADS={settings.intra_op_threads}",
        ]
    lines += [
        "# ONNX Runtime reports to its maker unless told not to",
        "ORT_DISABLE_TELEMETRY=1",
    ]
    lost = [
        Term(name, "knob")
        for name in settings.changed()
        if name not in ("intra_op_threads", "model", "engine")
    ]
    note = (
        Message("no variable carries {lost}; the preset does", lost=join_parts(lost))
        if lost
        else Message("the preset carries the setting")
    )
    return make_export("env", "\n".join(lines) + "\n", note)
