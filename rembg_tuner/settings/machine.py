"""The properties of this machine that settings depend on, as a value.

They are read once into a value, so that `check` and `resolve` are pure.

A `Machine` is a snapshot. Slow properties are read when they are first needed, and then kept in the
value: model files, measurements of number formats, and versions.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import MissingModelError, ModelError
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.catalogue import INT8_ENDINGS
from rembg_tuner.settings.host import fast_formats_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path
    from typing import Self

    from rembg_tuner.base.messages import Message
    from rembg_tuner.models.agreement import AgreementWithFp32
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.host import Int8Kind

ABSENT = "absent"  # the version of a package that is not installed
LIBVIPS_PACKAGE = "pyvips-binary"  # the wheel that contains libvips; its version is libvips'


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model's file on disk: the released one, or its int8 form for an engine.

    Attributes:
        spec: with the file's path.
        size_bytes, mtime_ns, ctime_ns, inode: identify the file without reading it. The last two
            change if another file with the old one's modification time replaces it.
        side: of the network's input, px; None: neither its record nor its graph specifies it. 0:
            the file is not a graph; the engine that loads it reports what is wrong.
        digest: returns the SHA-256 of the file as it was found.
    """

    spec: ModelSpec
    size_bytes: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0
    side: int | None
    digest: Callable[[ModelFile], str] = field(compare=False, repr=False)

    @property
    def key(self) -> tuple[str | int | float | None, ...]:
        """What a session of the model depends on, without reading the file."""
        spec = self.spec
        how = (self.side, *spec.mean, *spec.std, spec.post)
        return (os.path.realpath(spec.path), *self.stamp, *how)

    @property
    def stamp(self) -> tuple[int, int, int, int]:
        """The values that change if the file changes."""
        return (self.size_bytes, self.mtime_ns, self.ctime_ns, self.inode)

    @property
    def sha256(self) -> str:
        """The file's SHA-256.

        Raises:
            OSError: the file cannot be read, or was replaced.
        """
        return self.digest(self)


def _no_timings(_key: str, _kind: str) -> Mapping[str, float]:
    """Return no times, for a machine on which nothing was timed."""
    return {}


def times_key(files: Iterable[object], engine: str, version: str) -> str:
    """Return the database key of times: what they depend on besides the machine.

    Args:
        files: the files of the formats: released and int8; None: there is no such file.
        engine: name of the engine.
        version: of the engine.
    """
    return f"number formats {json.dumps([list(files), engine, version])}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The properties of this machine.

    Attributes:
        engines: the installed engines, best first.
        cpu: the processor's name.
        features: of the CPU, by the kernel's names.
        precisions: the number formats that the engines compute in on this CPU.
        int8_kind: how the CPU computes int8; agreement with fp32 is recorded for each kind.
        cpus: number that a run may use; a slot's share if several slots run at once.
        memory_limit_bytes: memory that this process may use; None: unknown.
        limited_by: the cgroup that sets it; None: the machine's memory does, or it is unknown.
        large_models: the models whose network takes 1024 px or more; focus is not measured with
            them.
        absent_providers: ONNX Runtime's execution providers that are not available, each with the
            remedy; None: they were not checked, since that takes 0.5 s.
        find: returns a model's file by the model and the engine of its int8 form (None: the
            released file); raises ModelError.
        agreement: returns how a model's number format in an engine agrees with fp32; None: not
            measured.
        timing: returns the times of number formats on this machine, seconds, by `times_key` and
            `kind`; empty: not timed.
        version: returns an installed package's version; "absent": it is not installed.
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
        """The default engine: the best that runs only the network."""
        return next((one for one in self.engines if not ENGINES[one].is_stock), next(iter(ENGINES)))

    @property
    def fast_formats(self) -> tuple[str, ...]:
        """The number formats for which the CPU has special instructions.

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
        except ModelError:  # it exists and cannot be used; loading it raises the reason
            return self.has_model(model)
        return True

    @property
    def kind(self) -> str:
        """What times are valid for, as JSON: the CPU, how many a run may use, and its formats."""
        return json.dumps([self.cpu, self.cpus, fast_formats_of(self.features)])

    def times_key(self, model: str, engine: str) -> str:
        """Return the key of a model's times in an engine: its files and the engine's version.

        Raises:
            ModelError: the model's file is missing.
        """
        may_have_int8 = engine in INT8_ENDINGS and self.has_int8(model, engine)
        int8 = self.find(model, engine).key if may_have_int8 else None
        return times_key([self.find(model, None).key, int8], engine, self.version(engine))

    def format_times(self, model: str, engine: str) -> Mapping[str, float]:
        """Return the times of a model's number formats in an engine on this machine, seconds.

        Empty: not timed.
        """
        try:
            key = self.times_key(model, engine)
        except ModelError:  # running it raises the reason
            return {}
        return self.timing(key, self.kind)

    def shared_by(self, slots: int) -> Self:
        """Return the machine for one of several slots that share its CPUs."""
        return replace(self, cpus=max(1, self.cpus // slots))
