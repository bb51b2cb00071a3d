"""ncnn as the rest of the program sees it."""

from __future__ import annotations

from rembg_tuner.engines.spec import NETWORK_KNOBS, Derived, EngineSpec, Need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.protocols import EngineRequest, NetworkEngine
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings


def _imports() -> dict[str, str]:
    """Import ncnn."""
    from rembg_tuner.engines.ncnn import session

    return {"ncnn": session.version()}


def _open(request: EngineRequest) -> NetworkEngine:
    """Load a converted network."""
    from rembg_tuner.engines.ncnn.session import NcnnEngine

    return NcnnEngine(request)


def _derive(settings: Settings, _model: ModelSpec) -> Derived:
    """Ask for a network of ncnn's own."""
    return Derived(do="ncnn", side=settings.network_size, endings=(".param", ".bin"))


def _convert(source: Path, target: Path, *, side: int) -> None:
    """Convert a graph."""
    from rembg_tuner.engines.ncnn.conversion import convert

    convert(source, target, side=side)


def _detail(_found: str) -> Message:
    """Return what it is for, or that its converter is missing."""
    from rembg_tuner.base.errors import EngineError
    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.ncnn.pnnx import find_pnnx

    try:
        find_pnnx()
    except EngineError as error:
        return error.message
    return Message("fp32 and bf16 storage; converts a model at its first use")


SPEC = EngineSpec(
    name="ncnn",
    rank=3,
    pipeline="network",
    packages={"ncnn": ("ncnn",)},
    # pnnx asks for PyTorch, and needs none of it to convert an ONNX file
    install="pip install 'rembg-tuner[ncnn]' && pip install --no-deps pnnx",
    # It only stores its numbers in bf16, which any CPU can, and which takes longer than fp32.
    precisions={"fp32": Need(), "bf16": Need(), "fp16": Need(cpu=True)},
    knobs=NETWORK_KNOBS | {"light_mode"},
    derive=_derive,
    convert_with=_convert,
    detail=_detail,
    # Those that the tests run; a test holds them against requirements-dev.txt and the Makefile.
    image_install=" ncnn==1.0.20261020 && pip install --user --no-deps pnnx==20261020",
    imports=_imports,
    open=_open,
)
