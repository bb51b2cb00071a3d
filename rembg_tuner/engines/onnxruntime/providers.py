"""ONNX Runtime's execution providers: which are available, why others are not, and remedies."""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from rembg_tuner.base.errors import EngineError, MissingProviderError
from rembg_tuner.base.messages import Message, Quoted, join_parts
from rembg_tuner.engines.spec import ONNXRUNTIME_PROVIDERS

if TYPE_CHECKING:
    from rembg_tuner.engines.protocols import EngineRequest

_GPU_LIBRARIES = Message("pip install 'onnxruntime-gpu[cuda,cudnn]'")
# How to install a provider: the wheels replace each other, so the other must be removed first.
_PROVIDER_WHEELS = {
    "cuda": Message(
        "pip uninstall onnxruntime, then {install} (needs an NVIDIA GPU and its driver)",
        install=_GPU_LIBRARIES,
    ),
    "tensorrt": Message(
        "pip uninstall onnxruntime, then {install} and pip install tensorrt (needs an NVIDIA GPU"
        " and its driver)",
        install=_GPU_LIBRARIES,
    ),
    "openvino": Message(
        "pip uninstall onnxruntime, then pip install onnxruntime-openvino; or choose engine"
        " openvino"
    ),
}
# How to install the libraries of a provider that does not load.
_PROVIDER_LIBRARIES = {
    "cuda": Message("{install} brings CUDA and cuDNN", install=_GPU_LIBRARIES),
    "tensorrt": Message(
        "{install} brings CUDA and cuDNN, pip install tensorrt the rest", install=_GPU_LIBRARIES
    ),
    "openvino": Message("pip install --force-reinstall onnxruntime-openvino"),
}
# What to check if a provider's libraries load, but the provider is not used.
_LOOK_FOR_GPU = Message(
    "see whether nvidia-smi finds a GPU, with free memory and a driver new enough for this CUDA"
)
_PROVIDER_DEVICES = {
    "cuda": _LOOK_FOR_GPU,
    "tensorrt": _LOOK_FOR_GPU,
    "openvino": _PROVIDER_LIBRARIES["openvino"],
}


def require_provider(provider: str) -> str:
    """Return ONNX Runtime's name of an execution provider that is present and loads.

    ONNX Runtime lists every provider that its wheel contains, and silently runs on the CPU if the
    provider's libraries do not load.

    Raises:
        MissingProviderError: it is not available; the message contains the remedy.
    """
    problem = provider_problem(provider)
    if problem is not None:
        raise MissingProviderError(problem)
    return ONNXRUNTIME_PROVIDERS[provider]


def provider_problem(provider: str) -> Message | None:
    """Return why an execution provider is not available, and what to do; None: it is available."""
    available = onnxruntime.get_available_providers()
    if ONNXRUNTIME_PROVIDERS[provider] not in available:
        return Message(
            "execution provider {provider} is not in this ONNX Runtime, which has {present};"
            " {remedy}; or choose provider cpu",
            code="provider_absent",
            provider=provider,
            present=join_parts(
                word for word, full in ONNXRUNTIME_PROVIDERS.items() if full in available
            ),
            remedy=_PROVIDER_WHEELS[provider],
        )
    if provider == "cpu":
        return None
    reason = _why_not_loaded(provider)
    if reason is None:
        return None
    return Message(
        "execution provider {provider} is in this ONNX Runtime, and does not load: {reason};"
        " {remedy}; or choose provider cpu",
        code="provider_not_loaded",
        provider=provider,
        reason=Quoted(reason),
        remedy=_PROVIDER_LIBRARIES[provider],
    )


def _why_not_loaded(provider: str) -> str | None:
    """Load a provider's libraries as ONNX Runtime does; return the loader's error, or None."""
    if provider in ("cuda", "tensorrt"):
        # Finds CUDA and cuDNN where pip installed them. It prints missing libraries; the reason
        # that is returned below replaces that output.
        onnxruntime.preload_dlls(directory="")
    folder = Path(onnxruntime.__file__).parent / "capi"
    ending = {"darwin": "dylib", "win32": "dll"}.get(sys.platform, "so")
    prefix = "" if ending == "dll" else "lib"
    for name in ("shared", provider):
        library = folder / f"{prefix}onnxruntime_providers_{name}.{ending}"
        if not library.is_file():  # built into ONNX Runtime itself
            continue
        try:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            return str(error)
    return None


def refuse_another_provider(session: onnxruntime.InferenceSession, provider: str) -> None:
    """Check that a session runs in the requested execution provider.

    ONNX Runtime silently uses the CPU if a provider's libraries load, but it does not find a GPU or
    a driver.

    Raises:
        MissingProviderError: it runs in another one.
    """
    first = session.get_providers()[0]
    if first != ONNXRUNTIME_PROVIDERS[provider]:
        raise MissingProviderError(_not_used_text(first, provider))


def refusal_of_provider(reason: str, provider: str) -> EngineError | None:
    """Return the error if ONNX Runtime's text says that the provider is not usable; else None.

    If a session must not fall back to the CPU (`session.disable_cpu_ep_fallback`), there are two
    such texts: one for a provider that finds no device, one for a provider that lacks an operator
    of the graph.

    Args:
        reason: why the session was not created, in ONNX Runtime's words.
        provider: this program's name of the provider.
    """
    if "disabled fallback to the CPU EP" in reason:
        return MissingProviderError(_not_used_text(ONNXRUNTIME_PROVIDERS["cpu"], provider))
    if "fallback to CPU EP has been explicitly disabled" in reason:
        return EngineError(
            Message(
                "execution provider {provider} does not run all operators of this model; choose"
                " provider cpu, or another model",
                provider=provider,
            )
        )
    return None


def _not_used_text(other: str, provider: str) -> Message:
    """Return the message that ONNX Runtime runs another provider than requested, with a remedy."""
    return Message(
        (
            "execution provider {provider} was requested, but ONNX Runtime uses {other}; "
            "{remedy}; or choose provider cpu"
        ),
        code="provider_not_used",
        provider=provider,
        other=other,
        remedy=_PROVIDER_DEVICES[provider],
    )


def provider_options(request: EngineRequest) -> dict[str, str]:
    """Return the options of an execution provider."""
    settings = request.settings
    if settings.provider == "openvino":  # it has its own threads
        threads = settings.intra_op_threads or request.threads
        return {"device_type": "CPU", "precision": "FP32", "num_of_threads": str(threads)}
    if settings.provider == "cuda":
        return {
            # By default GPUs since Ampere multiply in TF32, whose mantissa has ten bits, as fp16's.
            "use_tf32": "0",
            # By default cuDNN times all its kernels in the first run: that took 3.5 times as long,
            # and later runs were not faster (docs/gpu.md).
            "cudnn_conv_algo_search": "HEURISTIC",
        }
    if settings.provider != "tensorrt":
        return {}
    folder = str(request.cache / "tensorrt")  # without it, each start builds the engine
    return {
        "trt_fp16_enable": "1" if settings.precision == "fp16" else "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }


def print_problems() -> None:
    """Print the problem of each execution provider as JSON, in the last line."""
    problems = {name: provider_problem(name) for name in ONNXRUNTIME_PROVIDERS}
    told = {name: problem and problem.to_json() for name, problem in problems.items()}
    sys.stdout.write("\n" + json.dumps(told) + "\n")
