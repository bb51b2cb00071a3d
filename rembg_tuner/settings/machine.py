"""What this machine has, as far as settings ask.

Read once into a value, so that `check` and `resolve` are pure.

A `Machine` is how things stand at one moment. What takes long to find out is found out when it is
first asked for, and then stays as it is in that value: the files of models, what was measured of
number formats, versions.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner import __version__
from rembg_tuner.base.errors import MissingModelError, ModelError
from rembg_tuner.base.files import open_cache, user_cache_folder
from rembg_tuner.base.messages import Message
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.agreement import agreement_with_fp32
from rembg_tuner.models.catalogue import INT8_ENDINGS, find_model, read_catalogue
from rembg_tuner.models.onnx_header import read_input_side
from rembg_tuner.models.spec import file_digests
from rembg_tuner.runtime.format_times import find_times, times_key
from rembg_tuner.runtime.measurements import Measurements
from rembg_tuner.settings.host import fast_formats_of, read_host
from rembg_tuner.settings.settings import installed_engines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from rembg_tuner.models.agreement import AgreementWithFp32
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.host import Int8Kind

LARGE_SIDE = 1024  # px of a network's input; focus is not measured with such networks
ABSENT = "absent"  # a package's version where it is not installed
LIBVIPS_PACKAGE = "pyvips-binary"  # the wheel that brings libvips; its version is libvips'


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model's file as it lies on disk: the released one, or its int8 form for an engine.

    Attributes:
        spec: with the file's path.
        size_bytes, mtime_ns, ctime_ns, inode: which file that is, without reading it; the last two
            differ for another file that was put there with the old one's time.
        side: of the network's input, px; None: neither its record nor its graph tells. 0: the file
            is no graph; the engine that loads it says what is wrong with it.
        digest: computes the file's hash; None: of the file itself.
    """

    spec: ModelSpec
    size_bytes: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0
    side: int | None
    digest: Callable[[], str] | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> tuple[str | int | float | None, ...]:
        """What a session of it depends on, without reading the file."""
        spec = self.spec
        how = (self.side, *spec.mean, *spec.std, spec.post)
        return (os.path.realpath(spec.path), *self._stamp, *how)

    @property
    def _stamp(self) -> tuple[int, int, int, int]:
        """What changes with the file."""
        return (self.size_bytes, self.mtime_ns, self.ctime_ns, self.inode)

    @property
    def sha256(self) -> str:
        """The file's hash; computed once as long as its size and time stay.

        Raises:
            OSError: it cannot be read any more.
        """
        if self.digest is not None:
            return self.digest()
        return _digest(os.path.realpath(self.spec.path), *self._stamp)


@lru_cache(maxsize=128)
def _digest(path: str, *stamp: int) -> str:
    """Return a file's SHA-256; computed once on this machine, since 176 MB take a quarter of a second.

    Raises:
        OSError: it cannot be read, or another file is there now.
    """
    stat = Path(path).stat()
    if stamp != (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
    file = " ".join([path, *map(str, stamp)])
    known = Measurements(_cache_folder())
    with contextlib.suppress(sqlite3.Error):  # what cannot be kept is computed again
        if (found := known.find_digest(file)) is not None:
            return found
    digest = file_digests(Path(path), ["sha256"])["sha256"]
    with contextlib.suppress(sqlite3.Error):
        known.note_digest(file, digest)
    return digest


def _no_timings(_key: str, _kind: str) -> Mapping[str, float]:
    """Return the times of a machine on which nothing was timed."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What this machine has.

    Attributes:
        engines: those installed, best first.
        cpu: the processor's name.
        features: of the CPU, in the kernel's words.
        precisions: the number formats that the engines compute in on this CPU.
        int8_kind: how the CPU computes int8, for which agreement with fp32 is recorded.
        cpus: that a run may use; a slot's share where several run at once.
        memory_limit_bytes: what this process may use; None: it is not known.
        limited_by: the cgroup that sets it; None: the machine's memory does, or it is not known.
        large_models: the models whose network takes 1024 px or more; focus is not measured with
            them.
        absent_providers: ONNX Runtime's execution providers that are not here, each with what to do
            about it; None: ONNX Runtime was not asked, which takes half a second.
        find: gives a model's file by the model and the engine whose int8 form is wanted (None: the
            released file); raises ModelError.
        agreement: gives how a model's number format in an engine agrees with fp32; None: not
            measured.
        timing: gives what number formats took here, seconds, by `times_key` and `kind`; empty: not
            timed.
        version: gives an installed package's version; "absent": it is not installed.
    """

    engines: tuple[str, ...]
    cpu: str
    features: frozenset[str]
    precisions: frozenset[str]
    int8_kind: Int8Kind
    cpus: int
    memory_limit_bytes: int | None
    limited_by: Path | None = None
    large_models: frozenset[str]
    absent_providers: Mapping[str, Message] | None = None
    find: Callable[[str, str | None], ModelFile]
    agreement: Callable[[str, str, str], AgreementWithFp32 | None]
    timing: Callable[[str, str], Mapping[str, float]] = _no_timings
    version: Callable[[str], str]

    @property
    def best_engine(self) -> str:
        """The engine that settings without one mean: the best that runs the network alone."""
        return next((one for one in self.engines if not ENGINES[one].is_stock), next(iter(ENGINES)))

    @property
    def fast_formats(self) -> tuple[str, ...]:
        """The number formats that the CPU has instructions of its own for.

        See `host.fast_formats_of`.
        """
        return fast_formats_of(self.features)

    def has_model(self, model: str) -> bool:
        """Return whether a model's file is on disk."""
        try:
            self.find(model, None)
        except ModelError:
            return False
        return True

    def has_int8(self, model: str, engine: str) -> bool:
        """Return whether a model's int8 form for an engine is on disk."""
        try:
            self.find(model, engine)
        except MissingModelError:
            return False
        except ModelError:  # it is there and cannot be used; loading it raises the reason
            return self.has_model(model)
        return True

    @property
    def kind(self) -> str:
        """CPU, how many of it a run may use, and what it computes in.

        What times hold for, as JSON.
        """
        return json.dumps([self.cpu, self.cpus, fast_formats_of(self.features)])

    def times_key(self, model: str, engine: str) -> str:
        """Return the key of a model's times in an engine: its files and the engine's version.

        Raises:
            ModelError: the model's file is not there.
        """
        may_have_int8 = engine in INT8_ENDINGS and self.has_int8(model, engine)
        int8 = self.find(model, engine).key if may_have_int8 else None
        return times_key([self.find(model, None).key, int8], engine, self.version(engine))

    def format_times(self, model: str, engine: str) -> Mapping[str, float]:
        """Return what a model's number formats took here in an engine, seconds.

        Empty: not timed.
        """
        try:
            key = self.times_key(model, engine)
        except ModelError:  # running it raises the reason
            return {}
        return self.timing(key, self.kind)

    def renewed(self) -> Self:
        """Return the machine with the files of models, the agreements and the times as they are now."""
        return replace(
            self, find=cache(_find), agreement=_agreements(self.int8_kind), timing=cache(_timing)
        )

    def shared_by(self, slots: int) -> Self:
        """Return the machine as one of several slots has it, which share its CPUs."""
        return replace(self, cpus=max(1, self.cpus // slots))


def read_machine() -> Machine:
    """Look at the CPU, at what is installed and at what is on disk; nothing is imported for it.

    Takes some 2 ms.
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


@lru_cache(maxsize=128)
def _side_in(path: str, _size_bytes: int, _mtime_ns: int) -> int | None:
    """Read the side of a network's input from its graph.

    None: the graph leaves it open, 0: it does not read.
    """
    try:
        return read_input_side(Path(path))
    except (OSError, ValueError):
        return 0


def _find(model: str, int8_for: str | None) -> ModelFile:
    """Find a model's file on disk."""
    spec = find_model(model, int8_for=int8_for)
    try:
        stat = Path(spec.path).stat()
    except OSError as error:
        raise ModelError(
            Message(
                "the model's file {path} cannot be read: {reason}",
                path=Path(spec.path),
                reason=error.strerror,
            )
        ) from error
    return ModelFile(
        spec=spec,
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        ctime_ns=stat.st_ctime_ns,
        inode=stat.st_ino,
        side=spec.side or _side_in(spec.path, stat.st_size, stat.st_mtime_ns),
    )


def _agreements(int8_kind: Int8Kind) -> Callable[[str, str, str], AgreementWithFp32 | None]:
    """Return what gives the agreements that are kept now."""

    @cache
    def agreement(model: str, engine: str, precision: str) -> AgreementWithFp32 | None:
        return agreement_with_fp32(model, engine, precision, _cache_folder(), int8_kind=int8_kind)

    return agreement


def _timing(key: str, kind: str) -> Mapping[str, float]:
    """Return what number formats took here."""
    try:
        return find_times(_cache_folder(), key, kind)
    except (
        sqlite3.Error
    ):  # the run warns of it as it notes its peak; until then what was recorded holds
        return {}


def _cache_folder() -> Path:
    """Return the folder with this machine's own figures.

    It is opened once, which takes milliseconds.
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
    """Name the catalogue's models with a large network."""
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
