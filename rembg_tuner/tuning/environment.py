"""The environment of figures, and its keys: machine, libraries, weights and pictures.

A trial with the same key and context is not measured again.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import ModelError
from rembg_tuner.base.units import format_bytes
from rembg_tuner.engines.table import package_versions
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.models.spec import file_digests
from rembg_tuner.runtime.meter import load_average
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.machine import LIBVIPS_PACKAGE
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.tuning.trials import settings_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.plan import Plan

# Libraries that read and write pictures; the measurement key does not include them.
_PICTURE_LIBRARIES = ("pyvips", "isal")
# Libraries in the context of release 0.1.0, which had no measurement key.
_OLDER_LIBRARIES = ("rembg-tuner", "onnxruntime", "openvino", "ncnn", "rembg", "pyvips", "isal")


def describe_machine() -> list[str]:
    """Return the CPU, the number of usable cores, and the versions of all libraries."""
    host = read_host()
    return [
        host.cpu,
        str(host.usable_cpus),
        *_with_versions(["rembg-tuner"]),
        *(f"{name} {number or 'absent'}" for name, number in package_versions().items()),
        *_with_versions([*_PICTURE_LIBRARIES, LIBVIPS_PACKAGE]),
    ]


def sweep_environment() -> dict[str, str]:
    """Return the date (UTC), the machine, its memory limit and its load, for a report."""
    cpu, cores, *versions = describe_machine()
    load = load_average()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu,
        "cores": cores,
        "versions": ", ".join(versions),
        "memory_limit": format_bytes(read_host().usable_memory_bytes),
        "load_average": "unknown" if load is None else f"{load:.2f}",
    }


def _with_versions(names: Iterable[str]) -> list[str]:
    """Return libraries with their installed versions."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return found


def plan_context(plan: Plan, masks: Mapping[str, str], machine: Machine, slots: int) -> str:
    """Return the context of a sweep's trials; see `context_of`.

    Args:
        plan: of the sweep.
        masks: by picture; empty: the reference is cut out.
        machine: with the share of CPUs that a trial has.
        slots: the number of workers that share the CPUs.
    """
    reference = _mask_digests(masks)
    if not masks:
        name, settings = plan.reference_settings()
        reference = [name, key_of(settings, machine), settings.max_side]
    words = [
        machine.cpu,
        str(machine.cpus),
        *sorted(machine.features),
        f"{slots} slots",
        *_with_versions(_PICTURE_LIBRARIES),
    ]
    return context_of(plan.pictures, json.dumps(reference), rounds=plan.rounds, machine=words)


def older_plan_context(plan: Plan, masks: Mapping[str, str], slots: int) -> str:
    """Return the context as release 0.1.0 wrote it, with the versions of all libraries."""
    reference = _mask_digests(masks)
    if not masks:
        name, settings = plan.reference_settings()
        reference = [name, settings.to_dict(), weights_key(settings)]
    host = read_host()
    words = [
        host.cpu,
        str(host.usable_cpus),
        *_with_versions(_OLDER_LIBRARIES),
        *sorted(host.features),
        f"{slots} slots",
    ]
    return context_of(plan.pictures, json.dumps(reference), rounds=plan.rounds, machine=words)


def _mask_digests(masks: Mapping[str, str]) -> list[object]:
    """Return the SHA-256 of each mask."""
    return [file_digests(Path(one), ["sha256"])["sha256"] for one in masks.values()]


def context_of(
    pictures: Sequence[Path], reference: str, *, rounds: int, machine: Sequence[str]
) -> str:
    """Return a hash of everything except the setting that a trial's figures depend on.

    Args:
        pictures: hashed by their content, in this order.
        reference: the reference of agreement, with its weights.
        rounds: timed runs of each picture.
        machine: CPU, cores, features of the CPU, versions, slots.

    Returns:
        A SHA-256 in hexadecimal.

    Raises:
        OSError: a picture cannot be read.
    """
    digest = hashlib.sha256()
    for path in pictures:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update(json.dumps([reference, rounds, *machine]).encode())
    return digest.hexdigest()


def key_of(settings: Settings, machine: Machine) -> str:
    """Return the measurement key of a setting; without a model file, a key of the settings."""
    try:
        return resolve(settings, machine).measurement_key
    except (ModelError, OSError):  # its trial fails with the reason
        return f"unresolved {settings_key(settings)}"


def older_trial_key(settings: Settings) -> str:
    """Return the key of a setting and its weights as release 0.1.0 wrote it."""
    return f"{settings_key(settings)} {weights_key(settings)}"


def weights_key(settings: Settings) -> str:
    """Return a key of the model files that a setting may use: their content and input format.

    These are the released file, its int8 form for precision int8, and both for auto. The entry of a
    missing file is null.
    """
    forms = {"int8": (settings.engine,), "auto": (None, settings.engine)}
    return json.dumps(
        [_file_key(settings.model, one) for one in forms.get(settings.precision, (None,))]
    )


def _file_key(model: str, int8_for: str | None) -> list[object] | None:
    """Return the digest and input format of one model file; None: it is missing."""
    try:
        spec = find_model(model, int8_for=int8_for)
        stat = Path(spec.path).stat()
        digest = _digest(spec.path, stat.st_size, stat.st_mtime_ns)
    except (ModelError, OSError):
        return None
    return [digest, spec.side, spec.mean, spec.std, spec.post]


@lru_cache(maxsize=128)
def _digest(path: str, _size: int, _mtime_ns: int) -> str:
    """Compute the SHA-256 of a file once for each size and modification time."""
    return file_digests(Path(path), ["sha256"])["sha256"]
