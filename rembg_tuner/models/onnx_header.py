"""Read the versions and the input size of an ONNX file without onnx.

A measured worker must not import onnx. The graph, which is nearly all of the file, is not loaded:
its large fields are skipped (onnx.proto: ModelProto, OperatorSetIdProto, GraphProto).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from rembg_tuner.base.errors import ModelError
from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The newest versions that the onnx of requirements.txt supports; a test compares them.
NEWEST_OPSET = 28
NEWEST_IR = 14
_IR_VERSION, _OPSET_IMPORT = 1, 8  # fields of ModelProto
_GRAPH, _INPUT = 7, 11  # fields of ModelProto and of GraphProto
# Fields of ValueInfoProto, of TypeProto, of its Tensor, and of a dimension.
_TYPE, _TENSOR, _SHAPE, _DIM_VALUE = 2, 1, 2, 1
_CHANNELS = 3
_DOMAIN, _VERSION = 1, 2  # fields of OperatorSetIdProto
_NUMBER, _BYTES = 0, 2  # wire types of protobuf
_FIXED_BYTES = {1: 8, 5: 4}
_MAX_OPSET_BYTES = 1024  # a domain's name and a number


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The versions of an ONNX file.

    Attributes:
        ir: the version of the file format; 0: not specified.
        opset: the version of ONNX's own operators; 0: not specified.
    """

    ir: int = 0
    opset: int = 0


def refuse_newer(path: Path, *, called: Path) -> None:
    """Check that a file's versions are supported; an unreadable file is left to the engine.

    OpenVINO silently reads an operator of an unknown version as the newest version that it
    supports.

    Args:
        path: an ONNX file.
        called: the path that the message names.

    Raises:
        ModelError: its opset or IR version is newer than the supported ones.
        OSError: it cannot be read.
    """
    form = read_form(path)
    if form.opset > NEWEST_OPSET:
        raise ModelError(
            Message(
                "{path} is in opset {opset}, and opsets up to {newest} are known here; export it in"
                " one of those",
                path=called,
                opset=form.opset,
                newest=NEWEST_OPSET,
            )
        )
    if form.ir > NEWEST_IR:
        raise ModelError(
            Message(
                "{path} is in IR version {ir}, and IR versions up to {newest} are known here;"
                " export it in one of those",
                path=called,
                ir=form.ir,
                newest=NEWEST_IR,
            )
        )


def read_form(path: Path) -> Form:
    """Read a file's versions; they are 0 if it is not an ONNX file.

    Raises:
        OSError: it cannot be read.
    """
    ir = opset = 0
    try:
        with path.open("rb") as file:
            for field, value in _fields(file):
                if field == _IR_VERSION and isinstance(value, int):
                    ir = value
                elif field == _OPSET_IMPORT and isinstance(value, bytes):
                    entry = dict(_fields(io.BytesIO(value)))
                    version = entry.get(_VERSION)
                    is_own = entry.get(_DOMAIN, b"") in (b"", b"ai.onnx")
                    opset = version if is_own and isinstance(version, int) else opset
    except ValueError:
        return Form()
    return Form(ir=ir, opset=opset)


def read_input_side(path: Path) -> int | None:
    """Read the side of a network's input from its graph, without onnx.

    The input is the first one with four dimensions and three channels.

    Returns:
        The side, px; None: the graph has no such input, or its height and width are open or differ.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not contain a graph.
    """
    with path.open("rb") as file:
        for field, end in _messages(file, path.stat().st_size):
            if field == _GRAPH:
                return _side_of_graph(file, end)
    raise ValueError(f"{path} holds no graph")


def _side_of_graph(file: BinaryIO, end: int) -> int | None:
    """Find the input among a graph's fields and return its side; see `read_input_side`.

    Raises:
        ValueError: it is not a graph.
    """
    for field, length_end in _messages(file, end):
        if field != _INPUT:
            continue
        content = file.read(length_end - file.tell())
        for inner in (_TYPE, _TENSOR, _SHAPE):
            found = dict(_fields(io.BytesIO(content))).get(inner, b"")
            content = found if isinstance(found, bytes) else b""
        sides = [
            dict(_fields(io.BytesIO(one))).get(_DIM_VALUE)
            for _, one in _fields(io.BytesIO(content))
            if isinstance(one, bytes)
        ]
        if len(sides) == 4 and sides[1] == _CHANNELS:
            side = sides[2]
            return side if isinstance(side, int) and side > 0 and side == sides[3] else None
    return None


def _messages(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Yield a message's fields that contain bytes, each with the position of its end.

    At each yield, the file is at the start of the field's content.

    Raises:
        ValueError: it is not a message.
    """
    while file.tell() < end:
        key = _varint(file)
        if key is None:
            return
        field, kind = key >> 3, key & 7
        if kind == _BYTES:
            field_end = (_varint(file) or 0) + file.tell()
            yield field, field_end
            file.seek(field_end)
        elif kind == _NUMBER:
            _varint(file)
        elif kind in _FIXED_BYTES:
            file.seek(_FIXED_BYTES[kind], io.SEEK_CUR)
        else:
            raise ValueError(f"there are no fields of kind {kind}")


def _fields(file: BinaryIO) -> Iterator[tuple[int, int | bytes]]:
    """Yield a message's fields, each with its number or its bytes.

    Long fields, such as graphs, are skipped.

    Raises:
        ValueError: it is not a message.
    """
    while True:
        key = _varint(file)
        if key is None:
            return
        field, kind = key >> 3, key & 7
        if kind == _BYTES:
            length = _varint(file) or 0
            if length > _MAX_OPSET_BYTES:
                file.seek(length, io.SEEK_CUR)
            else:
                yield field, file.read(length)
        elif kind == _NUMBER:
            yield field, _varint(file) or 0
        elif kind in _FIXED_BYTES:
            file.seek(_FIXED_BYTES[kind], io.SEEK_CUR)
        else:
            raise ValueError(f"there are no fields of kind {kind}")


def _varint(file: BinaryIO) -> int | None:
    """Read a number of variable length; None: end of the file.

    Raises:
        ValueError: it has more than ten bytes.
    """
    number = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return number
    raise ValueError("a number of more than ten bytes")
