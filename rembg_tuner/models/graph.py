"""Change ONNX graphs: input size, batch, outputs, number format; the only module that imports onnx.

Only processes that convert or quantise models import this module, so that the page and measured
workers do not load onnx.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # onnx raises it if the file is not a graph
from onnx import TensorProto, numpy_helper, version_converter

from rembg_tuner.base.errors import ModelError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.models.spec import BATCH, HEIGHT, WIDTH, check_outputs, check_square, not_a_picture

if TYPE_CHECKING:
    from pathlib import Path

_UNREADABLE = (
    onnx.checker.ValidationError,  # of weights that should be in separate files
    DecodeError,
    ValueError,
    OSError,
)
_JOINING = frozenset({"Concat", "Cast", "Identity"})
FP32_ONLY = frozenset({TensorProto.FLOAT})
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})
_THIS = Message("this graph")


def load_graph(path: Path, *, kinds: frozenset[int] = _FLOATS) -> onnx.ModelProto:
    """Read an ONNX file and sort its nodes in execution order.

    Some converters append the casts that they add. ONNX Runtime sorts them silently, and other
    tools reject the file. `onnx.checker` is not used, because it rejects graphs that engines run.

    Args:
        path: the file.
        kinds: the allowed element types of its picture, by ONNX's numbers.

    Raises:
        ModelError: it is not an ONNX graph, does not take a picture, or has no output.
    """
    try:
        model = onnx.load(str(path))
        if not model.graph.node:
            raise ValueError("it has no nodes")  # the result for an empty file
        sort_nodes(model.graph)
    except _UNREADABLE as error:
        raise ModelError(
            Message(
                "{path} does not read as an ONNX graph: {reason}",
                path=path,
                reason=Quoted(" ".join(str(error).split())),
            )
        ) from error
    picture_input(model.graph, called=path, kinds=kinds)
    check_outputs(len(model.graph.output), path)
    return model


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Sort a graph's nodes so that each follows the nodes that it reads from.

    Raises:
        ValueError: a node reads a value that does not exist.
    """
    known = {value.name for value in (*graph.input, *graph.initializer)} | {""}
    waiting, sorted_nodes = list(graph.node), []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        if not ready:
            raise ValueError(f"node {waiting[0].name!r} takes what no node gives")
        known.update(output for node in ready for output in node.output)
        done = {id(node) for node in ready}
        sorted_nodes += ready
        waiting = [node for node in waiting if id(node) not in done]
    copies = [_copy(node) for node in sorted_nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _copy(message: Any) -> Any:
    """Copy a message, such as a graph or a node that will be removed from its graph."""
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def picture_input(
    graph: onnx.GraphProto, *, called: Path | Message = _THIS, kinds: frozenset[int] = _FLOATS
) -> onnx.ValueInfoProto:
    """Return a graph's one input: pictures of three channels, (batch, 3, side, side).

    Args:
        graph: the graph.
        called: the graph's name in messages.
        kinds: the allowed element types.

    Raises:
        ModelError: it has another kind of input.
    """
    weights = {weight.name for weight in graph.initializer}
    inputs = [
        (value, value.type.tensor_type.elem_type, _shape_of(value))
        for value in graph.input
        if value.name not in weights
    ]
    value, kind, shape = inputs[0] if len(inputs) == 1 else (None, 0, [])
    if kind not in kinds or len(shape) != 4 or shape[1] not in (0, 3):
        found = [
            (one.name, TensorProto.DataType.Name(kind).lower(), [size or "?" for size in shape])
            for one, kind, shape in inputs
        ]
        raise not_a_picture(called, found)
    check_square(called, width=shape[3], height=shape[2])
    return value


def _shape_of(value: onnx.ValueInfoProto) -> list[int]:
    """Return the dimensions of an input; 0: an open dimension."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def own_side(graph: onnx.GraphProto) -> int:
    """Return the side of a graph's input, px; 0: it is open."""
    _, _, height, width = picture_input(graph).type.tensor_type.shape.dim
    return int(height.dim_value or width.dim_value)


def own_batch(graph: onnx.GraphProto) -> int:
    """Return how many pictures a graph takes at once; 1 if that is open, as exporters leave it."""
    return int(picture_input(graph).type.tensor_type.shape.dim[0].dim_value) or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSize:
    """A constant of a graph that is part of the size of a Resize.

    Attributes:
        resize: the Resize's name.
        holder: the node that takes the constant: the Resize, or a node that joins its size.
        index: of the constant among the holder's inputs.
        numbers: the values of the constant.
    """

    resize: str
    holder: onnx.NodeProto
    index: int
    numbers: list[int]


def written_sizes(graph: onnx.GraphProto) -> list[WrittenSize]:
    """List the constants whose last numbers are height and width, which fix the input size."""
    return _written_parts(graph, -1)


def _written_parts(graph: onnx.GraphProto, end: int) -> list[WrittenSize]:
    """List the constants at one end of Resizes' sizes: 0 for the first number, -1 for the last.

    Exporters join batch and channel with height and width; each part is computed or constant.
    """
    numbers = _written_numbers(graph)
    sources = {output: node for node in graph.node for output in node.output}
    found: list[WrittenSize] = []
    for node in graph.node:
        if node.op_type != "Resize" or len(node.input) < 4:
            continue
        holder, index = node, 3
        while (source := sources.get(holder.input[index])) and source.op_type in _JOINING:
            holder, index = source, end
        name = holder.input[index]
        if numbers.get(name):
            found.append(
                WrittenSize(
                    resize=node.name or "a Resize",
                    holder=holder,
                    index=index,
                    numbers=numbers[name],
                )
            )
    return found


def _written_numbers(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Return the integer constants of a graph, by name."""
    constants = {
        node.output[0]: node.attribute[0] for node in graph.node if node.op_type == "Constant"
    }
    tensors = [(weight.name, weight) for weight in graph.initializer]
    tensors += [(name, value.t) for name, value in constants.items() if value.name == "value"]
    numbers = {
        name: numpy_helper.to_array(tensor).ravel().tolist()
        for name, tensor in tensors
        if tensor.data_type == TensorProto.INT64
    }
    ints = {name: list(value.ints) for name, value in constants.items()}
    return numbers | {name: values for name, values in ints.items() if values}


def free_input(model: onnx.ModelProto, *, side: int = 0, batch: int = 1) -> onnx.ModelProto:
    """Make the batch of a graph's input free, and height and width if another side is requested.

    The U2-Net graphs compute all other sizes from their input (Shape, Slice, Concat into Resize),
    so naming the dimensions is enough; shapes that were stored for the old input are removed. Sizes
    that are constants are scaled in proportion to `side` and `batch`.

    Args:
        model: one float input, (batch, 3, side, side).
        side: the new height and width, px; 0: the graph's own, which is kept.
        batch: the new batch.

    Returns:
        A changed copy, its input ("batch", 3, "height", "width"), or ("batch", 3, side, side).

    Raises:
        ModelError: the graph has another kind of input, or sizes that cannot be scaled to `side`.
    """
    freed: onnx.ModelProto = _copy(model)
    graph = freed.graph
    own = own_side(graph)
    if side and side != own:
        _rewrite_sizes(graph, own, side)
    if batch != own_batch(graph):
        _rewrite_batches(graph, own_batch(graph), batch)
    dims = picture_input(graph).type.tensor_type.shape.dim
    dims[0].dim_param = BATCH
    if side or not own:
        dims[2].dim_param, dims[3].dim_param = HEIGHT, WIDTH
    for output in graph.output:
        shape = output.type.tensor_type.shape
        if len(shape.dim) == 4:
            for i in (0, 2, 3):
                shape.dim[i].Clear()
    del graph.value_info[:]
    return freed


def _rewrite_sizes(graph: onnx.GraphProto, own: int, side: int) -> None:
    """Scale the heights and widths that are constants, in proportion to the input's side.

    Raises:
        ModelError: the graph's own side is open, or a size would not be a whole number.
    """
    sizes = written_sizes(graph)
    if sizes and not own:
        raise ModelError(
            Message(
                "this graph leaves its input size open and holds sizes as constants, so none of"
                " them can be scaled; export it with its input size written down"
            )
        )
    for size in sizes:
        pixels = size.numbers[-2:]
        if any(number * side % own for number in pixels):
            step = own // math.gcd(*(number for other in sizes for number in other.numbers[-2:]))
            raise ModelError(
                Message(
                    "this graph cannot take network_size {side}: {operator} is written for the size"
                    " {pixels}, and in proportion that is no whole number; choose a multiple of"
                    " {step}, or leave network_size at 0",
                    side=side,
                    operator=size.resize,
                    pixels=str(pixels),
                    step=step,
                )
            )
    for size in sizes:
        pixels = [number * side // own for number in size.numbers[-2:]]
        _rewrite(graph, size, [*size.numbers[:-2], *pixels])


def _rewrite_batches(graph: onnx.GraphProto, own: int, batch: int) -> None:
    """Scale the constant batches; one that is not a multiple of `own` fails when it runs."""
    for size in _written_parts(graph, 0):
        first, *rest = size.numbers
        _rewrite(graph, size, [first * batch // own, *rest])


def _rewrite(graph: onnx.GraphProto, size: WrittenSize, numbers: list[int]) -> None:
    """Replace the numbers that a node takes; keep the constant, which other nodes may use."""
    name = f"rembg_tuner.size_{len(graph.initializer)}"
    graph.initializer.append(
        onnx.helper.make_tensor(name, TensorProto.INT64, [len(numbers)], numbers)
    )
    size.holder.input[size.index] = name


def keep_first_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove every output but the first, and the nodes and weights that only they need.

    Returns:
        A changed copy.
    """
    kept: onnx.ModelProto = _copy(model)
    graph = kept.graph
    del graph.output[1:]
    needed, nodes = {graph.output[0].name}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    copies = [_copy(node) for node in reversed(nodes)]
    weights = [weight for weight in graph.initializer if weight.name in needed]
    del graph.node[:]
    graph.node.extend(copies)
    held = onnx.GraphProto()
    held.initializer.extend(weights)
    del graph.initializer[:]
    graph.initializer.extend(held.initializer)
    del graph.value_info[:]
    return kept


def widen_to_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert half-precision weights and casts to float32, for tools that support only float32.

    Returns:
        A changed copy with the same values.
    """
    wide: onnx.ModelProto = _copy(model)
    graph = wide.graph
    attributes = [(node, attribute) for node in graph.node for attribute in node.attribute]
    tensors = [*graph.initializer, *(one.t for _, one in attributes if one.HasField("t"))]
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT16:
            wider = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(wider, tensor.name))
    for node, attribute in attributes:
        if (node.op_type, attribute.name, attribute.i) == ("Cast", "to", TensorProto.FLOAT16):
            attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    return wide


def fix_input(model: onnx.ModelProto, *, side: int, batch: int = 1) -> onnx.ModelProto:
    """Set the dimensions of a freed graph's input to numbers.

    Returns:
        A changed copy, its input (batch, 3, side, side).
    """
    fixed: onnx.ModelProto = _copy(model)
    dims = picture_input(fixed.graph).type.tensor_type.shape.dim
    for dim, number in zip(dims, (batch, 3, side, side), strict=True):
        dim.dim_value = number
    return fixed


def raise_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert a graph to a newer opset; return it unchanged if its opset is new enough.

    Raises:
        ModelError: one of its operators cannot be converted.
    """
    now = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if now >= opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except (RuntimeError, version_converter.ConvertError) as error:
        raise ModelError(
            Message(
                "the graph cannot be written in opset {opset}: {reason}",
                opset=opset,
                reason=Quoted(" ".join(str(error).split())),
            )
        ) from error


def convolutions(model: onnx.ModelProto) -> list[str]:
    """Return the names of a graph's convolutions in node order; name those without a name."""
    names: list[str] = []
    for i, node in enumerate(model.graph.node):
        if node.op_type in ("Conv", "ConvTranspose"):
            node.name = node.name or f"{node.op_type}_{i}"
            names.append(node.name)
    return names


def save_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph to a file, atomically.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as file:
        file.write(model.SerializeToString())


def mark(model: onnx.ModelProto, key: str, value: str) -> None:
    """Add an entry to a graph's metadata."""
    entry = model.metadata_props.add()
    entry.key, entry.value = key, value
