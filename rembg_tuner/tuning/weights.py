"""Which weights a setting runs, by their content: others under the same name give other figures."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import ModelError
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.models.spec import file_digests
from rembg_tuner.tuning.trials import settings_key

if TYPE_CHECKING:
    from rembg_tuner.settings.settings import Settings


def older_trial_key(settings: Settings) -> str:
    """Name a setting together with its weights, as versions without a measurement key did."""
    return f"{settings_key(settings)} {weights_key(settings)}"


def weights_key(settings: Settings) -> str:
    """Name the files that a setting may run, by content and by how a picture is made into their input.

    That is the released file, its int8 form where precision is int8, and both where it is auto; one
    that is not there is null.
    """
    forms = {"int8": (settings.engine,), "auto": (None, settings.engine)}
    return json.dumps(
        [_told(settings.model, int8_for) for int8_for in forms.get(settings.precision, (None,))]
    )


def _told(model: str, int8_for: str | None) -> list[object] | None:
    """Tell one file; None: it is not there."""
    try:
        spec = find_model(model, int8_for=int8_for)
        stat = Path(spec.path).stat()
        digest = _digest(spec.path, stat.st_size, stat.st_mtime_ns)
    except (ModelError, OSError):
        return None
    return [digest, spec.side, spec.mean, spec.std, spec.post]


@lru_cache(maxsize=128)
def _digest(path: str, _size: int, _mtime_ns: int) -> str:
    """Compute a file's SHA-256, once as long as its size and time stay."""
    return file_digests(Path(path), ["sha256"])["sha256"]
