"""ONNX Runtime's execution providers: which can be had here, why not, and what mends it."""

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
# What puts a provider in place: the wheels replace each other, so the other one must go first.
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
# What a provider whose libraries do not load wants.
_PROVIDER_LIBRARIES = {
    "cuda": Message("{install} brings CUDA and cuDNN", install=_GPU_LIBRARIES),
    "tensorrt": Message(
        "{install} brings CUDA and cuDNN, pip install tensorrt the rest", install=_GPU_LIBRARIES
    ),
    "openvino": Message("pip install --force-reinstall onnxruntime-openvino"),
}
# What a provider whose libraries load, and which is not used, may miss.
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

    ONNX Runtime lists a provider as soon as its wheel has it, and runs on the CPU in silence where
    its libraries do not load.

    Raises:
        MissingProviderError: it cannot be had; the message has the line that mends it.
    """
    problem = provider_problem(provider)
    if problem is not None:
        raise MissingProviderError(problem)
    return ONNXRUNTIME_PROVIDERS[provider]


def provider_problem(provider: str) -> Message | None:
    """Return why an execution provider is not possible here, and what to do; None: it is."""
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
    """Load a provider's library as ONNX Runtime does, and give the loader's reason where that fails."""
    if provider in ("cuda", "tensorrt"):
        # Finds CUDA and cuDNN where pip put them; prints what it misses, which is told below
        # instead.
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

    A provider whose libraries load, and that finds no GPU or driver, is left for the CPU in
    silence.

    Raises:
        MissingProviderError: it runs in another one.
    """
    first = session.get_providers()[0]
    if first != ONNXRUNTIME_PROVIDERS[provider]:
        raise MissingProviderError(_not_used_text(first, provider))


def refusal_of_provider(reason: str, provider: str) -> EngineError | None:
    """Return the error if ONNX Runtime's text says that the provider cannot be used.

    None: it does not.

    Where a session may not fall back to the CPU (`session.disable_cpu_ep_fallback`), there are two
    such texts: one for a provider that finds no device, one for a provider that lacks an operator
    of the graph.

    Args:
        reason: why the session was not made, in ONNX Runtime's words.
        provider: by our word.
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
    """Return that ONNX Runtime runs another provider than the one asked for, and what to do."""
    return Message(
        "execution provider {provider} was asked for, and ONNX Runtime runs {other} instead;"
        " {remedy}; or choose provider cpu",
        code="provider_not_used",
        provider=provider,
        other=other,
        remedy=_PROVIDER_DEVICES[provider],
    )


def provider_options(request: EngineRequest) -> dict[str, str]:
    """Return an execution provider's own options."""
    settings = request.settings
    if settings.provider == "openvino":  # whose threads are not ONNX Runtime's
        threads = settings.intra_op_threads or request.threads
        return {"device_type": "CPU", "precision": "FP32", "num_of_threads": str(threads)}
    if settings.provider == "cuda":
        return {
            # By default GPUs from Ampere on multiply in TF32, whose ten bits of mantissa are
            # fp16's.
            "use_tf32": "0",
            # By default cuDNN times all its kernels in the first run: that took 3.5 times as long,
            # and the later runs were no faster (docs/gpu.md).
            "cudnn_conv_algo_search": "HEURISTIC",
        }
    if settings.provider != "tensorrt":
        return {}
    folder = str(request.cache / "tensorrt")  # without it, the engine is built anew at every start
    return {
        "trt_fp16_enable": "1" if settings.precision == "fp16" else "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }


def print_problems() -> None:
    """Print what is wrong with each execution provider here, as JSON, in the last line."""
    problems = {name: provider_problem(name) for name in ONNXRUNTIME_PROVIDERS}
    told = {name: problem and problem.to_json() for name, problem in problems.items()}
    sys.stdout.write("\n" + json.dumps(told) + "\n")
