"""rembg's own command, and an env file; what they cannot carry is said beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.errors import SettingsError
from rembg_tuner.export.values import kept_notes, made_of
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.settings import STOCK_ENGINE

if TYPE_CHECKING:
    from rembg_tuner.export.values import Export, Wanted

# Not told as lost: the command carries the model, and the threads by the variable that its session reads;
# notes of their own tell of the engine and of the limits.
_TOLD_OTHERWISE = {"model", "intra_op_threads", "engine", "timeout_s", "memory_limit_bytes"}


def write_rembg(wanted: Wanted) -> Export:
    """Write the command of rembg itself.

    Raises:
        SettingsError: the model is a file, and the command takes names.
    """
    settings = wanted.settings
    words = ["rembg", "i", "-m", settings.model, "in.jpg", "out.png"]
    threads = f"OMP_NUM_THREADS={settings.intra_op_threads} " if settings.intra_op_threads else ""
    changed = settings.changed()
    lost = [
        f"{name} {value}"
        for name, value in changed.items()
        if name not in _TOLD_OTHERWISE
    ]  # fmt: skip
    notes = []
    if settings.engine != STOCK_ENGINE:
        notes.append(f"rembg runs ONNX Runtime in its own pipeline, not engine {settings.engine}: what was measured does not hold for it")  # fmt: skip
    if lost:
        notes.append(f"rembg's command cannot carry {', '.join(lost)}")
    notes += kept_notes(settings)
    if settings.model not in read_catalogue():
        raise SettingsError([f"rembg's command takes models by name, and {settings.model} is a file; use --to python"])  # fmt: skip
    variables = f"ORT_DISABLE_TELEMETRY=1 {threads}"
    return made_of("rembg", f"#!/bin/sh\n{variables}{' '.join(words)}\n", *notes)


def write_env(wanted: Wanted) -> Export:
    """Write an env file for rembg tuner, and for rembg."""
    settings = wanted.settings
    lines = [
        "# For rembg tuner: the presets file that `export --to preset` writes, with this setting in it",
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
    lost = [name for name in settings.changed() if name not in ("intra_op_threads", "model", "engine")]  # fmt: skip
    note = f"no variable carries {', '.join(lost)}; the preset does" if lost else "the preset carries the setting"  # fmt: skip
    return made_of("env", "\n".join(lines) + "\n", note)
