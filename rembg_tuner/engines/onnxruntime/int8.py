"""ONNX Runtime's own static int8, whose placement of QuantizeLinear its fusions know.

Only convolutions are quantised: with every operator that it offers, ONNX Runtime 1.32 computes
another network than its own unoptimised graph (IoU with fp32 .30 where that has .98).
"""

from __future__ import annotations

import logging
import tempfile
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rembg_tuner.imaging.network_input import NetworkInput


def versions() -> dict[str, str]:
    """Return the versions of what makes the graph."""
    return {name: version_of(name) for name in ("onnxruntime", "onnx")}


class _Inputs(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """Inputs as ONNX Runtime asks for them."""

    def __init__(self, inputs: list[NetworkInput], input_name: str) -> None:
        """Begin with the first."""
        self._left: Iterator[NetworkInput] = iter(inputs)
        self._name = input_name

    def get_next(self) -> dict[str, NetworkInput] | None:
        """Return the next; None after the last."""
        one = next(self._left, None)
        return None if one is None else {self._name: one}


def quantize(
    model: Any, inputs: list[NetworkInput], *, input_name: str, left_out: list[str]
) -> Any:
    """Quantise a graph's convolutions: weights signed, activations unsigned, ranges by extremes.

    Args:
        model: an onnx.ModelProto with one input, opset 13 or newer.
        inputs: what the ranges are taken from, each float32 (1, 3, side, side).
        input_name: of the graph's input.
        left_out: nodes that stay in float32.

    Returns:
        Another onnx.ModelProto.
    """
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="rembg-tuner-") as folder:
        plain, prepared, target = (
            Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "int8")
        )
        plain.write_bytes(model.SerializeToString())
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            _Inputs(inputs, input_name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=left_out,
        )
        return type(model).FromString(target.read_bytes())
