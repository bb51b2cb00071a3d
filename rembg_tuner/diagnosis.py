"""What this machine has and what is installed, as values; `doctor` and the page show them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rembg_tuner.address_space import read_limit
from rembg_tuner.cache import open_cache
from rembg_tuner.children.environment import child_environment
from rembg_tuner.engines.ncnn.pnnx import find_pnnx
from rembg_tuner.errors import EngineError
from rembg_tuner.host import read_host
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.presets import install_text
from rembg_tuner.running.meter import Meter, available_memory_bytes, load_average
from rembg_tuner.settings import ENGINES

# What the engines' fast paths ask for, in the kernel's words.
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
_ASK_PROVIDERS = (
    "import json; from rembg_tuner.engines.onnxruntime import providers as e; "
    "print(json.dumps({p: e.provider_problem(p) for p in e.PROVIDERS}))"
)
_ASK_LIBVIPS = "from rembg_tuner.imaging import libvips as e; print(e.libvips_version())"
_ASK_DEFLATE = "from rembg_tuner.imaging import deflate as e; print(e.LIBRARY, e.VERSION)"
_ASK_OPENVINO = (
    "from rembg_tuner.engines.openvino import session as e; print(*e.cpu_capabilities())"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """An engine: its version, or None and how to get it."""

    name: str
    version: str | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """An execution provider of ONNX Runtime, and what to do where it is absent."""

    name: str
    is_present: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """A model: its path, or None and how to get it."""

    name: str
    path: str | None
    licence: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All of it. Sizes are bytes; what is not told is None."""

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
    cache_warning: str | None
    engines: tuple[EngineState, ...]
    providers: tuple[ProviderState, ...]
    models: tuple[ModelState, ...]


def diagnose() -> Diagnosis:
    """Look at the machine; libraries are asked in processes of their own, so none stays in this one."""
    host = read_host()
    cache, cache_warnings = open_cache()
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
        address_space_limit_bytes=read_limit(),
        peak_source=Meter(os.getpid()).peak_source,
        python=sys.version.split()[0],
        libvips=_ask(_ASK_LIBVIPS) or "does not load",
        deflate=_ask(_ASK_DEFLATE) or "does not load",
        cache=str(cache),
        cache_warning=str(cache_warnings[0]) if cache_warnings else None,
        engines=tuple(_engine_state(name) for name in ENGINES),
        providers=provider_states(),
        models=_model_states(),
    )


def _ask(code: str) -> str:
    """Run a line of Python in another process; empty if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=_ASK_TIMEOUT_S,
        env=child_environment(),
        process_group=0,  # the terminal's Ctrl-C is this process's to handle
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _engine_state(name: str) -> EngineState:
    """Look whether an engine is installed and, where that is quick, whether it loads."""
    try:
        found = version(name)  # each is its package's name too
    except PackageNotFoundError:
        return EngineState(name=name, version=None, detail=install_text(name))
    if name == "openvino":
        capabilities = _ask(_ASK_OPENVINO)
        detail = f"this CPU: {capabilities}" if capabilities else "installed, but does not load"
        return EngineState(name=name, version=found, detail=detail)
    if name == "ncnn":
        try:
            find_pnnx()
        except EngineError as error:
            return EngineState(name=name, version=found, detail=str(error))
    detail = {
        "rembg": "the stock pipeline, to compare with",
        "onnxruntime": "fp32 and int8 on the CPU, other processors by its execution providers",
        "ncnn": "fp32 and bf16 storage; converts a model at its first use",
    }[name]
    return EngineState(name=name, version=found, detail=detail)


def provider_states() -> tuple[ProviderState, ...]:
    """Have ONNX Runtime try each execution provider, and tell why one does not load."""
    # The last line: what CUDA's loader says of itself goes to stdout too.
    answer = _ask(_ASK_PROVIDERS).rsplit("\n", 1)[-1]
    problems: dict[str, str | None] = json.loads(answer) if answer else {}
    return tuple(
        ProviderState(name=name, is_present=problem is None, detail=problem or "")
        for name, problem in problems.items()
    )


def _model_states() -> tuple[ModelState, ...]:
    """Look which models are on disk."""
    return tuple(
        ModelState(
            name=name,
            path=str(path) if (path := entry.find()) else None,
            licence=entry.licence,
            detail="" if path else str(entry.get_text()),
        )
        for name, entry in read_catalogue().items()
    )
