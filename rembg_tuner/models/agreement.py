"""Measured agreement of a model's number formats with its fp32 mattes.

Figures of the embedded models are in agreement.yaml. Figures measured on this machine, by `models
agreement` and `models quantize`, are in the cache and take precedence. In both files, int8's
figures are stored by kind of CPU (`Host.int8_kind`): AVX2 and VNNI add products of 8-bit numbers
differently, and machines of both kinds may share a home folder.
"""

from __future__ import annotations

import fcntl
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.files import replacing
from rembg_tuner.base.yaml_files import YamlFileError, format_mapping, read_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_tuner.settings.host import Int8Kind

_SHIPPED = Path(__file__).parent / "agreement.yaml"
_OWN = "agreement.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementWithFp32:
    """Agreement of one number format with fp32, in the same engine.

    Attributes:
        mae: mean absolute difference of the mattes, at least 0.
        iou: intersection over union of the foregrounds, averaged.
        pictures: number of pictures that it was measured on.
    """

    mae: float
    iou: float
    pictures: int


def agreement_with_fp32(
    model: str, engine: str, precision: str, folder: Path, *, int8_kind: Int8Kind
) -> AgreementWithFp32 | None:
    """Return the measured agreement; None: it was not measured.

    Args:
        model: its name, or the given path.
        engine: name of the engine.
        precision: name of the number format.
        folder: the cache.
        int8_kind: how this CPU computes int8; selects one of int8's figures.
    """
    for content in (_own(folder), _shipped()):
        found = _read(content, model, engine, precision, int8_kind)
        if found is not None:
            return found
    return None


def _read(
    content: Mapping[str, Any], model: str, engine: str, precision: str, int8_kind: Int8Kind
) -> AgreementWithFp32 | None:
    """Read one figure; None: it is missing or not valid."""
    try:
        found = content[model][engine][precision]
        return AgreementWithFp32(**found.get(int8_kind, found))
    except (KeyError, TypeError, AttributeError):
        return None


@cache
def _shipped() -> Mapping[str, Any]:
    """Read the figures of the embedded models."""
    return read_mapping(_SHIPPED)


def _own(folder: Path) -> Mapping[str, Any]:
    """Read this machine's figures; empty: the file is missing or cannot be read."""
    try:
        return read_mapping(folder / _OWN)
    except (OSError, YamlFileError):
        return {}


def remember_agreement(
    model: str,
    engine: str,
    precision: str,
    agreement: AgreementWithFp32,
    folder: Path,
    *,
    int8_kind: Int8Kind,
) -> None:
    """Store a figure measured on this machine.

    A file that cannot be read is renamed, not overwritten.

    Args:
        model: its name, or the given path.
        engine: name of the engine.
        precision: name of the number format.
        agreement: the measured agreement.
        folder: the cache.
        int8_kind: how this CPU computes int8; int8's figure is stored for that kind.

    Raises:
        OSError: the file cannot be written.
    """
    path = folder / _OWN
    with (folder / f".{_OWN}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be storing a figure
        content: dict[str, Any] = {}
        try:
            content = dict(read_mapping(path))
        except FileNotFoundError:
            pass
        except YamlFileError:
            path.replace(path.with_suffix(".damaged.yaml"))
        engines = _mapping(content.get(model))
        formats = _mapping(engines.get(engine))
        figures: dict[str, Any] = asdict(agreement)
        if precision == "int8":
            kept = _mapping(formats.get("int8")).items()
            figures = {kind: old for kind, old in kept if isinstance(old, dict)} | {
                int8_kind: figures
            }
        engines[engine] = {**formats, precision: figures}
        with replacing(path) as file:
            file.write(format_mapping({**content, model: engines}).encode())


def _mapping(found: object) -> dict[str, Any]:
    """Return a copy of a mapping, or an empty one for anything else."""
    return dict(found) if isinstance(found, dict) else {}
