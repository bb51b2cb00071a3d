"""Free the input size of an ONNX graph; the one door to onnx.

`python -m rembg_tuner.models.graph SOURCE TARGET` does it in a process of its own, so that neither a
page nor a measured worker carries onnx in its memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, shape_inference

from rembg_tuner.cache import replacing
from rembg_tuner.errors import ModelError
from rembg_tuner.models.freed import HEIGHT, WIDTH

_EXIT_UNFIT = 3


def free_input_size(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make height and width of a graph's input free.

    The U2-Net graphs compute every other size from their input (Shape, Slice, Concat into Resize), so
    naming two dimensions is enough; sizes that were written down for the old input are dropped.

    Args:
        model: one float input, (batch, channel, height, width).

    Returns:
        A changed copy, its input (batch, channel, "height", "width").

    Raises:
        ModelError: the graph has another kind of input, or holds sizes as constants.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise ModelError(
            f"network_size needs a graph with one input of four dimensions, this one has {len(inputs)} inputs; leave network_size at 0"
        )
    _refuse_constant_sizes(graph)
    dims = inputs[0].type.tensor_type.shape.dim
    dims[2].dim_param, dims[3].dim_param = HEIGHT, WIDTH
    for output in graph.output:
        shape = output.type.tensor_type.shape
        if len(shape.dim) == 4:
            shape.dim[2].Clear()
            shape.dim[3].Clear()
    del graph.value_info[:]
    onnx.checker.check_model(freed)
    return freed


def _refuse_constant_sizes(graph: onnx.GraphProto) -> None:
    """Refuse a graph that resizes to sizes written down as constants."""
    weights = {weight.name: weight for weight in graph.initializer}
    weights |= {
        node.output[0]: node.attribute[0].t
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    for node in graph.node:
        sizes = node.input[3] if node.op_type == "Resize" and len(node.input) > 3 else None
        if sizes and sizes in weights and weights[sizes].data_type == TensorProto.INT64:
            values = onnx.numpy_helper.to_array(weights[sizes]).tolist()
            raise ModelError(
                f"this graph cannot take another network_size: {node.name or 'a Resize'} is written for the size {values}; leave network_size at 0"
            )


def _main(source: str, target: str) -> int:
    """Free one file; the last line on stderr is the reason if it cannot be done."""
    try:
        model = free_input_size(onnx.load(source))
    except ModelError as error:
        print(error, file=sys.stderr)
        return _EXIT_UNFIT
    except (
        onnx.checker.ValidationError,
        shape_inference.InferenceError,
        ValueError,
        OSError,
    ) as error:
        print(
            f"{source} does not read as an ONNX graph: {' '.join(str(error).split())}",
            file=sys.stderr,
        )
        return _EXIT_UNFIT
    with replacing(Path(target)) as file:
        file.write(model.SerializeToString())
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:3]))
