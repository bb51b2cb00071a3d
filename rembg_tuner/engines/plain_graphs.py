"""Create plain graphs for the converters of other engines, and run them with ONNX Runtime.

Only processes that convert or quantise models import this module, because it imports onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.base.errors import EngineError, ModelError
from rembg_tuner.engines.protocols import pictures_of
from rembg_tuner.models import graph as graphs
from rembg_tuner.models.spec import open_size

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from rembg_tuner.imaging.matte import RawOutput


def plain_graph(source: Path, *, side: int) -> onnx.ModelProto:
    """Create a graph for other tools: one output, fixed input, float32, sorted nodes.

    Args:
        source: the released ONNX file.
        side: of the input, px; 0: the graph's own.

    Raises:
        ModelError: it cannot be read, or does not take that side.
    """
    model = graphs.widen_to_fp32(graphs.keep_first_output(graphs.load_graph(source)))
    own = graphs.own_side(model.graph)
    if not (side or own):
        raise open_size(source)
    return graphs.fix_input(graphs.free_input(model, side=side), side=side or own)


def run_plain(plain: Path, source: Path, *, side: int) -> RawOutput:
    """Run a plain graph once on noise with ONNX Runtime; errors name its source.

    Args:
        plain: the saved graph of `plain_graph`.
        source: the released ONNX file, for the message.
        side: of the input, px.

    Returns:
        Its output, float32 (1, c, h, w).

    Raises:
        EngineError, ModelError: it does not run, or does not produce a matte.
    """
    from rembg_tuner.engines.onnxruntime.session import probe

    try:
        return pictures_of(probe(plain, side=side, batch=1), str(source))
    except (EngineError, ModelError) as error:
        raise type(error)(error.message.with_paths({plain: source})) from error
