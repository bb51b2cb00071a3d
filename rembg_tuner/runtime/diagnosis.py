"""A description of the machine and the installed packages, for `doctor` and the page."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.child_process import ChildProcess
from rembg_tuner.base.files import open_cache
from rembg_tuner.base.messages import Message, Term
from rembg_tuner.base.spawning import child_environment
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.runtime.measurements import Measurements
from rembg_tuner.runtime.meter import Meter, available_memory_bytes, load_average
from rembg_tuner.settings.address_space import read_limit
from rembg_tuner.settings.host import read_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rembg_tuner.engines.spec import EngineSpec

# CPU features that the engines' fast paths use, by the kernel's names.
_TELLING_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
    "bf16",
)
_ASK_TIMEOUT_S = 60.0
_ASK_LIBVIPS = "from rembg_tuner.imaging import libvips as e; print(e.libvips_version())"
_ASK_DEFLATE = (
    "from rembg_tuner.imaging import png_writer as e; print(e.DEFLATE_LIBRARY, e.DEFLATE_VERSION)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """An engine: its version, or None and the install instructions."""

    name: str
    version: str | None
    detail: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """An execution provider of ONNX Runtime, and what to do if it is missing."""

    name: str
    is_present: bool
    detail: Message | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """A model: its path, or None and how to get it."""

    name: str
    path: str | None
    licence: str
    detail: Message | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The machine and what is installed. Sizes are in bytes; unknown values are None.

    Attributes:
        memory_cgroup: the cgroup that sets memory_limit_bytes.
        measurements: the database of the measurements on this machine; deleting the file deletes
            them.
        measured: the number of rows of each table; None: the database cannot be read.
    """

    cpu: str
    affinity_cpus: int
    quota_cpus: float | None
    usable_cpus: int
    load_average: float | None
    features: tuple[str, ...]
    total_memory_bytes: int | None
    available_memory_bytes: int
    memory_limit_bytes: int | None
    address_space_limit_bytes: int | None
    peak_source: str
    python: str
    libvips: str
    deflate: str
    cache: str
    cache_warning: Message | None
    engines: tuple[EngineState, ...]
    providers: tuple[ProviderState, ...]
    models: tuple[ModelState, ...]
    memory_cgroup: str | None = None
    measurements: str = ""
    measured: Mapping[str, int] | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, ready for JSON, with messages in English."""
        content = asdict(self)
        content["cache_warning"] = _said(self.cache_warning)
        listed: tuple[tuple[str, Sequence[EngineState | ProviderState | ModelState]], ...] = (
            ("engines", self.engines),
            ("providers", self.providers),
            ("models", self.models),
        )
        for name, states in listed:
            content[name] = [{**asdict(one), "detail": _said(one.detail) or ""} for one in states]
        return content


def _said(message: Message | None) -> str | None:
    """Return the English text of a message."""
    return None if message is None else str(message)


def diagnose() -> Diagnosis:
    """Read the state of the machine; libraries are imported only in child processes."""
    host = read_host()
    cache, cache_warnings = open_cache()
    known = Measurements(cache)
    return Diagnosis(
        cpu=host.cpu,
        affinity_cpus=host.affinity_cpus,
        quota_cpus=host.quota_cpus,
        usable_cpus=host.usable_cpus,
        load_average=load_average(),
        features=tuple(word for word in _TELLING_FEATURES if word in host.features),
        total_memory_bytes=host.total_memory_bytes,
        available_memory_bytes=available_memory_bytes(),
        memory_limit_bytes=host.memory_limit_bytes,
        memory_cgroup=None if host.memory_cgroup is None else str(host.memory_cgroup),
        measurements=str(known.path),
        measured=_counts(known),
        address_space_limit_bytes=read_limit(),
        peak_source=Meter(os.getpid()).peak_source,
        python=sys.version.split()[0],
        libvips=_ask(_ASK_LIBVIPS) or "does not load",
        deflate=_ask(_ASK_DEFLATE) or "does not load",
        cache=str(cache),
        cache_warning=cache_warnings[0] if cache_warnings else None,
        engines=tuple(_engine_state(spec) for spec in ENGINES.values()),
        providers=provider_states(),
        models=_model_states(),
    )


def _counts(known: Measurements) -> Mapping[str, int] | None:
    """Count the measurements of this machine by table; None: the database cannot be read."""
    try:
        return known.counts()
    except sqlite3.Error:
        return None


def _ask(code: str) -> str:
    """Run a line of Python in another process, and return its output; empty if it fails."""
    process = ChildProcess((sys.executable, "-c", code), child_environment())
    try:
        text = process.read_to_end(_ASK_TIMEOUT_S).strip()
    finally:
        process.close()
    return text if process.exit_code == 0 else ""


def _engine_state(spec: EngineSpec) -> EngineState:
    """Return whether an engine is installed and, if there is a quick probe, whether it loads."""
    found = spec.installed_version
    if found is None:
        return EngineState(
            name=spec.name, version=None, detail=Message("{text}", text=spec.install)
        )
    detail = spec.detail(_ask(spec.probe) if spec.probe else "")
    return EngineState(name=spec.name, version=found, detail=detail)


def provider_states() -> tuple[ProviderState, ...]:
    """Try each execution provider in a child process; return the reason if one does not load."""
    found: dict[str, Message | None] = {}
    for spec in ENGINES.values():
        answer = _ask(spec.probe_providers).rsplit("\n", 1)[-1] if spec.probe_providers else ""
        problems = json.loads(answer) if answer else {}
        found |= {
            name: problem and Message.from_json(problem) for name, problem in problems.items()
        }
    return tuple(
        ProviderState(name=name, is_present=problem is None, detail=problem)
        for name, problem in found.items()
    )


def absent_providers(states: Iterable[ProviderState]) -> dict[str, Message]:
    """Return the execution providers that are missing, each with how to get it.

    See `Machine.absent_providers`.
    """
    return {
        one.name: Message(
            "execution provider {provider} is not available; {detail}",
            code="provider_absent",
            provider=Term(one.name, "choice"),
            detail=one.detail,
        )
        for one in states
        if not one.is_present
    }


def _model_states() -> tuple[ModelState, ...]:
    """Return the models of the catalogue, and which of them are on disk."""
    return tuple(
        ModelState(
            name=name,
            path=str(path) if (path := entry.find()) else None,
            licence=entry.licence,
            detail=None if path else entry.get_text(),
        )
        for name, entry in read_catalogue().items()
    )
