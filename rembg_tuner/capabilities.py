"""What this machine can do, as far as settings ask: engines, number formats, int8 models."""

from __future__ import annotations

from rembg_tuner.host import read_host
from rembg_tuner.models.catalogue import int8_models, read_catalogue
from rembg_tuner.presets import Capabilities
from rembg_tuner.settings import installed_engines

LARGE_SIDE = 1024  # px of a network's input


def look_at_this_machine() -> Capabilities:
    """Look at the CPU, at what is installed and at what is on disk; nothing is imported for it."""
    host = read_host()
    return Capabilities(
        engines=installed_engines(),
        precisions=host.precisions,
        int8_kind=host.int8_kind,
        int8_models=int8_models(),
        large_models=frozenset(
            name for name, entry in read_catalogue().items() if entry.side >= LARGE_SIDE
        ),
    )
