"""Which weights a setting runs, by their content: others under the same name give other figures."""

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
from rembg_tuner.tuning.reference import (
    _trusted,
)
from rembg_tuner.tuning.trials import settings_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.plan import Plan

# Of which figures depend on besides those in the measurement key: what reads and writes pictures.
_PICTURE_LIBRARIES = ("pyvips", "isal")


# What versions without a measurement key put into a sweep's context.
_OLDER_LIBRARIES = ("rembg-tuner", "onnxruntime", "openvino", "ncnn", "rembg", "pyvips", "isal")


def describe_machine() -> list[str]:
    """Name what figures depend on: CPU, cores, versions."""
    host = read_host()
    return [
        host.cpu,
        str(host.usable_cpus),
        f"rembg-tuner {_version_of('rembg-tuner')}",
        *(f"{name} {number or 'absent'}" for name, number in package_versions().items()),
        *(f"{name} {_version_of(name)}" for name in (*_PICTURE_LIBRARIES, LIBVIPS_PACKAGE)),
    ]


def describe_environment() -> dict[str, str]:
    """Tell where and when a sweep is measured, for its report.

    Date (UTC), machine, what it may use, its load.
    """
    cpu, cores, *versions = describe_machine()
    memory, load = read_host().usable_memory_bytes, load_average()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu,
        "cores": cores,
        "versions": ", ".join(versions),
        "memory_limit": format_bytes(memory),
        "load_average": "unknown" if load is None else f"{load:.2f}",
    }


def _version_of(name: str) -> str:
    """Give an installed library's version."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _context(plan: Plan, masks: dict[str, str], machine: Machine, slots: int) -> str:
    """Name what a trial's figures depend on besides its measurement key; see `context_of`.

    Args:
        plan: of the sweep.
        masks: of the pictures; empty: the reference is not masks.
        machine: with the share of CPUs that a trial has.
        slots: that share the machine's CPUs.
    """
    reference = _mask_digests(masks)
    if not masks:
        settings, name = _trusted(plan)
        reference = [str(name), key_of(settings, machine), settings.max_side]
    libraries = (f"{name} {_version_of(name)}" for name in _PICTURE_LIBRARIES)
    words = [
        machine.cpu,
        str(machine.cpus),
        *sorted(machine.features),
        f"{slots} slots",
        *libraries,
    ]
    return context_of(plan.pictures, json.dumps(reference), rounds=plan.rounds, machine=words)


def _older_context(plan: Plan, masks: dict[str, str], slots: int) -> str:
    """Name the same as versions without a measurement key did, all libraries' versions in it."""
    reference = _mask_digests(masks)
    if not masks:
        settings, name = _trusted(plan)
        reference = [str(name), settings.to_dict(), weights_key(settings)]
    host = read_host()
    libraries = (f"{name} {_version_of(name)}" for name in _OLDER_LIBRARIES)
    words = [host.cpu, str(host.usable_cpus), *libraries, *sorted(host.features), f"{slots} slots"]
    return context_of(plan.pictures, json.dumps(reference), rounds=plan.rounds, machine=words)


def _mask_digests(masks: dict[str, str]) -> list[object]:
    """Name masks by their content."""
    return [file_digests(Path(one), ["sha256"])["sha256"] for one in masks.values()]


def key_of(settings: Settings, machine: Machine) -> str:
    """Return a setting's measurement key; of one whose model is not there, the setting itself."""
    try:
        return resolve(settings, machine).measurement_key
    except (ModelError, OSError):  # a trial of it fails, and says why
        return f"unresolved {settings_key(settings)}"


def context_of(
    pictures: Sequence[Path], reference: str, *, rounds: int, machine: Sequence[str]
) -> str:
    """Name what a trial's figures depend on besides its setting.

    Args:
        pictures: by their content, in this order.
        reference: what agreement is measured against, its weights too.
        rounds: timed runs of each picture.
        machine: CPU, cores, what the CPU can do, versions, slots.

    Returns:
        A SHA-256 as hex.

    Raises:
        OSError: a picture cannot be read.
    """
    digest = hashlib.sha256()
    for path in pictures:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update(json.dumps([reference, rounds, *machine]).encode())
    return digest.hexdigest()


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
