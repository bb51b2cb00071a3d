"""Free the input size of an ONNX graph; the one door to onnx.

`python -m rembg_tuner.models.graph SOURCE TARGET` does it in a process of its own, so that neither a
page nor a measured worker carries onnx in its memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # onnx raises it on what is no graph
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
    ranks = [len(value.type.tensor_type.shape.dim) for value in inputs]
    if ranks != [4]:
        found = ", ".join(f"one of {rank}" for rank in ranks) or "none"
        raise ModelError(
            f"network_size needs a graph with one input of four dimensions, this one has {found}; leave network_size at 0"
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
    written = _written_numbers(graph)
    sources = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type != "Resize" or len(node.input) < 4:
            continue
        name = node.input[3]
        # Exporters write batch and channel, computed, joined to height and width: the end decides.
        while name in sources and sources[name].op_type in {"Concat", "Cast", "Identity"}:
            name = sources[name].input[-1]
        if name in written:
            raise ModelError(
                f"this graph cannot take another network_size: {node.name or 'a Resize'} is written for the size {written[name]}; leave network_size at 0"
            )


def _written_numbers(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Give the whole numbers that a graph holds as constants, by name."""
    constants = {
        node.output[0]: node.attribute[0] for node in graph.node if node.op_type == "Constant"
    }
    tensors = [(weight.name, weight) for weight in graph.initializer]
    tensors += [(name, value.t) for name, value in constants.items() if value.name == "value"]
    numbers = {
        name: onnx.numpy_helper.to_array(tensor).ravel().tolist()
        for name, tensor in tensors
        if tensor.data_type == TensorProto.INT64
    }
    ints = {name: list(value.ints) for name, value in constants.items()}
    return numbers | {name: values for name, values in ints.items() if values}


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
        DecodeError,
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
