"""Read the pictures for the calibration of a network and for the measurement of its agreement."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PictureError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.formats import sniff
from rembg_tuner.imaging.header import read_header
from rembg_tuner.imaging.network_input import normalise
from rembg_tuner.imaging.sample_pictures import Crop, crop_and_mirror
from rembg_tuner.imaging.source import read_small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.models.spec import ModelSpec

CALIBRATION_INPUTS = 48  # including mirror images; more inputs change little
MAX_JUDGED = 24
_MIN_CROP = 0.45  # as a share of each side
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """Pictures as inputs of a network, each float32 (1, 3, side, side).

    Attributes:
        calibration: inputs for the value ranges: the pictures, crops of them, and mirror images.
        judged: inputs for the measurement of the agreement: the pictures, and other crops.
        sources: SHA-256 of each picture, by name.
    """

    calibration: list[NetworkInput]
    judged: list[NetworkInput]
    sources: dict[str, str]


def list_pictures(folder: Path) -> list[Path]:
    """List the pictures in a folder, sorted by name.

    Raises:
        SettingsError: it is not a folder, or contains no pictures.
    """
    if not folder.is_dir():
        raise SettingsError(
            [
                Message(
                    "--pictures {folder} is no folder; name one with pictures of your kind",
                    folder=folder,
                )
            ]
        )
    found = [path for path in sorted(folder.iterdir()) if path.is_file() and _is_picture(path)]
    if not found:
        raise SettingsError(
            [
                Message(
                    "--pictures {folder} holds no JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF; name a"
                    " folder that does",
                    folder=folder,
                )
            ]
        )
    return found


def _is_picture(path: Path) -> bool:
    """Return whether a file is a picture in a supported format."""
    try:
        sniff(path)
    except PictureError:
        return False
    return True


def read_pictures(
    paths: list[Path], model: ModelSpec, side: int, *, tell: Callable[[str], None]
) -> PictureSet:
    """Read pictures as inputs of a network.

    If there are few pictures, crops and mirror images are added. The judged crops differ from those
    used for calibration. The crops are the same in each call.

    Args:
        paths: the pictures.
        model: its mean and std normalise the inputs.
        side: of the network's input, px.
        tell: called with each picture that cannot be read, and the reason.

    Raises:
        SettingsError: no picture can be read.
    """
    chance = random.Random(_SEED)  # seeded: the same crops each time
    found = {path: _read_whole(path, model, side, tell=tell) for path in paths}
    paths = [path for path, one in found.items() if one is not None]
    whole = [one for one in found.values() if one is not None]
    if not paths:
        raise SettingsError(
            [
                Message(
                    "none of the pictures of --pictures reads; name a folder with pictures that do"
                )
            ]
        )
    calibration = [*whole, *(_read(path, model, side, None, is_mirrored=True) for path in paths)]
    while len(calibration) < CALIBRATION_INPUTS:
        path, crop = paths[len(calibration) % len(paths)], _crop(chance)
        calibration += [
            _read(path, model, side, crop, is_mirrored=False),
            _read(path, model, side, crop, is_mirrored=True),
        ]
    judged = whole[:MAX_JUDGED]
    while len(judged) < min(MAX_JUDGED, 4 * len(paths)):
        path = paths[len(judged) % len(paths)]
        judged.append(_read(path, model, side, _crop(chance), is_mirrored=False))
    return PictureSet(
        calibration=calibration[: max(CALIBRATION_INPUTS, len(whole))],
        judged=judged,
        sources={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths},
    )


def _read_whole(
    path: Path, model: ModelSpec, side: int, *, tell: Callable[[str], None]
) -> NetworkInput | None:
    """Read a picture; if it cannot be read, log the reason and return None."""
    try:
        return _read(path, model, side, None, is_mirrored=False)
    except PictureError as error:
        tell(f"{path.name} is left out: {error}")
        return None


def _crop(chance: random.Random) -> Crop:
    """Return a random crop: left, top, width, height, each as a share of the picture's sides."""
    width, height = (chance.uniform(_MIN_CROP, 1) for _ in range(2))
    return chance.uniform(0, 1 - width), chance.uniform(0, 1 - height), width, height


def _read(
    path: Path,
    model: ModelSpec,
    side: int,
    crop: Crop | None,
    *,
    is_mirrored: bool,
) -> NetworkInput:
    """Read a picture or a crop of it, optionally mirrored, as a network's input."""
    header = read_header(path)
    wide = side if crop is None else 2 * side  # a crop needs more pixels for the same detail
    small = read_small(header, width=wide, height=wide)
    return normalise(
        crop_and_mirror(small, crop, is_mirrored=is_mirrored, side=side),
        side=side,
        mean=model.mean,
        std=model.std,
    )
