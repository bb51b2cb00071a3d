"""ONNX Runtime as the rest of the program sees it."""

from __future__ import annotations

from rembg_tuner.engines.spec import FIT, NETWORK_KNOBS, Derived, EngineSpec, Need, Timeouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.protocols import EngineRequest, NetworkEngine
    from rembg_tuner.engines.spec import Quantize, Script
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings

# What is imported, with the wheels that bring it; they replace each other.
PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")}
# Execution providers, by our word.
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
# Knobs that are attributes of SessionOptions, as they are.
OPTION_ATTRIBUTES = {"cpu_mem_arena": "enable_cpu_mem_arena", "mem_pattern": "enable_mem_pattern"}
# The knobs of its sessions, which rembg's are too.
SESSION_KNOBS = frozenset(
    {
        "provider",
        "inter_op_threads",
        "execution_mode",
        "spinning",
        *OPTION_ATTRIBUTES,
    }
)
# The last line: what CUDA's loader says of itself goes to stdout too.
_PROBE_PROVIDERS = "from rembg_tuner.engines.onnxruntime import providers as e; e.print_problems()"
# TensorRT tries kernels for minutes before it has its engine.
TIMEOUTS = Timeouts(build_s={"tensorrt": 1800.0})


def _imports() -> dict[str, str]:
    """Import ONNX Runtime."""
    from rembg_tuner.engines.onnxruntime import session

    return {"onnxruntime": session.version()}


def _open(request: EngineRequest) -> NetworkEngine:
    """Make a session."""
    from rembg_tuner.engines.onnxruntime.session import OnnxRuntimeEngine

    return OnnxRuntimeEngine(request)


def _derive(settings: Settings, _model: ModelSpec) -> Derived | None:
    """Ask for a graph whose declared input is free, where another than its own is asked."""
    side, batch = settings.network_size, settings.batch_size
    return Derived(do=FIT, side=side, batch=batch) if side or batch > 1 else None


def _int8_tools() -> tuple[Quantize, dict[str, str]]:
    """Import ONNX Runtime's own tools."""
    from rembg_tuner.engines.onnxruntime import int8

    return int8.quantize, int8.versions()


def _detail(_found: str) -> Message:
    """Return what it is for."""
    from rembg_tuner.base.messages import Message

    return Message("fp32 and int8 on the CPU, other processors by its execution providers")


def _script() -> Script:
    """Import its part of an exported script."""
    from rembg_tuner.engines.onnxruntime.script import SCRIPT

    return SCRIPT


SPEC = EngineSpec(
    name="onnxruntime",
    rank=2,
    pipeline="network",
    packages=PACKAGES,
    install="pip install onnxruntime",
    precisions={
        "fp32": Need(),
        "fp16": Need(provider="tensorrt"),
        "int8": Need(provider="cpu", int8_file=True),
    },
    faster_than_fp32=("int8",),
    providers=PROVIDERS,
    probe_providers=_PROBE_PROVIDERS,
    knobs=NETWORK_KNOBS | SESSION_KNOBS | {"batch_size", "arena_shrink"},
    int8_tools=_int8_tools,
    derive=_derive,
    script=_script,
    timeouts=TIMEOUTS,
    axes={"precision": ("fp32", "int8"), "cpu_mem_arena": (True, False)},
    detail=_detail,
    imports=_imports,
    open=_open,
)
