"""What others are held against, by the name that a person gives.

A preset, a model in fp32, or a mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PictureError, PresetError, SettingsError
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.models.spec import MODEL_ALIASES
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.presets import find_preset, read_presets
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.settings import Settings, best_installed_engine

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT_S = 120.0  # a large model in fp32 is slow, and nobody waits for its deadline


def find_trusted(name: str) -> tuple[Settings, Message]:
    """Give the settings of a reference, and what a person calls it.

    Args:
        name: of a preset, or of a model of the catalogue.

    Raises:
        SettingsError: it is neither.
    """
    if name in read_presets():
        try:
            settings = requested_settings(find_preset(name), {}, read_machine())[0]
            return settings, Message("preset {preset}", preset=name)
        except PresetError as error:
            raise SettingsError([error.message]) from error
    model = MODEL_ALIASES.get(name, name)
    if model in read_catalogue():
        return trusted_model(model)
    raise SettingsError(
        [
            Message(
                "--reference {name} is no preset, no model, and no file; presets are {known}",
                name=name,
                known=join_parts(Term(one, "preset") for one in read_presets()),
            )
        ]
    )


def trusted_model(model: str) -> tuple[Settings, Message]:
    """Give a model's settings in fp32 at its own size, and what a person calls them."""
    settings = Settings(model=model, engine=best_installed_engine(), timeout_s=_TIMEOUT_S)
    return settings, Message("{model} in fp32 at its own size", model=model)


def find_mask(picture: Path, folder: Path) -> Path:
    """Find a picture's mask in a folder, by its stem; the picture itself may lie there too.

    Raises:
        PictureError: there is none.
    """
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.stem == picture.stem and path.resolve() != picture.resolve()
    ]
    if not found:
        raise PictureError(
            Message(
                "there is no mask named {name}.* in {folder}, which --reference names",
                name=picture.stem,
                folder=folder,
            )
        )
    return found[0]
