"""Change ONNX graphs: input size, batch, outputs, number format; the one door to onnx.

Only `conversion` imports this, in a process of its own, so that neither a page nor a measured worker
carries onnx in its memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # onnx raises it on what is no graph
from onnx import TensorProto, numpy_helper, shape_inference, version_converter

from rembg_tuner.cache import replacing
from rembg_tuner.errors import ModelError
from rembg_tuner.models.spec import BATCH, HEIGHT, WIDTH

if TYPE_CHECKING:
    from pathlib import Path

_UNREADABLE = (
    onnx.checker.ValidationError,
    shape_inference.InferenceError,
    DecodeError,
    ValueError,
    OSError,
)


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file, its nodes put in the order they run in.

    Some converters leave the casts that they add at the end; ONNX Runtime sorts them in silence, and
    other tools refuse the file.

    Raises:
        ModelError: it is no ONNX graph.
    """
    try:
        model = onnx.load(str(path))
        sort_nodes(model.graph)
        onnx.checker.check_model(model)
    except _UNREADABLE as error:
        raise ModelError(
            f"{path} does not read as an ONNX graph: {' '.join(str(error).split())}"
        ) from error
    return model


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put a graph's nodes in an order in which each comes after those that it takes from."""
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


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    """Copy a node, which its graph is about to drop."""
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied


def picture_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    """Give a graph's one input, of four dimensions.

    Raises:
        ModelError: it has another kind of input.
    """
    weights = {weight.name for weight in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    ranks = [len(value.type.tensor_type.shape.dim) for value in inputs]
    if ranks != [4]:
        found = ", ".join(f"one of {rank}" for rank in ranks) or "none"
        raise ModelError(
            f"network_size and batch_size need a graph with one input of four dimensions, this one has {found}; leave network_size at 0 and batch_size at 1"
        )
    return inputs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSize:
    """A size that a graph holds as a constant, where a Resize takes it.

    Attributes:
        node: the Resize.
        name: the constant.
        numbers: what it holds.
    """

    node: str
    name: str
    numbers: list[int]


def written_sizes(graph: onnx.GraphProto) -> list[WrittenSize]:
    """List the sizes that are written for one input size, which another input size would contradict."""
    numbers = _written_numbers(graph)
    sources = {output: node for node in graph.node for output in node.output}
    found: list[WrittenSize] = []
    for node in graph.node:
        if node.op_type != "Resize" or len(node.input) < 4:
            continue
        name = node.input[3]
        # Exporters write batch and channel, computed, joined to height and width: the end decides.
        while name in sources and sources[name].op_type in {"Concat", "Cast", "Identity"}:
            name = sources[name].input[-1]
        if name in numbers:
            found.append(
                WrittenSize(
                    node=node.name or "a Resize",
                    name=name,
                    numbers=numbers[name],
                )
            )
    return found


def _written_numbers(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Give the whole numbers that a graph holds as constants, by name."""
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


def free_input(model: onnx.ModelProto, *, side: int = 0) -> onnx.ModelProto:
    """Make batch, height and width of a graph's input free.

    The U2-Net graphs compute every other size from their input (Shape, Slice, Concat into Resize), so
    naming the dimensions is enough; sizes that were written down for the old input are dropped. Where
    sizes stand as constants, they are rewritten for `side` in proportion.

    Args:
        model: one float input, (batch, channel, height, width).
        side: what height and width will be, px; 0: the graph's own.

    Returns:
        A changed copy, its input ("batch", channel, "height", "width").

    Raises:
        ModelError: the graph has another kind of input, or holds sizes that cannot be scaled to `side`.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    dims = picture_input(graph).type.tensor_type.shape.dim
    own = dims[3].dim_value
    if side and side != own:
        _rewrite_sizes(graph, own, side)
    dims[0].dim_param, dims[2].dim_param, dims[3].dim_param = BATCH, HEIGHT, WIDTH
    for output in graph.output:
        shape = output.type.tensor_type.shape
        if len(shape.dim) == 4:
            for i in (0, 2, 3):
                shape.dim[i].Clear()
    del graph.value_info[:]
    onnx.checker.check_model(freed)
    return freed


def _rewrite_sizes(graph: onnx.GraphProto, own: int, side: int) -> None:
    """Scale the sizes that stand as constants, in proportion to the input's side.

    Raises:
        ModelError: one of them would be no whole number.
    """
    sizes = written_sizes(graph)
    if sizes and not own:
        raise ModelError(
            "this graph leaves its input size open and holds sizes as constants, so none of them can be scaled; leave network_size at 0"
        )
    for size in sizes:
        pixels = size.numbers[-2:]
        if any(number * side % own for number in pixels):
            step = own // math.gcd(*(number for other in sizes for number in other.numbers[-2:]))
            raise ModelError(
                f"this graph cannot take network_size {side}: {size.node} is written for the size {pixels}, and in proportion that is no whole number; choose a multiple of {step}, or leave network_size at 0"
            )
    new = {
        size.name: [*size.numbers[:-2], *(number * side // own for number in size.numbers[-2:])]
        for size in sizes
    }
    for weight in graph.initializer:
        if weight.name in new:
            weight.CopyFrom(_int64s(new[weight.name], weight.name))
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in new:
            attribute = node.attribute[0]
            if attribute.name == "value":
                attribute.t.CopyFrom(_int64s(new[node.output[0]], attribute.t.name))
            else:
                attribute.ints[:] = new[node.output[0]]


def _int64s(numbers: list[int], name: str) -> onnx.TensorProto:
    """Write whole numbers as a tensor."""
    return onnx.helper.make_tensor(name, TensorProto.INT64, [len(numbers)], numbers)


def keep_first_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop every output but the first, and what only they need.

    Returns:
        A changed copy.
    """
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
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
    """Turn half-precision weights and casts to them into float32, for tools that know no other.

    Returns:
        A changed copy; one whose values are the same numbers.
    """
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT16:
            weight.CopyFrom(_widened(weight))
    for node in graph.node:
        for attribute in node.attribute:
            is_cast = node.op_type == "Cast" and attribute.name == "to"
            if is_cast and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT16:
                attribute.t.CopyFrom(_widened(attribute.t))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    return wide


def _widened(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Write a half-precision tensor in float32."""
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name)


def fix_input(model: onnx.ModelProto, *, side: int, batch: int = 1) -> onnx.ModelProto:
    """Give a freed graph's input its dimensions as numbers.

    Returns:
        A changed copy, its input (batch, 3, side, side).
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    dims = picture_input(fixed.graph).type.tensor_type.shape.dim
    for dim, number in zip(dims, (batch, 3, side, side), strict=True):
        dim.dim_value = number
    return fixed


def raise_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Write a graph in a newer opset, unless it is in that or a newer one already.

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
            f"the graph cannot be written in opset {opset}: {' '.join(str(error).split())}"
        ) from error


def convolutions(model: onnx.ModelProto) -> list[str]:
    """Name a graph's convolutions, in the order they run in; ones without a name are given one."""
    names: list[str] = []
    for i, node in enumerate(model.graph.node):
        if node.op_type in ("Conv", "ConvTranspose"):
            node.name = node.name or f"{node.op_type}_{i}"
            names.append(node.name)
    return names


def save_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph under its name, at once and whole.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as file:
        file.write(model.SerializeToString())


def mark(model: onnx.ModelProto, key: str, value: str) -> None:
    """Write a word into a graph's metadata."""
    entry = model.metadata_props.add()
    entry.key, entry.value = key, value
