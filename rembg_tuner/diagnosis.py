"""What this machine has and what is installed, as values; `doctor` and the page show them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rembg_tuner.cache import open_cache
from rembg_tuner.children import child_environment
from rembg_tuner.host import read_host
from rembg_tuner.meter import Meter, available_memory_bytes, load_average
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.presets import install_text
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
_PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "rembg": "rembg"}
_ASK_TIMEOUT_S = 60.0
_ASK_PROVIDERS = "from rembg_tuner.engines import onnxruntime as e; print(*e.available_providers())"
_ASK_LIBVIPS = "from rembg_tuner.imaging import libvips as e; print(e.libvips_version())"
_ASK_OPENVINO = "from rembg_tuner.engines import openvino as e; print(*e.cpu_capabilities())"


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
    peak_source: str
    python: str
    libvips: str
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
        peak_source=Meter(os.getpid()).peak_source,
        python=sys.version.split()[0],
        libvips=_ask(_ASK_LIBVIPS) or "does not load",
        cache=str(cache),
        cache_warning=cache_warnings[0] if cache_warnings else None,
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
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _engine_state(name: str) -> EngineState:
    """Look whether an engine is installed and, where that is quick, whether it loads."""
    try:
        found = version(_PACKAGES[name])
    except PackageNotFoundError:
        return EngineState(name=name, version=None, detail=install_text(name))
    if name == "openvino":
        capabilities = _ask(_ASK_OPENVINO)
        detail = f"this CPU: {capabilities}" if capabilities else "installed, but does not load"
        return EngineState(name=name, version=found, detail=detail)
    detail = {"rembg": "the stock pipeline, to compare with", "onnxruntime": "fp32 on the CPU"}[
        name
    ]
    return EngineState(name=name, version=found, detail=detail)


def provider_states() -> tuple[ProviderState, ...]:
    """Ask ONNX Runtime for its execution providers."""
    present = _ask(_ASK_PROVIDERS).split()
    missing = {
        "cpu": "pip install onnxruntime",
        "cuda": "put onnxruntime-gpu in place of onnxruntime; needs an NVIDIA GPU, CUDA and cuDNN",
        "tensorrt": "put onnxruntime-gpu in place of onnxruntime; needs TensorRT too",
        "openvino": "put onnxruntime-openvino in place of onnxruntime, or choose engine openvino",
    }
    return tuple(
        ProviderState(
            name=name, is_present=name in present, detail="" if name in present else advice
        )
        for name, advice in missing.items()
    )


def _model_states() -> tuple[ModelState, ...]:
    """Look which models are on disk."""
    return tuple(
        ModelState(
            name=name,
            path=str(path) if (path := entry.find()) else None,
            licence=entry.licence,
            detail="" if path else entry.get_text(),
        )
        for name, entry in read_catalogue().items()
    )
