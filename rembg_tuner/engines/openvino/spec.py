"""OpenVINO as the rest of the program sees it."""

from __future__ import annotations

from rembg_tuner.engines.spec import FIT, NETWORK_KNOBS, Derived, EngineSpec, Need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.protocols import EngineRequest, NetworkEngine
    from rembg_tuner.engines.spec import Quantize, Script
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings

# OpenVINO's converter of models, which no run needs: 40 ms of CPU and 7 MiB. openvino's own
# __init__ goes on without it.
_NOT_NEEDED = "openvino.tools.ovc"


def _imports() -> dict[str, str]:
    """Import OpenVINO."""
    import sys

    sys.modules[_NOT_NEEDED] = None  # type: ignore[assignment]  # the documented way to forbid an import
    from rembg_tuner.engines.openvino import session

    return {"openvino": session.version()}


def _open(request: EngineRequest) -> NetworkEngine:
    """Compile a model."""
    from rembg_tuner.engines.openvino.session import OpenVinoEngine

    return OpenVinoEngine(request)


def _derive(settings: Settings, model: ModelSpec) -> Derived | None:
    """Ask for a graph with computed sizes; OpenVINO reshapes a graph that computes them already."""
    side, batch = settings.network_size, settings.batch_size
    if model.computes_sizes or (not side and batch == 1):
        return None
    return Derived(do=FIT, side=side, batch=batch)


def _int8_tools() -> tuple[Quantize, dict[str, str]]:
    """Import NNCF."""
    from rembg_tuner.engines.openvino import int8

    return int8.quantize, int8.versions()


def _detail(found: str) -> Message:
    """Return what this CPU computes in."""
    from rembg_tuner.base.messages import Message

    if not found:
        return Message("installed, but does not load")
    return Message("this CPU: {capabilities}", capabilities=found)


def _script() -> Script:
    """Import its part of an exported script."""
    from rembg_tuner.engines.openvino.script import SCRIPT

    return SCRIPT


SPEC = EngineSpec(
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
    # As README's table of engines has it; on a CPU with AVX2 only, int8 comes first too: see
    # benchmarks/avx2_agreement.py. fp16, for CPUs that have it, was not timed, and comes last.
    faster_than_fp32=("int8", "bf16", "fp16"),
    knobs=NETWORK_KNOBS | {"batch_size"},
    axes={"precision": ("fp32", "bf16", "int8")},
    int8_tools=_int8_tools,
    derive=_derive,
    script=_script,
    probe="from rembg_tuner.engines.openvino import session as e; print(*e.cpu_capabilities())",
    detail=_detail,
    imports=_imports,
    open=_open,
)
