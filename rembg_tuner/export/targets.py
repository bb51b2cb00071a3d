"""Export a setting: the table of targets and their writers.

Each export notes what its target does not support.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.export.commands import write_env, write_preset, write_rembg
from rembg_tuner.export.container import write_compose, write_dockerfile
from rembg_tuner.export.python_script import write_python
from rembg_tuner.export.values import TARGETS, ExportRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.export.values import Export, Measured
    from rembg_tuner.settings.settings import Settings

_WRITERS: dict[str, Callable[[ExportRequest], Export]] = {
    "compose": write_compose,
    "dockerfile": write_dockerfile,
    "rembg": write_rembg,
    "python": write_python,
    "env": write_env,
    "preset": write_preset,
}


def export(
    settings: Settings, target: str, *, measured: Measured | None, name: str = "tuned"
) -> Export:
    """Write the file or command that runs a setting.

    Args:
        settings: the setting.
        target: one of `TARGETS`.
        measured: the setting's figures on this machine; None: not measured.
        name: name of the preset that contains the setting.

    Raises:
        SettingsError: the target is unknown, does not support the setting, or needs a measurement.
    """
    if target not in _WRITERS:
        raise SettingsError(
            Message(
                "--to must be one of {targets}, got {target!r}",
                targets=join_parts(TARGETS),
                target=target,
            )
        )
    return _WRITERS[target](ExportRequest(settings=settings, measured=measured, name=name))
