"""The engines. A new one is its folder and a line here."""

from __future__ import annotations

from rembg_tuner.engines.ncnn.spec import SPEC as _NCNN
from rembg_tuner.engines.onnxruntime.spec import SPEC as _ONNXRUNTIME
from rembg_tuner.engines.openvino.spec import SPEC as _OPENVINO
from rembg_tuner.engines.rembg.spec import SPEC as _REMBG
from rembg_tuner.engines.spec import EngineSpec

TYPE_CHECKING = False  # `typing` itself takes a while to import
if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.protocols import EngineRequest, NetworkEngine, StockEngine

# In the order in which they are named to people; the first comes with this program.
ENGINES: dict[str, EngineSpec] = {
    spec.name: spec for spec in (_ONNXRUNTIME, _OPENVINO, _NCNN, _REMBG)
}


def by_rank() -> list[EngineSpec]:
    """Return the engines, best first."""
    return sorted(ENGINES.values(), key=lambda spec: spec.rank)


def open_engine(request: EngineRequest) -> NetworkEngine | StockEngine:
    """Load a model with the engine that its settings name; only that engine's library is imported.

    Raises:
        EngineError: the engine is not installed, or refuses the model or the settings.
        ModelError: the model does not read, or is a user's file and the engine takes none.
    """
    problem = own_file_problem(request.settings.engine, request.model.name)
    if problem is not None:
        from rembg_tuner.base.errors import ModelError

        raise ModelError(problem)
    return ENGINES[request.settings.engine].open(request)


def own_file_problem(engine: str, model: str) -> Message | None:
    """Return why an engine does not run a user's own file; None: it does, or the model is none.

    Args:
        engine: its name.
        model: a name of the catalogue, or a path to an .onnx file.
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
