"""The stock pipeline as the rest of the program sees it."""

from __future__ import annotations

from rembg_tuner.engines.onnxruntime.spec import PACKAGES, PROVIDERS, SESSION_KNOBS, TIMEOUTS
from rembg_tuner.engines.spec import EngineSpec, Need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.protocols import EngineRequest, StockEngine


def _imports() -> dict[str, str]:
    """Import rembg and ONNX Runtime."""
    from rembg_tuner.engines.onnxruntime import session as onnxruntime
    from rembg_tuner.engines.rembg import session

    return {"rembg": session.import_rembg(), "onnxruntime": onnxruntime.version()}


def _open(request: EngineRequest) -> StockEngine:
    """Make a session of rembg's."""
    from rembg_tuner.engines.rembg.session import RembgEngine

    return RembgEngine(request)


def _detail(_found: str) -> Message:
    """Return what it is for."""
    from rembg_tuner.base.messages import Message

    return Message("the stock pipeline, to compare with")


SPEC = EngineSpec(
    name="rembg",
    rank=4,
    pipeline="stock",
    packages={"rembg": ("rembg",), **PACKAGES},
    install="pip install 'rembg-tuner[rembg]'",
    precisions={"fp32": Need()},
    providers=PROVIDERS,
    knobs=SESSION_KNOBS,
    runs_own_files=False,
    timeouts=TIMEOUTS,  # numba compiles for most of a minute at rembg's very first import
    detail=_detail,
    imports=_imports,
    open=_open,
)
