"""The engines, as values; a new engine is a module and an `EngineSpec` here."""

from __future__ import annotations

from rembg_tuner.engines.spec import (
    FIT,
    NETWORK_KNOBS,
    ONNXRUNTIME_PROVIDERS,
    OPTION_ATTRIBUTES,
    Derived,
    EngineSpec,
    Need,
    Timeouts,
)

TYPE_CHECKING = False  # `typing` itself takes a while to import
if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.protocols import EngineRequest, NetworkEngine, StockEngine
    from rembg_tuner.engines.spec import Quantize, Script
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings

# ONNX Runtime, on the CPU and by its execution providers.

# The imported package, with the wheels that contain it; they replace each other.
_ONNXRUNTIME_PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")}
# The knobs of its sessions; rembg uses the same sessions.
_SESSION_KNOBS = frozenset(
    {"provider", "inter_op_threads", "execution_mode", "spinning", *OPTION_ATTRIBUTES}
)
# TensorRT times kernels for minutes to build its engine.
_ONNXRUNTIME_TIMEOUTS = Timeouts(build_s={"tensorrt": 1800.0})


def _import_onnxruntime() -> dict[str, str]:
    """Import ONNX Runtime."""
    from rembg_tuner.engines.onnxruntime import session

    return {"onnxruntime": session.version()}


def _open_onnxruntime(request: EngineRequest) -> NetworkEngine:
    """Create a session."""
    from rembg_tuner.engines.onnxruntime.session import OnnxRuntimeEngine

    return OnnxRuntimeEngine(request)


def _derive_free_graph(settings: Settings, _model: ModelSpec) -> Derived | None:
    """Request a graph with a free input if another input than its own is requested."""
    side, batch = settings.network_size, settings.batch_size
    return Derived(do=FIT, side=side, batch=batch) if side or batch > 1 else None


def _onnxruntime_int8_tools() -> tuple[Quantize, dict[str, str]]:
    """Import ONNX Runtime's tools for int8."""
    from rembg_tuner.engines.onnxruntime import int8

    return int8.quantize, int8.versions()


def _onnxruntime_detail(_found: str) -> Message:
    """Return what the engine is used for."""
    from rembg_tuner.base.messages import Message

    return Message("fp32 and int8 on the CPU, other processors by its execution providers")


def _onnxruntime_script() -> Script:
    """Import the engine's part of an exported script."""
    from rembg_tuner.engines.scripts import ONNXRUNTIME

    return ONNXRUNTIME


_ONNXRUNTIME = EngineSpec(
    name="onnxruntime",
    rank=2,
    pipeline="network",
    packages=_ONNXRUNTIME_PACKAGES,
    install="pip install onnxruntime",
    precisions={
        "fp32": Need(),
        "fp16": Need(provider="tensorrt"),
        "int8": Need(provider="cpu", int8_file=True),
    },
    faster_than_fp32=("int8",),
    providers=ONNXRUNTIME_PROVIDERS,
    # The output is the last line, because CUDA's loader prints to stdout too.
    probe_providers=(
        "from rembg_tuner.engines.onnxruntime import providers as e; e.print_problems()"
    ),
    knobs=NETWORK_KNOBS | _SESSION_KNOBS | {"batch_size", "arena_shrink"},
    int8_tools=_onnxruntime_int8_tools,
    derive=_derive_free_graph,
    script=_onnxruntime_script,
    timeouts=_ONNXRUNTIME_TIMEOUTS,
    axes={"precision": ("fp32", "int8"), "cpu_mem_arena": (True, False)},
    detail=_onnxruntime_detail,
    imports=_import_onnxruntime,
    open=_open_onnxruntime,
)

# OpenVINO, on the CPU.

# OpenVINO's converter of models, which runs do not need; its import takes 40 ms of CPU time and
# 7 MiB. openvino's own __init__ continues without it.
_NOT_NEEDED = "openvino.tools.ovc"


def _import_openvino() -> dict[str, str]:
    """Import OpenVINO."""
    import sys

    sys.modules[_NOT_NEEDED] = None  # type: ignore[assignment]  # the documented way to forbid an import
    from rembg_tuner.engines import openvino

    return {"openvino": openvino.version()}


def _open_openvino(request: EngineRequest) -> NetworkEngine:
    """Compile a model."""
    from rembg_tuner.engines.openvino import OpenVinoEngine

    return OpenVinoEngine(request)


def _derive_computed_sizes(settings: Settings, model: ModelSpec) -> Derived | None:
    """Request a graph with computed sizes; OpenVINO reshapes a graph that computes them already."""
    side, batch = settings.network_size, settings.batch_size
    if model.computes_sizes or (not side and batch == 1):
        return None
    return Derived(do=FIT, side=side, batch=batch)


def _openvino_int8_tools() -> tuple[Quantize, dict[str, str]]:
    """Import NNCF."""
    from rembg_tuner.engines import openvino

    return openvino.quantize, openvino.int8_versions()


def _openvino_detail(found: str) -> Message:
    """Return the capabilities of this CPU, or that OpenVINO does not load."""
    from rembg_tuner.base.messages import Message

    if not found:
        return Message("installed, but does not load")
    return Message("this CPU: {capabilities}", capabilities=found)


def _openvino_script() -> Script:
    """Import the engine's part of an exported script."""
    from rembg_tuner.engines.scripts import OPENVINO

    return OPENVINO


_OPENVINO = EngineSpec(
    name="openvino",
    rank=1,
    pipeline="network",
    packages={"openvino": ("openvino",)},
    install="pip install 'rembg-tuner[openvino]'",
    precisions={
        "fp32": Need(),
        "bf16": Need(cpu=True),
        "fp16": Need(cpu=True),
        "int8": Need(int8_file=True),
    },
    # As measured. int8 is also the fastest on a CPU with AVX2 only: see
    # benchmarks/avx2_agreement.py. fp16, for CPUs that support it, was not timed, and comes last.
    faster_than_fp32=("int8", "bf16", "fp16"),
    knobs=NETWORK_KNOBS | {"batch_size"},
    axes={"precision": ("fp32", "bf16", "int8")},
    int8_tools=_openvino_int8_tools,
    derive=_derive_computed_sizes,
    script=_openvino_script,
    probe="from rembg_tuner.engines import openvino as e; print(*e.cpu_capabilities())",
    detail=_openvino_detail,
    imports=_import_openvino,
    open=_open_openvino,
)

# ncnn, on the CPU.


def _import_ncnn() -> dict[str, str]:
    """Import ncnn."""
    from rembg_tuner.engines.ncnn import session

    return {"ncnn": session.version()}


def _open_ncnn(request: EngineRequest) -> NetworkEngine:
    """Load a converted network."""
    from rembg_tuner.engines.ncnn.session import NcnnEngine

    return NcnnEngine(request)


def _derive_ncnn_network(settings: Settings, _model: ModelSpec) -> Derived:
    """Request a network in ncnn's own format."""
    return Derived(do="ncnn", side=settings.network_size, endings=(".param", ".bin"))


def _convert_for_ncnn(source: Path, target: Path, *, side: int) -> None:
    """Convert a graph to ncnn's own format."""
    from rembg_tuner.engines.ncnn.conversion import convert

    convert(source, target, side=side)


def _ncnn_detail(_found: str) -> Message:
    """Return what the engine is used for, or that its converter is missing."""
    from rembg_tuner.base.errors import EngineError
    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.ncnn.pnnx import find_pnnx

    try:
        find_pnnx()
    except EngineError as error:
        return error.message
    return Message("fp32 and bf16 storage; converts a model at its first use")


_NCNN = EngineSpec(
    name="ncnn",
    rank=3,
    pipeline="network",
    packages={"ncnn": ("ncnn",)},
    # pnnx depends on PyTorch, but does not need it to convert an ONNX file.
    install="pip install 'rembg-tuner[ncnn]' && pip install --no-deps pnnx",
    # ncnn only stores numbers in bf16, which every CPU supports, and which is slower than fp32.
    precisions={"fp32": Need(), "bf16": Need(), "fp16": Need(cpu=True)},
    knobs=NETWORK_KNOBS | {"light_mode"},
    derive=_derive_ncnn_network,
    convert_with=_convert_for_ncnn,
    detail=_ncnn_detail,
    # The versions of the tests; a test compares them with requirements-dev.txt and the Makefile.
    image_install=" ncnn==1.0.20261020 && pip install --user --no-deps pnnx==20261020",
    imports=_import_ncnn,
    open=_open_ncnn,
)

# The stock pipeline, `rembg.remove`, for comparison.


def _import_rembg() -> dict[str, str]:
    """Import rembg and ONNX Runtime."""
    from rembg_tuner.engines import rembg
    from rembg_tuner.engines.onnxruntime import session as onnxruntime

    return {"rembg": rembg.import_rembg(), "onnxruntime": onnxruntime.version()}


def _open_rembg(request: EngineRequest) -> StockEngine:
    """Create one of rembg's sessions."""
    from rembg_tuner.engines.rembg import RembgEngine

    return RembgEngine(request)


def _rembg_detail(_found: str) -> Message:
    """Return what the engine is used for."""
    from rembg_tuner.base.messages import Message

    return Message("the stock pipeline, to compare with")


_REMBG = EngineSpec(
    name="rembg",
    rank=4,
    pipeline="stock",
    packages={"rembg": ("rembg",), **_ONNXRUNTIME_PACKAGES},
    install="pip install 'rembg-tuner[rembg]'",
    precisions={"fp32": Need()},
    providers=ONNXRUNTIME_PROVIDERS,
    knobs=_SESSION_KNOBS,
    runs_own_files=False,
    timeouts=_ONNXRUNTIME_TIMEOUTS,  # numba compiles for almost a minute at rembg's first import
    detail=_rembg_detail,
    imports=_import_rembg,
    open=_open_rembg,
)

# In the order of display; the first is a dependency of this program.
ENGINES: dict[str, EngineSpec] = {
    spec.name: spec for spec in (_ONNXRUNTIME, _OPENVINO, _NCNN, _REMBG)
}


def by_rank() -> list[EngineSpec]:
    """Return the engines, best first."""
    return sorted(ENGINES.values(), key=lambda spec: spec.rank)


def open_engine(request: EngineRequest) -> NetworkEngine | StockEngine:
    """Load a model with the engine of its settings; import only that engine's library.

    Raises:
        EngineError: the engine is not installed, or rejects the model or the settings.
        ModelError: the model cannot be read, or is a user's file that the engine does not run.
    """
    problem = own_file_problem(request.settings.engine, request.model.name)
    if problem is not None:
        from rembg_tuner.base.errors import ModelError

        raise ModelError(problem)
    return ENGINES[request.settings.engine].open(request)


def own_file_problem(engine: str, model: str) -> Message | None:
    """Return why an engine does not run a user's own file; None: it does, or it is not such a file.

    Args:
        engine: its name.
        model: a name of the catalogue, or the path of an .onnx file.
    """
    if ENGINES[engine].runs_own_files or not model.lower().endswith(".onnx"):
        return None
    from pathlib import Path

    from rembg_tuner.base.messages import Message

    return Message(
        "engine {engine} runs rembg's own models by name, got {model!r}; choose another engine for"
        " an own file",
        engine=engine,
        model=Path(model),
    )


def package_versions() -> dict[str, str | None]:
    """Return the versions of all engines' packages, each by its distribution."""
    return {
        name: number
        for spec in ENGINES.values()
        for name, number in spec.package_versions().items()
    }
