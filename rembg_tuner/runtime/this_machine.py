"""Read the state of this machine: CPU and memory, installed packages, and models on disk."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from dataclasses import replace
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner import __version__
from rembg_tuner.base.files import open_cache, user_cache_folder
from rembg_tuner.models.agreement import agreement_with_fp32
from rembg_tuner.models.catalogue import find_model, read_catalogue
from rembg_tuner.models.onnx_header import read_input_side
from rembg_tuner.models.spec import file_digests, unreadable_file
from rembg_tuner.runtime.measurements import Measurements
from rembg_tuner.runtime.timings import find_times
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.machine import ABSENT, Machine, ModelFile
from rembg_tuner.settings.settings import installed_engines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rembg_tuner.models.agreement import AgreementWithFp32
    from rembg_tuner.settings.host import Int8Kind

LARGE_SIDE = 1024  # px of a network's input; focus is not measured with such networks


def read_machine() -> Machine:
    """Read the CPU, the installed packages and the models on disk, without importing packages.

    This takes about 2 ms.
    """
    host = read_host()

    return Machine(
        engines=installed_engines(),
        cpu=host.cpu,
        features=host.features,
        precisions=host.precisions,
        int8_kind=host.int8_kind,
        cpus=host.usable_cpus,
        memory_limit_bytes=host.usable_memory_bytes,
        limited_by=host.limited_by,
        large_models=_large_models(),
        find=cache(_find),
        agreement=_agreements(host.int8_kind),
        timing=cache(_timing),
        version=_version_of,
    )


def refresh(machine: Machine) -> Machine:
    """Return the machine with the current model files, agreements and times."""
    return replace(
        machine,
        find=cache(_find),
        agreement=_agreements(machine.int8_kind),
        timing=cache(_timing),
    )


@lru_cache(maxsize=128)
def _side_in(path: str, _size_bytes: int, _mtime_ns: int) -> int | None:
    """Read the side of a network's input from its graph.

    Return None if the graph does not fix it, 0 if the graph cannot be read.
    """
    try:
        return read_input_side(Path(path))
    except (OSError, ValueError):
        return 0


def _hash_of(file: ModelFile) -> str:
    return _digest(os.path.realpath(file.spec.path), *file.stamp)


@lru_cache(maxsize=128)
def _digest(path: str, *stamp: int) -> str:
    """Return a file's SHA-256; stored on this machine, since 176 MB take about 0.25 s.

    Raises:
        OSError: the file cannot be read, or was replaced.
    """
    stat = Path(path).stat()
    if stamp != (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
    file = " ".join([path, *map(str, stamp)])
    known = Measurements(_cache_folder())
    with contextlib.suppress(sqlite3.Error):  # without the database it is computed again
        if (found := known.find_digest(file)) is not None:
            return found
    digest = file_digests(Path(path), ["sha256"])["sha256"]
    with contextlib.suppress(sqlite3.Error):
        known.note_digest(file, digest)
    return digest


def _find(model: str, int8_for: str | None) -> ModelFile:
    """Find a model's file on disk."""
    spec = find_model(model, int8_for=int8_for)
    try:
        stat = Path(spec.path).stat()
    except OSError as error:
        raise unreadable_file(spec, error) from error
    return ModelFile(
        spec=spec,
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        ctime_ns=stat.st_ctime_ns,
        inode=stat.st_ino,
        side=spec.side or _side_in(spec.path, stat.st_size, stat.st_mtime_ns),
        digest=_hash_of,
    )


def _agreements(int8_kind: Int8Kind) -> Callable[[str, str, str], AgreementWithFp32 | None]:
    """Return a function that returns the agreements; its cache starts empty."""

    @cache
    def agreement(model: str, engine: str, precision: str) -> AgreementWithFp32 | None:
        return agreement_with_fp32(model, engine, precision, _cache_folder(), int8_kind=int8_kind)

    return agreement


def _timing(key: str, kind: str) -> Mapping[str, float]:
    """Return the times of the number formats on this machine."""
    try:
        return find_times(_cache_folder(), key, kind)
    except sqlite3.Error:  # the run warns of it; until then the recorded times are used
        return {}


def _cache_folder() -> Path:
    """Return the folder with this machine's measurements.

    It is opened once, since opening takes milliseconds.
    """
    try:
        return _opened(str(user_cache_folder()))
    except RuntimeError:  # a user without a home folder
        return _opened("")


@cache
def _opened(_named: str) -> Path:
    """Open the cache."""
    return open_cache()[0]


@cache
def _large_models() -> frozenset[str]:
    """Return the catalogue's models with a large network."""
    return frozenset(name for name, entry in read_catalogue().items() if entry.side >= LARGE_SIDE)


@cache
def _version_of(package: str) -> str:
    """Return an installed package's version."""
    if package == "rembg-tuner":
        return __version__
    try:
        return version(package)
    except PackageNotFoundError:
        return ABSENT
