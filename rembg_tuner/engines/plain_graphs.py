"""Graphs as tools for other engines like them, and what ONNX Runtime makes of them.

Imported by processes that convert or quantise only: it brings onnx.
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
    """Make a graph as other tools like it: one output, fixed input, float32, nodes in order.

    Args:
        source: the ONNX file as released.
        side: of the input, px; 0: the graph's own.

    Raises:
        ModelError: it does not read, or does not take that side.
    """
    model = graphs.widen_to_fp32(graphs.keep_first_output(graphs.load_graph(source)))
    own = graphs.own_side(model.graph)
    if not (side or own):
        raise open_size(source)
    return graphs.fix_input(graphs.free_input(model, side=side), side=side or own)


def run_plain(plain: Path, source: Path, *, side: int) -> RawOutput:
    """Run a plain graph once on noise by ONNX Runtime; what is wrong with it is told of its source.

    Args:
        plain: what `plain_graph` made, saved.
        source: the ONNX file as released, for the message.
        side: of the input, px.

    Returns:
        Its answer, float32 (1, c, h, w).

    Raises:
        EngineError, ModelError: it does not run, or makes no matte.
    """
    from rembg_tuner.engines.onnxruntime.session import probe

    try:
        return pictures_of(probe(plain, side=side, batch=1), str(source))
    except (EngineError, ModelError) as error:
        raise type(error)(error.message.with_paths({plain: source})) from error
